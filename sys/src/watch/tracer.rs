//! The watcher: a process between the caller and the command, made by fork alone.
//!
//! It may be the fork of a process with several threads, so it makes system calls only and allocates nothing.

use std::ffi::c_int;
use std::io;
use std::mem::zeroed;
use std::ptr::null_mut;

use super::filter;
use super::proc::{self, LINE, decimal, join};

/// What is traced: whatever a traced process starts, and what the filter stops. Nothing goes on without the watcher.
const OPTIONS: c_int = libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACESECCOMP
    | libc::PTRACE_O_EXITKILL;
/// So many that watched ones have killed last, and that have not ended yet, are known.
const VICTIMS: usize = 64;
/// File descriptors that are closed one by one where the kernel cannot close them all.
const DESCRIPTORS: c_int = 1 << 16;

/// Makes this process, which is to become the command, the watcher, and returns in the command's own process, traced.
///
/// # Errors
/// In the command's process, where there can be no watcher.
pub fn fork(pipe: c_int) -> io::Result<()> {
    let (gate, opener) = gate()?;
    // SAFETY: parent and child make system calls only. Not fork(3), which runs handlers that may need other threads.
    match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => pass(gate, opener, pipe),
        command => Watcher::new(pipe, command as c_int).watch(opener),
    }
}

/// A pipe behind whose reading end the command waits until it is traced.
fn gate() -> io::Result<(c_int, c_int)> {
    let mut ends = [0; 2];
    // SAFETY: there is room for both ends.
    match unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } {
        0 => Ok((ends[0], ends[1])),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The command's side: through the gate, which says whether a watcher is there, with the filter if so.
fn pass(gate: c_int, opener: c_int, pipe: c_int) -> io::Result<()> {
    // SAFETY: system calls without memory. A session that was made for the command is the watcher's up to here.
    unsafe {
        if libc::getpgrp() == libc::getppid() {
            libc::setsid();
        }
        libc::close(opener);
    }
    let mut is_watched = 0_u8;
    // SAFETY: there is room for the one byte.
    while unsafe { libc::read(gate, (&raw mut is_watched).cast(), 1) } != 1 {
        if errno() != libc::EINTR {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
    if is_watched == 1
        && let Err(e) = filter::install()
    {
        say(pipe, "blind", e.raw_os_error().unwrap_or(0), &[]);
    }
    Ok(())
}

struct Watcher {
    pipe: c_int,
    command: c_int,
    /// Its status, when it has just ended.
    ended: Option<c_int>,
    /// Whether the caller still listens: until it is told that the command has ended.
    is_heard: bool,
    /// Whom watched programs have killed: pids, process groups as negative numbers, -1 for all; 0 is a free place.
    victims: [c_int; VICTIMS],
    /// The place of the next one.
    next_victim: usize,
}

impl Watcher {
    fn new(pipe: c_int, command: c_int) -> Self {
        Self {
            pipe,
            command,
            ended: None,
            is_heard: true,
            victims: [0; VICTIMS],
            next_victim: 0,
        }
    }

    /// Lets the command go and watches until nothing of it is left. Never returns.
    fn watch(&mut self, opener: c_int) -> ! {
        block_signals();
        // SAFETY: a system call without memory of ours.
        let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, self.command, 0, OPTIONS) == 0 };
        if !seized {
            say(self.pipe, "blind", errno(), &[]);
        }
        let is_watched = u8::from(seized);
        // SAFETY: the byte is there.
        unsafe { libc::write(opener, (&raw const is_watched).cast(), 1) };
        close_all_but(self.pipe);
        let states = libc::WEXITED | if seized { libc::WSTOPPED } else { 0 };
        while let Some(event) = next(states) {
            self.answer(&event);
            if let Some(status) = self.ended.take() {
                // Those that were killed shortly before it ended.
                while let Some(event) = next(states | libc::WNOHANG) {
                    self.answer(&event);
                }
                say(self.pipe, "ended", status, &[]);
                self.is_heard = false;
            }
        }
        // SAFETY: ends this process at once, without what the caller has registered.
        unsafe { libc::_exit(0) }
    }

    fn answer(&mut self, event: &libc::siginfo_t) {
        // SAFETY: it comes from waitid, which fills in both.
        let (pid, status) = unsafe { (event.si_pid(), event.si_status()) };
        match event.si_code {
            libc::CLD_TRAPPED | libc::CLD_STOPPED => self.go_on(pid, status),
            code => self.bury(pid, code == libc::CLD_KILLED && status == libc::SIGKILL),
        }
    }

    /// A stopped process: a signal for it, which it gets, or an event.
    fn go_on(&mut self, pid: c_int, status: c_int) {
        let (signal, event) = (status & 0xff, status >> 8);
        match event {
            0 => resume(libc::PTRACE_CONT, pid, signal),
            libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => {
                resume(libc::PTRACE_LISTEN, pid, 0);
            }
            libc::PTRACE_EVENT_SECCOMP => {
                self.note_victim(pid);
                resume(libc::PTRACE_CONT, pid, 0);
            }
            _ => resume(libc::PTRACE_CONT, pid, 0),
        }
    }

    /// A process is about to kill: notes whom.
    fn note_victim(&mut self, pid: c_int) {
        // SAFETY: all of it may be zero, and the kernel writes no more than its size.
        let (got, info) = unsafe {
            let mut info: libc::ptrace_syscall_info = zeroed();
            let size = size_of::<libc::ptrace_syscall_info>();
            let got = libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, size, &raw mut info);
            (got, info)
        };
        if got <= 0 || info.op != libc::PTRACE_SYSCALL_INFO_SECCOMP {
            // Before Linux 5.3; or it was killed meanwhile itself.
            if self.is_heard && errno() != libc::ESRCH {
                say(self.pipe, "blind", errno(), &[]);
            }
            return;
        }
        // SAFETY: the kernel says that this is what was filled in.
        let call = unsafe { info.u.seccomp };
        let victim = match (call.nr as i64, call.args[0] as c_int) {
            (libc::SYS_prctl, libc::PR_SET_PDEATHSIG) => pid,
            (libc::SYS_prctl, _) => return,
            (libc::SYS_pidfd_send_signal, fd) => proc::of_pidfd(pid, fd),
            // SAFETY: a system call without memory of ours.
            (libc::SYS_kill, 0) => -unsafe { libc::getpgid(pid) },
            (_, target) => target,
        };
        // SAFETY: as before; signal 0 is none. Who is not there is not killed.
        if unsafe { libc::kill(victim, 0) } == 0 {
            self.victims[self.next_victim] = victim;
            self.next_victim = (self.next_victim + 1) % VICTIMS;
        }
    }

    /// A process that has ended: named where it was killed from outside.
    fn bury(&mut self, pid: c_int, is_killed: bool) {
        if is_killed
            && self.is_heard
            && is_leader(pid)
            && !self.is_victim(pid)
            && !proc::ends_with_namespace(pid)
        {
            let mut name = [0; LINE];
            let length = proc::name(pid, &mut name);
            say(self.pipe, "killed", pid, &name[..length]);
        }
        let mut status = 0;
        // SAFETY: there is room for the status.
        let buried = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        if let Some(place) = self.victims.iter_mut().find(|v| **v == pid) {
            *place = 0;
        }
        if buried == self.command && self.is_heard {
            self.ended = Some(status);
        }
    }

    fn is_victim(&self, pid: c_int) -> bool {
        // SAFETY: a system call without memory of ours.
        let group = unsafe { libc::getpgid(pid) };
        self.victims.iter().any(|v| [pid, -group, -1].contains(v))
    }
}

/// Whether it is a process and not one of its further threads: those die with it.
fn is_leader(pid: c_int) -> bool {
    // SAFETY: a system call without memory of ours; signal 0 is none.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, pid, 0) == 0 || errno() != libc::ESRCH }
}

/// Writes a line: a word, a number, and what more there is.
fn say(pipe: c_int, word: &str, number: c_int, more: &[u8]) {
    let mut line = [0; 2 * LINE];
    let mut digits = [0; 12];
    let number = decimal(number, &mut digits);
    let length = join(&[word.as_bytes(), b" ", number, more, b"\n"], &mut line);
    // SAFETY: so many bytes are there.
    unsafe { libc::write(pipe, line.as_ptr().cast(), length) };
}

/// What is sent to the command's session or process group is not for the watcher.
fn block_signals() {
    // SAFETY: the set is filled before it is read.
    unsafe {
        let mut all = zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, null_mut());
    }
}

/// Closes everything but the pipe: the caller waits until nobody holds what the command is made with.
fn close_all_but(pipe: c_int) {
    let (place, last) = (pipe.unsigned_abs(), libc::c_uint::MAX);
    // SAFETY: nothing in this process uses a file descriptor but the pipe.
    unsafe {
        let is_below = pipe == 0 || libc::close_range(0, place - 1, 0) == 0;
        if is_below && libc::close_range(place + 1, last, 0) == 0 {
            return;
        }
        // Before Linux 5.9.
        for fd in (0..DESCRIPTORS).filter(|fd| *fd != pipe) {
            libc::close(fd);
        }
    }
}

/// The next process that has stopped or ended; it waits to be resumed or buried. None when there is none.
fn next(states: c_int) -> Option<libc::siginfo_t> {
    let flags = states | libc::__WALL | libc::WNOWAIT;
    loop {
        // SAFETY: all of it may be zero, and there is room for it.
        let (done, event) = unsafe {
            let mut event: libc::siginfo_t = zeroed();
            let done = libc::waitid(libc::P_ALL, 0, &raw mut event, flags);
            (done, event)
        };
        match done {
            0 if event.si_signo == 0 => return None,
            0 => return Some(event),
            _ if errno() == libc::EINTR => {}
            _ => return None,
        }
    }
}

/// Resumes a stopped process. It may have been killed meanwhile: then it is reported again.
fn resume(how: libc::c_uint, pid: c_int, signal: c_int) {
    // SAFETY: a system call without memory of ours.
    unsafe { libc::ptrace(how, pid, 0, signal) };
}

fn errno() -> c_int {
    // SAFETY: the C library's own place for it, of this thread.
    unsafe { *libc::__errno_location() }
}
