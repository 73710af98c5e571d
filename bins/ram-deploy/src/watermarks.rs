//! The kernel's watermarks: RAM that it keeps free for itself, and that `MemAvailable` does not offer.
//!
//! For transparent huge pages Linux keeps 66 to 73 MiB free from 512 MiB of RAM on (`khugepaged`), a tenth of that without
//! them. Where an image leaves little of the RAM it would not fit for that, or the system would read its files from the
//! RAM store again and again, with RAM free beside it. Such a machine gets what Linux has without huge pages, until the
//! system changes huge pages or memory, or sets `vm.min_free_kbytes` anew.

use std::fs;

use crate::console::Console;

/// RAM beyond the need, in bytes, with which the kernel's own choice stays.
pub const AMPLE: u64 = 256 << 20;

const MIN_FREE: &str = "/proc/sys/vm/min_free_kbytes";

/// Lowers them to what Linux has without huge pages, where they are higher.
pub fn lower(console: &Console) {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let Some((before, after)) = change(&read(MIN_FREE), &read("/proc/meminfo")) else {
        return;
    };
    console.log(&match fs::write(MIN_FREE, after.to_string()) {
        Ok(()) => format!("little RAM is left: vm.min_free_kbytes was {before}, is {after}"),
        // Whether the image fits is counted afterwards, and said.
        Err(e) => format!("vm.min_free_kbytes={after}: {e}"),
    });
}

/// What `vm.min_free_kbytes` is and could be, from its text and that of /proc/meminfo.
fn change(min_free: &str, meminfo: &str) -> Option<(u64, u64)> {
    let total = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let total = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let (before, after) = (min_free.trim().parse().ok()?, plain(total));
    (after < before).then_some((before, after))
}

/// What Linux sets for so many KiB of RAM (`calculate_min_free_kbytes`).
fn plain(total_kib: u64) -> u64 {
    total_kib.saturating_mul(16).isqrt().clamp(128, 262_144)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_only_sink() {
        let meminfo = "MemTotal:        1000000 kB\nMemFree: 5 kB\n";
        assert_eq!(change("45056\n", meminfo), Some((45_056, 4000)));
        assert_eq!(change("4000\n", meminfo), None);
        assert_eq!(change("", meminfo), None);
        assert_eq!(change("45056\n", ""), None);
        assert_eq!((plain(1), plain(u64::MAX)), (128, 262_144));
    }
}
