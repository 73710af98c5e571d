//! Watches a command and everything it starts for death by SIGKILL: ptrace(2).
//!
//! Who runs a program is told how that program ended, and nothing of what it started in turn: a shell does not care for
//! most of a pipe, and a script may take the death of a program for an answer. The kernel tells the parent, and a
//! tracer. So there is one:
//!
//! ```text
//! caller ──spawns──▶ watcher ──forks, seizes──▶ the command ──▶ whatever it starts
//!    ▲                  │                           every one of them traced from its first instruction
//!    └──────pipe────────┘   "killed NAME", "ended STATUS"
//! ```
//!
//! SIGKILL is what others send: a person, the kernel when memory is short, a limit of the processor time. What a watched
//! program kills itself is no event; a seccomp(2) filter shows the watcher whom.
//! Death by other signals is how programs end each other and themselves, and not told.
//!
//! A process costs a handful of stops, some 50 µs together. Programs run as without a watcher, but for `TracerPid` in
//! `/proc/self/status`, and that they cannot trace each other.

#![allow(unsafe_code)]

mod filter;
mod tracer;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};

/// How a watched command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// A process of it that was killed from outside: its pid in this PID namespace, and its name.
    pub killed: Option<String>,
    /// Why nothing was watched: what the system said. A host may forbid tracing, by Yama or seccomp.
    pub blind: Option<io::Error>,
}

/// Runs a command, waits for it, and tells whether anything of it was killed from outside.
///
/// What it leaves running stays watched, but nobody is told any more.
///
/// # Errors
/// When it cannot be run, and when the watcher itself was killed.
pub fn run(command: &mut Command) -> io::Result<Ended> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let pipe = writer.as_raw_fd();
    // SAFETY: between fork and exec the closure makes system calls only and allocates nothing.
    unsafe { command.pre_exec(move || tracer::fork(pipe)) };
    let mut watcher = command.spawn()?;
    drop(writer);
    let ended = listen(reader);
    if ended.is_err() {
        return Err(lost(&mut watcher));
    }
    ended
}

/// The error that the watcher's silence is.
fn lost(watcher: &mut Child) -> io::Error {
    let _ = watcher.kill();
    let status = watcher
        .wait()
        .map_or_else(|e| e.to_string(), |s| s.to_string());
    io::Error::other(format!("what watched it ended with {status}"))
}

/// Reads what the watcher says, up to the end of the command.
fn listen(reader: OwnedFd) -> io::Result<Ended> {
    let (mut killed, mut blind) = (None, None);
    for line in BufReader::new(File::from(reader)).lines() {
        let line = line?;
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match (word, rest.parse()) {
            ("killed", _) => killed = Some(rest.to_owned()),
            ("blind", Ok(errno)) => blind = Some(io::Error::from_raw_os_error(errno)),
            ("ended", Ok(raw)) => {
                let status = ExitStatus::from_raw(raw);
                return Ok(Ended {
                    status,
                    killed,
                    blind,
                });
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Ended {
        run(Command::new("bash").args(["-c", script])).unwrap()
    }

    #[test]
    fn the_status_is_the_commands_own() {
        assert!(sh("true").status.success());
        assert_eq!(sh("exit 7").status.code(), Some(7));
        assert_eq!(sh("kill -TERM $$").status.signal(), Some(libc::SIGTERM));
        assert_eq!(sh("kill -KILL $$").status.signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn what_cannot_be_run_is_an_error() {
        let error = run(&mut Command::new("/nonexistent")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    /// Kills the process whose pid comes first.
    fn kill_whom(pids: io::PipeReader) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || {
            let mut pid = String::new();
            BufReader::new(pids).read_line(&mut pid).unwrap();
            let status = Command::new("kill").args(["-9", pid.trim()]).status();
            assert!(status.unwrap().success(), "{pid}");
        })
    }

    /// Runs a script that prints the pid of a process to be killed, and kills that one.
    fn killing(script: &str) -> Ended {
        let (reader, writer) = io::pipe().unwrap();
        let killer = kill_whom(reader);
        let ended = run(Command::new("bash").args(["-c", script]).stdout(writer)).unwrap();
        killer.join().unwrap();
        ended
    }

    #[test]
    fn who_is_killed_below_a_silent_parent_is_named() {
        let scripts = [
            "exec 3>&1; sh -c 'echo $$ >&3; kill -STOP $$' | cat >/dev/null; true",
            "if sh -c 'echo $$; kill -STOP $$'; then :; fi; true",
            "exec 3>&1; x=$(sh -c 'echo $$ >&3; kill -STOP $$'); true",
            "{ sh -c 'echo $$; kill -STOP $$' & wait; } 2>/dev/null",
        ];
        for script in scripts {
            let ended = killing(script);
            assert!(ended.status.success(), "{script}: {:?}", ended);
            let killed = ended.killed.unwrap_or_default();
            assert!(killed.ends_with(" sh"), "{script}: {killed:?}");
        }
    }

    #[test]
    fn what_programs_kill_themselves_is_nothing() {
        for script in [
            "sleep 100 & kill -9 $!; wait",
            "timeout -s KILL 0.1 sleep 100; true",
            "setsid sh -c 'sleep 100 & kill -9 0'; true",
            "yes | head -n 1 >/dev/null",
            "sh -c 'kill -SEGV $$'; true",
        ] {
            let ended = sh(script);
            assert!(ended.status.success(), "{script}");
            assert_eq!(ended.killed, None, "{script}");
        }
    }

    #[test]
    fn it_does_not_wait_for_what_runs_on() {
        let (reader, writer) = io::pipe().unwrap();
        let script = "sleep 1000 >/dev/null 2>&1 & echo $!";
        let ended = run(Command::new("bash").args(["-c", script]).stdout(writer)).unwrap();
        assert!(ended.status.success());
        let mut pid = String::new();
        BufReader::new(reader).read_line(&mut pid).unwrap();
        let status = Command::new("kill").arg(pid.trim()).status();
        assert!(status.unwrap().success(), "{pid}");
    }

    #[test]
    fn a_killed_watcher_is_an_error() {
        let (reader, writer) = io::pipe().unwrap();
        let killer = kill_whom(reader);
        let script = ["-c", "echo $PPID; exec sleep 2"];
        let error = run(Command::new("bash").args(script).stdout(writer)).unwrap_err();
        killer.join().unwrap();
        assert!(error.to_string().contains("SIGKILL"), "{error}");
    }

    #[test]
    fn stopped_programs_stay_stopped_until_they_are_continued() {
        let script = "sleep 0.2 & kill -STOP $!; sleep 0.5; kill -0 $! && kill -CONT $! && wait $!";
        assert!(sh(script).status.success());
    }
}
