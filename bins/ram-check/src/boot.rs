//! `--boot`: the medium in QEMU, until it is up or will not come up.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use journal::Event;
use manifest::{Memory, Object, Proof};
use serde_json::{Map, Value, json};
use stage::{At, Context, Error, Result};

use crate::check::Input;
use crate::login;
use crate::options::Options;
use crate::qemu::{self, Accelerator, Bus, Firmware, Guest, Machine, Outcome, Up};

/// The medium as a file, for machines one after the other.
pub(crate) struct Stand<'a> {
    cx: &'a Context,
    options: &'a Options,
    medium: PathBuf,
    accelerator: &'static Accelerator,
    /// Where the medium lies.
    scratch: store::Scratch,
}

/// How a boot ended.
pub(crate) struct Booted {
    pub(crate) proof: Proof,
    pub(crate) outcome: Outcome,
    pub(crate) time: Duration,
}

/// Boots the medium as a CD in a machine with `ram_mib` MiB. Gives the proof, and the same in words.
pub(crate) fn prove(
    cx: &Context,
    options: &Options,
    input: &Input,
    ram_mib: u64,
) -> Result<(Booted, String)> {
    let stand = Stand::new(cx, options, input)?;
    let booted = stand.boot(ram_mib, Duration::from_secs(options.timeout))?;
    let words = words(&booted, &options.up);
    Ok((booted, words))
}

impl<'a> Stand<'a> {
    /// Takes the medium out of the store.
    pub(crate) fn new(cx: &'a Context, options: &'a Options, input: &Input) -> Result<Self> {
        let iso = input.media.iso.as_ref();
        let iso = iso.ok_or_else(|| Error::refused("media.iso is not there; expected a medium"))?;
        let scratch = cx.store().scratch()?;
        let accelerator = Accelerator::probed();
        let (name, reason) = (accelerator.name(), &accelerator.reason);
        cx.progress(&format!("QEMU runs with {name}: {reason}"));
        Ok(Self {
            medium: medium(cx, iso, scratch.path())?,
            accelerator,
            cx,
            options,
            scratch,
        })
    }

    /// Boots a machine with `ram_mib` MiB; what it does within `limit` counts.
    pub(crate) fn boot(&self, ram_mib: u64, limit: Duration) -> Result<Booted> {
        let (cx, options) = (self.cx, self.options);
        let firmware = Firmware::from(options.firmware);
        let machine = self.machine(firmware, ram_mib)?;
        let name = firmware.name();
        cx.progress(&format!("booting with {ram_mib} MiB of RAM and {name}"));
        let mut guest = Guest::start(&machine).map_err(failed)?;
        let outcome = guest
            .wait_until(&options.up, limit, |mark| {
                let seconds = mark.at.as_secs_f64();
                cx.progress(&format!(
                    "{ram_mib} MiB: {} after {seconds:.1} s",
                    mark.name
                ));
            })
            .map_err(failed)?;
        let time = guest.elapsed();
        let figures = self.figures(&mut guest, &outcome)?;
        let proof = Proof {
            ram_mib,
            firmware: name.to_owned(),
            accelerator: self.accelerator.name().to_owned(),
            up: options.up.to_string(),
            result: outcome.name().to_owned(),
            memory: figures.as_ref().ok().cloned().flatten(),
            screen: self.screen(&mut guest, &outcome)?,
            log: cx.store().put(guest.log().as_bytes())?,
        };
        record(cx, &guest, &proof, outcome.is_up().then_some(time))?;
        figures.map_err(|error| unread(&proof, &error))?;
        Ok(Booted {
            proof,
            outcome,
            time,
        })
    }

    fn machine(&self, firmware: Firmware, ram_mib: u64) -> Result<Machine> {
        let mut machine = Machine::new(&self.medium, Bus::Cd, firmware, ram_mib);
        machine.accelerator.clone_from(&self.accelerator.argument);
        machine.cancel = || stage::interrupted().is_err();
        if let Up::Tcp(guest) = self.options.up {
            machine.answers = Some((free_port()?, guest));
        }
        Ok(machine)
    }

    /// The figures from inside, where somebody shall log in and the system is up.
    fn figures(
        &self,
        guest: &mut Guest,
        outcome: &Outcome,
    ) -> Result<qemu::Result<Option<Memory>>> {
        let Some(who) = self.options.login.as_ref().filter(|_| outcome.is_up()) else {
            return Ok(Ok(None));
        };
        self.cx.progress("reading figures inside");
        match login::figures(self.cx, guest, who)? {
            Err(qemu::Error::Cancelled) => Err(Error::interrupted()),
            figures => Ok(figures.map(Some)),
        }
    }

    /// What the screen shows; a machine that is off shows nothing.
    fn screen(&self, guest: &mut Guest, outcome: &Outcome) -> Result<Option<Object>> {
        let path = self.scratch.path().join("screen.ppm");
        if *outcome == Outcome::Exit || guest.screenshot(&path).is_err() {
            return Ok(None);
        }
        let picture = std::fs::read(&path).at(&path)?;
        Ok(Some(self.cx.store().put(&picture)?))
    }
}

/// Figures that were asked for and are not there. The boot is in the journal, but no result: the next run boots again.
fn unread(proof: &Proof, error: &qemu::Error) -> Error {
    let (ram, log) = (proof.ram_mib, &proof.log.blake3);
    Error::failed(format!(
        "--login: a machine with {ram} MiB is up, but no figures from inside: {error}"
    ))
    .advice(format!(
        "expected USER:PASSWORD of a user of the image with a shell; its serial log: ramforge get {log}"
    ))
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

/// A port of 127.0.0.1 that nobody listens at now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|l| l.local_addr());
    let address = address.map_err(|e| Error::failed(format!("127.0.0.1: no port is free: {e}")))?;
    Ok(address.port())
}

fn words(booted: &Booted, up: &Up) -> String {
    let Proof {
        ram_mib, firmware, ..
    } = &booted.proof;
    let place = format!("with {ram_mib} MiB and {firmware} in QEMU");
    let sign = up.words();
    match &booted.outcome {
        Outcome::Login | Outcome::Up => {
            let inside = booted.proof.memory.as_ref();
            let inside = inside.map(|m| format!(", {} MiB available inside", m.available_mib));
            format!("reached {sign} {place}{}", inside.unwrap_or_default())
        }
        Outcome::Refused(sentence) => format!("stopped {place}: {sentence}"),
        Outcome::Panic => format!("ended in a kernel panic {place}"),
        Outcome::Emergency => format!("ended in emergency mode {place}"),
        Outcome::Exit => format!("switched itself off {place}"),
        Outcome::Timeout => {
            let seconds = booted.time.as_secs();
            format!("did not reach {sign} within {seconds} s {place}")
        }
    }
}

/// Times belong to the journal, not to the manifest: those of the marks and, where it is none of them, of the sign that
/// the system is up.
fn record(cx: &Context, guest: &Guest, proof: &Proof, up: Option<Duration>) -> Result<()> {
    let marks = guest.marks();
    let marks = marks.iter().map(|m| (m.name.to_owned(), millis(m.at)));
    let mut times = Map::from_iter(marks);
    if let Some(time) = up {
        times.entry(&proof.result).or_insert_with(|| millis(time));
    }
    cx.journal(Event::Custom {
        stage: cx.stage().to_owned(),
        name: "boot".to_owned(),
        data: json!({"proof": proof, "milliseconds": times}),
    })
}

fn millis(time: Duration) -> Value {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into()
}

/// The stage's error, with its exit code.
pub(crate) fn failed(error: qemu::Error) -> Error {
    match error {
        qemu::Error::Cancelled => Error::interrupted(),
        qemu::Error::Missing { .. } | qemu::Error::Old { .. } => Error::missing(error.to_string()),
        _ => Error::failed(error.to_string()),
    }
}
