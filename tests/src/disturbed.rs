//! A pipeline whose processes are known, whatever they do: for tests that kill some of them.
//!
//! Every process of the run inherits one open file, which bears a lock. Its holders are the run, whatever
//! process group, session or namespace they went to; and the run is over when the lock can be had.
//!
//! *Not seen:* a process that closes all files it did not open. Those (apt's methods) are found as children of
//! others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{command, text};

/// How long processes of a run may take to end when one of them was killed. The promise is a second; the rest
/// is for busy machines.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running pipeline.
#[derive(Debug)]
pub struct Disturbed {
    child: Child,
    begin: Instant,
    mark: PathBuf,
    said: PathBuf,
    seen: BTreeSet<Process>,
}

/// A process of the run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its start in ticks since the host's: an id may be used again.
    pub start: u64,
    /// Its name as the kernel shows it.
    pub name: String,
}

impl Disturbed {
    /// Starts `wanted`; `dir` gets what it prints.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn start(wanted: &Command, dir: &Path) -> Self {
        let (mark, said) = (dir.join("alive"), dir.join("said"));
        let log = File::create(&said).unwrap();
        let mut bash = command("bash");
        bash.args(["-c", "exec 9>\"$0\" && flock 9 && exec \"$@\""])
            .arg(&mark)
            .arg(wanted.get_program())
            .args(wanted.get_args())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        for (name, value) in wanted.get_envs() {
            match value {
                Some(value) => bash.env(name, value),
                None => bash.env_remove(name),
            };
        }
        Self {
            child: bash.spawn().unwrap(),
            begin: Instant::now(),
            mark,
            said,
            seen: BTreeSet::new(),
        }
    }

    /// How long ago it was started.
    pub fn age(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Waits until the run is so old.
    pub fn wait_until(&self, age: Duration) {
        std::thread::sleep(age.saturating_sub(self.begin.elapsed()));
    }

    /// The processes that the run consists of now, in the order of their start.
    pub fn processes(&mut self) -> Vec<Process> {
        let mark = fs::metadata(&self.mark).map_or((0, 0), |m| (m.dev(), m.ino()));
        let mut parents = BTreeMap::new();
        let mut mine = BTreeSet::new();
        for pid in pids() {
            let Some((process, parent)) = look_at(pid) else {
                continue;
            };
            if holds(pid, mark) {
                mine.insert(process.pid);
            }
            parents.insert(process.pid, (process, parent));
        }
        let is_mine = |mut pid: i32| {
            while let Some((_, parent)) = parents.get(&pid) {
                if mine.contains(&pid) {
                    return true;
                }
                pid = *parent;
            }
            false
        };
        let found = parents.values().map(|(process, _)| process);
        let mut found: Vec<_> = found.filter(|p| is_mine(p.pid)).cloned().collect();
        found.sort_by_key(|p| (p.start, p.pid));
        self.seen.extend(found.iter().cloned());
        found
    }

    /// Kills one of them.
    pub fn kill(&self, victim: &Process) {
        // One that has just ended is as dead.
        let _ = Pid::from_raw(victim.pid).map(|pid| kill_process(pid, Signal::KILL));
    }

    /// Waits for the end of pipeline.sh, and then until nothing of the run is left; gives what it said.
    ///
    /// # Panics
    /// Where something survives.
    pub fn end(mut self) -> Output {
        let status = self.child.wait().unwrap();
        let begin = Instant::now();
        while !self.is_over() {
            if begin.elapsed() > PATIENCE {
                let left = self.processes();
                panic!("still running: {left:?}\n{}", self.said());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Output {
            status,
            stdout: fs::read(&self.said).unwrap(),
            stderr: Vec::new(),
        }
    }

    /// What it has printed so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.said).unwrap_or_default()).into_owned()
    }

    fn is_over(&self) -> bool {
        let locked = File::open(&self.mark).is_ok_and(|f| f.try_lock().is_err());
        let alive = |p: &Process| look_at(p.pid).is_some_and(|(now, _)| now.start == p.start);
        !locked && !self.seen.iter().any(alive)
    }
}

/// Runs a command that must succeed.
///
/// # Panics
/// Where it fails.
pub fn succeed(command: &mut Command, what: &str) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{what}: {}\n{}",
        output.status,
        text(&output)
    );
    text(&output)
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// A living process and its parent.
fn look_at(pid: i32) -> Option<(Process, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (begin, rest) = stat.rsplit_once(')')?;
    let name = begin.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if ["Z", "X"].contains(fields.first()?) {
        return None;
    }
    let start = fields.get(19)?.parse().ok()?;
    let parent = fields.get(1)?.parse().ok()?;
    Some((Process { pid, start, name }, parent))
}

/// Whether the process has the file open.
fn holds(pid: i32, file: (u64, u64)) -> bool {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    let is_it = |path: PathBuf| fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == file);
    entries.flatten().any(|e| is_it(e.path()))
}
