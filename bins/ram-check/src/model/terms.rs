//! The terms: what takes RAM, how much of it, and when.

use manifest::{Moment, Term};
use ram_deploy::ram;

use super::{Facts, MIB_IN_KIB, Own, STEP_MIB};
use Moment::{Deploy, Login, Unpack};

const KIB: u64 = 1 << 10;
const PAGE: u64 = 4 << 10;

/// Firmware tables and low memory, for UEFI. The statement holds for both: Linux 6.1 in QEMU has 6 MiB less with OVMF than
/// with SeaBIOS, which takes less than one.
const FIRMWARE_KIB: u64 = 8 * MIB_IN_KIB;
/// Page descriptors, hash tables and per-zone data, in KiB for each MiB of RAM: 64 bytes a page are 16 KiB.
/// Linux 6.1: 17.5 between 256 and 1024 MiB, 18.3 between 1024 and 3072 MiB.
pub(super) const GROWS_WITH_RAM_KIB: u64 = 19;
pub(super) const PAGE_DESCRIPTORS: &str = "page descriptors and tables";
/// What the kernel does not offer at deployment beyond that, in KiB for each MiB of RAM: free pages in lists of the
/// processors, more of them with transparent huge pages. What ram-deploy found available, Linux 6.1 with two processors
/// and SeaBIOS, no dracut: 68 MiB less than there are at 288 MiB, 76 at 528, 99 at 832, 144 at 2464, so 28 in all.
pub(super) const NOT_OFFERED_KIB: u64 = 9;
pub(super) const NOT_OFFERED: &str = "free pages that are not offered";
/// Processes, modules and kernel objects of an initramfs with systemd and udev, beside its files. Debian 12 in
/// QEMU: 23 MiB with the cloud kernel, 29 MiB with the full one, and up to 12 MiB more from boot to boot. No least machine
/// was measured with the full one.
const INITRAMFS_SYSTEM_KIB: u64 = 40 * MIB_IN_KIB;
/// The same of an initramfs in which ram-deploy alone runs: the modules it loads, and its own pages.
const INITRAMFS_ALONE_KIB: u64 = 16 * MIB_IN_KIB;
/// The kernel's watermarks, which `MemAvailable` does not offer, as ram-deploy sets them where little RAM is left. Those for
/// transparent huge pages would be 66 MiB at 1 GiB, 73 MiB at 3 GiB (Linux 6.1).
pub(super) const WATERMARKS_KIB: u64 = 12 * MIB_IN_KIB;
/// The watermarks for transparent huge pages, beyond those: below 45 MiB no program gets a page (Linux 6.1, up to 3 GiB).
/// They stay where ram-deploy sees ample RAM, so they count wherever a measured working set is more than it keeps for the
/// system.
const FOR_HUGE_PAGES_KIB: u64 = 33 * MIB_IN_KIB;
pub(super) const FOR_HUGE_PAGES: &str = "watermarks for huge pages";
/// Processes, modules and kernel objects of a small system at its login prompt, and its mapped program files, as long as
/// nobody has measured those of this image. Debian 12 in QEMU, with page cache dropped: 63 MiB, 16 of them mapped files.
const WORKING_SET_KIB: u64 = 64 * MIB_IN_KIB;
const MAPPED_KIB: u64 = 16 * MIB_IN_KIB;
/// So much more than the measured working set may another boot take, or another RAM store: a zram has buffers of its own.
/// Debian 12 in QEMU, from 640 MiB to 2 GiB of RAM: 62 to 64 MiB with a brd, 60 with a tmpfs, 69 with a zram.
const DIFFERS_KIB: u64 = 12 * MIB_IN_KIB;
/// Journal, state and run-time files written before login. Debian 12 at its first boot: 1.5 MiB.
const WRITTEN_KIB: u64 = 4 * MIB_IN_KIB;
/// What the statement may be wrong by.
const MARGIN_KIB: u64 = 16 * MIB_IN_KIB;

/// What follows says whether it is measured.
pub(super) const WRITTEN: &str = "written before login";
/// Not demanded by ram-deploy: it is within the limit that it sets.
pub(super) const ROOM: &str = "room within the limit for what is written";

/// The terms that every RAM store has in common.
pub(super) fn common(facts: &Facts) -> Vec<Term> {
    const ALL: &[Moment] = &[Unpack, Deploy, Login];
    let unpacked = kib(facts.initrd_unpacked);
    // Half of what is free while the packed one still lies there.
    let half = if facts.initramfs_is_tmpfs {
        unpacked
    } else {
        0
    };
    let processes = match facts.initramfs_is_system {
        true => INITRAMFS_SYSTEM_KIB,
        false => INITRAMFS_ALONE_KIB,
    };
    let mut terms = vec![
        term("firmware (UEFI) and low memory", FIRMWARE_KIB, ALL),
        term("kernel image and its data", kib(facts.kernel_bytes), ALL),
        term(
            "reserved by the command line",
            kib(facts.reserved_bytes),
            ALL,
        ),
        term(
            "initrd, packed (the boot loader's copy)",
            kib(facts.initrd_packed),
            &[Unpack],
        ),
        term("initrd, unpacked", unpacked, &[Unpack, Deploy]),
        term(
            "RAM that a tmpfs initramfs must leave free",
            half,
            &[Unpack],
        ),
        term("processes of the initramfs", processes, &[Deploy]),
    ];
    terms.extend(system(facts));
    terms.push(term("margin", MARGIN_KIB, &[Deploy, Login]));
    terms
}

/// The system itself at its login prompt. One that is measured counts with what machines and RAM stores differ by; where it
/// is more than ram-deploy keeps for it, that may have seen ample RAM.
fn system(facts: &Facts) -> Vec<Term> {
    let whole = |kib: u64| kib.next_multiple_of(MIB_IN_KIB);
    let huge_pages = match facts.measured {
        Some(own) if facts.reserve_bytes / KIB < taken_kib(own) => FOR_HUGE_PAGES_KIB,
        _ => 0,
    };
    match facts.measured {
        Some(own) => vec![
            term(
                "working set of the system, measured",
                whole(own.kib.saturating_sub(own.mapped_kib + own.written_kib) + DIFFERS_KIB),
                &[Login],
            ),
            term(
                "mapped program files, measured",
                whole(own.mapped_kib),
                &[Login],
            ),
            term(FOR_HUGE_PAGES, huge_pages, &[Login]),
        ],
        None => vec![
            term(
                "working set of a small system, assumed",
                WORKING_SET_KIB,
                &[Login],
            ),
            term("mapped program files, assumed", MAPPED_KIB, &[Login]),
        ],
    }
}

/// What a measured system takes at most, as it counts: in KiB.
fn taken_kib(own: Own) -> u64 {
    (own.kib + DIFFERS_KIB).next_multiple_of(MIB_IN_KIB)
}

/// What ram-deploy has to keep for a measured system, in bytes. A store with a limit has what is written within it.
pub fn kept_for(own: Own, store: &str) -> u64 {
    let written = if has_limit(store) { own.written_kib } else { 0 };
    let kib = taken_kib(own).saturating_sub(written);
    kib.next_multiple_of(STEP_MIB * MIB_IN_KIB) * KIB
}

/// Whether writes beyond what leaves the system its reserve fail.
pub(super) fn has_limit(store: &str) -> bool {
    store != "brd"
}

/// What the system writes to its root before login, in KiB.
fn written_kib(facts: &Facts) -> u64 {
    facts.measured.map_or(WRITTEN_KIB, |own| own.written_kib)
}

fn written(facts: &Facts, place: &str) -> Term {
    let which = match facts.measured {
        Some(_) => "measured",
        None => "assumed",
    };
    let name = format!("{place}{WRITTEN}, {which}");
    term(&name, written_kib(facts), &[Login])
}

/// The kernel's RAM disk: whole pages, their index, and what the growing file system writes.
pub(super) fn brd(facts: &Facts) -> Vec<Term> {
    let all = ram::brd(facts.data_bytes);
    let tables = match facts.resize {
        true => ram::inode_tables(facts.image_bytes, facts.ramdisk_bytes),
        false => 0,
    };
    let mut terms = pages("image in RAM", facts.data_bytes);
    terms.push(term(
        "inode tables of the grown root",
        kib(tables),
        &[Login],
    ));
    terms.push(written(facts, ""));
    terms.extend(kept(
        facts,
        all,
        ram::reserve_in_brd(facts.reserve_bytes, tables),
    ));
    terms
}

/// A compressed RAM disk: what was measured, and its table. Of the inode tables of the grown root nothing but zeros is
/// written, which cost nothing; what the system writes is compressed, too.
pub(super) fn zram(facts: &Facts) -> Vec<Term> {
    let table = ram::zram(0, facts.ramdisk_bytes);
    let mut terms = vec![
        term("image in RAM", kib(facts.zram_bytes), &[Deploy, Login]),
        term("table of the device's pages", kib(table), &[Deploy, Login]),
        written(facts, ""),
    ];
    terms.extend(kept(facts, facts.zram_bytes + table, facts.reserve_bytes));
    terms.push(room(facts, 1, 1));
    terms
}

/// Unpacked files: the pages of the image, and what the kernel keeps of every entry. The limit of inodes takes nothing by
/// itself; it is within the room that ram-deploy gives the tmpfs.
pub(super) fn tmpfs(facts: &Facts) -> Vec<Term> {
    let all = ram::tmpfs(facts.data_bytes, facts.entries);
    let inodes = all - ram::brd(facts.data_bytes);
    let mut terms = pages("files in RAM", facts.data_bytes);
    terms.push(term("inodes and names", kib(inodes), &[Deploy, Login]));
    terms.push(written(facts, ""));
    terms.extend(kept(facts, all, facts.reserve_bytes));
    terms.push(room_in_tmpfs(facts));
    terms
}

/// A compressed image: its pages and their index. What is written lies in a tmpfs, page by page, as in the other stores.
pub(super) fn erofs(facts: &Facts) -> Option<Vec<Term>> {
    let bytes = facts.erofs_bytes?;
    let mut terms = pages("image in RAM", bytes);
    terms.push(written(facts, "overlay: "));
    terms.extend(kept(facts, ram::erofs(bytes), facts.reserve_bytes));
    terms.push(room_in_tmpfs(facts));
    Some(terms)
}

/// Whole pages, and the index of them.
fn pages(name: &str, bytes: u64) -> Vec<Term> {
    let pages = bytes.next_multiple_of(PAGE);
    let index = ram::brd(bytes) - pages;
    vec![
        term(name, kib(pages), &[Deploy, Login]),
        term("index of its pages", kib(index), &[Deploy, Login]),
    ]
}

/// What ram-deploy demands beside the bytes of the `image` in RAM: for itself, or more for the system that comes after it.
fn kept(facts: &Facts, image: u64, reserve: u64) -> [Term; 2] {
    let need = ram::need(image, reserve, facts.initrd_unpacked) - image;
    let own = need.min(ram::WORKING_BYTES);
    [
        term(
            "ram-deploy: buffers, decompression windows",
            kib(own),
            &[Deploy],
        ),
        term(
            "ram-deploy: more for the system after it",
            kib(need - own),
            &[Deploy],
        ),
    ]
}

/// What a store with a limit must have room for beside the reserve; `whole` bytes of room have `of` bytes for files. Of a
/// system that is not measured the margin covers it.
fn room(facts: &Facts, whole: u64, of: u64) -> Term {
    let written = facts.measured.map_or(0, |own| own.written_kib * KIB);
    let written = written.div_ceil(of).saturating_mul(whole);
    let demand = |reserve: u64| ram::need(0, reserve, facts.initrd_unpacked);
    let without = demand(facts.reserve_bytes);
    let with = demand(facts.reserve_bytes.saturating_add(written));
    term(ROOM, kib(with - without), &[Deploy])
}

/// The same in a tmpfs, which takes RAM for inodes and the index of pages, too.
fn room_in_tmpfs(facts: &Facts) -> Term {
    let index = ram::INODE_RATIO / PAGE * ram::INDEX_BYTES;
    let whole = ram::INODE_RATIO + index + ram::INODE_BYTES;
    room(facts, whole, ram::INODE_RATIO)
}

pub(super) fn term(name: &str, kib: u64, at: &[Moment]) -> Term {
    Term {
        name: name.to_owned(),
        kib,
        at: at.to_vec(),
    }
}

fn kib(bytes: u64) -> u64 {
    bytes.div_ceil(KIB)
}
