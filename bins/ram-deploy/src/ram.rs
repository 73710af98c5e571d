//! RAM is counted before it is used.
//!
//! Two moments count. *While deploying* the initramfs still lies in RAM, beside the image and this
//! program's buffers. *Afterwards* the initramfs is gone, and the system wants its reserve.

use crate::cmdline::Cmdline;
use crate::pages;
use crate::stop::{Result, Stop};
use crate::store::Kind;

/// What this program itself may use beside the image, in bytes.
pub const WORKING_BYTES: u64 = 48 << 20;

/// RAM that a small system needs at its login prompt, in bytes; the initramfs gives its own back for that. Debian 12 (Linux
/// 6.1, 528 MiB, brd): 63 MiB beside the RAM store with the page cache dropped, 26 MiB written, 48 MiB available then.
pub const RESERVE_BYTES: u64 = 96 << 20;

/// The word on the kernel command line that raises the reserve, in MiB.
const RESERVE_WORD: &str = "rd.ramforge.reserve";
/// More MiB than any machine has, and few enough to count with in bytes.
const MOST_RESERVE_MIB: u64 = 1 << 32;

/// What of the reserve is for writing in a brd; inode tables beyond it are counted.
const TABLES_IN_RESERVE: u64 = 24 << 20;

/// Bytes of file system that an entry of ext4's inode tables serves, and the entry's size.
const EXT4_INODE_RATIO: u64 = 16_384;
const EXT4_INODE_SIZE: u64 = 256;

/// RAM that a page takes in its file's or device's index, in bytes: eight in a tree that is at least half full on average.
pub const INDEX_BYTES: u64 = 16;

/// RAM that a file takes in a tmpfs beside its pages, in bytes: inode, name, and some attributes. Linux 6.1 takes 1.0 KiB
/// for one without attributes.
pub const INODE_BYTES: u64 = 1280;

/// A tmpfs of ours has one more inode for so many bytes of room, as ext4 has it.
pub const INODE_RATIO: u64 = 16_384;

const MIB: u64 = 1 << 20;

/// The reserve in force, in bytes: what `rd.ramforge.reserve=MIB` on the kernel command line says of an image whose services
/// take more than a small system, and never less than `least_bytes`.
///
/// # Errors
/// A sentence where the word has no number, or one beyond all machines.
pub fn reserve(cmdline: &Cmdline, least_bytes: u64) -> Result<u64> {
    let Some(text) = cmdline.value(RESERVE_WORD) else {
        return Ok(least_bytes);
    };
    match cmdline.number(RESERVE_WORD) {
        Ok(Some(mib)) if mib > MOST_RESERVE_MIB => {
            Err(no_reserve(text, "is more than any machine has"))
        }
        Ok(mib) => Ok(least_bytes.max(mib.unwrap_or(0) * MIB)),
        Err(_) => Err(no_reserve(text, "is not a number")),
    }
}

/// A value of the word that is none.
fn no_reserve(text: &str, fact: &str) -> Stop {
    Stop::new(
        format!(
            "kernel command line: {RESERVE_WORD}={text} {fact}; \
             expected a number of MiB without a unit, at most {MOST_RESERVE_MIB}"
        ),
        "correct it in the boot menu",
    )
}

/// What the word [`reserve`] reads has made of a need: a refusal names it, for neither the image nor the machine is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raised {
    /// The reserve in force, in MiB.
    mib: u64,
    /// The need without the word, in bytes.
    without: u64,
}

impl Raised {
    /// `None` where the `need` is what it is `without` the word, both in bytes: where there is none, where it says no more than
    /// [`RESERVE_BYTES`], and where the deployment itself needs more.
    pub fn of(reserve_bytes: u64, need: u64, without: u64) -> Option<Self> {
        let mib = reserve_bytes / MIB;
        (need > without).then_some(Self { mib, without })
    }

    /// The way out that it offers on a machine where so many bytes are `available` and `more_mib` are lacking.
    fn way_out(self, available: u64, more_mib: u64) -> String {
        match self.without.checked_sub(available) {
            Some(lacking @ 1..) => {
                let mib = lacking.div_ceil(MIB);
                format!(", or {mib} without {RESERVE_WORD}")
            }
            _ => {
                let fits = self.mib.saturating_sub(more_mib);
                let fits = fits.max(RESERVE_BYTES / MIB);
                format!(", or set {RESERVE_WORD}={fits} in the boot menu")
            }
        }
    }
}

/// RAM that the image takes in a brd, in bytes: its pages, and the index of them.
pub fn brd(data_bytes: u64) -> u64 {
    let image = pages::round_up(data_bytes);
    image + image / pages::PAGE as u64 * INDEX_BYTES
}

/// RAM in bytes that a brd of `disk_bytes` takes for the inode tables of the root that grows to it: the kernel writes
/// them, zeros as they are.
pub fn inode_tables(image_bytes: u64, disk_bytes: u64) -> u64 {
    disk_bytes.saturating_sub(image_bytes) / EXT4_INODE_RATIO * EXT4_INODE_SIZE
}

/// The reserve in bytes of a system whose root gets so many bytes of inode tables in a brd.
pub fn reserve_in_brd(reserve_bytes: u64, tables: u64) -> u64 {
    reserve_bytes.saturating_add(tables.saturating_sub(TABLES_IN_RESERVE))
}

/// RAM that the image takes in a zram of `disk_bytes`, in bytes: what was measured of its pages, and the table of all
/// pages of the device, those without content too (`struct zram_table_entry`).
pub fn zram(stored_bytes: u64, disk_bytes: u64) -> u64 {
    stored_bytes + disk_bytes / pages::PAGE as u64 * 24
}

/// RAM that the image takes unpacked into a tmpfs, in bytes: the pages of files are among those of the image, and each of
/// its `entries` has an inode and a name in the kernel.
pub fn tmpfs(data_bytes: u64, entries: u64) -> u64 {
    brd(data_bytes) + entries * INODE_BYTES
}

/// RAM that the compressed image takes as a file, in bytes: its pages and the index of them, as in a brd. What is written
/// to the overlay is the system's, and within its reserve.
pub fn erofs(data_bytes: u64) -> u64 {
    brd(data_bytes)
}

/// RAM that must be available before deployment begins, in bytes, for `image` bytes in RAM.
pub fn need(image: u64, reserve_bytes: u64, initramfs_bytes: u64) -> u64 {
    let during = image + WORKING_BYTES;
    let after = (image + reserve_bytes).saturating_sub(initramfs_bytes);
    during.max(after)
}

/// Room in bytes that files may have in a tmpfs, so that it takes no more than `limit` bytes of RAM when it is full of
/// pages and of inodes: `inodes`, and one more for each [`INODE_RATIO`] of the room.
pub fn room(limit: u64, inodes: u64) -> u64 {
    let index = INODE_RATIO / pages::PAGE as u64 * INDEX_BYTES;
    let left = limit.saturating_sub(inodes.saturating_mul(INODE_BYTES));
    left / (INODE_RATIO + index + INODE_BYTES) * INODE_RATIO
}

/// What a RAM store that compresses or grows may take at most, in bytes, so that the system keeps its reserve: a write
/// beyond that fails, instead of the system dying of it. `None` where the kernel does not tell what is available.
pub fn limit(reserve_bytes: u64, initramfs_bytes: u64) -> Option<u64> {
    Some(limit_of(available_now()?, reserve_bytes, initramfs_bytes))
}

/// [`limit`] where so many bytes are `available`.
fn limit_of(available: u64, reserve_bytes: u64, initramfs_bytes: u64) -> u64 {
    let all = available.saturating_add(initramfs_bytes);
    all.saturating_sub(reserve_bytes).max(MIB)
}

/// `MemAvailable` of this machine in bytes, where its kernel tells.
pub fn available_now() -> Option<u64> {
    available(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

/// `MemAvailable` in bytes, from the text of /proc/meminfo.
pub fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// How many MiB a machine lacks, from the sentence of [`check`].
pub fn lacking_mib(sentence: &str) -> Option<u64> {
    let number = |behind: &str| {
        let (_, rest) = sentence.split_once(behind)?;
        rest.split(' ').next()?.parse::<u64>().ok()
    };
    number(" needs ")?.checked_sub(number(" this machine has ")?)
}

/// Refuses when the need of `store` is more than `available`, both in bytes, and names the first of the `others` that
/// fits, and the word that has `raised` the need.
///
/// # Errors
/// A sentence with the figures.
pub fn check(
    store: Kind,
    need: u64,
    available: u64,
    others: &[(Kind, u64)],
    raised: Option<Raised>,
) -> Result<()> {
    if need <= available {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(MIB);
    let more = mib(need) - available / MIB;
    let fits = others.iter().find(|(_, need)| *need <= available);
    let less = raised.map(|raised| raised.way_out(available, more));
    let add = format!("add at least {more} MiB{}", less.unwrap_or_default());
    let way_out = match fits {
        Some((other, need)) => format!(
            "set rd.ramforge.store={} in the boot menu, which needs {} MiB, or {add}",
            other.name(),
            mib(*need)
        ),
        None if raised.is_some() => format!("{add}, or build a smaller image"),
        None => format!("{add} or build a smaller image"),
    };
    let left =
        raised.map(|Raised { mib, .. }| format!(", to leave {mib} to the system ({RESERVE_WORD})"));
    Err(Stop::new(
        format!(
            "too little RAM: the image in RAM ({}) needs {} MiB available{}, this machine has {} MiB",
            store.name(),
            mib(need),
            left.unwrap_or_default(),
            available / MIB
        ),
        way_out,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_moment_decides() {
        let image = 512 * MIB;
        assert_eq!(brd(image), image + image / 256);
        assert_eq!(brd(1), 4096 + 16);
        assert_eq!(tmpfs(1, 2), 4096 + 16 + 2560);
        assert_eq!(zram(MIB, image), MIB + 3 * MIB);
        assert_eq!(need(image, 0, 0), image + WORKING_BYTES);
        assert_eq!(need(image, 200 * MIB, 100 * MIB), image + 100 * MIB);
        assert_eq!(need(1, 0, u64::MAX), 1 + WORKING_BYTES);
    }

    /// The reserve in force with the word of that value.
    fn reserve_of(value: &str) -> Result<u64> {
        let line = Cmdline::parse(&format!("quiet rd.ramforge.reserve={value}"));
        reserve(&line, RESERVE_BYTES)
    }

    #[test]
    fn the_word_raises_the_reserve_and_never_lowers_it() {
        assert_eq!(reserve(&Cmdline::parse(""), 7), Ok(7));
        for (value, mib) in [("0", 96), ("96", 96), ("97", 97), ("400", 400)] {
            assert_eq!(reserve_of(value), Ok(mib * MIB), "{value}");
        }
        assert_eq!(reserve_of("0x100"), Ok(256 * MIB));
        assert_eq!(reserve_of("400 rd.ramforge.reserve=200"), Ok(200 * MIB));
        assert_eq!(reserve_of("4294967296"), Ok(1 << 52));
    }

    #[test]
    fn a_reserve_that_no_machine_has_is_one_sentence() {
        let refused = |value: &str| reserve_of(value).unwrap_err().to_string();
        assert_eq!(
            refused("4294967297"),
            "kernel command line: rd.ramforge.reserve=4294967297 is more than any machine has; \
             expected a number of MiB without a unit, at most 4294967296; correct it in the boot menu"
        );
        for value in ["", "400M", "-1", "1.5", "18446744073709551616"] {
            assert_eq!(
                refused(value),
                format!(
                    "kernel command line: rd.ramforge.reserve={value} is not a number; \
                     expected a number of MiB without a unit, at most 4294967296; correct it in the boot menu"
                )
            );
        }
    }

    #[test]
    fn a_store_may_take_what_the_reserve_leaves() {
        assert_eq!(limit_of(900 * MIB, 400 * MIB, 20 * MIB), 520 * MIB);
        assert_eq!(limit_of(MIB, 1 << 52, 0), MIB);
    }

    #[test]
    fn inode_tables_of_a_large_disk_are_counted() {
        let (image, gib) = (512 * MIB, 1024 * MIB);
        assert_eq!(inode_tables(image, 2 * gib), 24 * MIB);
        assert_eq!(inode_tables(image, image - 1), 0);
        assert_eq!(reserve_in_brd(RESERVE_BYTES, 24 * MIB), RESERVE_BYTES);
        let large = inode_tables(image, 64 * gib);
        let reserve = reserve_in_brd(RESERVE_BYTES, large);
        assert_eq!(reserve, RESERVE_BYTES + (1024 - 8 - 24) * MIB);
        assert_eq!(
            reserve_in_brd(1, u64::MAX),
            u64::MAX - TABLES_IN_RESERVE + 1
        );
    }

    #[test]
    fn a_full_tmpfs_stays_within_its_limit() {
        for (limit, inodes) in [(100 * MIB, 1024), (MIB, 0), (7, 1), (8 << 40, 99_999)] {
            let room = room(limit, inodes);
            let full = tmpfs(room, inodes + room / INODE_RATIO);
            assert!(full <= limit || room == 0, "{full} bytes of {limit}");
            assert!(
                room == 0 || full + 20 * INODE_RATIO > limit,
                "{full} bytes of {limit}"
            );
        }
    }

    #[test]
    fn meminfo_is_read() {
        let text = "MemTotal:  2000000 kB\nMemFree: 5 kB\nMemAvailable:    1000 kB\n";
        assert_eq!(available(text), Some(1_024_000));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn what_the_medium_does_not_carry_is_not_offered() {
        let refused = |others: &[(Kind, u64)]| {
            let refused = check(Kind::Tmpfs, 512 * MIB, 371 * MIB, others, None);
            refused.unwrap_err().to_string()
        };
        let brd = (Kind::Brd, 500 * MIB);
        let erofs = "set rd.ramforge.store=erofs in the boot menu, which needs 240 MiB";
        assert!(refused(&[brd, (Kind::Erofs, 240 * MIB)]).contains(erofs));
        assert!(!refused(&[brd]).contains("erofs"));
    }

    #[test]
    fn the_refusal_has_both_figures_and_the_store_that_fits() {
        assert_eq!(check(Kind::Brd, MIB, MIB, &[], None), Ok(()));
        let refused = |others: &[(Kind, u64)]| {
            let refused = check(Kind::Brd, 700 * MIB + 1, 371 * MIB + 5, others, None);
            refused.unwrap_err().to_string()
        };
        assert_eq!(
            refused(&[(Kind::Zram, 372 * MIB)]),
            "too little RAM: the image in RAM (brd) needs 701 MiB available, this machine has 371 MiB; \
             add at least 330 MiB or build a smaller image"
        );
        assert_eq!(
            refused(&[(Kind::Zram, 239 * MIB + 1)]),
            "too little RAM: the image in RAM (brd) needs 701 MiB available, this machine has 371 MiB; \
             set rd.ramforge.store=zram in the boot menu, which needs 240 MiB, or add at least 330 MiB"
        );
        assert_eq!(lacking_mib(&refused(&[(Kind::Zram, 240 * MIB)])), Some(330));
        assert_eq!(lacking_mib("too little RAM: needs more"), None);
    }

    /// What is said where the word asks for `reserve` MiB beside an image of 500, of a machine with so many.
    fn refused_with(reserve: u64, available: u64, others: &[(Kind, u64)]) -> String {
        let need = |mib: u64| need(500 * MIB, mib * MIB, 30 * MIB);
        let raised = Raised::of(reserve * MIB, need(reserve), need(96));
        let refused = check(
            Kind::Brd,
            need(reserve),
            available * MIB + 5,
            others,
            raised,
        );
        refused.unwrap_err().to_string()
    }

    #[test]
    fn the_refusal_names_the_word_that_raised_the_need() {
        let said = refused_with(384, 832, &[]);
        assert_eq!(
            said,
            "too little RAM: the image in RAM (brd) needs 854 MiB available, to leave 384 to the system \
             (rd.ramforge.reserve), this machine has 832 MiB; add at least 22 MiB, or set rd.ramforge.reserve=362 in the \
             boot menu, or build a smaller image"
        );
        assert_eq!(lacking_mib(&said), Some(22));
        // What is proposed does.
        assert!(need(500 * MIB, 362 * MIB, 30 * MIB) <= 832 * MIB);
        let zram = refused_with(384, 832, &[(Kind::Zram, 700 * MIB)]);
        assert!(
            zram.ends_with(
                "; set rd.ramforge.store=zram in the boot menu, which needs 700 MiB, or add at least 22 MiB, \
                 or set rd.ramforge.reserve=362 in the boot menu"
            ),
            "{zram}"
        );
        assert_eq!(lacking_mib(&zram), Some(22));
    }

    #[test]
    fn less_of_the_word_is_offered_where_that_is_enough() {
        let said = refused_with(4000, 400, &[]);
        assert!(
            said.ends_with(
                "; add at least 4070 MiB, or 166 without rd.ramforge.reserve, or build a smaller image"
            ),
            "{said}"
        );
        assert_eq!(lacking_mib(&said), Some(4070));
        // No less is kept than without the word.
        let said = refused_with(97, 566, &[]);
        assert!(said.contains("or set rd.ramforge.reserve=96 in"), "{said}");
    }

    #[test]
    fn a_word_that_raises_nothing_is_not_named() {
        for reserve in [0, 96] {
            let said = refused_with(reserve, 400, &[]);
            assert!(!said.contains("rd.ramforge.reserve"), "{said}");
        }
        // While deploying there is less, whatever the system takes afterwards.
        let need = |mib: u64| need(500 * MIB, mib * MIB, 400 * MIB);
        assert_eq!(Raised::of(384 * MIB, need(384), need(96)), None);
        assert!(Raised::of(449 * MIB, need(449), need(96)).is_some());
    }
}
