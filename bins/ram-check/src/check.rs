//! The stage's verb: from the manifest to the verdict.

use std::collections::BTreeMap;
use std::path::Path;

use manifest::{MachineVerdict, Measured, Proof, Section, StoreNeed, Verdict, WorkingSet};
use ram_deploy::cmdline::Cmdline;
use ram_deploy::store::Kind;
use serde_json::{Value, json};
use stage::{At, Context, Error, Result, Tool};

use crate::choice::Choice;
pub use crate::input::Input;
use crate::input::facts;
use crate::judge::{self, Asked, Judgement};
use crate::known::{Boots, Known};
use crate::model::{self, Facts};
use crate::options::{FirmwareChoice, Options};
use crate::picture::{Picture, file};
use crate::{boot, known, least, menu, qemu, table, warning, working};

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
/// 15: counts with the system's working set where that is measured; with auto no machine on which a store may be taken that
/// does not come up; counts what the command line has ram-deploy keep for the system; more terms.
pub const VERSION: u32 = 15;

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

/// What of the host is part of a proof.
///
/// # Errors
/// Exit code 5 where QEMU is too old, or a UEFI boot is asked for and its firmware is missing.
pub fn identity(_: &Context, options: &Options, _: &Input) -> Result<Value> {
    if !options.boots() {
        return Ok(Value::Null);
    }
    qemu::demand_version().map_err(boot::failed)?;
    machine_identity(options)
}

/// What of the host decides about a boot: the accelerator, and the firmware, which is found before work begins.
pub(crate) fn machine_identity(options: &Options) -> Result<Value> {
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

/// Adds up the terms, with what the system was measured to take where that is asked for, compares, and boots.
///
/// # Errors
/// Exit code 1 where QEMU fails, 5 where it is missing, 6 where the store lacks an object.
pub fn check(cx: &mut Context, options: &Options, input: Input) -> Result<Verdict> {
    let facts = facts(cx, &input)?;
    let assumed = choice(
        &facts,
        options.store.as_deref(),
        &input.media.kernelcmdline,
        None,
    )?;
    let working_set = match judge::ramdisk(&facts) {
        None => working::set(cx, options, &input, &facts, &assumed)?,
        // No machine comes up: there is nothing to measure.
        Some(_) => None,
    };
    let stated = Stated::of(options, &input, &facts, working_set.as_ref())?;
    let shown = match stated.judgement.ok {
        true => demonstrate(cx, options, &input, stated.choice.first())?,
        false => Shown::default(),
    };
    let kept = shown.kept;
    let verdict = verdict(options, stated, shown, working_set);
    least::record(cx, &verdict, kept)?;
    Ok(verdict)
}

/// Tells the journal of the boots of a verdict that is found in the store.
///
/// # Errors
/// Exit code 1 where the journal cannot be written.
pub fn found(cx: &Context, verdict: &Verdict) -> Result<()> {
    let measured = verdict.measured.iter().flat_map(|m| &m.boots);
    for proof in measured.chain(&verdict.proof) {
        known::record(cx, proof, &BTreeMap::new(), true)?;
    }
    least::record(cx, verdict, true)
}

/// What the arithmetic says.
struct Stated {
    choice: Choice,
    machines: Vec<MachineVerdict>,
    warnings: Vec<String>,
    judgement: Judgement,
}

impl Stated {
    fn of(
        options: &Options,
        input: &Input,
        facts: &Facts,
        working_set: Option<&WorkingSet>,
    ) -> Result<Self> {
        let facts = &Facts {
            measured: working_set.map(working::own),
            ..facts.clone()
        };
        let choice = choice(
            facts,
            options.store.as_deref(),
            &input.media.kernelcmdline,
            options.ram_mib(),
        )?;
        let machines = judge::machines(&choice, options);
        let asked = options.ram_mib().into_iter();
        let asked = asked.chain(machines.iter().map(|machine| machine.ram_mib));
        let warnings = [
            warning::outgrows(&choice, facts, asked),
            warning::not_refused(&choice, facts),
            warning::without_room(&choice, facts),
        ];
        Ok(Self {
            judgement: judged(options, facts, &choice, &machines),
            warnings: warnings.into_iter().flatten().collect(),
            choice,
            machines,
        })
    }
}

/// The answer: what is stated, and what machines showed.
fn verdict(
    options: &Options,
    stated: Stated,
    shown: Shown,
    working_set: Option<WorkingSet>,
) -> Verdict {
    let need = stated.choice.first();
    let least_ram_mib = need.least_ram_mib;
    let measured = shown.measured.as_ref();
    let measured = measured.map(|m| least::judge(least_ram_mib, m));
    let judgement = measured.or(shown.judgement);
    let words = match &judgement {
        Some(judgement) => format!("; {}", judgement.sentence),
        None if options.boot || options.least => "; not booted".to_owned(),
        None => String::new(),
    };
    Verdict {
        format: Verdict::FORMAT,
        by: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
        ok: stated.judgement.ok && judgement.is_none_or(|j| j.ok),
        least_ram_mib,
        sentence: stated.judgement.sentence + &words,
        warnings: stated.warnings,
        asked_ram_mib: options.ram_mib(),
        asked_leave_mib: options.leave,
        machines: stated.machines,
        stores: stated.choice.stores,
        working_set,
        measured: shown.measured,
        proof: shown.proof,
    }
}

/// What each RAM store needs, the one that is `asked` for or that of the command line first, and leaves on a machine with
/// `ram_mib` MiB.
fn choice(
    facts: &Facts,
    asked: Option<&str>,
    cmdline: &str,
    ram_mib: Option<u64>,
) -> Result<Choice> {
    let wanted = Kind::wanted(&Cmdline::parse(&menu::deciding(asked, cmdline)));
    let wanted = wanted
        .map_err(|stop| Error::refused(stop.to_string()))?
        .map(Kind::name);
    let mut stores = model::needs(facts, wanted);
    let first = stores.first().map(|need| need.store.as_str());
    if first.is_none() || wanted.is_some_and(|name| first != Some(name)) {
        let word = || {
            let name = wanted.unwrap_or("auto");
            format!("media.kernelcmdline: rd.ramforge.store={name}")
        };
        let place = asked.map_or_else(word, |name| format!("--store {name}"));
        return Err(Error::refused(format!(
            "{place}: the medium does not carry the root for it; build one with rd.ramforge.store={} in kernelcmdline",
            wanted.unwrap_or("erofs")
        )));
    }
    for need in &mut stores {
        need.left_mib = ram_mib.and_then(|ram| model::left_mib(need, ram));
    }
    let auto = wanted.is_none();
    Ok(Choice::new(stores, auto))
}

/// What machines showed.
#[derive(Default)]
struct Shown {
    proof: Option<Proof>,
    measured: Option<Measured>,
    /// Whether all machines of a search are known from earlier runs.
    kept: bool,
    judgement: Option<Judgement>,
}

impl Shown {
    /// A single boot.
    fn one(known: Known, sign: &str) -> Self {
        let (ok, sentence) = (known.up, known.words(sign));
        Self {
            judgement: Some(Judgement { ok, sentence }),
            proof: Some(known.proof),
            measured: None,
            kept: false,
        }
    }
}

/// Starts the machines that are asked for.
fn demonstrate(cx: &Context, options: &Options, input: &Input, need: &StoreNeed) -> Result<Shown> {
    let (least, sign) = (need.least_ram_mib, options.up.words());
    if options.boot {
        let ram = options.ram.unwrap_or(least);
        let known = Boots::new(cx, options, input)?.boot(ram, options.timeout)?;
        return Ok(Shown::one(known, &sign));
    }
    let mut shown = Shown::default();
    if options.least {
        let (measured, started) = least::measure(cx, options, input, need)?;
        (shown.measured, shown.kept) = (Some(measured), !started);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::facts;

    #[test]
    fn the_word_of_the_command_line_stands_first_or_auto_chooses() {
        let chosen = |cmdline: &str| choice(&facts(), None, cmdline, Some(1024));
        let brd = chosen("quiet").unwrap();
        assert_eq!((brd.first().store.as_str(), brd.auto), ("brd", false));
        assert!(brd.stores.iter().all(|need| need.left_mib.is_some()));
        let auto = chosen("rd.ramforge.store=auto").unwrap();
        assert_eq!((auto.first().store.as_str(), auto.auto), ("zram", true));
        let refused = chosen("rd.ramforge.store=erofs").unwrap_err().to_string();
        assert!(refused.contains("does not carry the root"), "{refused}");
    }

    #[test]
    fn the_store_that_is_asked_for_stands_first_whatever_the_command_line_says() {
        let cmdline = "rd.ramforge.store=brd -- single";
        let chosen = |asked: &str| choice(&facts(), Some(asked), cmdline, None);
        for name in ["zram", "tmpfs", "brd"] {
            let choice = chosen(name).unwrap();
            assert_eq!((choice.first().store.as_str(), choice.auto), (name, false));
        }
        assert!(chosen("auto").unwrap().auto);
        let refused = chosen("erofs").unwrap_err().to_string();
        let expected = "--store erofs: the medium does not carry the root for it; build one with rd.ramforge.store=erofs";
        assert!(refused.starts_with(expected), "{refused}");
    }
}
