//! The stage's verb: from the manifest to the verdict.

use std::io::Read;
use std::path::Path;

use manifest::{MachineVerdict, Measured, Object, Proof, Section, StoreNeed, Verdict};
use ram_deploy::cmdline::Cmdline;
use ram_deploy::store::{self, Kind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stage::{At, Context, Error, Result, Tool};

use crate::choice::Choice;
use crate::judge::{self, Asked, Judgement};
use crate::model::{self, Facts};
use crate::options::{FirmwareChoice, Options};
use crate::picture::{Picture, file};
use crate::{boot, least, qemu, reserved, table, warning};

/// Stage version. Changelog. 1: the first. 2: less for the processes of the initramfs, as measured.
/// 3: zram. 4: tmpfs. 5: erofs. 6: what is left for applications, and the store that would do.
/// 7: lists of machines. 8: measurements; what means up, figures and the screen of a proof.
/// 9: what the command line reserves. 10: smaller watermarks, which ram-deploy sets.
/// 11: of the targets only the system's own mean up; figures that were asked for are there;
/// crash kernels and huge pages as the kernel counts them; says that nothing was booted.
/// 12: the accelerator of a proof; counts what ram-deploy demands, and the working set as measured; the recommended machine.
/// 13: counts free pages that the kernel does not offer; huge pages and octal sizes of the command line; warnings.
/// 14: with auto the store that a machine takes; more again for an initramfs with a system; steps of 16 MiB, so that the
/// stated machine itself is measured; the command line's word on growing; sizes that no machine holds are refused.
pub const VERSION: u32 = 14;

/// Bytes of a kernel image that hold its boot header.
const HEADER: u64 = 0x300;
/// More bytes, and more files, than any machine has RAM for: sums of less do not overflow.
const MOST_BYTES: u64 = 1 << 52;
const MOST_ENTRIES: u64 = 1 << 40;

/// What the stage reads.
#[derive(Debug, Serialize, Deserialize)]
pub struct Input {
    plan: PlanInput,
    rootfs: RootfsInput,
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
    /// Without a boot the medium itself is not read, only what is said of it.
    pub fn narrow(options: &Options, input: &mut Self) {
        if !options.boots() {
            input.media.iso = None;
        }
    }
}

/// The host programs that the options ask for.
pub fn tools(options: &Options) -> Vec<Tool> {
    if !options.boots() {
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
/// Exit code 5 where QEMU is too old, or a UEFI boot is asked for and its firmware is missing.
pub fn identity(options: &Options, _: &Input) -> Result<Value> {
    if !options.boots() {
        return Ok(Value::Null);
    }
    qemu::demand_version().map_err(boot::failed)?;
    let digest = |path: &Path| -> Result<String> {
        let bytes = std::fs::read(path).at(path)?;
        Ok(manifest::Digest::of(&bytes).to_string())
    };
    let firmware = match options.firmware {
        FirmwareChoice::Bios => qemu::find_seabios().map(digest).transpose()?,
        FirmwareChoice::Uefi => {
            let (code, vars) = qemu::find_ovmf().map_err(boot::failed)?;
            Some(format!("{} {}", digest(code)?, digest(vars)?))
        }
    };
    let accelerator = &qemu::Accelerator::probed().argument;
    Ok(json!({"accelerator": accelerator, "firmware": firmware}))
}

/// Adds up the terms, compares, and boots where that is asked for.
///
/// # Errors
/// Exit code 1 where QEMU fails, 5 where it is missing, 6 where the store lacks an object.
pub fn check(cx: &mut Context, options: &Options, input: Input) -> Result<Verdict> {
    let facts = facts(cx, &input)?;
    let choice = choice(&facts, &input.media.kernelcmdline, options.ram_mib())?;
    let need = choice.first();
    let least_ram_mib = need.least_ram_mib;
    let machines = judge::machines(&choice, options);
    let Judgement { ok, sentence } = judged(options, &facts, &choice, &machines);
    let asked = options.ram_mib().into_iter();
    let asked = asked.chain(machines.iter().map(|machine| machine.ram_mib));
    let warnings = warning::outgrows(&choice, &facts, asked)
        .into_iter()
        .collect();
    let shown = match ok {
        true => demonstrate(cx, options, &input, need)?,
        false => Shown::default(),
    };
    let words = match &shown.judgement {
        Some(judgement) => format!("; {}", judgement.sentence),
        None if options.boots() => "; not booted".to_owned(),
        None => String::new(),
    };
    Ok(Verdict {
        format: Verdict::FORMAT,
        by: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
        ok: ok && shown.judgement.is_none_or(|j| j.ok),
        least_ram_mib,
        sentence: sentence + &words,
        warnings,
        asked_ram_mib: options.ram_mib(),
        asked_leave_mib: options.leave,
        machines,
        stores: choice.stores,
        measured: shown.measured,
        proof: shown.proof,
    })
}

/// What each RAM store needs, that of the command line first, and leaves on a machine with `ram_mib` MiB.
fn choice(facts: &Facts, cmdline: &str, ram_mib: Option<u64>) -> Result<Choice> {
    let wanted = Kind::wanted(&Cmdline::parse(cmdline));
    let wanted = wanted
        .map_err(|stop| Error::refused(stop.to_string()))?
        .map(Kind::name);
    let mut stores = model::needs(facts, wanted);
    let first = stores.first().map(|need| need.store.as_str());
    if first.is_none() || wanted.is_some_and(|name| first != Some(name)) {
        return Err(Error::refused(format!(
            "media.kernelcmdline: rd.ramforge.store={}: the medium does not carry the root for it",
            wanted.unwrap_or("auto")
        )));
    }
    for need in &mut stores {
        need.left_mib = ram_mib.and_then(|ram| model::left_mib(need, ram));
    }
    let auto = wanted.is_none();
    Ok(Choice { stores, auto })
}

/// What machines showed.
#[derive(Default)]
struct Shown {
    proof: Option<Proof>,
    measured: Option<Measured>,
    judgement: Option<Judgement>,
}

/// Starts the machines that are asked for.
fn demonstrate(cx: &Context, options: &Options, input: &Input, need: &StoreNeed) -> Result<Shown> {
    let mut shown = Shown::default();
    if options.boot {
        let ram = options.ram.unwrap_or(need.least_ram_mib);
        let (booted, sentence) = boot::prove(cx, options, input, ram)?;
        let ok = booted.outcome.is_up();
        shown.judgement = Some(Judgement { ok, sentence });
        shown.proof = Some(booted.proof);
    }
    if options.least {
        let measured = least::measure(cx, options, input, need)?;
        shown.judgement = Some(least::judge(need, &measured));
        shown.measured = Some(measured);
    }
    Ok(shown)
}

/// What the arithmetic says of what is asked about.
fn judged(
    options: &Options,
    facts: &Facts,
    choice: &Choice,
    machines: &[MachineVerdict],
) -> Judgement {
    let leave_mib = options.leave;
    judge::ramdisk(facts).unwrap_or_else(|| match options.ram_mib() {
        Some(ram_mib) => judge::machine(choice, Asked { ram_mib, leave_mib }),
        None if !machines.is_empty() => judge::all(choice.first(), machines),
        None => judge::need(choice.first()),
    })
}

/// Tells people of a verdict: the table, this host, the pictures that are asked for, warnings, the sentence.
///
/// # Errors
/// Exit code 1 where the file of a picture cannot be written.
pub fn show(cx: &Context, options: &Options, verdict: &Verdict) -> Result<()> {
    table::show(cx, verdict);
    if let Some(host) = &options.here {
        host.lines().iter().for_each(|line| cx.say(line));
    }
    let picture = Picture::of(verdict);
    if options.picture {
        picture.lines().iter().for_each(|line| cx.say(line));
    }
    for warning in &verdict.warnings {
        cx.say(&format!("warning: {warning}"));
    }
    cx.say(&verdict.sentence);
    match &options.svg {
        Some(path) => file::write(path, &picture.svg()),
        None => Ok(()),
    }
}

fn facts(cx: &Context, input: &Input) -> Result<Facts> {
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
        resize: store::grows(&Cmdline::parse(&media.kernelcmdline), input.plan.oem.resize),
        reserved_bytes: reserved::bytes(&media.kernelcmdline),
        kernel_bytes: model::kernel_bytes(header, size("rootfs.kernel.image.size", kernel.size)?),
        initrd_packed: size("initrd.image.size", initrd.image.size)?,
        initrd_unpacked: size("initrd.unpacked_bytes", initrd.unpacked_bytes)?,
        initramfs_is_system: initrd.segments.iter().any(|s| s.name == "base"),
        // The kernel's own rule: init/do_mounts.c, init_rootfs().
        initramfs_is_tmpfs: !words.any(|word| word.starts_with("root=")),
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
mod tests {
    use super::*;
    use crate::model::tests::facts;

    /// The section fields that are read, with one of them changed.
    fn input(pointer: &str, value: Value) -> Input {
        let image = Object::of(b"kernel");
        let mut sections = json!({
            "plan": {"ramdisk": {"size_kib": 900_000}, "oem": {"resize": true}},
            "rootfs": {"entries": 1000, "kernel": {"image": image}},
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

    #[test]
    fn the_word_of_the_command_line_stands_first_or_auto_chooses() {
        let chosen = |cmdline: &str| choice(&facts(), cmdline, Some(1024));
        let brd = chosen("quiet").unwrap();
        assert_eq!((brd.first().store.as_str(), brd.auto), ("brd", false));
        assert!(brd.stores.iter().all(|need| need.left_mib.is_some()));
        let auto = chosen("rd.ramforge.store=auto").unwrap();
        assert_eq!((auto.first().store.as_str(), auto.auto), ("zram", true));
        let refused = chosen("rd.ramforge.store=erofs").unwrap_err().to_string();
        assert!(refused.contains("does not carry the root"), "{refused}");
    }
}
