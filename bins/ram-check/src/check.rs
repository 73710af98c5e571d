//! The stage's verb: from the manifest to the verdict.

use std::io::Read;
use std::path::Path;

use clap::{Args, ValueEnum};
use manifest::{Object, Proof, Section, StoreNeed, Verdict};
use ram_deploy::cmdline::Cmdline;
use ram_deploy::store::Kind;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use stage::{At, Context, Error, Result, Tool};

use crate::model::{self, Facts};
use crate::{boot, qemu, table};

/// Bytes of a kernel image that hold its boot header.
const HEADER: u64 = 0x300;

/// Options of the stage.
#[derive(Debug, Args)]
pub struct Options {
    /// The machine's RAM: 1024M, 2G or MiB; exit code 4 where the system does not fit
    #[arg(long, value_name = "SIZE", value_parser = parse_ram)]
    pub ram: Option<u64>,
    /// Boot the medium in QEMU up to the login prompt, with the RAM of --ram or else the least
    #[arg(long)]
    pub boot: bool,
    /// The firmware that boots it
    #[arg(long, value_enum, default_value_t = FirmwareChoice::Bios)]
    pub firmware: FirmwareChoice,
    /// Seconds until a boot without login prompt counts as failed
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub timeout: u64,
}

/// What enters the key: the machine of a proof counts only where there is one.
impl Serialize for Options {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("ram", &self.ram)?;
        if self.boot {
            map.serialize_entry("boot", &true)?;
            map.serialize_entry("firmware", &self.firmware)?;
            map.serialize_entry("timeout", &self.timeout)?;
        }
        map.end()
    }
}

/// `--firmware`.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirmwareChoice {
    /// SeaBIOS
    Bios,
    /// OVMF
    Uefi,
}

impl From<FirmwareChoice> for qemu::Firmware {
    fn from(choice: FirmwareChoice) -> Self {
        match choice {
            FirmwareChoice::Bios => Self::Bios,
            FirmwareChoice::Uefi => Self::Uefi,
        }
    }
}

/// What the stage reads.
#[derive(Debug, Serialize, Deserialize)]
pub struct Input {
    plan: PlanInput,
    rootfs: RootfsInput,
    disk: DiskInput,
    initrd: InitrdInput,
    /// The medium, which `--boot` boots.
    pub(crate) media: MediaInput,
}

#[derive(Debug, Serialize, Deserialize)]
struct PlanInput {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ramdisk: Option<RamdiskInput>,
    oem: OemInput,
}

#[derive(Debug, Serialize, Deserialize)]
struct RamdiskInput {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size_kib: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OemInput {
    resize: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct RootfsInput {
    entries: u64,
    kernel: KernelInput,
}

#[derive(Debug, Serialize, Deserialize)]
struct KernelInput {
    image: Object,
}

#[derive(Debug, Serialize, Deserialize)]
struct DiskInput {
    size: u64,
    data_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    erofs: Option<ErofsInput>,
}

/// Of the image for the RAM store `erofs` only what RAM must hold counts.
#[derive(Debug, Serialize, Deserialize)]
struct ErofsInput {
    data_bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct InitrdInput {
    image: SizeInput,
    unpacked_bytes: u64,
    zram_bytes: u64,
    segments: Vec<SegmentInput>,
}

/// Which segments there are; what is in them is counted already.
#[derive(Debug, Serialize, Deserialize)]
struct SegmentInput {
    name: String,
}

/// Of the initrd's bytes only their number counts.
#[derive(Debug, Serialize, Deserialize)]
struct SizeInput {
    size: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MediaInput {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) iso: Option<Object>,
    kernelcmdline: String,
}

impl Input {
    /// Without `--boot` the medium itself is not read, only what is said of it.
    pub fn narrow(options: &Options, input: &mut Self) {
        if !options.boot {
            input.media.iso = None;
        }
    }
}

/// The host programs that the options ask for.
pub fn tools(options: &Options) -> Vec<Tool> {
    if !options.boot {
        return Vec::new();
    }
    vec![
        Tool {
            name: qemu::QEMU,
            package: qemu::QEMU_PACKAGE,
        },
        Tool {
            name: qemu::SETPRIV,
            package: qemu::SETPRIV_PACKAGE,
        },
    ]
}

/// What of the host decides about a proof: the accelerator, and the firmware, which is found before work
/// begins.
///
/// # Errors
/// Exit code 5 where a UEFI boot is asked for and its firmware is missing.
pub fn identity(options: &Options, _: &Input) -> Result<Value> {
    if !options.boot {
        return Ok(Value::Null);
    }
    let digest = |path: &Path| -> Result<String> {
        let bytes = std::fs::read(path).at(path)?;
        Ok(manifest::Digest::of(&bytes).to_string())
    };
    let firmware = match options.firmware {
        FirmwareChoice::Bios => qemu::find_seabios().map(digest).transpose()?,
        FirmwareChoice::Uefi => {
            let (code, vars) = qemu::find_ovmf().map_err(|e| Error::missing(e.to_string()))?;
            Some(format!("{} {}", digest(code)?, digest(vars)?))
        }
    };
    Ok(json!({"accelerator": qemu::accelerator(), "firmware": firmware}))
}

/// Adds up the terms, compares, and boots where that is asked for.
///
/// # Errors
/// Exit code 1 where QEMU fails, 5 where it is missing, 6 where the store lacks an object.
pub fn check(cx: &mut Context, options: &Options, input: Input) -> Result<Verdict> {
    let facts = facts(cx, &input)?;
    let cmdline = Cmdline::parse(&input.media.kernelcmdline);
    let wanted = Kind::wanted(&cmdline).map_err(|stop| Error::refused(stop.to_string()))?;
    let stores = model::needs(&facts, wanted.map(Kind::name));
    let is_wanted = |need: &&StoreNeed| wanted.is_none_or(|kind| kind.name() == need.store);
    let Some(need) = stores.first().filter(is_wanted) else {
        let name = wanted.map_or("auto", Kind::name);
        return Err(Error::refused(format!(
            "media.kernelcmdline: rd.ramforge.store={name}: the medium does not carry the root for it"
        )));
    };
    table::show(cx, need);
    let least = need.least_ram_mib;
    let (mut ok, mut sentence) = judge(&facts, need, options.ram);
    let proof = match options.boot && ok {
        true => Some(boot::prove(
            cx,
            options,
            &input,
            options.ram.unwrap_or(least),
        )?),
        false => None,
    };
    if let Some((proof, words)) = &proof {
        ok = proof.result == "login";
        sentence = format!("{sentence}; {words}");
    }
    cx.say(&sentence);
    Ok(Verdict {
        format: Verdict::FORMAT,
        by: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
        ok,
        least_ram_mib: least,
        sentence,
        asked_ram_mib: options.ram,
        stores,
        proof: proof.map(|(proof, _): (Proof, String)| proof),
    })
}

fn facts(cx: &Context, input: &Input) -> Result<Facts> {
    let (disk, initrd) = (&input.disk, &input.initrd);
    let kernel = &input.rootfs.kernel.image;
    let mut header = Vec::new();
    cx.store()
        .open_object(kernel)?
        .take(HEADER)
        .read_to_end(&mut header)
        .at(&cx.store().object_path(kernel))?;
    let ramdisk = input.plan.ramdisk.as_ref().and_then(|r| r.size_kib);
    let mut words = input.media.kernelcmdline.split_ascii_whitespace();
    Ok(Facts {
        image_bytes: disk.size,
        data_bytes: disk.data_bytes,
        zram_bytes: initrd.zram_bytes,
        erofs_bytes: disk.erofs.as_ref().map(|erofs| erofs.data_bytes),
        entries: input.rootfs.entries,
        ramdisk_bytes: ramdisk.map_or(disk.size, |kib| kib.saturating_mul(1024)),
        resize: input.plan.oem.resize,
        kernel_bytes: model::kernel_bytes(&header, kernel.size),
        initrd_packed: initrd.image.size,
        initrd_unpacked: initrd.unpacked_bytes,
        initramfs_is_system: initrd.segments.iter().any(|s| s.name == "base"),
        // The kernel's own rule: init/do_mounts.c, init_rootfs().
        initramfs_is_tmpfs: !words.any(|word| word.starts_with("root=")),
    })
}

/// Whether the system fits, and the same in words.
fn judge(facts: &Facts, need: &StoreNeed, ram: Option<u64>) -> (bool, String) {
    let least = need.least_ram_mib;
    if facts.ramdisk_bytes < facts.image_bytes {
        let sentence = format!(
            "the RAM disk of {} KiB cannot hold the image of {} KiB: set ramdisk_size={} or more",
            facts.ramdisk_bytes / 1024,
            facts.image_bytes.div_ceil(1024),
            facts.image_bytes.div_ceil(1024)
        );
        return (false, sentence);
    }
    match ram {
        None => (
            true,
            format!("needs a machine with {least} MiB of RAM ({})", need.store),
        ),
        Some(ram) if ram < least => (
            false,
            format!(
                "does not fit into {ram} MiB of RAM: {} needs {least} MiB, {} more",
                need.store,
                least - ram
            ),
        ),
        Some(ram) => {
            let left = ram.saturating_sub(need.steady_mib);
            let words = format!(
                "fits into {ram} MiB of RAM ({}): the least is {least} MiB",
                need.store
            );
            (
                true,
                format!("{words}, about {left} MiB are left after login"),
            )
        }
    }
}

/// `1024`, `1024M`, `2G`, `2GiB` in MiB.
fn parse_ram(text: &str) -> std::result::Result<u64, String> {
    let expected = || format!("{text:?}: expected a size as 1024M or 2G");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "m" | "mb" | "mib" => 1,
        "g" | "gb" | "gib" => 1024,
        "t" | "tb" | "tib" => 1024 * 1024,
        _ => return Err(expected()),
    };
    let number: u64 = digits.parse().map_err(|_| expected())?;
    match number.checked_mul(factor) {
        Some(mib @ 1..) => Ok(mib),
        _ => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn facts() -> Facts {
        Facts {
            image_bytes: 500 * MIB,
            data_bytes: 300 * MIB,
            zram_bytes: 120 * MIB,
            erofs_bytes: None,
            entries: 10_000,
            ramdisk_bytes: 600 * MIB,
            resize: false,
            kernel_bytes: 40 * MIB,
            initrd_packed: 30 * MIB,
            initrd_unpacked: 90 * MIB,
            initramfs_is_system: true,
            initramfs_is_tmpfs: true,
        }
    }

    fn verdict(facts: &Facts, ram: Option<u64>) -> (bool, String) {
        judge(facts, &model::needs(facts, Some("brd"))[0], ram)
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_ram("768"), Ok(768));
        assert_eq!(parse_ram("768M"), Ok(768));
        assert_eq!(parse_ram("2g"), Ok(2048));
        assert_eq!(parse_ram("1TiB"), Ok(1 << 20));
        for bad in [
            "",
            "M",
            "0",
            "-1",
            "1.5G",
            "12k",
            "1 G",
            "99999999999999999999",
            "18446744073709551615G",
        ] {
            assert!(parse_ram(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_machine_is_large_enough_or_not_by_one_mebibyte() {
        let least = model::needs(&facts(), Some("brd"))[0].least_ram_mib;
        assert!(verdict(&facts(), Some(least)).0);
        let (ok, sentence) = verdict(&facts(), Some(least - 1));
        assert!(!ok);
        assert_eq!(
            sentence,
            format!(
                "does not fit into {} MiB of RAM: brd needs {least} MiB, 1 more",
                least - 1
            )
        );
    }

    #[test]
    fn a_ram_disk_smaller_than_the_image_is_told_with_the_way_out() {
        let mut facts = facts();
        facts.ramdisk_bytes = facts.image_bytes - 1024;
        let (ok, sentence) = verdict(&facts, None);
        assert!(
            !ok && sentence.ends_with("set ramdisk_size=512000 or more"),
            "{sentence}"
        );
        facts.ramdisk_bytes += 1024;
        assert!(verdict(&facts, None).0);
    }
}
