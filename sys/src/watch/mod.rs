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
//! program kills itself is no event; a seccomp(2) filter shows the watcher whom. Nor is the end of those that the kernel
//! kills with their parent, if they wish so, or with the first process of a PID namespace of their own.
//! Death by other signals is how programs end each other and themselves, and not told.
//!
//! A process costs a handful of stops, some 50 µs together. Programs see a tracer and a filter in `/proc/self/status`, and
//! a parent between the caller and themselves; they cannot trace each other; a signal that a program ignores interrupts a
//! system call of it that waits.
//!
//! *Not seen:* one that is killed in the same moment in which the command ends, if nobody waits for it. *Counted though
//! they should not be:* those killed by 32-bit programs, and by timers that send SIGKILL.

#![allow(unsafe_code)]

mod filter;
mod proc;
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
    /// Why nothing was watched: what the system said. A host may forbid ptrace(2) or seccomp(2).
    pub blind: Option<io::Error>,
}

/// Runs a command, waits for it, and tells whether anything of it was killed from outside.
///
/// What it leaves running stays watched, but nobody is told any more.
///
/// # Errors
/// When it cannot be run, and when the watcher itself was killed.
pub fn run(mut command: Command) -> io::Result<Ended> {
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
                // Who does not see whom programs kill themselves cannot tell it from the rest.
                let killed = killed.filter(|_| blind.is_none());
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

    /// As the sandbox runs it: in a session of its own, with the power to set a filter.
    fn bash(script: &str) -> Command {
        use rustix::thread::UnshareFlags;
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        let uid = rustix::process::geteuid();
        let map = format!("0 {uid} 1");
        let prepare = move || {
            rustix::process::setsid()?;
            if !uid.is_root() {
                // SAFETY: no file descriptor table is unshared.
                unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER)? };
                std::fs::write("/proc/self/uid_map", &map)?;
            }
            Ok(())
        };
        // SAFETY: system calls without memory.
        unsafe { command.pre_exec(prepare) };
        command
    }

    fn sh(script: &str) -> Ended {
        run(bash(script)).unwrap()
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
        let error = run(Command::new("/nonexistent")).unwrap_err();
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
        let mut command = bash(script);
        command.stdout(writer);
        let ended = run(command).unwrap();
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
            "timeout -s KILL 0.1 sleep 100; sh -c 'echo $$; kill -STOP $$'; true",
            "for i in $(seq 70); do sleep 100 & kill -9 $!; wait; done; sh -c 'echo $$; kill -STOP $$'; true",
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
            "trap '' TERM; kill 0; exit 0",
            "set -m; sleep 100 & kill -9 -- -$!; wait",
            "python3 -c 'import threading, time
for _ in range(3): threading.Thread(target=time.sleep, args=[100]).start()' & sleep 0.5; kill -9 $!; wait; true",
            "python3 -c 'import os, signal, subprocess
child = subprocess.Popen([\"sleep\", \"100\"])
signal.pidfd_send_signal(os.pidfd_open(child.pid), 9)
child.wait()'",
            "setpriv --pdeathsig KILL sleep 100 & sleep 0.3",
            "timeout -s KILL 0.1 sleep 100; true",
            "setsid sh -c 'sleep 100 & kill -9 0'; true",
            "yes | head -n 1 >/dev/null",
            "sh -c 'kill -SEGV $$'; true",
            "unshare -pf sh -c 'sleep 100 & exit 0'",
        ] {
            let ended = sh(script);
            assert!(ended.status.success(), "{script}: {ended:?}");
            assert_eq!(ended.killed, None, "{script}");
            assert!(ended.blind.is_none(), "{script}: {ended:?}");
        }
    }

    #[test]
    fn it_does_not_wait_for_what_runs_on() {
        let (reader, writer) = io::pipe().unwrap();
        let script = "sleep 1000 >/dev/null 2>&1 & echo $!";
        let mut command = bash(script);
        command.stdout(writer);
        let ended = run(command).unwrap();
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
        let mut command = bash("echo $PPID; exec sleep 1000");
        command.stdout(writer);
        let error = run(command).unwrap_err();
        killer.join().unwrap();
        assert!(error.to_string().contains("SIGKILL"), "{error}");
    }

    #[test]
    fn stopped_programs_stay_stopped_until_they_are_continued() {
        let script = "sleep 0.2 & kill -STOP $!; sleep 0.5; kill -0 $! && kill -CONT $! && wait $!";
        assert!(sh(script).status.success());
    }
}
