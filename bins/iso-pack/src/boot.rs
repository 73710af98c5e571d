//! How the medium boots: GRUB for BIOS and UEFI, its menu, and the kernel command line.

use loader::{Core, Entry, Menu, Modules, Platform};
use stage::{Context, Error, Result};
use store::tree::Tree;

use crate::Input;

/// Sizes of the El Torito ESP are rounded up to a multiple of this, in bytes.
const ESP_STEP: u64 = 1 << 20;
/// Smallest ESP in bytes.
const LEAST_ESP: u64 = 4 << 20;

/// The loaders of the medium.
pub(crate) struct Loaders {
    /// GRUB's MBR for hybrid images.
    pub(crate) mbr: Vec<u8>,
    /// The El Torito image for BIOS.
    pub(crate) bios: Vec<u8>,
    /// The El Torito image for UEFI: a FAT volume.
    pub(crate) esp: Vec<u8>,
    /// Whether the UEFI loader is signed.
    pub(crate) signed: bool,
}

/// GRUB's variable for the words that say which file the medium is.
const ISO_WORDS: &str = "iso_words";

/// `/boot/grub/loopback.cfg`: what a boot loader reads that has this ISO file as a loop device and its path in
/// `$iso_path`.
pub(crate) fn loopback() -> String {
    format!(
        "set {ISO_WORDS}=\"iso-scan/filename=${{iso_path}}\"\nexport {ISO_WORDS}\nsource /boot/grub/grub.cfg\n"
    )
}

/// A file that only this medium has, so that GRUB takes the right one among several.
pub(crate) fn id_file(input: &Input) -> String {
    format!("ramforge/id-{}", &input.initrd.deploy_id.to_string()[..16])
}

/// Makes GRUB's images.
pub(crate) fn loaders(cx: &Context, tree: &Tree, input: &Input) -> Result<Loaders> {
    let find = |platform| Modules::find(cx.store(), tree, platform);
    let (bios, efi) = (find(Platform::Bios)?, find(Platform::Efi)?);
    let first = format!(
        "search --no-floppy --file --set=root /{}\nset prefix=($root)/boot/grub\n\
         configfile $prefix/grub.cfg\n",
        id_file(input)
    );
    let build = |core, modules| loader::build(cx, core, modules, "/boot/grub", &first);
    let signed = loader::signed(cx.store(), tree)?;
    let is_signed = signed.is_some();
    // That for BIOS takes longest to link.
    let (linked, files) = std::thread::scope(|scope| {
        let linked = scope.spawn(|| build(Core::BiosCd, &bios));
        let files = match signed {
            Some(signed) => Ok(signed_files(signed, &first)),
            None => {
                build(Core::Efi, &efi).map(|image| vec![("EFI/BOOT/BOOTX64.EFI".to_owned(), image)])
            }
        };
        let lost = |_| Err(Error::failed("a linking thread was lost"));
        (linked.join().unwrap_or_else(lost), files)
    });
    Ok(Loaders {
        mbr: bios.read("boot_hybrid.img")?,
        bios: linked?,
        esp: esp(input, &files?)?,
        signed: is_signed,
    })
}

/// shim first; GRUB as the vendor signed it reads the configuration beside it or on the medium.
fn signed_files(signed: loader::Signed, first: &str) -> Vec<(String, Vec<u8>)> {
    let grub = signed.grub_cd.unwrap_or(signed.grub);
    let mut files = vec![
        ("EFI/BOOT/BOOTX64.EFI".to_owned(), signed.shim),
        ("EFI/BOOT/grubx64.efi".to_owned(), grub),
        (
            format!("EFI/{}/grub.cfg", signed.vendor),
            first.as_bytes().to_vec(),
        ),
        ("boot/grub/grub.cfg".to_owned(), first.as_bytes().to_vec()),
    ];
    files.extend(
        signed
            .mok_manager
            .map(|mok| ("EFI/BOOT/mmx64.efi".to_owned(), mok)),
    );
    files
}

fn esp(input: &Input, files: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let content: u64 = files
        .iter()
        .map(|(_, bytes)| bytes.len() as u64 + 4096)
        .sum();
    let size = (content + content / 8)
        .next_multiple_of(ESP_STEP)
        .max(LEAST_ESP);
    let [a, b, c, d, ..] = *input.initrd.deploy_id.as_bytes();
    let id = u32::from_le_bytes([a, b, c, d]);
    image::fat::volume(size, "EFI", id, files).map_err(|e| Error::failed(e.to_string()))
}

/// The kernel command line of the preselected entry.
pub(crate) fn kernelcmdline(input: &Input) -> Result<String> {
    let Some(ramdisk) = &input.plan.ramdisk else {
        return Err(
            Error::refused("the description does not ask for a RAM disk")
                .advice("add rd.kiwi.ramdisk and ramdisk_size=KIB to kernelcmdline of its <type>"),
        );
    };
    // ram-deploy knows the root and mounts it, whatever RAM store it is in. The word keeps everybody else from looking
    // for one, and the kernel from unpacking the initramfs into a tmpfs, which takes half of RAM at most.
    let mut words = vec!["root=ramforge".to_owned(), "rd.kiwi.ramdisk".to_owned()];
    words.extend(ramdisk.size_kib.map(|kib| format!("ramdisk_size={kib}")));
    words.push(input.plan.kernelcmdline.clone());
    Ok(words.join(" ").trim_end().to_owned())
}

/// `/boot/grub/grub.cfg` of the medium.
pub(crate) fn menu(input: &Input, kernelcmdline: &str) -> String {
    let plan = &input.plan;
    let linux = |title: String, words: &str| Entry::Linux {
        title,
        kernel: "/boot/linux".to_owned(),
        cmdline: format!("{kernelcmdline}{words}"),
        variable: Some(ISO_WORDS),
        initrd: vec!["/boot/initrd".to_owned()],
    };
    let default = match plan.image_type.installboot.as_deref() {
        Some("harddisk") => 2,
        Some("failsafe-install") => 1,
        _ => 0,
    };
    Menu {
        timeout: plan.bootloader.timeout,
        console: &plan.bootloader.console,
        serial_line: plan.bootloader.serial_line.as_deref(),
        default,
        entries: vec![
            linux(plan.bootloader.title.clone(), ""),
            linux(
                format!("{} (failsafe)", plan.bootloader.title),
                " nomodeset rd.kiwi.debug",
            ),
            Entry::NextDevice {
                title: "Boot from the next device".to_owned(),
            },
        ],
    }
    .render()
}
