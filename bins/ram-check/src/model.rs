//! The model: which terms add up to the RAM that a machine must have.
//!
//! RAM is counted at three moments, and the largest sum decides:
//!
//! ```text
//! unpack   kernel + initrd packed + initrd unpacked
//! deploy   kernel + initrd unpacked + its processes + image in RAM + what ram-deploy keeps free + watermarks
//! login    kernel + image in RAM + the system's working set, with what it wrote + watermarks
//! ```
//!
//! At *deploy* ram-deploy refuses a machine that has too little, by `ram_deploy::ram`; the same functions count here. What
//! it keeps free is for its own buffers, or for the system after it, less what the initramfs gives back. One term it does
//! not demand: the room within a store's limit for what a measured system writes.
//!
//! Terms come from facts of the manifest: sizes in `disk`, `initrd` and `plan.ramdisk`, and the kernel's own
//! boot header; `terms` names them. What no manifest tells is a constant there, with the measurement it comes from. The
//! kernel's page descriptors and hash tables grow with RAM itself, so the sum is solved for the machine's size.
//!
//! The constants are measured with two processors, up to 3 GiB of RAM, and Debian 12's cloud kernel, that under dracut too.
//! *Not here:* page cache that can be dropped; what each processor takes, about 1 MiB and more; what Linux keeps between the
//! zones of a machine with more than 4 GiB, of which more is lost to applications than is said; what the image's own
//! services take beyond a small system, as long as no boot has measured it ([`WorkingSet`](manifest::WorkingSet)), and what
//! they take and give back before the system is up; and RAM stores other than these: [`STORES`] is where they join.

mod left;
mod terms;

use manifest::{Moment, StoreNeed, Term};

use terms::{
    GROWS_WITH_RAM_KIB, NOT_OFFERED, NOT_OFFERED_KIB, PAGE_DESCRIPTORS, WATERMARKS_KIB, term,
};

pub use left::{Demand, least_leaving, left_mib};
pub use terms::kept_for;

/// What the model reads. All sizes in bytes.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Length of the disk image.
    pub image_bytes: u64,
    /// Bytes in pages of the image that are not all zero.
    pub data_bytes: u64,
    /// Bytes that the root takes in a zram, measured.
    pub zram_bytes: u64,
    /// Bytes in pages of the EROFS image that are not all zero; `None` where the medium carries none.
    pub erofs_bytes: Option<u64>,
    /// Files, directories and other entries of the root.
    pub entries: u64,
    /// Length of the RAM disk.
    pub ramdisk_bytes: u64,
    /// Whether the root file system grows to the RAM disk.
    pub resize: bool,
    /// What the command line keeps from the system: crash kernel, CMA, huge pages.
    pub reserved_bytes: u64,
    /// The huge pages of it: more than these are the system's own.
    pub huge_pages_bytes: u64,
    /// The kernel in RAM, see [`kernel_bytes`].
    pub kernel_bytes: u64,
    /// The initrd as the boot loader loads it.
    pub initrd_packed: u64,
    /// All segments unpacked.
    pub initrd_unpacked: u64,
    /// Whether a whole system runs in the initramfs, or ram-deploy alone.
    pub initramfs_is_system: bool,
    /// Whether the kernel unpacks into a tmpfs, which takes half of RAM at most.
    pub initramfs_is_tmpfs: bool,
    /// What ram-deploy keeps for the system, as the command line has it.
    pub reserve_bytes: u64,
    /// What the system takes for itself, where a boot has measured it.
    pub measured: Option<Own>,
}

/// What a system takes for itself at the moment it is up, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    /// All of it.
    pub kib: u64,
    /// The program files of it that are mapped: page cache that is needed.
    pub mapped_kib: u64,
    /// What of it was written to the root.
    pub written_kib: u64,
}

/// A RAM store: its name and the terms that it adds; none where the medium does not carry it.
type RamStore = (&'static str, fn(&Facts) -> Option<Vec<Term>>);

/// The RAM stores that can be asked for, the default first.
const STORES: &[RamStore] = &[
    ("brd", |facts| Some(terms::brd(facts))),
    ("zram", |facts| Some(terms::zram(facts))),
    ("tmpfs", |facts| Some(terms::tmpfs(facts))),
    ("erofs", terms::erofs),
];

const MIB_IN_KIB: u64 = 1 << 10;
/// The result is a multiple of this, as machines are configured. A measurement has the same steps: the stated machine is
/// among those that are booted.
pub(crate) const STEP_MIB: u64 = 16;

/// The need per RAM store, the `wanted` one first; without one, that which needs the least.
pub fn needs(facts: &Facts, wanted: Option<&str>) -> Vec<StoreNeed> {
    let need = |(store, own): &RamStore| {
        let mut terms = terms::common(facts);
        terms.extend(own(facts)?);
        Some(solve(store, terms))
    };
    let mut needs: Vec<StoreNeed> = STORES.iter().filter_map(need).collect();
    match wanted {
        Some(wanted) => needs.sort_by_key(|need| need.store != wanted),
        None => needs.sort_by_key(|need| need.least_ram_mib),
    }
    needs
}

/// RAM that a kernel image takes, in bytes, from its boot header (Linux boot protocol 2.10: `init_size` at
/// 0x260 is what it needs before it knows the memory map, with room for the packed image). Without such a
/// header four times the image.
pub fn kernel_bytes(image: &[u8], size: u64) -> u64 {
    let signed = image.get(0x202..0x206) == Some(b"HdrS");
    let field = image.get(0x260..0x264).and_then(|b| b.try_into().ok());
    match field.map(u32::from_le_bytes) {
        Some(init_size) if signed && u64::from(init_size) > size => u64::from(init_size) - size,
        _ => 4 * size,
    }
}

use Moment::{Deploy, Login, Unpack};

/// Finds the least RAM of a machine that holds the terms.
fn solve(store: &str, mut terms: Vec<Term>) -> StoreNeed {
    const ALL: [Moment; 3] = [Unpack, Deploy, Login];
    let watermarks = term("watermarks of the kernel", WATERMARKS_KIB, &[Deploy, Login]);
    terms.push(watermarks);
    let least = ALL.map(|m| least_mib(sum(&terms, m), m));
    let least = least.into_iter().max().unwrap_or(0);
    terms.push(term(PAGE_DESCRIPTORS, least * GROWS_WITH_RAM_KIB, &ALL));
    terms.push(term(NOT_OFFERED, least * NOT_OFFERED_KIB, &[Deploy]));
    terms.retain(|t| t.kib > 0);
    let highest = ALL.map(|m| (sum(&terms, m), m)).into_iter();
    let (peak, peak_at) = highest.max_by_key(|s| s.0).unwrap_or((0, Deploy));
    let steady_mib = sum(&terms, Login).div_ceil(MIB_IN_KIB);
    StoreNeed {
        store: store.to_owned(),
        least_ram_mib: least,
        recommended_ram_mib: left::recommended(least, steady_mib, left::lost_mib(&terms)),
        steady_mib,
        left_mib: None,
        peak_mib: peak.div_ceil(MIB_IN_KIB),
        peak_at,
        terms,
    }
}

/// What the terms of a moment add up to, in KiB.
fn sum(terms: &[Term], moment: Moment) -> u64 {
    let counted = terms.iter().filter(|t| t.at.contains(&moment));
    counted.map(|t| t.kib).sum()
}

/// The least machine in MiB that has `kib` left at `moment` beside what grows with its RAM.
fn least_mib(kib: u64, moment: Moment) -> u64 {
    let grows = match moment {
        Deploy => GROWS_WITH_RAM_KIB + NOT_OFFERED_KIB,
        Unpack | Login => GROWS_WITH_RAM_KIB,
    };
    kib.div_ceil(MIB_IN_KIB - grows).next_multiple_of(STEP_MIB)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::terms::FOR_HUGE_PAGES;
    use super::*;

    const MIB: u64 = 1 << 20;

    pub(crate) fn facts() -> Facts {
        Facts {
            image_bytes: 900 * MIB,
            data_bytes: 600 * MIB,
            zram_bytes: 250 * MIB,
            erofs_bytes: None,
            entries: 20_000,
            ramdisk_bytes: 2000 * MIB,
            resize: true,
            reserved_bytes: 0,
            huge_pages_bytes: 0,
            kernel_bytes: 40 * MIB,
            initrd_packed: 38 * MIB,
            initrd_unpacked: 108 * MIB,
            initramfs_is_system: true,
            initramfs_is_tmpfs: true,
            reserve_bytes: ram_deploy::ram::RESERVE_BYTES,
            measured: None,
        }
    }

    /// So many MiB, 16 of them mapped program files.
    pub(crate) fn own(mib: u64) -> Own {
        Own {
            kib: mib << 10,
            mapped_kib: mib.min(16) << 10,
            written_kib: 0,
        }
    }

    fn least(facts: &Facts) -> u64 {
        needs(facts, Some("brd"))[0].least_ram_mib
    }

    #[test]
    fn the_peak_is_within_the_machine() {
        let need = &needs(&facts(), Some("brd"))[0];
        assert_eq!(need.store, "brd");
        assert!(
            need.peak_mib <= need.least_ram_mib && need.peak_mib + STEP_MIB >= need.least_ram_mib
        );
        assert!(need.steady_mib <= need.peak_mib);
        assert_eq!(need.peak_at, Deploy);
    }

    #[test]
    fn more_of_anything_never_needs_less() {
        let base = least(&facts());
        let grown: [fn(&mut Facts); 6] = [
            |f| f.data_bytes += 300 * MIB,
            |f| f.kernel_bytes += 300 * MIB,
            |f| f.initrd_unpacked += 300 * MIB,
            |f| f.initrd_packed += 900 * MIB,
            |f| f.ramdisk_bytes += 99_000 * MIB,
            |f| f.data_bytes += 1,
        ];
        for (n, grow) in grown.iter().enumerate() {
            let mut facts = facts();
            grow(&mut facts);
            let after = least(&facts);
            assert!(
                after > base || (n == 5 && after >= base),
                "{n}: {after} against {base}"
            );
        }
    }

    #[test]
    fn a_byte_more_never_jumps_far() {
        let mut last = 0;
        for mib in 1..600 {
            let mut facts = facts();
            facts.data_bytes = mib * MIB;
            let now = least(&facts);
            assert!(now >= last, "{mib} MiB: {now} after {last}");
            last = now;
        }
    }

    #[test]
    fn an_empty_image_still_needs_a_system() {
        let empty = Facts {
            image_bytes: 0,
            data_bytes: 0,
            zram_bytes: 0,
            erofs_bytes: None,
            entries: 0,
            ramdisk_bytes: 0,
            resize: false,
            reserved_bytes: 0,
            huge_pages_bytes: 0,
            kernel_bytes: 0,
            initrd_packed: 0,
            initrd_unpacked: 0,
            initramfs_is_system: false,
            initramfs_is_tmpfs: false,
            reserve_bytes: ram_deploy::ram::RESERVE_BYTES,
            measured: None,
        };
        let need = &needs(&empty, Some("brd"))[0];
        assert!(
            need.least_ram_mib > 100 && need.peak_at == Deploy,
            "{need:?}"
        );
    }

    #[test]
    fn the_chosen_store_stands_first_and_zram_takes_less() {
        let by_itself = needs(&facts(), None);
        let needs = needs(&facts(), Some("zram"));
        assert_eq!(by_itself[0], needs[0]);
        let names: Vec<&str> = needs.iter().map(|n| n.store.as_str()).collect();
        assert_eq!(names, ["zram", "brd", "tmpfs"]);
        assert!(needs[0].least_ram_mib + 300 < needs[1].least_ram_mib);
    }

    #[test]
    fn erofs_counts_where_the_medium_carries_it() {
        let mut facts = facts();
        facts.erofs_bytes = Some(200 * MIB);
        let needs = needs(&facts, None);
        assert_eq!((needs.len(), needs[0].store.as_str()), (4, "erofs"));
        assert!(needs[0].least_ram_mib < needs[1].least_ram_mib);
    }

    #[test]
    fn a_system_in_the_initramfs_has_room_for_the_full_kernel_and_a_bad_boot() {
        let need = needs(&facts(), Some("brd")).remove(0);
        let processes = |term: &&Term| term.name == "processes of the initramfs";
        let processes = need.terms.iter().find(processes).unwrap();
        assert!(processes.kib > (29 + 10) * MIB_IN_KIB);
    }

    #[test]
    fn a_measured_working_set_counts_in_the_place_of_the_assumed() {
        let measured = |mib: u64| {
            let mut facts = facts();
            facts.measured = Some(own(mib));
            needs(&facts, Some("brd")).remove(0)
        };
        let named = |need: &StoreNeed, name: &str| {
            let term = need.terms.iter().find(|t| t.name == name);
            term.map(|t| t.kib / MIB_IN_KIB)
        };
        let (large, small) = (measured(362), measured(62));
        let assumed = needs(&facts(), Some("brd")).remove(0);
        let name = "working set of the system, measured";
        assert_eq!(
            (named(&large, name), named(&assumed, name)),
            (Some(358), None)
        );
        let written = "written before login, assumed";
        assert_eq!(
            (named(&large, written), named(&assumed, written)),
            (None, Some(4))
        );
        // 290 MiB more at login, of which the highest moment had some to spare.
        assert!(large.steady_mib > assumed.steady_mib + 280);
        assert!(large.least_ram_mib > assumed.least_ram_mib + 200);
        assert_eq!(large.peak_at, Login);
        assert_eq!(named(&large, "mapped program files, measured"), Some(16));
        // 62 and 12 for 80 and 4.
        assert_eq!(small.steady_mib + 10, assumed.steady_mib);
        assert_eq!(small.least_ram_mib, assumed.least_ram_mib);
        // ram-deploy may find ample RAM on a machine that has room for what is measured, where it keeps less for the system.
        let kept = |need| named(need, FOR_HUGE_PAGES);
        assert_eq!(
            (kept(&large), kept(&small), kept(&assumed)),
            (Some(33), None, None)
        );
    }

    #[test]
    fn the_boot_header_tells_the_kernels_size() {
        let mut image = vec![0; 0x300];
        assert_eq!(kernel_bytes(&image, 1000), 4000);
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x260..0x264].copy_from_slice(&5000u32.to_le_bytes());
        assert_eq!(kernel_bytes(&image, 1000), 4000);
        image[0x260..0x264].copy_from_slice(&9000u32.to_le_bytes());
        assert_eq!(kernel_bytes(&image, 1000), 8000);
        assert_eq!(kernel_bytes(&[], 1000), 4000);
    }

    #[test]
    fn a_tmpfs_initramfs_takes_half_of_ram_at_most() {
        let mut facts = facts();
        (facts.data_bytes, facts.initrd_unpacked) = (MIB, 2000 * MIB);
        // While the packed one lies there, too.
        assert!(least(&facts) >= 4160);
        facts.initramfs_is_tmpfs = false;
        assert!(least(&facts) < 2500);
    }
}
