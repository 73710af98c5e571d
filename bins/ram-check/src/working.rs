//! `--measure`: the working set of an image's system, measured once in QEMU and kept.
//!
//! It is found again by what decides it: the files of the root, the kernel, whether a system runs in the initramfs, the
//! words of the kernel command line that the system itself hears, what means that it is up, and who looked inside. Firmware,
//! the machine's RAM and its RAM store are none of that: every statement about the image may count with it. Without
//! `--measure` none does, so that no statement depends on what a store happens to have. *Not here:* programs that take more
//! on a larger machine.

use journal::Event;
use manifest::{Proof, WorkingSet};
use serde_json::{Value, json};
use stage::{Context, Error, Result};

use crate::choice::Choice;
use crate::figures::Figures;
use crate::input::Input;
use crate::known::Boots;
use crate::login::{self, Credentials};
use crate::model::{Facts, Own, STEP_MIB};
use crate::options::{MOST_MIB, Options};
use crate::qemu;

/// How a measurement is made of figures. Changelog. 1: the first.
const VERSION: u32 = 1;
/// The name of the part that is kept.
const PART: &str = "working set";
/// What the machine has beyond the least that is assumed, so that a large working set has room, in MiB.
const AMPLE_MIB: u64 = 1024;
/// The most that it has because a machine is asked about that is larger still, in MiB.
const MOST_AMPLE_MIB: u64 = 8192;
/// Words of the kernel command line that are ram-deploy's and dracut's, or say where the root is.
const DEPLOYING: &[&str] = &["rd.", "ramdisk_size=", "root="];

/// All that decides about it.
fn key(options: &Options, input: &Input) -> Value {
    let deploys = |word: &&str| DEPLOYING.iter().any(|begin| word.starts_with(begin));
    let words = input.media.kernelcmdline.split_ascii_whitespace();
    let words: Vec<&str> = words.filter(|word| !deploys(word)).collect();
    json!({
        "version": [VERSION, login::VERSION],
        "tree": input.rootfs.tree,
        "kernel": input.rootfs.kernel.image,
        "initramfs_is_system": input.initramfs_is_system(),
        "kernelcmdline": words,
        "up": options.up.to_string(),
        "login": options.login.as_ref().map(Credentials::user),
    })
}

/// What statements count with: the set that the store has, or the one that a boot shows now; `None` where it is not asked
/// for. `assumed` is what is stated without it.
///
/// # Errors
/// Exit code 1 where the machine does not come up, and where the figures from inside are no measurement.
pub(crate) fn set(
    cx: &Context,
    options: &Options,
    input: &Input,
    facts: &Facts,
    assumed: &Choice,
) -> Result<Option<WorkingSet>> {
    if !options.measure {
        return Ok(None);
    }
    let work = || measured(cx, options, input, facts, assumed.first().least_ram_mib);
    let set = cx.kept(PART, &key(options, input), work)?;
    if !plausible(&set) {
        let figures = &set.figures.blake3;
        return Err(Error::failed(format!(
            "--measure: the store has a working set of {} KiB on a machine with {} MiB; expected less than the machine has",
            set.kib, set.ram_mib
        ))
        .advice(format!("read it with: ramforge get {figures}; use another store")));
    }
    let (mib, ram_mib, store) = (set.kib.div_ceil(1 << 10), set.ram_mib, &set.store);
    cx.say(&format!(
        "the system takes {mib} MiB for itself, as measured with {ram_mib} MiB of RAM ({store})"
    ));
    Ok(Some(set))
}

/// What the model counts with.
pub(crate) fn own(set: &WorkingSet) -> Own {
    Own {
        kib: set.kib,
        mapped_kib: set.mapped_kib,
        written_kib: set.written_kib,
    }
}

/// Boots a machine with more RAM than is assumed to be needed, looks inside, and tells the journal.
fn measured(
    cx: &Context,
    options: &Options,
    input: &Input,
    facts: &Facts,
    least_ram_mib: u64,
) -> Result<WorkingSet> {
    let ample = least_ram_mib.saturating_add(AMPLE_MIB);
    let ram_mib = ample.max(options.ram.unwrap_or(0).min(MOST_AMPLE_MIB));
    let ram_mib = ram_mib.next_multiple_of(STEP_MIB);
    let known = Boots::new(cx, options, input)?.boot(ram_mib, options.timeout)?;
    let none = |fact: String| Error::failed(format!("--measure: {fact}"));
    if !known.up {
        let (how, log) = (known.words(&options.up.words()), &known.proof.log.blake3);
        let more = match known.proof.result == qemu::Outcome::Timeout.name() {
            true => "--timeout",
            false => "--ram",
        };
        let way_out = format!("give it more with {more}, or read why: ramforge get {log}");
        return Err(none(format!("the system {how}")).advice(way_out));
    }
    let set = of(cx, facts, &known.proof)?.map_err(none)?;
    cx.journal(Event::Custom {
        stage: cx.stage().to_owned(),
        name: "working-set".to_owned(),
        data: json!({"image": cx.image(), "measured": set}),
    })?;
    Ok(set)
}

/// The measurement of a boot, or why it is none.
fn of(
    cx: &Context,
    facts: &Facts,
    proof: &Proof,
) -> Result<std::result::Result<WorkingSet, String>> {
    let Some(memory) = &proof.memory else {
        return Ok(Err("nobody looked inside".to_owned()));
    };
    let text = cx.store().get(&memory.figures)?;
    let text = String::from_utf8_lossy(&text);
    let figures = Figures::last(&text);
    let ram_mib = proof.ram_mib;
    let Some(killed) = figures.killed() else {
        let fact =
            "the figures from inside do not say whether programs were killed for lack of memory";
        return Ok(Err(format!("{fact}; expected oom_kill of /proc/vmstat")));
    };
    if killed > 0 {
        return Ok(Err(format!(
            "for lack of memory the kernel killed programs on the machine with {ram_mib} MiB ({killed}); give it more with --ram"
        )));
    }
    let set = figures.working_set(facts).map(|(own, store)| WorkingSet {
        kib: own.kib,
        mapped_kib: own.mapped_kib,
        written_kib: own.written_kib,
        ram_mib,
        store: store.to_owned(),
        up: proof.up.clone(),
        figures: memory.figures,
    });
    let figures = &memory.figures.blake3;
    Ok(set.filter(plausible).ok_or_else(|| {
        format!(
            "the figures from inside do not say it; expected /proc/meminfo, and a root in brd, zram, tmpfs or overlay in df: ramforge get {figures}"
        )
    }))
}

/// Whether it is less than its machine had, which is one that can be asked for. What is not, is no measurement: sums with
/// it would overflow.
fn plausible(set: &WorkingSet) -> bool {
    set.ram_mib <= MOST_MIB
        && set.kib < set.ram_mib << 10
        && set.mapped_kib <= set.kib
        && set.written_kib <= set.kib
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::tests::input;

    #[test]
    fn what_only_ram_deploy_hears_does_not_decide() {
        let key = |line: &str| {
            let input = input("/media/kernelcmdline", line.into());
            key(&crate::options::tests::options(&[]), &input)
        };
        let base = key("console=ttyS0 quiet");
        let deploying = "rd.ramforge.store=zram console=ttyS0 ramdisk_size=9 root=ramforge quiet";
        assert_eq!(base, key(deploying));
        for other in [
            "console=ttyS0",
            "quiet console=ttyS0",
            "console=ttyS0 quiet x",
        ] {
            assert_ne!(base, key(other), "{other}");
        }
    }

    #[test]
    fn a_set_as_large_as_its_machine_is_none() {
        let set = |kib, ram_mib| WorkingSet {
            kib,
            mapped_kib: 0,
            written_kib: 0,
            ram_mib,
            store: "brd".to_owned(),
            up: "login".to_owned(),
            figures: manifest::Object::of(b""),
        };
        assert!(plausible(&set((512 << 10) - 1, 512)) && plausible(&set(0, 512)));
        for (kib, ram_mib) in [(512 << 10, 512), (u64::MAX, u64::MAX), (1, u64::MAX)] {
            assert!(!plausible(&set(kib, ram_mib)), "{kib} of {ram_mib}");
        }
    }

    #[test]
    fn other_files_or_another_sign_have_their_own() {
        let tree = |content: &[u8]| {
            let tree = serde_json::to_value(manifest::Object::of(content)).unwrap();
            input("/rootfs/tree", tree)
        };
        let options = |words: &[&str]| crate::options::tests::options(words);
        let base = key(&options(&[]), &tree(b"a"));
        assert_eq!(
            base,
            key(
                &options(&["--firmware", "uefi", "--ram", "1G"]),
                &tree(b"a")
            )
        );
        assert_ne!(base, key(&options(&[]), &tree(b"b")));
        let mut other = options(&[]);
        other.up = crate::qemu::Up::Tcp(80);
        assert_ne!(base, key(&other, &tree(b"a")));
    }
}
