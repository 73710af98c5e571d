//! `--boot`: the medium in QEMU, up to the login prompt.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use journal::Event;
use manifest::{Object, Proof};
use serde_json::{Map, Value, json};
use stage::{At, Context, Error, Result};

use crate::check::Input;
use crate::options::Options;
use crate::qemu::{self, Bus, Firmware, Guest, Machine, Outcome};

/// Boots the medium as a CD in a machine with `ram_mib` MiB. Gives the proof, and the same in words.
pub(crate) fn prove(
    cx: &Context,
    options: &Options,
    input: &Input,
    ram_mib: u64,
) -> Result<(Proof, String)> {
    let iso = input.media.iso.as_ref();
    let iso = iso.ok_or_else(|| Error::refused("media.iso is not there; expected a medium"))?;
    let scratch = cx.store().scratch()?;
    let medium = medium(cx, iso, scratch.path())?;
    let firmware = Firmware::from(options.firmware);
    let mut machine = Machine::new(&medium, Bus::Cd, firmware, ram_mib);
    machine.cancel = || stage::interrupted().is_err();
    let name = firmware.name();
    cx.progress(&format!("booting with {ram_mib} MiB of RAM and {name}"));
    let mut guest = Guest::start(&machine).map_err(failed)?;
    let limit = Duration::from_secs(options.timeout);
    let outcome = guest
        .wait_up(limit, |mark| {
            cx.progress(&format!(
                "{} after {:.1} s",
                mark.name,
                mark.at.as_secs_f64()
            ));
        })
        .map_err(failed)?;
    let seconds = guest.elapsed().as_secs();
    let proof = Proof {
        ram_mib,
        firmware: name.to_owned(),
        result: outcome.name().to_owned(),
        log: cx.store().put(guest.log().as_bytes())?,
    };
    record(cx, &guest, &proof)?;
    Ok((proof, words(&outcome, ram_mib, name, seconds)))
}

/// The medium as a file, which QEMU reads.
fn medium(cx: &Context, iso: &Object, dir: &Path) -> Result<PathBuf> {
    let path = dir.join("medium.iso");
    let file = File::create(&path).at(&path)?;
    let step = || stage::interrupted().map_err(std::io::Error::other);
    let copied = cx.store().copy_to(iso, &file, &step);
    stage::interrupted()?;
    copied?;
    Ok(path)
}

fn words(outcome: &Outcome, ram_mib: u64, firmware: &str, seconds: u64) -> String {
    let place = format!("with {ram_mib} MiB and {firmware} in QEMU");
    match outcome {
        Outcome::Login => format!("reached the login prompt {place}"),
        Outcome::Refused(sentence) => format!("stopped {place}: {sentence}"),
        Outcome::Panic => format!("ended in a kernel panic {place}"),
        Outcome::Emergency => format!("ended in emergency mode {place}"),
        Outcome::Exit => format!("switched itself off {place}"),
        Outcome::Timeout => format!("showed no login prompt within {seconds} s {place}"),
    }
}

/// Times belong to the journal, not to the manifest.
fn record(cx: &Context, guest: &Guest, proof: &Proof) -> Result<()> {
    let marks = guest
        .marks()
        .into_iter()
        .map(|m| (m.name.to_owned(), millis(m.at)));
    cx.journal(Event::Custom {
        stage: cx.stage().to_owned(),
        name: "boot".to_owned(),
        data: json!({"proof": proof, "milliseconds": Map::from_iter(marks)}),
    })
}

fn millis(time: Duration) -> Value {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into()
}

fn failed(error: qemu::Error) -> Error {
    match error {
        qemu::Error::Cancelled => Error::interrupted(),
        qemu::Error::Missing { .. } => Error::missing(error.to_string()),
        _ => Error::failed(error.to_string()),
    }
}
