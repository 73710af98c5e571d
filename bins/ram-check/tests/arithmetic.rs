//! Properties of the arithmetic, over machines and images of every size that a seeded generator makes.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use fastrand::Rng;
use manifest::{Moment, StoreNeed};
use ram_check::model::{Facts, Own, least_leaving, left_mib, needs};

const MIB: u64 = 1 << 20;
const ROUNDS: u32 = 2000;
/// The steps of what is stated, in MiB: those of a measurement.
const STEP: u64 = 16;

/// From nothing to a pebibyte, small sizes as often as large ones.
fn bytes(random: &mut Rng) -> u64 {
    random.u64(..) >> random.u32(14..=63)
}

fn facts(random: &mut Rng) -> Facts {
    let data_bytes = bytes(random);
    let image_bytes = data_bytes + bytes(random);
    Facts {
        image_bytes,
        data_bytes,
        zram_bytes: bytes(random),
        erofs_bytes: random.bool().then(|| bytes(random)),
        entries: bytes(random) >> 20,
        ramdisk_bytes: image_bytes + bytes(random),
        resize: random.bool(),
        reserved_bytes: bytes(random) >> 16,
        huge_pages_bytes: 0,
        kernel_bytes: bytes(random) >> 16,
        initrd_packed: bytes(random) >> 16,
        initrd_unpacked: bytes(random) >> 16,
        initramfs_is_system: random.bool(),
        initramfs_is_tmpfs: random.bool(),
        reserve_bytes: bytes(random) >> 16,
        measured: random.bool().then(|| own(random)),
    }
}

fn own(random: &mut Rng) -> Own {
    let kib = bytes(random) >> 20;
    Own {
        kib,
        mapped_kib: random.u64(..=kib / 2),
        written_kib: random.u64(..=kib / 2),
    }
}

fn every(work: impl Fn(&mut Rng, &Facts)) {
    let mut random = Rng::with_seed(6);
    for _ in 0..ROUNDS {
        let facts = facts(&mut random);
        work(&mut random, &facts);
    }
}

fn every_need(work: impl Fn(&mut Rng, &StoreNeed)) {
    every(|random, facts| {
        for need in needs(facts, None) {
            work(random, &need);
        }
    });
}

/// The sum of the terms at a moment, in KiB.
fn sum(need: &StoreNeed, moment: Moment) -> u64 {
    let counted = need.terms.iter().filter(|t| t.at.contains(&moment));
    counted.map(|t| t.kib).sum()
}

#[test]
fn a_machine_holds_its_highest_moment_and_little_more() {
    every_need(|_, need| {
        let highest = [Moment::Unpack, Moment::Deploy, Moment::Login].map(|m| sum(need, m));
        let highest = highest.into_iter().max().unwrap();
        assert_eq!(need.peak_mib, highest.div_ceil(1024), "{need:?}");
        assert_eq!(need.steady_mib, sum(need, Moment::Login).div_ceil(1024));
        assert!(need.steady_mib <= need.peak_mib, "{need:?}");
        assert!(need.peak_mib <= need.least_ram_mib, "{need:?}");
        // One step of rounding, and what grows with it.
        assert!(need.least_ram_mib <= need.peak_mib + 17, "{need:?}");
        assert_eq!(need.least_ram_mib % STEP, 0);
        assert!(need.terms.iter().all(|t| t.kib > 0 && !t.at.is_empty()));
    });
}

#[test]
fn more_of_anything_never_needs_less() {
    // The RAM disk grows with the image: alone, a larger image leaves the root less to grow.
    let grow: [fn(&mut Facts, u64); 12] = [
        |f, by| {
            f.data_bytes += by;
            f.image_bytes += by;
            f.ramdisk_bytes += by;
        },
        |f, by| f.ramdisk_bytes += by,
        |f, by| f.zram_bytes += by,
        |f, by| f.erofs_bytes = f.erofs_bytes.map(|bytes| bytes + by),
        |f, by| f.entries += by >> 20,
        |f, by| f.reserved_bytes += by,
        |f, by| f.kernel_bytes += by,
        |f, by| f.initrd_packed += by,
        |f, by| f.initrd_unpacked += by,
        |f, by| {
            if let Some(own) = &mut f.measured {
                own.kib += by >> 20;
            }
        },
        |f, by| {
            if let Some(own) = &mut f.measured {
                own.kib += by >> 20;
                own.mapped_kib += by >> 20;
            }
        },
        |f, by| {
            if let Some(own) = &mut f.measured {
                own.kib += by >> 20;
                own.written_kib += by >> 20;
            }
        },
    ];
    every(|random, facts| {
        let by = bytes(random);
        for (n, grow) in grow.iter().enumerate() {
            let mut larger = facts.clone();
            grow(&mut larger, by);
            for (before, after) in needs(facts, Some("brd"))
                .iter()
                .zip(needs(&larger, Some("brd")))
            {
                assert_eq!(before.store, after.store);
                assert!(
                    after.least_ram_mib >= before.least_ram_mib,
                    "{n}: {} after {by} bytes more of {facts:?}",
                    before.store
                );
            }
        }
    });
}

/// On the least machine the limit that ram-deploy sets has room for what a measured system writes: what is available then,
/// and what the initramfs gives back, less the reserve.
#[test]
fn a_limit_has_room_for_what_is_written() {
    const IN_STORE: [&str; 7] = [
        "image in RAM",
        "files in RAM",
        "index of its pages",
        "inodes and names",
        "table of the device's pages",
        "ram-deploy: ",
        "room within the limit",
    ];
    every(|_, facts| {
        let Some(own) = facts.measured else { return };
        for need in needs(facts, None).iter().filter(|need| need.store != "brd") {
            let of = |names: &[&str]| -> u64 {
                let named = |name: &str| names.iter().any(|begin| name.starts_with(begin));
                let counted = need.terms.iter().filter(|term| named(&term.name));
                counted.map(|term| term.kib * 1024).sum()
            };
            let available = of(&IN_STORE) + facts.initrd_unpacked;
            let room = available - facts.reserve_bytes.min(available);
            let image = of(&IN_STORE[..5]);
            // Each of the terms may be rounded up by less than a KiB.
            let least = image + own.written_kib * 1024;
            assert!(room + 7 * 1024 >= least, "{}: {facts:?}", need.store);
        }
    });
}

/// Sizes as systems have them, MiB by MiB: where one moment takes over from another, no statement falls.
#[test]
fn a_mebibyte_more_beside_a_measured_set_never_needs_less() {
    let of = |set: u64, image: u64, initrd: u64| {
        let facts = Facts {
            image_bytes: (image + 60) * MIB,
            data_bytes: image * MIB,
            zram_bytes: image * MIB * 2 / 5,
            erofs_bytes: Some(image * MIB / 2),
            entries: 13_000,
            ramdisk_bytes: 2000 * MIB,
            resize: true,
            reserved_bytes: 0,
            huge_pages_bytes: 0,
            kernel_bytes: 40 * MIB,
            initrd_packed: initrd * MIB / 3,
            initrd_unpacked: initrd * MIB,
            initramfs_is_system: false,
            initramfs_is_tmpfs: true,
            reserve_bytes: 96 * MIB,
            measured: Some(Own {
                kib: set << 10,
                mapped_kib: 16 << 10,
                written_kib: 4 << 10,
            }),
        };
        needs(&facts, Some("brd"))
    };
    let holds = |place: String, before: Vec<StoreNeed>, after: Vec<StoreNeed>| {
        for (before, after) in before.iter().zip(&after) {
            let (name, was, is) = (&before.store, before.least_ram_mib, after.least_ram_mib);
            assert!(is >= was, "{place}: {name} {is} after {was}");
        }
    };
    for set in (100..1000).step_by(60) {
        for mib in 1..500 {
            let place = format!("a set of {set} MiB, {mib} MiB");
            holds(place.clone(), of(set, mib, 8), of(set, mib + 1, 8));
            holds(place, of(set, 370, mib), of(set, 370, mib + 1));
        }
    }
    for set in 1..1000 {
        holds(format!("{set} MiB"), of(set, 370, 8), of(set + 1, 370, 8));
    }
}

#[test]
fn the_recommended_machine_leaves_what_programs_read() {
    every_need(|_, need| {
        let (least, recommended) = (need.least_ram_mib, need.recommended_ram_mib);
        assert!(
            recommended >= least && recommended.is_multiple_of(STEP),
            "{need:?}"
        );
        assert!(left_mib(need, recommended) >= Some(128), "{need:?}");
        let smaller = left_mib(need, recommended - STEP);
        assert!(smaller.is_none_or(|left| left < 128), "{need:?}");
    });
}

#[test]
fn the_unit_is_right() {
    let mut random = Rng::with_seed(6);
    let mut small = facts(&mut random);
    (small.data_bytes, small.image_bytes) = (1000 * MIB, 1000 * MIB);
    (small.ramdisk_bytes, small.resize) = (1000 * MIB, false);
    (small.initrd_packed, small.initrd_unpacked) = (0, 0);
    let mut large = small.clone();
    (large.data_bytes, large.image_bytes) = (2000 * MIB, 2000 * MIB);
    large.ramdisk_bytes = 2000 * MIB;
    let of = |facts| needs(facts, Some("brd"))[0].least_ram_mib;
    let more = of(&large) - of(&small);
    // A thousand MiB, their index (4 in a thousand) and page descriptors (19 in a thousand).
    assert!((1008..1056).contains(&more), "{more}");
}

#[test]
fn what_is_left_grows_with_the_machine_and_not_faster() {
    every_need(|random, need| {
        let least = need.least_ram_mib;
        assert_eq!(left_mib(need, least - 1), None);
        assert_eq!(left_mib(need, 0), None);
        let ram = least + (bytes(random) >> 20);
        let more = bytes(random) >> 20;
        let (here, there) = (
            left_mib(need, ram).unwrap(),
            left_mib(need, ram + more).unwrap(),
        );
        assert!(here <= ram - need.steady_mib, "{need:?}");
        assert!(
            here <= there && there - here <= more,
            "{need:?}: {ram} and {more}"
        );
        left_mib(need, u64::MAX).unwrap();
    });
}

#[test]
fn the_least_machine_that_leaves_enough_is_the_least() {
    every_need(|random, need| {
        let leave = bytes(random) >> 20;
        let ram = least_leaving(need, leave);
        assert!(left_mib(need, ram).unwrap() >= leave, "{leave} of {need:?}");
        let smaller = left_mib(need, ram - STEP);
        assert!(
            smaller.is_none_or(|left| left < leave),
            "{leave} of {need:?}"
        );
        assert!(least_leaving(need, u64::MAX) > ram);
    });
}
