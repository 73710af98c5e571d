//! A running machine.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::error::{At, Error, Result};
use super::machine::{self, Bus, MEDIUM_ID, Machine};
use super::monitor::Monitor;
use super::serial::{Log, Mark, TORN, compile};

/// How often a waiting thread looks whether it shall go on.
const POLL: Duration = Duration::from_millis(100);
/// A guest that has said nothing for so long is asked for its prompt again where a message of the kernel has got into the
/// middle of the first one. Elsewhere it is not: a boot that waits for a person does not come up by itself.
const SILENCE: Duration = Duration::from_secs(60);
/// Time for a failing guest to finish its last words.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Signs of a boot that will not end well, worst last: name and pattern.
const BAD: &[(&str, &str)] = &[
    ("refused", r"ramforge: STOPPED: (.*)"),
    ("panic", r"Kernel panic - not syncing"),
    (
        "emergency",
        r"[Ee]mergency (mode|shell)|for maintenance|Entering emergency|dracut:/# ?$",
    ),
];

/// How a boot ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The login prompt.
    Login,
    /// The kernel gave up.
    Panic,
    /// An emergency shell or mode.
    Emergency,
    /// `ram-deploy` stopped, with its sentence.
    Refused(String),
    /// The machine switched itself off or restarted.
    Exit,
    /// None of these in time.
    Timeout,
}

impl Outcome {
    /// One word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Panic => "panic",
            Self::Emergency => "emergency",
            Self::Refused(_) => "refused",
            Self::Exit => "exit",
            Self::Timeout => "timeout",
        }
    }
}

#[derive(Debug)]
struct Shared {
    log: Mutex<Log>,
    news: Condvar,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A machine that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Guest {
    qemu: Child,
    serial: ChildStdin,
    shared: Arc<Shared>,
    scratch: TempDir,
    bus: Bus,
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
        let qemu = program(machine::QEMU, machine::QEMU_PACKAGE)?;
        let stderr = scratch.path().join("stderr");
        // setpriv: QEMU ends even if this process is killed. Its own group: Ctrl-C reaches us, not QEMU.
        let mut child = Command::new(program(machine::SETPRIV, machine::SETPRIV_PACKAGE)?)
            .args(["--pdeathsig", "KILL", "--"])
            .arg(qemu)
            .args(machine.arguments(scratch.path())?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&stderr).at(&stderr)?)
            .process_group(0)
            .spawn()
            .at(machine::SETPRIV)?;
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
        Ok(Self {
            qemu: child,
            serial,
            shared,
            scratch,
            bus: machine.bus,
            cancel: machine.cancel,
            begin,
            commands: 0,
        })
    }

    /// Waits until the system is up or will not come up. `seen` is told of each mark once.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; [`Error::Ended`] where QEMU itself failed.
    pub fn wait_up(&mut self, limit: Duration, mut seen: impl FnMut(&Mark)) -> Result<Outcome> {
        let bad: Vec<_> = BAD
            .iter()
            .map(|(name, pattern)| Ok((*name, compile(pattern)?)))
            .collect::<Result<_>>()?;
        let (begin, mut told, mut checked) = (Instant::now(), 0, 0);
        let mut heard = begin;
        while begin.elapsed() < limit {
            let (marks, closed) = self.news(checked)?;
            marks.iter().skip(told).for_each(&mut seen);
            told = marks.len();
            if marks.iter().any(|m| m.name == "login") {
                return Ok(Outcome::Login);
            }
            let length = self.position();
            if length > checked
                && bad
                    .iter()
                    .any(|(_, p)| p.is_match(self.shared.log().from(0)))
            {
                self.listen_for(LAST_WORDS)?;
                return Ok(self.bad_end(&bad));
            }
            if length > checked || self.asked_again(heard, closed)? {
                heard = Instant::now();
            }
            checked = length;
            if closed {
                return self.ended("the login prompt").map(|()| Outcome::Exit);
            }
        }
        Ok(Outcome::Timeout)
    }

    /// Types an empty line where nothing was heard for long after a torn prompt; says whether it did.
    fn asked_again(&mut self, heard: Instant, closed: bool) -> Result<bool> {
        let silent = heard.elapsed() > SILENCE
            && !closed
            && compile(TORN)?.is_match(self.shared.log().from(0));
        if silent {
            self.type_line("")?;
        }
        Ok(silent)
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

    /// Takes the medium away while the machine runs: the CD is ejected, any other device unplugged.
    ///
    /// # Errors
    /// [`Error::Monitor`] where the guest holds on to it.
    pub fn remove_medium(&mut self) -> Result<()> {
        let mut monitor = self.monitor()?;
        if self.bus != Bus::Cd {
            monitor.order("device_del", json!({"id": MEDIUM_ID}))?;
            return monitor.wait_event("DEVICE_DELETED");
        }
        // Not forced at first: the drive's door is locked as long as the guest uses the disc.
        if monitor.order("eject", json!({"id": MEDIUM_ID})).is_err() {
            let force = json!({"id": MEDIUM_ID, "force": true});
            monitor.order("eject", force)?;
        }
        let drives = monitor.order("query-block", json!({}))?;
        let inserted = drives.as_array().is_some_and(|all| {
            all.iter()
                .any(|d| d["qdev"] == MEDIUM_ID && !d["inserted"].is_null())
        });
        if inserted {
            return Err(Error::Monitor {
                order: "eject".to_owned(),
                fact: "the disc is still in the drive".to_owned(),
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

    fn monitor(&self) -> Result<Monitor> {
        Monitor::connect(&machine::qmp_socket(self.scratch.path()))
    }

    /// Waits a moment until the log is longer than `known`; gives the marks and whether the line is closed.
    fn news(&self, known: usize) -> Result<(Vec<Mark>, bool)> {
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

    fn listen_for(&self, time: Duration) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < time && !self.news(self.position())?.1 {}
        Ok(())
    }

    /// What the log says of a boot that failed: the sentence counts more than what followed from it.
    fn bad_end(&self, bad: &[(&str, regex::bytes::Regex)]) -> Outcome {
        let log = self.shared.log();
        for (name, pattern) in bad {
            let Some(found) = pattern.captures(log.from(0)) else {
                continue;
            };
            let sentence = found.get(1).map_or(&[][..], |m| m.as_bytes());
            return match *name {
                "refused" => Outcome::Refused(String::from_utf8_lossy(sentence).into_owned()),
                "panic" => Outcome::Panic,
                _ => Outcome::Emergency,
            };
        }
        Outcome::Exit
    }

    /// QEMU has closed the line: in good order, or because it failed.
    fn ended(&mut self, expected: &str) -> Result<()> {
        let status = self.qemu.wait().at(machine::QEMU)?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Ended {
            expected: expected.to_owned(),
            stderr: self.stderr(),
            tail: self.shared.log().tail(),
        })
    }

    fn stderr(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("stderr")).unwrap_or_default()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
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

fn program(name: &str, package: &'static str) -> Result<std::path::PathBuf> {
    stage::find_program(name).ok_or_else(|| Error::Missing {
        what: name.to_owned(),
        package,
    })
}
