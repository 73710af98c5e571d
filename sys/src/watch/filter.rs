//! The seccomp(2) filter that stops a watched program where it sends a SIGKILL.

use std::io;

/// The system calls that send a signal, or have the kernel send one (prctl(2), `PR_SET_PDEATHSIG`), and which of their
/// arguments, counted from 0, is the signal.
const SENDERS: [(i64, usize); 7] = [
    (libc::SYS_kill, 1),
    (libc::SYS_tkill, 1),
    (libc::SYS_tgkill, 2),
    (libc::SYS_rt_sigqueueinfo, 1),
    (libc::SYS_rt_tgsigqueueinfo, 2),
    (libc::SYS_pidfd_send_signal, 1),
    (libc::SYS_prctl, 1),
];

/// This machine's number in `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the number of this machine in linux/audit.h is missing");

/// Where `struct seccomp_data` has the number of the system call, and the machine it is one of.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// Where it has the lower half of an argument: little endian.
const fn argument(place: usize) -> u32 {
    16 + 8 * place as u32
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// Steps before those for the calls: load the machine, compare it, load the number.
const FIRST: usize = 3;
/// Steps for a call: is it the one, load its signal, is that SIGKILL, pass.
const EACH: usize = 4;
/// All steps; the last two pass and stop.
const LENGTH: usize = FIRST + SENDERS.len() * EACH + 2;

/// Calls of another machine's numbers pass, and so does everything that sends no SIGKILL.
static PROGRAM: [libc::sock_filter; LENGTH] = {
    let pass = libc::SECCOMP_RET_ALLOW;
    let mut program = [step(RETURN, pass, 0, 0); LENGTH];
    program[0] = step(LOAD, ARCH, 0, 0);
    program[1] = step(EQUAL, AUDIT_ARCH, 0, (LENGTH - 4) as u8);
    program[2] = step(LOAD, NUMBER, 0, 0);
    let mut index = 0;
    while index < SENDERS.len() {
        let (number, place) = SENDERS[index];
        let at = FIRST + index * EACH;
        let to_stop = (LENGTH - 1 - (at + 3)) as u8;
        program[at] = step(EQUAL, number as u32, 0, EACH as u8 - 1);
        program[at + 1] = step(LOAD, argument(place), 0, 0);
        program[at + 2] = step(EQUAL, libc::SIGKILL as u32, to_stop, 0);
        index += 1;
    }
    program[LENGTH - 1] = step(RETURN, libc::SECCOMP_RET_TRACE, 0, 0);
    program
};

const fn step(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Installs it in this process and all it starts. Without memory, for between fork and exec.
///
/// # Errors
/// Where the kernel or a filter of the host refuses it.
pub fn install() -> io::Result<()> {
    let program = libc::sock_fprog {
        len: LENGTH as u16,
        filter: PROGRAM.as_ptr().cast_mut(),
    };
    // Without the flag kernels before 5.16 make every watched program slower than need be.
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: the kernel reads the program, which is there for ever.
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
