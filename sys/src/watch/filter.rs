//! The seccomp(2) filter that stops a watched program where it sends a signal.

use std::io;

/// The system calls that send a signal, and which of their arguments, counted from 0, is the signal.
pub const SENDERS: [(i64, usize); 6] = [
    (libc::SYS_kill, 1),
    (libc::SYS_tkill, 1),
    (libc::SYS_tgkill, 2),
    (libc::SYS_rt_sigqueueinfo, 1),
    (libc::SYS_rt_tgsigqueueinfo, 2),
    (libc::SYS_pidfd_send_signal, 1),
];

/// This machine's number in `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// Where `struct seccomp_data` has the number of the system call, and the machine it is one of.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const LENGTH: usize = SENDERS.len() + 5;

/// Calls of another machine's numbers pass, and so does everything that sends no signal.
const PROGRAM: [libc::sock_filter; LENGTH] = {
    let pass = libc::SECCOMP_RET_ALLOW;
    let mut program = [step(RETURN, pass, 0, 0); LENGTH];
    program[0] = step(LOAD, ARCH, 0, 0);
    program[1] = step(EQUAL, AUDIT_ARCH, 0, SENDERS.len() as u8 + 1);
    program[2] = step(LOAD, NUMBER, 0, 0);
    let mut at = 0;
    while at < SENDERS.len() {
        let to_stop = (SENDERS.len() - at) as u8;
        program[3 + at] = step(EQUAL, SENDERS[at].0 as u32, to_stop, 0);
        at += 1;
    }
    program[LENGTH - 1] = step(RETURN, libc::SECCOMP_RET_TRACE, 0, 0);
    program
};

const fn step(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Installs it in this process and all it starts. Without memory, for between fork and exec.
pub fn install() -> io::Result<()> {
    let program = libc::sock_fprog {
        len: LENGTH as u16,
        filter: PROGRAM.as_ptr().cast_mut(),
    };
    // Without the flag kernels before 5.16 make every watched program slower than need be.
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: the kernel reads the program, which is a constant.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
