//! A running machine.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Firmware;
use super::error::{At, Error, Result};
use super::machine::{self, Bus, DRIVE, MEDIUM_ID, Machine};
use super::monitor::{Monitor, PATIENCE};
use super::serial::{Log, Mark, compile};

/// Time for a key to be pressed and let go.
const KEY: Duration = Duration::from_millis(300);
/// How often a waiting thread looks whether it shall go on.
const POLL: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Shared {
    log: Mutex<Log>,
    news: Condvar,
}

impl Shared {
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A machine that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Guest {
    pub(super) qemu: Child,
    serial: ChildStdin,
    pub(super) shared: Arc<Shared>,
    scratch: TempDir,
    bus: Bus,
    /// The port of this host behind which the guest answers, see [`Machine::answers`].
    pub(super) port: Option<u16>,
    cancel: fn() -> bool,
    begin: Instant,
    pub(super) commands: u32,
}

impl Guest {
    /// Switches a machine on.
    ///
    /// # Errors
    /// [`Error::Missing`] where the host lacks QEMU or the firmware, [`Error::Io`].
    pub fn start(machine: &Machine) -> Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("ramforge-qemu-")
            .tempdir()
            .at(std::env::temp_dir())?;
        let firmware = debug_port(machine, scratch.path())?;
        let mut child = spawn(machine, scratch.path())?;
        let begin = Instant::now();
        let shared = Arc::new(Shared {
            log: Mutex::new(Log::new()?),
            news: Condvar::new(),
        });
        let (Some(serial), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::Error::other("no pipe")).at(machine::QEMU);
        };
        let sink = Arc::clone(&shared);
        std::thread::spawn(move || listen(output, &sink, begin));
        if let Some(firmware) = firmware {
            let sink = Arc::clone(&shared);
            std::thread::spawn(move || listen_to_firmware(&firmware, &sink, begin));
        }
        Ok(Self {
            qemu: child,
            serial,
            shared,
            scratch,
            bus: machine.bus,
            port: machine.answers.map(|(host, _)| host),
            cancel: machine.cancel,
            begin,
            commands: 0,
        })
    }

    /// Waits for `pattern` (a regular expression over bytes) after the position `from` of the log; gives the
    /// log's text from there to the end of the match.
    ///
    /// # Errors
    /// [`Error::Silent`], [`Error::Ended`], [`Error::Cancelled`].
    pub fn expect(&mut self, pattern: &str, from: usize, limit: Duration) -> Result<String> {
        let regex = compile(pattern)?;
        let (begin, mut known) = (Instant::now(), 0);
        loop {
            let (_, closed) = self.news(known)?;
            let log = self.shared.log();
            known = log.len();
            if let Some(found) = regex.find(log.from(from)) {
                let text = &log.from(from)[..found.end()];
                return Ok(String::from_utf8_lossy(text).into_owned());
            }
            let (expected, tail) = (format!("{pattern:?}"), log.tail());
            drop(log);
            if closed {
                let stderr = self.stderr();
                return Err(Error::Ended {
                    expected,
                    stderr,
                    tail,
                });
            }
            if begin.elapsed() >= limit {
                return Err(Error::Silent {
                    expected,
                    limit,
                    tail,
                });
            }
        }
    }

    /// Types a line.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        let text = format!("{line}\n");
        self.serial
            .write_all(text.as_bytes())
            .and_then(|()| self.serial.flush())
            .at("the serial line")
    }

    /// Presses keys of the keyboard one after the other, by their names in QEMU (`QKeyCode`): `p`, `ret`; several at once
    /// with `-` between them: `alt-sysrq-i`.
    ///
    /// # Errors
    /// [`Error::Monitor`].
    pub fn press(&mut self, keys: &[&str]) -> Result<()> {
        let mut monitor = self.monitor()?;
        for key in keys {
            let held = key.split('-');
            let held: Vec<_> = held
                .map(|key| json!({"type": "qcode", "data": key}))
                .collect();
            let keys = json!({"keys": held});
            monitor.order("send-key", keys)?;
            // QEMU holds a key for a tenth of a second, and drops what comes meanwhile.
            std::thread::sleep(KEY);
        }
        Ok(())
    }

    /// The log's length so far: where a search for what comes next begins.
    pub fn position(&self) -> usize {
        self.shared.log().len()
    }

    /// The whole log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(self.shared.log().from(0)).into_owned()
    }

    /// What was seen so far, in order of time.
    pub fn marks(&self) -> Vec<Mark> {
        self.shared.log().marks.clone()
    }

    /// Time since the machine was switched on.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Takes the medium away while the machine runs: CD and cards leave their drive, any other device is unplugged.
    ///
    /// # Errors
    /// [`Error::Monitor`] where the guest holds on to it.
    pub fn remove_medium(&mut self) -> Result<()> {
        let mut monitor = self.monitor()?;
        if !matches!(self.bus, Bus::Cd | Bus::Sd | Bus::Reader) {
            monitor.order("device_del", json!({"id": MEDIUM_ID}))?;
            return monitor.wait_event("DEVICE_DELETED", PATIENCE).map(|_| ());
        }
        // Not forced at first: the drive's door is locked as long as the guest uses the disc.
        let mut eject = self.drive();
        if monitor.order("eject", eject.clone()).is_err() {
            eject["force"] = true.into();
            monitor.order("eject", eject)?;
        }
        let drives = monitor.order("query-block", json!({}))?;
        let inserted = drives.as_array().is_some_and(|all| {
            all.iter()
                .any(|d| d["device"] == DRIVE && !d["inserted"].is_null())
        });
        if inserted {
            return Err(Error::Monitor {
                order: "eject".to_owned(),
                fact: "the medium is still in the drive".to_owned(),
            });
        }
        Ok(())
    }

    /// Plugs in a USB stick, read-only, under a name of its own. The machine must have been made with
    /// [`Machine::usb`] or [`Bus::Usb`].
    ///
    /// # Errors
    /// [`Error::Monitor`].
    pub fn plug(&mut self, name: &str, medium: &Path) -> Result<()> {
        let path = medium.canonicalize().at(medium)?;
        let file = json!({"driver": "file", "filename": path.to_string_lossy()});
        let node = format!("node-{name}");
        let mut monitor = self.monitor()?;
        monitor.order(
            "blockdev-add",
            json!({"driver": "raw", "node-name": node, "read-only": true, "file": file}),
        )?;
        monitor.order(
            "device_add",
            json!({"driver": "usb-storage", "bus": "xhci.0", "id": name, "drive": node}),
        )?;
        Ok(())
    }

    /// How the monitor knows the drive of the medium. That of a USB reader is a disk within the device, which has no name.
    fn drive(&self) -> Value {
        match self.bus {
            Bus::Reader => json!({"device": DRIVE}),
            _ => json!({"id": MEDIUM_ID}),
        }
    }

    /// Puts a disc into the CD drive and closes its tray, or a card into the reader.
    ///
    /// # Errors
    /// [`Error::Monitor`].
    pub fn insert(&mut self, medium: &Path) -> Result<()> {
        let path = medium.canonicalize().at(medium)?;
        let mut disc = self.drive();
        disc["filename"] = path.to_string_lossy().into();
        disc["format"] = "raw".into();
        disc["read-only-mode"] = match self.bus {
            Bus::Cd => "read-only".into(),
            // Where the guest may write to what was there, it may write to this.
            _ => "retain".into(),
        };
        let mut monitor = self.monitor()?;
        monitor.order("blockdev-change-medium", disc).map(|_| ())
    }

    /// Whether the CD drive's tray is open.
    ///
    /// # Errors
    /// [`Error::Monitor`].
    pub fn tray_is_open(&mut self) -> Result<bool> {
        let drives = self.monitor()?.order("query-block", json!({}))?;
        let mut drives = drives.as_array().into_iter().flatten();
        Ok(drives.any(|d| d["qdev"] == MEDIUM_ID && d["tray_open"] == true))
    }

    /// Writes what the screen shows, as a PPM picture.
    ///
    /// # Errors
    /// [`Error::Monitor`].
    pub fn screenshot(&mut self, to: &Path) -> Result<()> {
        let path = std::path::absolute(to).at(to)?;
        let arguments = json!({"filename": path.to_string_lossy()});
        self.monitor()?.order("screendump", arguments).map(|_| ())
    }

    /// Waits until QEMU has ended by itself.
    ///
    /// # Errors
    /// [`Error::Silent`] where it has not in time.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < limit {
            self.news(self.position())?;
            if self.qemu.try_wait().at(machine::QEMU)?.is_some() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        let tail = self.shared.log().tail();
        Err(Error::Silent {
            expected: "end of QEMU".to_owned(),
            limit,
            tail,
        })
    }

    /// Types a line, where there is one, and waits until the guest ends by itself, as QEMU sees it: `guest-reset` where it
    /// restarts, `guest-shutdown` where it switches itself off.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Monitor`] where it does neither in time, [`Error::Silent`] where QEMU runs on.
    pub fn wait_end(&mut self, line: Option<&str>, limit: Duration) -> Result<String> {
        // The monitor tells what happens from now on.
        let mut monitor = self.monitor()?;
        line.map_or(Ok(()), |line| self.type_line(line))?;
        let data = monitor.wait_event("SHUTDOWN", limit)?;
        self.wait_exit(limit)?;
        Ok(data["reason"].as_str().unwrap_or_default().to_owned())
    }

    fn monitor(&self) -> Result<Monitor> {
        Monitor::connect(&machine::qmp_socket(self.scratch.path()))
    }

    /// Waits a moment until the log is longer than `known`; gives the marks and whether the line is closed.
    pub(super) fn news(&self, known: usize) -> Result<(Vec<Mark>, bool)> {
        if (self.cancel)() {
            return Err(Error::Cancelled);
        }
        let (log, _) = self
            .shared
            .news
            .wait_timeout_while(self.shared.log(), POLL, |log| {
                !log.closed && log.len() == known
            })
            .unwrap_or_else(PoisonError::into_inner);
        Ok((log.marks.clone(), log.closed))
    }

    pub(super) fn stderr(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("stderr")).unwrap_or_default()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        // Who waits for the firmware's line waits for ever where QEMU ended before it had it.
        let _ = UnixStream::connect(machine::firmware_socket(self.scratch.path()));
    }
}

/// Where SeaBIOS is heard; OVMF speaks on the serial line.
fn debug_port(machine: &Machine, scratch: &Path) -> Result<Option<UnixListener>> {
    if machine.firmware != Firmware::Bios {
        return Ok(None);
    }
    let socket = machine::firmware_socket(scratch);
    UnixListener::bind(&socket).at(&socket).map(Some)
}

/// Starts QEMU for a machine whose files lie in `scratch`.
fn spawn(machine: &Machine, scratch: &Path) -> Result<Child> {
    let stderr = scratch.join("stderr");
    let qemu = program(machine::QEMU, machine::QEMU_PACKAGE)?;
    // setpriv: QEMU ends even if this process is killed. Its own group: Ctrl-C reaches us, not QEMU.
    Command::new(program(machine::SETPRIV, machine::SETPRIV_PACKAGE)?)
        .args(["--pdeathsig", "KILL", "--"])
        .arg(qemu)
        .args(machine.arguments(scratch)?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(&stderr).at(&stderr)?)
        .process_group(0)
        .spawn()
        .at(machine::SETPRIV)
}

/// Reads the serial line until it closes.
fn listen(mut output: ChildStdout, shared: &Shared, begin: Instant) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(n @ 1..) = output.read(&mut buffer) {
        shared.log().append(&buffer[..n], begin.elapsed());
        shared.news.notify_all();
    }
    shared.log().closed = true;
    shared.news.notify_all();
}

/// Reads the firmware's debug port, the first connection, until it closes. Where there is none, marks are missing.
fn listen_to_firmware(socket: &UnixListener, shared: &Shared, begin: Instant) {
    let mut buffer = vec![0; 4 << 10];
    let Ok((mut line, _)) = socket.accept() else {
        return;
    };
    while let Ok(n @ 1..) = line.read(&mut buffer) {
        shared.log().append_firmware(&buffer[..n], begin.elapsed());
    }
}

fn program(name: &str, package: &'static str) -> Result<std::path::PathBuf> {
    stage::find_program(name).ok_or_else(|| Error::Missing {
        what: name.to_owned(),
        package,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk whose boot sector does `hlt` for ever. SeaBIOS does not boot a disk of that sector alone.
    fn halting() -> Vec<u8> {
        let mut disk = vec![0; 1 << 20];
        disk[..3].copy_from_slice(&[0xf4, 0xeb, 0xfd]);
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk
    }

    #[test]
    fn the_real_seabios_says_when_it_hands_over() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), halting()).unwrap();
        let machine = Machine::new(file.path(), Bus::Disk, Firmware::Bios, 64);
        let guest = Guest::start(&machine).unwrap();
        let names = || -> Vec<&str> { guest.marks().iter().map(|m| m.name).collect() };
        while names() != ["firmware", "grub"] {
            let late = guest.elapsed() > Duration::from_secs(120);
            assert!(!late, "{:?}: {}", guest.marks(), guest.stderr());
            std::thread::sleep(POLL);
        }
        // On the serial line it says nothing.
        assert_eq!(guest.log(), "");
    }
}
