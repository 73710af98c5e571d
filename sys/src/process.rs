//! What the system counts of processes.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// The most that a single one of the processes held in RAM which this one, or a child of it, has waited for; in KiB
/// (getrusage(2), `ru_maxrss`). 0 where there was none.
pub fn children_peak_kib() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is good for a whole rusage, all of whose bits may be zero.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    u64::try_from(usage.ru_maxrss).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_was_waited_for_counts() {
        let status = std::process::Command::new("true").status().unwrap();
        assert!(status.success() && children_peak_kib() > 0);
    }
}
