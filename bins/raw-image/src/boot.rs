//! What makes the disk boot: GRUB for BIOS and UEFI, its menu, and fstab.

use loader::{Core, Entry, Menu, Modules, Platform};
use stage::{Context, Error, Result};

use crate::Input;
use crate::layout::{BIOS_BOOT, Ids, ROOT_NUMBER};

/// The disk's own menu waits this long, in seconds. The description's time-out is the medium's: so
/// another time-out makes a new medium, not a new disk.
const TIMEOUT: i64 = 1;
/// `boot.img`: field `kernel_sector`, the core image's first sector, 64 bits.
const KERNEL_SECTOR: usize = 0x5c;
/// `boot.img`: the jump that asks the BIOS for a floppy's geometry; two NOPs make it a hard disk's.
const DRIVE_CHECK: usize = 0x66;
/// `diskboot.img`: field `start` of its only block list entry, 64 bits: where the core image goes on.
const BLOCK_LIST_START: usize = 512 - 12;

/// GRUB's boot sector and core image for BIOS.
pub(crate) fn bios(cx: &Context, modules: &Modules<'_>) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut core = loader::build(cx, Core::BiosDisk, modules, &prefix(), "")?;
    let mut boot = modules.read("boot.img")?;
    if boot.len() < 440 || core.len() < 512 || core.len() as u64 > BIOS_BOOT.1 {
        return Err(Error::failed(format!(
            "GRUB's images have {} and {} bytes; expected 512 and at most {}",
            boot.len(),
            core.len(),
            BIOS_BOOT.1
        )));
    }
    let sector = BIOS_BOOT.0 / 512;
    boot[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&sector.to_le_bytes());
    boot[DRIVE_CHECK..DRIVE_CHECK + 2].copy_from_slice(&[0x90, 0x90]);
    core[BLOCK_LIST_START..BLOCK_LIST_START + 8].copy_from_slice(&(sector + 1).to_le_bytes());
    Ok((boot, core))
}

/// GRUB looks for its menu on the partition of this number, on the disk that it came from.
fn prefix() -> String {
    format!("(,gpt{ROOT_NUMBER})/boot/grub")
}

/// The files of the ESP: path and content.
pub(crate) fn esp(
    cx: &Context,
    modules: &Modules<'_>,
    signed: Option<loader::Signed>,
    ids: &Ids,
) -> Result<Vec<(String, Vec<u8>)>> {
    let Some(signed) = signed else {
        let core = loader::build(cx, Core::Efi, modules, &prefix(), "")?;
        return Ok(vec![("EFI/BOOT/BOOTX64.EFI".to_owned(), core)]);
    };
    // The signed image's first configuration is fixed: it looks in its vendor's directory.
    let config = format!(
        "search --no-floppy --fs-uuid --set=root {}\nset prefix=($root)/boot/grub\n\
         configfile $prefix/grub.cfg\n",
        ids.root_fs
    );
    let mut files = vec![
        ("EFI/BOOT/BOOTX64.EFI".to_owned(), signed.shim),
        ("EFI/BOOT/grubx64.efi".to_owned(), signed.grub),
        (
            format!("EFI/{}/grub.cfg", signed.vendor),
            config.into_bytes(),
        ),
    ];
    files.extend(
        signed
            .mok_manager
            .map(|mok| ("EFI/BOOT/mmx64.efi".to_owned(), mok)),
    );
    Ok(files)
}

/// The modules of both platforms.
pub(crate) fn modules<'a>(cx: &'a Context, tree: &store::tree::Tree) -> Result<[Modules<'a>; 2]> {
    let find = |platform| Modules::find(cx.store(), tree, platform);
    Ok([find(Platform::Bios)?, find(Platform::Efi)?])
}

/// `/boot/grub/grub.cfg` of the disk.
pub(crate) fn menu(input: &Input, ids: &Ids, initrd: Vec<String>) -> String {
    let kernel = &input.rootfs.kernel;
    let cmdline = format!("root=UUID={} {}", ids.root_fs, input.plan.kernelcmdline);
    Menu {
        timeout: TIMEOUT,
        console: if cmdline.contains("console=ttyS") {
            "serial console"
        } else {
            "console"
        },
        serial_line: None,
        default: 0,
        entries: vec![Entry::Linux {
            title: input.plan.name.clone(),
            kernel: format!("/{}", kernel.path),
            cmdline: cmdline.trim_end().to_owned(),
            initrd,
            variable: None,
        }],
    }
    .render()
}

/// `/etc/fstab`: our lines, then those of the tree for other mount points.
pub(crate) fn fstab(present: &str, ids: &Ids) -> String {
    let ours = ["/", "/boot/efi"];
    let mut text = format!("UUID={} / ext4 defaults 0 1\n", ids.root_fs);
    let [a, b] = [ids.esp_fs >> 16, ids.esp_fs & 0xffff];
    // A system in RAM must not mount the ESP of a disk that happens to be there.
    text += &format!("UUID={a:04X}-{b:04X} /boot/efi vfat umask=0077,noauto,nofail 0 0\n");
    for line in present.lines() {
        let mut fields = line.split_whitespace();
        let device = fields.next();
        let place = fields.next();
        if device.is_some_and(|d| !d.starts_with('#')) && !place.is_none_or(|p| ours.contains(&p)) {
            text += &format!("{line}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fstab_keeps_what_is_not_ours() {
        let ids = Ids::new("a", "1", "x86_64");
        let text = fstab(
            "# UNCONFIGURED\n/dev/sda1 / xfs ro 0 0\ntmpfs /tmp tmpfs size=10% 0 0\n\n",
            &ids,
        );
        assert_eq!(text.lines().count(), 3);
        assert!(text.starts_with(&format!("UUID={} / ext4", ids.root_fs)));
        assert!(text.ends_with("tmpfs /tmp tmpfs size=10% 0 0\n"));
    }
}
