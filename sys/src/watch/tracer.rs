//! The watcher: a process between the caller and the command, made by fork alone.
//!
//! It may be the fork of a process with several threads, so it makes system calls only and allocates nothing.

use std::ffi::c_int;
use std::io;
use std::mem::zeroed;

use super::filter;

/// What is traced: whatever a traced process starts, and what the filter stops.
const OPTIONS: c_int = libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACESECCOMP;
/// Processes that watched ones have killed; when there are more, all count as such.
const VICTIMS: usize = 64;
/// Bytes of a line: the longest word, a pid, and a name of 15 characters.
const LINE: usize = 64;

/// Makes this process, which is to become the command, the watcher, and returns in the command's own process, traced.
pub fn fork(pipe: c_int) -> io::Result<()> {
    let (gate, opener) = gate()?;
    // SAFETY: parent and child make system calls only.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => pass(gate, opener),
        command => Watcher::new(pipe, command).watch(opener),
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
fn pass(gate: c_int, opener: c_int) -> io::Result<()> {
    let mut is_watched = 0_u8;
    // SAFETY: there is room for the one byte.
    let read = unsafe {
        libc::close(opener);
        libc::read(gate, (&raw mut is_watched).cast(), 1)
    };
    match (read, is_watched) {
        (1, 1) => {
            // Where the kernel refuses the filter, what programs kill themselves counts as killed.
            let _ = filter::install();
            Ok(())
        }
        (1, _) => Ok(()),
        _ => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

struct Watcher {
    pipe: c_int,
    command: c_int,
    /// Its status, when it has just ended.
    ended: Option<c_int>,
    /// Whether the caller still listens: until it is told that the command has ended.
    is_heard: bool,
    victims: [c_int; VICTIMS],
    victim_count: usize,
}

impl Watcher {
    fn new(pipe: c_int, command: c_int) -> Self {
        Self {
            pipe,
            command,
            ended: None,
            is_heard: true,
            victims: [0; VICTIMS],
            victim_count: 0,
        }
    }

    /// Lets the command go and watches until nothing of it is left. Never returns.
    fn watch(&mut self, opener: c_int) -> ! {
        // SAFETY: system calls without memory of ours.
        let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, self.command, 0, OPTIONS) == 0 };
        if !seized {
            self.say("blind", errno(), &[]);
        }
        let is_watched = u8::from(seized);
        // SAFETY: the byte is there. The caller waits until nobody holds what the command is made with.
        unsafe {
            libc::write(opener, (&raw const is_watched).cast(), 1);
            libc::close_range(0, self.pipe.unsigned_abs() - 1, 0);
            libc::close_range(self.pipe.unsigned_abs() + 1, libc::c_uint::MAX, 0);
        }
        let states = libc::WEXITED | if seized { libc::WSTOPPED } else { 0 };
        while let Some(event) = next(states) {
            self.answer(&event);
            if let Some(status) = self.ended.take() {
                // Those that were killed shortly before it ended.
                while let Some(event) = next(states | libc::WNOHANG) {
                    self.answer(&event);
                }
                self.say("ended", status, &[]);
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
            _ => self.bury(pid, event.si_code, status),
        }
    }

    /// A stopped process: a signal for it, which it gets, or an event.
    fn go_on(&mut self, pid: c_int, status: c_int) {
        let (signal, event) = (status & 0xff, status >> 8);
        match event {
            0 => resume(libc::PTRACE_CONT, pid, signal),
            libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => {
                resume(libc::PTRACE_LISTEN, pid, 0)
            }
            libc::PTRACE_EVENT_SECCOMP => {
                self.note_victim(pid);
                resume(libc::PTRACE_CONT, pid, 0);
            }
            _ => resume(libc::PTRACE_CONT, pid, 0),
        }
    }

    /// A process is about to send a signal: notes whom it kills.
    fn note_victim(&mut self, pid: c_int) {
        // SAFETY: all of it may be zero, and the kernel writes no more than its size.
        let (got, info) = unsafe {
            let mut info: libc::ptrace_syscall_info = zeroed();
            let size = size_of::<libc::ptrace_syscall_info>();
            let got = libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, size, &raw mut info);
            (got, info)
        };
        if got <= 0 || info.op != libc::PTRACE_SYSCALL_INFO_SECCOMP {
            return;
        }
        // SAFETY: the kernel says that this is what was filled in.
        let call = unsafe { info.u.seccomp };
        let is_it = |(number, _): &&(i64, usize)| *number as u64 == call.nr;
        let Some((number, place)) = filter::SENDERS.iter().find(is_it) else {
            return;
        };
        if call.args[*place] as c_int != libc::SIGKILL {
            return;
        }
        let target = call.args[0] as c_int;
        let is_process = *number != libc::SYS_pidfd_send_signal && target > 0;
        match self.victims.get_mut(self.victim_count) {
            Some(place) if is_process => {
                *place = target;
                self.victim_count += 1;
            }
            _ => self.victim_count = usize::MAX,
        }
    }

    /// A process that has ended: named where it was killed from outside.
    fn bury(&mut self, pid: c_int, code: c_int, status: c_int) {
        let by_kill = code == libc::CLD_KILLED && status == libc::SIGKILL;
        if by_kill && self.is_heard && !self.is_victim(pid) {
            let mut name = [0; LINE];
            let length = read_name(pid, &mut name);
            self.say("killed", pid, &name[..length]);
        }
        let mut status = 0;
        // SAFETY: there is room for the status.
        let buried = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        if buried == self.command {
            self.ended = Some(status);
        }
    }

    fn is_victim(&self, pid: c_int) -> bool {
        match self.victims.get(..self.victim_count) {
            Some(victims) => victims.contains(&pid),
            None => true,
        }
    }

    /// Writes a line: a word, a number, and what more there is.
    fn say(&self, word: &str, number: c_int, more: &[u8]) {
        let mut line = [0_u8; 2 * LINE];
        let mut digits = [0_u8; 12];
        let parts: [&[u8]; 5] = [
            word.as_bytes(),
            b" ",
            decimal(number, &mut digits),
            more,
            b"\n",
        ];
        let mut length = 0;
        for part in parts {
            let end = (length + part.len()).min(line.len());
            line[length..end].copy_from_slice(&part[..end - length]);
            length = end;
        }
        // SAFETY: so many bytes are there.
        unsafe { libc::write(self.pipe, line.as_ptr().cast(), length) };
    }
}

/// The next process that has stopped or ended; it waits to be resumed or buried. None when there is none.
fn next(states: c_int) -> Option<libc::siginfo_t> {
    let flags = states | libc::__WALL | libc::WNOWAIT;
    loop {
        // SAFETY: all of it may be zero, and there is room for it.
        let mut event: libc::siginfo_t = unsafe { zeroed() };
        match unsafe { libc::waitid(libc::P_ALL, 0, &raw mut event, flags) } {
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

/// Reads a space and the name of a process; tells how many bytes that are.
fn read_name(pid: c_int, name: &mut [u8; LINE]) -> usize {
    let mut digits = [0_u8; 12];
    let mut path = [0_u8; LINE];
    let mut length = 0;
    for part in [b"/proc/".as_slice(), decimal(pid, &mut digits), b"/comm"] {
        path[length..length + part.len()].copy_from_slice(part);
        length += part.len();
    }
    name[0] = b' ';
    // SAFETY: the path ends with a zero byte, and there is room for so many bytes of the name.
    let read = unsafe {
        let file = libc::open(path.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC);
        let read = libc::read(file, name[1..].as_mut_ptr().cast(), LINE - 1);
        libc::close(file);
        read
    };
    // It ends with a newline.
    let length = usize::try_from(read).unwrap_or(0).max(1);
    for byte in name[..length]
        .iter_mut()
        .filter(|b| !(b' '..=b'~').contains(*b))
    {
        *byte = b'?';
    }
    length
}

fn decimal(number: c_int, digits: &mut [u8; 12]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return &digits[at..];
        }
    }
}

fn errno() -> c_int {
    // SAFETY: the C library's own place for it, of this thread.
    unsafe { *libc::__errno_location() }
}
