//! What a running system says of its RAM, and what of it is the system's own.
//!
//! ```text
//! in use       = MemTotal − MemFree − free pages in the lists of the processors
//!                − huge pages of the command line − page cache that can be dropped
//! working set  = in use − the RAM store as it is + what was written into it
//! ```
//!
//! The lists of the processors are free pages that `MemFree` does not count, 11 MiB of them on a machine with 1 GiB and 1
//! MiB with 640 MiB: the kernel takes them back before anything fails. Mapped program files count as in use; in a tmpfs they
//! are the RAM store itself, and count once more, as in the other stores. Huge pages beyond those of the command line are
//! the system's own: a file of its own asks for them, and no other sum has them. Of the page cache what lies in a ramfs
//! cannot be dropped, nor is it shared or mapped: `Unevictable` has it, as an EROFS image from Linux 6.12 on. Locked pages
//! are there too, and are mapped.

use ram_deploy::ram;

use crate::model::{Facts, Own};

/// Where the kernel tells root how many pages a brd has, in a file for each.
pub(crate) const BRD_PAGES: &str = "/sys/kernel/debug/ramdisk_pages";
/// What stands before the figures that are read again with the page cache dropped.
pub(crate) const DROPPED: &str = "dropped:";

/// The figures of a system, as its shell printed them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures<'a> {
    text: &'a str,
}

/// The RAM store of a root, and what it holds, in KiB.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) store: &'static str,
    /// All that it takes.
    takes: u64,
    /// What the system wrote into it, where that is known: beside the image and inode tables.
    written: u64,
}

impl<'a> Figures<'a> {
    /// The figures with the page cache dropped, where they are there; else the others.
    pub(crate) fn last(text: &'a str) -> Self {
        let last = text.rsplit(&format!("{DROPPED}\n")).next();
        Self {
            text: last.unwrap_or(text),
        }
    }

    /// The number behind a name at the beginning of a line, in its own unit.
    fn number(&self, name: &str) -> Option<u64> {
        let rest = self
            .text
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(name))?;
        rest.split_ascii_whitespace().next()?.parse().ok()
    }

    /// How many programs the kernel has killed for lack of memory; `None` where the figures do not say it.
    pub(crate) fn killed(&self) -> Option<u64> {
        self.number("oom_kill ")
    }

    /// What the system takes for itself, in which RAM store; `None` where the figures do not say it.
    pub(crate) fn working_set(&self, facts: &Facts) -> Option<(Own, &'static str)> {
        let held = self.held(facts)?;
        let mapped = self.number("Mapped:")?;
        let again = if held.store == "tmpfs" { mapped } else { 0 };
        let own = self.in_use(facts)?.checked_add(again)?;
        let own = own.checked_sub(held.takes)?.checked_add(held.written)?;
        let all = self.number("MemTotal:")?;
        let written_kib = held.written.min(own);
        let own = Own {
            kib: own,
            mapped_kib: mapped.min(own - written_kib),
            written_kib,
        };
        (own.kib <= all).then_some((own, held.store))
    }

    fn in_use(&self, facts: &Facts) -> Option<u64> {
        let cache = self.sum(&["Cached:", "Buffers:"])?;
        let in_ramfs = self
            .number("Unevictable:")?
            .saturating_sub(self.number("Mlocked:")?);
        let stays = self.sum(&["Shmem:", "Mapped:"])?.checked_add(in_ramfs)?;
        let huge = self.number("Hugetlb:").unwrap_or(0);
        let huge = huge.min(kib(facts.huge_pages_bytes));
        let all = self.number("MemTotal:")?;
        let free = self.number("MemFree:")?.checked_add(self.lists()?)?;
        let used = all.checked_sub(free)?.checked_sub(huge)?;
        used.checked_sub(cache.saturating_sub(stays))
    }

    fn sum(&self, names: &[&str]) -> Option<u64> {
        let add = |sum: u64, name: &&str| sum.checked_add(self.number(name)?);
        names.iter().try_fold(0, add)
    }

    /// Free pages in the lists of the processors, in KiB.
    fn lists(&self) -> Option<u64> {
        let lists = self.text.lines().map(str::trim_start);
        let mut lists = lists.filter_map(|line| line.strip_prefix("count:"));
        lists.try_fold(0_u64, |sum, pages| {
            let pages: u64 = pages.trim().parse().ok()?;
            sum.checked_add(pages.checked_mul(PAGE / KIB)?)
        })
    }

    /// The RAM store, from what the root is mounted of.
    fn held(&self, facts: &Facts) -> Option<Held> {
        let root = self
            .text
            .lines()
            .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
            .find(|words| words.len() == 6 && words[5] == "/")?;
        let image = kib(facts.data_bytes.next_multiple_of(PAGE));
        match root[0] {
            device if device.starts_with("/dev/ram") => self.brd(facts, image, device),
            device if device.starts_with("/dev/zram") => self.zram(facts, image, device),
            "overlay" => erofs(facts, root[2].parse().ok()?),
            "tmpfs" => tmpfs(facts, image, root[2].parse().ok()?),
            _ => None,
        }
    }

    /// The kernel tells root how many pages a brd has; else it has those of the image.
    fn brd(&self, facts: &Facts, image: u64, device: &str) -> Option<Held> {
        let pages = match self.number(&format!("{BRD_PAGES}/{}:", disk(device))) {
            Some(pages) => within(pages, MOST_KIB / (PAGE / KIB))? * (PAGE / KIB),
            None => image,
        };
        let tables = match facts.resize {
            true => kib(ram::inode_tables(facts.image_bytes, facts.ramdisk_bytes)),
            false => 0,
        };
        Some(Held {
            store: "brd",
            takes: kib(ram::brd(pages * KIB)),
            written: pages.saturating_sub(image + tables),
        })
    }

    /// `mm_stat`: bytes of all pages, compressed, in use, a limit, the most in use, pages of one value.
    fn zram(&self, facts: &Facts, image: u64, device: &str) -> Option<Held> {
        let name = format!("/sys/block/{}/mm_stat:", disk(device));
        let line = self.text.lines().find_map(|l| l.strip_prefix(&name))?;
        let number = |n| line.split_ascii_whitespace().nth(n)?.parse::<u64>().ok();
        let pages = number(0)?.saturating_sub(number(5)?.saturating_mul(PAGE));
        Some(Held {
            store: "zram",
            takes: kib(ram::zram(
                within(number(2)?, MOST_KIB * KIB)?,
                facts.ramdisk_bytes,
            )),
            written: kib(pages).saturating_sub(image),
        })
    }
}

/// The image, and what was written to the overlay, which `df` tells of it.
fn erofs(facts: &Facts, used: u64) -> Option<Held> {
    let written = within(used, MOST_KIB)?;
    Some(Held {
        store: "erofs",
        takes: kib(ram::erofs(facts.erofs_bytes?)) + written,
        written,
    })
}

/// The name of the disk that a device is a partition of: `zram1` of `/dev/zram1p3`.
fn disk(device: &str) -> &str {
    let name = device.trim_start_matches("/dev/");
    let digits = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let digits = digits.trim_start_matches(|c: char| c.is_ascii_digit());
    &name[..name.len() - digits.len()]
}

/// What of an image every entry has in its file system beside its pages, in bytes, of which a tmpfs has none: an inode, a
/// name, a share of directories and maps. Debian 12: 616.
const ENTRY_BYTES: u64 = 640;

/// The pages that a tmpfs has, and what the kernel surely keeps of every entry: 1 KiB, less than ram-deploy counts with.
fn tmpfs(facts: &Facts, image: u64, pages: u64) -> Option<Held> {
    let pages = within(pages, MOST_KIB)?;
    let files = image.saturating_sub(kib(facts.entries * ENTRY_BYTES));
    Some(Held {
        store: "tmpfs",
        takes: kib(ram::brd(pages * KIB)) + facts.entries,
        written: pages.saturating_sub(files),
    })
}

/// A number of the guest that can be added up; anybody may have written it.
fn within(number: u64, most: u64) -> Option<u64> {
    (number <= most).then_some(number)
}

const KIB: u64 = 1 << 10;
const PAGE: u64 = 4 << 10;
/// More than any machine has.
const MOST_KIB: u64 = 1 << 42;

fn kib(bytes: u64) -> u64 {
    bytes / KIB
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::facts;

    const MIB: u64 = 1 << 20;

    /// A machine with 1000 MiB of which `free` are, and 5 more in the lists of the processors.
    fn machine(free: u64, root: &str, more: &str) -> String {
        let kib = |mib: u64| mib << 10;
        format!(
            "MemTotal: {} kB\nMemFree: {} kB\nBuffers: {} kB\nCached: {} kB\nMapped: {} kB\nShmem: 0 kB\nUnevictable: 0 kB\nMlocked: 0 kB\n\
             Hugetlb: {} kB\n              count: 1000\n              count: 280\noom_kill 0\n{more}\n\
             Filesystem 1K-blocks Used Available Use% Mounted on\n{root} 9 {} 9 9% /\n",
            kib(1000),
            kib(free),
            kib(1),
            kib(29),
            kib(10),
            kib(40),
            kib(610)
        )
    }

    /// The facts of a system whose service holds 300 MiB.
    fn holding() -> Facts {
        Facts {
            image_bytes: 460_324_864,
            data_bytes: 374_910_976,
            zram_bytes: 148_060_217,
            erofs_bytes: Some(162_459_648),
            entries: 13_020,
            ramdisk_bytes: 2_048_000 << 10,
            ..facts()
        }
    }

    /// Real boots of one system (Debian 12, Linux 6.1), but for the ramfs of Linux 6.12: that is the boot with the image in
    /// a brd, to whose page cache it was added.
    #[test]
    fn a_system_takes_the_same_in_whatever_store_its_root_is() {
        let figures = |name: &str| {
            let path = format!("{}/tests/figures/{name}.txt", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(path).unwrap()
        };
        let set = |text: &str| Figures::last(text).working_set(&holding());
        let (Own { kib: own, .. }, _) = set(&figures("brd")).unwrap();
        assert_eq!(own >> 10, 366);
        for (name, store) in [
            ("zram", "zram"),
            ("tmpfs", "tmpfs"),
            ("erofs-in-brd", "erofs"),
            ("erofs-in-ramfs", "erofs"),
        ] {
            let (
                Own {
                    kib, written_kib, ..
                },
                found,
            ) = set(&figures(name)).unwrap();
            println!("{name}: {kib} KiB, {own} in a brd, {written_kib} of it written");
            assert!((400..3000).contains(&written_kib), "{name}: {written_kib}");
            assert_eq!(found, store);
            // No further than what the model adds for other stores.
            assert!(kib.abs_diff(own) < 12 << 10, "{name}: {kib}");
        }
        // What programs have locked lies in no ramfs.
        let locked = figures("brd")
            .replace("Unevictable:           0", "Unevictable: 200000")
            .replace("Mlocked:               0", "Mlocked: 200000");
        assert_eq!(set(&locked).unwrap().0.kib, own);
    }

    /// In MiB, rounded up: what the system takes for itself.
    fn taken(text: &str) -> Option<(u64, &'static str)> {
        let mut facts = facts();
        facts.erofs_bytes = Some(200 * MIB);
        facts.huge_pages_bytes = 40 * MIB;
        let found = Figures::last(text).working_set(&facts);
        found.map(|(own, store)| (own.kib.div_ceil(1024), store))
    }

    #[test]
    fn free_pages_huge_pages_and_droppable_cache_are_not_in_use() {
        // 1000 less 200 and 5 free, 40 huge, 20 of 30 in the page cache: 735; the image is 600 and 2.3 of index.
        let text = machine(200, "/dev/ram1p3", "");
        assert_eq!(taken(&text), Some((133, "brd")));
    }

    #[test]
    fn huge_pages_that_the_system_asks_for_are_its_own() {
        let text = machine(200, "/dev/ram1p3", "");
        let taken = |mib: u64| {
            let mut facts = facts();
            facts.huge_pages_bytes = mib * MIB;
            Figures::last(&text).working_set(&facts).unwrap().0.kib >> 10
        };
        // 40 MiB there are; a kernel may have found less than it was asked for.
        assert_eq!((taken(0), taken(30)), (taken(40) + 40, taken(40) + 10));
        assert_eq!(taken(4000), taken(40));
    }

    #[test]
    fn what_was_written_is_the_systems() {
        let tables = ram::inode_tables(900 * MIB, 2000 * MIB) / MIB;
        let pages = |mib: u64| format!("{BRD_PAGES}/ram1:{}\n{BRD_PAGES}/ram0:7", mib * 256);
        // The same in use, 30 MiB of it written to the brd: in all as much as where the pages are not known.
        let text = machine(200, "/dev/ram1p3", &pages(630 + tables));
        let (own, _) = taken(&text).unwrap();
        assert!((own..=own + 1).contains(&(133 - tables)), "{own}");
        let zram = machine(
            500,
            "/dev/zram1",
            &format!(
                "/sys/block/zram0/mm_stat: 9 9 9 0 9 0 0\n/sys/block/zram1/mm_stat: {} 1 {} 0 1 0 0",
                607 * MIB,
                260 * MIB
            ),
        );
        // 435 in use less 260 and 11.7 for the table, and 7 that were written.
        assert_eq!(taken(&zram), Some((171, "zram")));
    }

    #[test]
    fn mapped_files_of_a_tmpfs_count_as_in_the_other_stores() {
        // 735 in use less 610, 2.4 of index, 19.5 for 20,000 entries; 10 mapped, 10 written and 12 that the entries lack there.
        let (own, store) = taken(&machine(200, "tmpfs", "")).unwrap();
        assert_eq!((own, store), (136, "tmpfs"));
        // 10 of what is in use were written to the overlay.
        let overlay = machine(600, "overlay", "").replace("624640", "10240");
        assert_eq!(taken(&overlay), Some((135, "erofs")));
    }

    #[test]
    fn the_figures_with_dropped_cache_are_taken() {
        let text = format!(
            "{}{DROPPED}\n{}",
            machine(200, "/dev/ram1p3", ""),
            machine(250, "/dev/ram1p3", "").replace("oom_kill 0", "oom_kill 2")
        );
        assert_eq!(taken(&text), Some((83, "brd")));
        assert_eq!(Figures::last(&text).killed(), Some(2));
        // Nobody has said that none was killed.
        let torn = text.replace("oom_kill", "oom");
        assert_eq!(Figures::last(&torn).killed(), None);
    }

    #[test]
    fn what_is_torn_or_odd_says_nothing() {
        let whole = machine(200, "/dev/ram1p3", "");
        for text in [
            String::new(),
            whole.replace("MemFree", "Mem"),
            whole.replace("/dev/ram1p3", "/dev/sda1"),
            // Less in use than the image takes.
            machine(900, "/dev/ram1p3", ""),
        ] {
            assert_eq!(taken(&text), None, "{text}");
        }
    }

    #[test]
    fn numbers_that_no_machine_has_say_nothing() {
        let most = u64::MAX.to_string();
        let brd = machine(200, "/dev/ram1p3", &format!("{BRD_PAGES}/ram1:160000"));
        let zram = machine(
            500,
            "/dev/zram1",
            "/sys/block/zram1/mm_stat: 636485632 1 272629760 0 1 0 0",
        );
        assert!(taken(&brd).is_some() && taken(&zram).is_some());
        for odd in [
            brd.replace("count: 1000", &format!("count: {most}")),
            brd.replace("count: 1000", "count: 4611686018427387904"),
            brd.replace("count: 1000", &format!("count: {most}0")),
            brd.replace("Cached: 29696", &format!("Cached: {most}")),
            brd.replace("Shmem: 0", &format!("Shmem: {most}")),
            brd.replace("MemFree: 204800", &format!("MemFree: {most}")),
            brd.replace("ram1:160000", &format!("ram1:{most}")),
            brd.replace("ram1:160000", "ram1:4611686018427387904"),
            zram.replace("272629760", &most),
            // More written than the machine has.
            zram.replace("636485632", "6364856320"),
            machine(200, "tmpfs", "").replace("624640", &most),
        ] {
            assert_eq!(taken(&odd), None, "{odd}");
        }
    }
}
