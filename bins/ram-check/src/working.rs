//! The working set of an image's system, measured once in QEMU and kept.
//!
//! It is found again by what decides it: the files of the root, the kernel, whether a system runs in the initramfs, the words of the kernel
//! command line that the system itself hears, and what means that it is up. Firmware, the machine's RAM and its RAM store are
//! none of that. A measurement stays until `--measure` makes another.

use journal::Event;
use manifest::{Proof, WorkingSet};
use serde_json::{Value, json};
use stage::{Context, Error, Result};

use crate::figures::Figures;
use crate::input::Input;
use crate::known::{Boots, Known};
use crate::model::{Facts, STEP_MIB};
use crate::options::{MOST_MIB, Options};

/// How a measurement is made of figures. Changelog. 1: the first. 2: huge pages beyond those of the command line, and what
/// a ramfs holds.
const VERSION: u32 = 2;
/// The name of the part that is kept.
const PART: &str = "working set";
/// What a machine has beyond the least that is stated, so that a large working set has room, in MiB.
const AMPLE_MIB: u64 = 1024;
/// Words of the kernel command line that are ram-deploy's and dracut's, or say where the root is.
const DEPLOYING: &[&str] = &["rd.", "ramdisk_size=", "root="];

/// All that decides about it.
fn key(options: &Options, input: &Input) -> Value {
    let deploys = |word: &&str| DEPLOYING.iter().any(|begin| word.starts_with(begin));
    let words = input.media.kernelcmdline.split_ascii_whitespace();
    let words: Vec<&str> = words.filter(|word| !deploys(word)).collect();
    json!({
        "version": VERSION,
        "tree": input.rootfs.tree,
        "kernel": input.rootfs.kernel.image,
        "initramfs_is_system": input.initramfs_is_system(),
        "kernelcmdline": words,
        "up": options.up.to_string(),
    })
}

/// The measurement that the store has, for the stage's own key: the journal hears nothing of it.
pub(crate) fn known(cx: &Context, options: &Options, input: &Input) -> Result<Option<WorkingSet>> {
    let known: Option<WorkingSet> = cx.known(PART, &key(options, input))?;
    Ok(known.filter(plausible))
}

/// The same, for the statement.
pub(crate) fn found(cx: &Context, options: &Options, input: &Input) -> Result<Option<WorkingSet>> {
    let found: Option<WorkingSet> = cx.found(PART, &key(options, input))?;
    Ok(found.filter(plausible))
}

/// Whether it is less than its machine had, which is one that can be asked for. What is not, is no measurement, wherever
/// it comes from: sums with it would overflow.
fn plausible(measured: &WorkingSet) -> bool {
    measured.ram_mib <= MOST_MIB && measured.kib < measured.ram_mib << 10
}

/// `--measure`: boots a machine with more RAM than is stated for it.
pub(crate) fn measure(
    cx: &Context,
    options: &Options,
    input: &Input,
    least_ram_mib: u64,
) -> Result<Known> {
    let ample = least_ram_mib.saturating_add(AMPLE_MIB);
    let ram = ample.max(options.ram.unwrap_or(0));
    let ram = ram.next_multiple_of(STEP_MIB);
    Boots::new(cx, options, input)?.boot_anew(ram, options.timeout)
}

/// Keeps what the largest machine that was looked into says; `None` where none was, where it was too small, or where one is
/// kept from `before` that nobody has asked to replace.
pub(crate) fn keep<'a>(
    cx: &Context,
    options: &Options,
    input: &Input,
    facts: &Facts,
    before: Option<&WorkingSet>,
    boots: impl Iterator<Item = &'a Proof>,
) -> Result<Option<WorkingSet>> {
    if before.is_some() && !options.measure {
        return Ok(None);
    }
    let inside = boots.filter(|proof| proof.memory.is_some() && is_up(proof));
    let Some(proof) = inside.max_by_key(|proof| proof.ram_mib) else {
        return Ok(None);
    };
    match of(cx, facts, proof)? {
        Ok(measured) => {
            tell(cx, before, &measured)?;
            cx.replaced(PART, &key(options, input), || Ok(Some(measured)))
        }
        Err(fact) if options.measure => Err(Error::failed(format!("--measure: {fact}"))),
        Err(fact) => {
            cx.say(&format!("the working set is not measured: {fact}"));
            Ok(None)
        }
    }
}

/// Whether the system came up in time: an earlier run may have waited longer for it, and looked inside.
fn is_up(proof: &Proof) -> bool {
    ["login", "up"].contains(&proof.result.as_str())
}

/// Says what was measured, and what it takes the place of; the journal hears of it, too.
fn tell(cx: &Context, before: Option<&WorkingSet>, measured: &WorkingSet) -> Result<()> {
    let was = before.map_or(String::new(), |set| format!(" was {},", words(set)));
    cx.say(&format!("the working set{was} is {}", words(measured)));
    cx.journal(Event::Custom {
        stage: cx.stage().to_owned(),
        name: "working-set".to_owned(),
        data: json!({"image": cx.image(), "before": before, "measured": measured}),
    })
}

fn words(set: &WorkingSet) -> String {
    let (mib, ram_mib, store) = (set.kib.div_ceil(1 << 10), set.ram_mib, &set.store);
    format!("{mib} MiB ({store}, a machine with {ram_mib} MiB)")
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
    let measured = figures.working_set(facts).map(|(kib, store)| WorkingSet {
        kib,
        ram_mib,
        store: store.to_owned(),
        up: proof.up.clone(),
        figures: memory.figures,
    });
    let measured = measured.filter(plausible);
    let figures = &memory.figures.blake3;
    Ok(measured.ok_or_else(|| {
        format!(
            "the figures from inside do not say it; expected /proc/meminfo, and a root in brd, zram, tmpfs or overlay in df: ramforge get {figures}"
        )
    }))
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
        assert_ne!(base, key(&options(&["--up", "tcp:80"]), &tree(b"a")));
    }
}
