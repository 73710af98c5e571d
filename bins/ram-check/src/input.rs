//! What the stage reads of a manifest, and the facts of it.

use std::io::Read;

use manifest::Object;
use ram_deploy::cmdline::Cmdline;
use ram_deploy::{ram, store};
use serde::{Deserialize, Serialize};
use stage::{At, Context, Error, Result};

use crate::model::{self, Facts};
use crate::options::Options;
use crate::reserved;

/// Bytes of a kernel image that hold its boot header.
const HEADER: u64 = 0x300;
/// More bytes, and more files, than any machine has RAM for: sums of less do not overflow.
const MOST_BYTES: u64 = 1 << 52;
const MOST_ENTRIES: u64 = 1 << 40;

/// What the stage reads.
#[derive(Debug, Serialize, Deserialize)]
pub struct Input {
    plan: PlanInput,
    pub(crate) rootfs: RootfsInput,
    disk: DiskInput,
    initrd: InitrdInput,
    /// The medium, which `--boot` and `--least` boot.
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
pub(crate) struct RootfsInput {
    /// By this a measurement is found again, and nothing else: where one is made the key has the medium.
    #[serde(skip_serializing)]
    pub(crate) tree: Object,
    entries: u64,
    pub(crate) kernel: KernelInput,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KernelInput {
    pub(crate) image: Object,
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
    pub(crate) kernelcmdline: String,
}

impl Input {
    /// Whether a whole system runs in the initramfs.
    pub(crate) fn initramfs_is_system(&self) -> bool {
        self.initrd.segments.iter().any(|s| s.name == "base")
    }

    /// Without a boot the medium itself is not read, only what is said of it.
    pub fn narrow(options: &Options, input: &mut Self) {
        if !options.boots() {
            input.media.iso = None;
        }
    }
}

/// The facts of a manifest, and of its kernel in the store.
pub(crate) fn facts(cx: &Context, input: &Input) -> Result<Facts> {
    let kernel = &input.rootfs.kernel.image;
    let mut header = Vec::new();
    cx.store()
        .open_object(kernel)?
        .take(HEADER)
        .read_to_end(&mut header)
        .at(&cx.store().object_path(kernel))?;
    read(input, &header)
}

/// The facts of a manifest, with the beginning of its kernel's image.
fn read(input: &Input, header: &[u8]) -> Result<Facts> {
    let (disk, initrd, media) = (&input.disk, &input.initrd, &input.media);
    let kernel = &input.rootfs.kernel.image;
    let ramdisk = input.plan.ramdisk.as_ref().and_then(|r| r.size_kib);
    let ramdisk = ramdisk.map(|kib| within("plan.ramdisk.size_kib", kib, MOST_BYTES >> 10));
    let ramdisk = ramdisk.transpose()?.map_or(disk.size, |kib| kib << 10);
    let erofs = disk.erofs.as_ref().map(|erofs| erofs.data_bytes);
    let reserved = reserved::of(&media.kernelcmdline);
    let cmdline = Cmdline::parse(&media.kernelcmdline);
    let reserve_bytes = ram::reserve(&cmdline, ram::RESERVE_BYTES);
    let reserve_bytes =
        reserve_bytes.map_err(|stop| Error::refused(format!("media.kernelcmdline: {stop}")))?;
    let mut words = media.kernelcmdline.split_ascii_whitespace();
    Ok(Facts {
        image_bytes: size("disk.size", disk.size)?,
        data_bytes: size("disk.data_bytes", disk.data_bytes)?,
        zram_bytes: size("initrd.zram_bytes", initrd.zram_bytes)?,
        erofs_bytes: erofs
            .map(|bytes| size("disk.erofs.data_bytes", bytes))
            .transpose()?,
        entries: within("rootfs.entries", input.rootfs.entries, MOST_ENTRIES)?,
        ramdisk_bytes: ramdisk,
        resize: store::grows(&cmdline, input.plan.oem.resize),
        reserved_bytes: reserved.all,
        huge_pages_bytes: reserved.huge_pages,
        kernel_bytes: model::kernel_bytes(header, size("rootfs.kernel.image.size", kernel.size)?),
        initrd_packed: size("initrd.image.size", initrd.image.size)?,
        initrd_unpacked: size("initrd.unpacked_bytes", initrd.unpacked_bytes)?,
        initramfs_is_system: input.initramfs_is_system(),
        // The kernel's own rule: init/do_mounts.c, init_rootfs().
        initramfs_is_tmpfs: !words.any(|word| word.starts_with("root=")),
        reserve_bytes,
        measured: None,
    })
}

/// A size in bytes that can be added up.
fn size(field: &str, bytes: u64) -> Result<u64> {
    within(field, bytes, MOST_BYTES)
}

fn within(field: &str, number: u64, most: u64) -> Result<u64> {
    if number <= most {
        return Ok(number);
    }
    Err(Error::refused(format!(
        "{field}: {number} is more than any machine holds; expected {most} at most"
    )))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The section fields that are read, with one of them changed.
    pub(crate) fn input(pointer: &str, value: Value) -> Input {
        let image = Object::of(b"kernel");
        let mut sections = json!({
            "plan": {"ramdisk": {"size_kib": 900_000}, "oem": {"resize": true}},
            "rootfs": {"tree": image, "entries": 1000, "kernel": {"image": image}},
            "disk": {"size": 800_000_000, "data_bytes": 1, "erofs": {"data_bytes": 1}},
            "initrd": {"image": {"size": 1}, "unpacked_bytes": 1, "zram_bytes": 1, "segments": []},
            "media": {"kernelcmdline": "quiet"},
        });
        *sections.pointer_mut(pointer).unwrap() = value;
        serde_json::from_value(sections).unwrap()
    }

    #[test]
    fn the_command_line_has_the_last_word_on_growing() {
        let grows = |line: &str| {
            let input = input("/media/kernelcmdline", line.into());
            read(&input, &[]).unwrap().resize
        };
        assert!(grows("quiet") && !grows("rd.ramforge.resize=no"));
    }

    #[test]
    fn the_command_line_says_what_ram_deploy_keeps_for_the_system() {
        let reserve = |line: &str| {
            let input = input("/media/kernelcmdline", line.into());
            read(&input, &[]).map(|facts| facts.reserve_bytes >> 20)
        };
        assert_eq!(reserve("quiet").unwrap(), 96);
        assert_eq!(reserve("rd.ramforge.reserve=400").unwrap(), 400);
        let refused = reserve("rd.ramforge.reserve=much").unwrap_err();
        assert!(refused.to_string().contains("rd.ramforge.reserve=much"));
    }

    #[test]
    fn a_size_that_no_machine_holds_is_named() {
        for field in [
            "disk.size",
            "disk.data_bytes",
            "disk.erofs.data_bytes",
            "rootfs.entries",
            "rootfs.kernel.image.size",
            "initrd.image.size",
            "initrd.unpacked_bytes",
            "initrd.zram_bytes",
            "plan.ramdisk.size_kib",
        ] {
            let pointer = format!("/{}", field.replace('.', "/"));
            let input = |number: u64| input(&pointer, number.into());
            let refused = read(&input(u64::MAX), &[]).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("{field}: 1844")), "{refused}");
            // The most that is taken adds up.
            let facts = read(&input(1 << 40), &[]).unwrap();
            assert!(!model::needs(&facts, None).is_empty(), "{field}");
        }
    }
}
