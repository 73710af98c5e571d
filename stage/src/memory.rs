//! How much RAM a stage took.

use std::sync::atomic::{AtomicU64, Ordering};

/// What processes took that this one does not wait for, in KiB.
static REPORTED: AtomicU64 = AtomicU64::new(0);

/// Highest resident size so far, in KiB: of this process, of the largest one that it ran and waited for, or what was
/// [reported](report_peak).
pub fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let own = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
    let children = sys::process::children_peak_kib();
    let reported = REPORTED.load(Ordering::Relaxed);
    own.unwrap_or(0).max(children).max(reported)
}

/// Counts what a process took that is left to end by itself, in KiB.
pub fn report_peak(kib: u64) {
    REPORTED.fetch_max(kib, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reported_peak_counts() {
        assert!(peak_kib() > 0);
        report_peak(1 << 40);
        report_peak(1);
        assert_eq!(peak_kib(), 1 << 40);
    }
}
