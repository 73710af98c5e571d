//! RAM is counted before it is used.
//!
//! Two moments count. *While deploying* the initramfs still lies in RAM, beside the image and this
//! program's buffers. *Afterwards* the initramfs is gone, and the system wants its reserve.

use crate::pages;
use crate::stop::{Result, Stop};

/// What this program itself may use beside the image, in bytes.
pub const WORKING_BYTES: u64 = 48 << 20;

const MIB: u64 = 1 << 20;

/// RAM that must be available before deployment begins, in bytes.
pub fn need(data_bytes: u64, reserve_bytes: u64, initramfs_bytes: u64) -> u64 {
    let image = pages::round_up(data_bytes);
    // brd's index of pages: eight bytes a page in a tree that is at least an eighth full on average.
    let index = image / pages::PAGE as u64 * 16;
    let during = image + index + WORKING_BYTES;
    let after = (image + index + reserve_bytes).saturating_sub(initramfs_bytes);
    during.max(after)
}

/// `MemAvailable` in bytes, from the text of /proc/meminfo.
pub fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Refuses when `need` is more than `available`, both in bytes.
///
/// # Errors
/// A sentence with both figures.
pub fn check(need: u64, available: u64) -> Result<()> {
    if need <= available {
        return Ok(());
    }
    let (need, available) = (need.div_ceil(MIB), available / MIB);
    Err(Stop::new(
        format!(
            "too little RAM: the image in RAM needs {need} MiB available, this machine has {available} MiB"
        ),
        format!(
            "add at least {} MiB or build a smaller image",
            need - available
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_moment_decides() {
        let image = 512 * MIB;
        let index = image / 256;
        assert_eq!(need(image, 0, 0), image + index + WORKING_BYTES);
        assert_eq!(need(image, 200 * MIB, 100 * MIB), image + index + 100 * MIB);
        assert_eq!(need(1, 0, u64::MAX), 4096 + 16 + WORKING_BYTES);
    }

    #[test]
    fn meminfo_is_read() {
        let text = "MemTotal:  2000000 kB\nMemFree: 5 kB\nMemAvailable:    1000 kB\n";
        assert_eq!(available(text), Some(1_024_000));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn the_refusal_has_both_figures() {
        assert_eq!(check(MIB, MIB), Ok(()));
        let text = check(700 * MIB + 1, 371 * MIB + 5).unwrap_err().to_string();
        assert_eq!(
            text,
            "too little RAM: the image in RAM needs 701 MiB available, this machine has 371 MiB; \
             add at least 330 MiB or build a smaller image"
        );
    }
}
