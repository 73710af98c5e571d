//! Programs of the tree, run in the tree: a clean environment, everything they print kept as an object.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Once;
use std::time::Instant;

use manifest::{Digest, Object};
use stage::{At, Error, Event, Result};
use store::Store;
use sys::namespace::Network;
use sys::watch;

use super::mounts::{STORE, WORK};
use super::{say, warn};
use crate::job::Message;

/// Where programs of the tree are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Characters of a program's output that an error message repeats.
const TAIL: usize = 2000;
/// Lines that an error message repeats before and after the one that matters.
const LINES_BEFORE: usize = 12;
const LINES_AFTER: usize = 3;

/// The tree as a machine that can run programs. Those of packages reach no network: what they make of a tree depends on
/// the packages alone.
pub struct Guest<'a> {
    store: &'a Store,
    epoch: i64,
    network: Network,
}

/// How a program ended.
pub struct Finished {
    /// Its status.
    pub status: ExitStatus,
    /// What it printed, both streams.
    pub said: String,
    /// A program that it ran and that was killed from outside.
    killed: Option<String>,
    /// The same as an object, where there is any.
    pub log: Option<Object>,
}

impl<'a> Guest<'a> {
    /// Programs see `epoch` as SOURCE_DATE_EPOCH.
    pub fn new(store: &'a Store, epoch: u64) -> Self {
        let epoch = i64::try_from(epoch).unwrap_or(0);
        let network = Network::None;
        Self {
            store,
            epoch,
            network,
        }
    }

    /// The same, whose programs reach what this process reaches.
    pub fn with_network(&self) -> Self {
        Self {
            network: Network::Host,
            ..*self
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        self.store
    }

    /// Seconds since 1970 that stand for now.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Runs a program; a failure is an error with its last words.
    ///
    /// # Errors
    /// Exit code 1 where it cannot be run or fails, or where something that it ran was killed.
    pub fn must(&self, program: &str, args: &[&str]) -> Result<()> {
        let finished = self.run(program, args, &[])?;
        if finished.status.success() {
            return finished.whole(program);
        }
        Err(finished.error(program))
    }

    /// Runs a program, however it ends.
    ///
    /// # Errors
    /// Exit code 1 where it cannot be run.
    pub fn run(&self, program: &str, args: &[&str], env: &[(String, String)]) -> Result<Finished> {
        let path = find(program).ok_or_else(|| {
            Error::failed(format!("the tree has no program {program}"))
                .advice("add the package that brings it to the description")
        })?;
        let log_path = Path::new(WORK).join("log");
        let log = File::create(&log_path).at(&log_path)?;
        let mut command = Command::new(&path);
        command
            .args(args)
            .env_clear()
            .envs(self.environment())
            .envs(env.iter().map(|(k, v)| (k, v)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().at(&log_path)?)
            .stderr(log);
        let hidden = Path::new(STORE);
        sys::namespace::hide_from(&mut command, hidden, self.network).at(hidden)?;
        let begin = Instant::now();
        let watch::Ended {
            status,
            killed,
            blind,
        } = watch::run(command).at(Path::new(&path))?;
        if let Some(e) = blind {
            say_blind(&e);
        }
        let bytes = fs::read(&log_path).at(&log_path)?;
        let log = match bytes.is_empty() {
            true => None,
            false => Some(self.store.put(&bytes)?),
        };
        tell(&path, args, status, begin, log);
        let said = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Finished {
            status,
            said,
            killed,
            log,
        })
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let mut all: Vec<(&str, String)> = vec![("SOURCE_DATE_EPOCH", self.epoch.to_string())];
        let fixed = [
            ("PATH", PATH),
            ("HOME", "/root"),
            ("LC_ALL", "C.UTF-8"),
            ("TZ", "UTC"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
            ("DEBCONF_NOWARNINGS", "yes"),
            ("SYSTEMD_OFFLINE", "1"),
            // Kernel packages make no initramfs: it is made once, at the end.
            ("INITRD", "No"),
        ];
        all.extend(fixed.map(|(name, value)| (name, value.to_owned())));
        all
    }
}

impl Finished {
    /// Makes sure that nothing it ran was killed, where it ended well all the same: a script may take the death of a
    /// program for an answer, and what it leaves is not what it should be.
    ///
    /// # Errors
    /// Exit code 1 with the program that was killed.
    pub fn whole(&self, what: &str) -> Result<()> {
        let Some(killed) = &self.killed else {
            return Ok(());
        };
        let fact = format!("{what}: a program that it ran was killed from outside: {killed}");
        Err(Error::failed(fact).advice("is memory short? run the same again"))
    }

    /// The error that this failure is, with the program's last words.
    pub fn error(&self, what: &str) -> Error {
        let skip = self.said.chars().count().saturating_sub(TAIL);
        let tail: String = self.said.chars().skip(skip).collect();
        self.error_with(what, &tail)
    }

    /// The same with the lines that lead to the first one that begins with `sign`.
    pub fn error_around(&self, sign: &str, what: &str) -> Error {
        let lines: Vec<&str> = self.said.lines().collect();
        match lines.iter().position(|l| l.starts_with(sign)) {
            Some(at) => {
                let end = lines.len().min(at + LINES_AFTER);
                let begin = at.saturating_sub(LINES_BEFORE);
                self.error_with(what, &lines[begin..end].join("\n"))
            }
            None => self.error(what),
        }
    }

    fn error_with(&self, what: &str, said: &str) -> Error {
        let killed = self.killed.as_ref();
        let killed = killed.map_or_else(String::new, |name| format!(", {name} was killed"));
        let error = Error::failed(format!(
            "{what} ended with {}{killed}:\n{}",
            self.status,
            said.trim()
        ));
        match self.log {
            Some(log) => error.advice(format!("everything it said: ramforge get {}", log.blake3)),
            None => error,
        }
    }
}

/// Warns, once, that this host forbids what would show a killed program.
fn say_blind(e: &std::io::Error) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        warn(format!(
            "this host forbids ptrace or seccomp ({e}): a program of the tree that is killed may go unnoticed"
        ));
    });
}

/// The path of a program in the tree.
pub fn find(program: &str) -> Option<String> {
    if program.starts_with('/') {
        return Path::new(program).exists().then(|| program.to_owned());
    }
    let mut paths = PATH.split(':').map(|dir| format!("{dir}/{program}"));
    paths.find(|path| Path::new(path).exists())
}

fn tell(path: &str, args: &[&str], status: ExitStatus, begin: Instant, log: Option<Object>) {
    let mut room = 1500;
    let words = std::iter::once(path).chain(args.iter().copied());
    let words = words.take_while(|w| {
        room -= w.len().min(room);
        room > 0
    });
    say(&Message::Event(Box::new(Event::CommandRun {
        stage: "rootfs-assemble".to_owned(),
        command: words.map(str::to_owned).collect(),
        program: Digest::of(&fs::read(path).unwrap_or_default()),
        status: status.to_string(),
        milliseconds: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
        log,
    })));
}
