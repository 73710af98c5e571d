//! A boot: the medium in QEMU, until it is up or will not come up.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use manifest::{Memory, Object, Proof};
use stage::{At, Context, Error, Result};

use crate::input::Input;
use crate::options::Options;
use crate::qemu::{self, Accelerator, Bus, Firmware, Guest, Machine, Outcome, Up};
use crate::{known, login, menu};

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
    /// When it got where.
    pub(crate) milliseconds: BTreeMap<String, u64>,
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
        let medium = medium(cx, iso, scratch.path())?;
        if let Some(store) = &options.store {
            menu::set_store(&medium, store)?;
        }
        Ok(Self {
            medium,
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
        let milliseconds = times(&guest, &proof.result, outcome.is_up().then_some(time));
        known::record(cx, &proof, &milliseconds, false)?;
        figures.map_err(|error| unread(&proof, &error))?;
        Ok(Booted {
            proof,
            outcome,
            time,
            milliseconds,
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

/// When the machine got where: the times of the marks and, where it is none of them, of the sign that the system is up.
fn times(guest: &Guest, result: &str, up: Option<Duration>) -> BTreeMap<String, u64> {
    let marks = guest.marks();
    let mut times: BTreeMap<_, _> = marks
        .iter()
        .map(|m| (m.name.to_owned(), millis(m.at)))
        .collect();
    if let Some(time) = up {
        times
            .entry(result.to_owned())
            .or_insert_with(|| millis(time));
    }
    times
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The stage's error, with its exit code.
pub(crate) fn failed(error: qemu::Error) -> Error {
    match error {
        qemu::Error::Cancelled => Error::interrupted(),
        qemu::Error::Missing { .. } | qemu::Error::Old { .. } => Error::missing(error.to_string()),
        _ => Error::failed(error.to_string()),
    }
}
