//! What a yes does not say: a root that may outgrow the machine, and a system of which `ram-deploy` knows too little.
//!
//! A brd has no limit: `ramdisk_size` is what its root may take, and every page that is written is taken from RAM. The other
//! RAM stores end at a limit of their own, with an error to whom writes.
//!
//! `ram-deploy` refuses a machine that cannot hold the image and what it keeps for the system, which is what a small one
//! takes. Where a measured one takes more, the command line has to say so.

use manifest::StoreNeed;
use ram_deploy::ram;

use crate::choice::Choice;
use crate::model::{self, Demand, Facts, Own, STEP_MIB, kept_for};
use crate::options::MOST_MIB;

const KIB: u64 = 1 << 10;
const MIB_IN_KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The warning about a RAM disk that is larger than what the smallest of the machines has for it. Machines that are too
/// small for the system have their sentence.
pub(crate) fn outgrows(
    choice: &Choice,
    facts: &Facts,
    machines: impl Iterator<Item = u64>,
) -> Option<String> {
    let room = |ram_mib| {
        let may = choice.may_take(ram_mib);
        let brd = may.into_iter().find(|taken| taken.need.store == "brd")?;
        Some((ram_mib, brd.left_mib))
    };
    let (ram_mib, left_mib) = machines.filter_map(room).min()?;
    let image_kib = facts.image_bytes.div_ceil(KIB);
    let disk_kib = match facts.resize {
        true => facts.ramdisk_bytes / KIB,
        false => image_kib,
    };
    let room_kib = facts.data_bytes / KIB + left_mib * MIB_IN_KIB;
    if disk_kib <= room_kib {
        return None;
    }
    let (disk, room) = (disk_kib.div_ceil(MIB_IN_KIB), room_kib / MIB_IN_KIB);
    let smaller = format!("set ramdisk_size={room_kib} or less");
    let smaller = (room_kib > image_kib).then_some(smaller);
    let other = fitting(choice, ram_mib);
    let other = other.map(|store| format!("set rd.ramforge.store={store}, which has a limit"));
    let ways_out: Vec<_> = [smaller, other].into_iter().flatten().collect();
    let way_out = match ways_out.is_empty() {
        true => "take a machine with more RAM".to_owned(),
        false => ways_out.join(", or "),
    };
    Some(format!(
        "the root may take {disk} MiB of RAM (brd, ramdisk_size={}), a machine with {ram_mib} MiB has room for {room}: files \
         that are written beyond that take the system down; {way_out}",
        facts.ramdisk_bytes / KIB
    ))
}

/// The warning about machines that ram-deploy does not refuse and a measured system does not come up on, with what the
/// command line should say. With `auto` a word for a brd would be taken off the limits of the others.
pub(crate) fn not_refused(choice: &Choice, facts: &Facts) -> Option<String> {
    let own = facts.measured?;
    let passes = |need: &&StoreNeed| {
        let demand = Demand::of(need);
        demand.surely < demand.known
    };
    let passed: Vec<_> = asked(choice).iter().filter(passes).collect();
    let first = passed.first()?;
    let reserve = passed.iter().map(|need| reserve_mib(facts, own, need));
    let reserve = reserve.max().filter(|mib| *mib <= MOST_MIB)?;
    let (from, least) = (Demand::of(first).surely, first.least_ram_mib);
    let way_out = match choice.auto && own.written_kib > MIB_IN_KIB * STEP_MIB {
        true => format!("take machines with {least} MiB"),
        false => format!("set rd.ramforge.reserve={reserve} in kernelcmdline"),
    };
    Some(format!(
        "ram-deploy keeps {} MiB for the system, which takes more: it may start it ({}) on a machine with {from} MiB instead \
         of {least}, to end without RAM; {way_out}",
        facts.reserve_bytes / MIB,
        first.store
    ))
}

/// The warning about machines that ram-deploy does not refuse, and whose RAM store has no room for what a measured system
/// writes to it before login: no word of the command line tells it that.
pub(crate) fn without_room(choice: &Choice, facts: &Facts) -> Option<String> {
    let own = facts.measured?;
    let mut narrow = asked(choice)
        .iter()
        .filter(|need| !Demand::of(need).is_roomy());
    let need = narrow.next()?;
    Some(format!(
        "the system writes {} MiB to its root before login: ram-deploy starts it ({}) on a machine with {} MiB, where the limit \
         of the RAM store has no room for them; take machines with {} MiB",
        own.written_kib.div_ceil(MIB_IN_KIB),
        need.store,
        Demand::of(need).surely,
        need.least_ram_mib
    ))
}

/// The stores that ram-deploy may take.
fn asked(choice: &Choice) -> &[StoreNeed] {
    match choice.auto {
        true => &choice.stores,
        false => &choice.stores[..1],
    }
}

/// What the word must say, in MiB, so that ram-deploy demands for a store what it would if it knew the system. What the
/// initramfs gives back comes on top.
fn reserve_mib(facts: &Facts, own: Own, need: &StoreNeed) -> u64 {
    let mut facts = facts.clone();
    facts.reserve_bytes = facts.reserve_bytes.max(kept_for(own, &need.store));
    let lacking = |facts: &Facts| {
        let needs = model::needs(facts, Some(&need.store));
        let demand = needs.first().map(Demand::of);
        demand.map_or(0, |demand| demand.known.saturating_sub(demand.surely))
    };
    let more = lacking(&facts);
    if more > 0 {
        let given_back = facts.initrd_unpacked.saturating_add(ram::WORKING_BYTES);
        let reserve = facts.reserve_bytes.max(given_back);
        facts.reserve_bytes = reserve.saturating_add(more.saturating_mul(MIB));
    }
    facts.reserve_bytes.div_ceil(STEP_MIB * MIB) * STEP_MIB
}

/// The fastest store with a limit that fits into the machine.
fn fitting(choice: &Choice, ram_mib: u64) -> Option<&str> {
    let mut stores = choice.by_speed();
    let fits = stores.find(|need| need.store != "brd" && need.least_ram_mib <= ram_mib)?;
    Some(&fits.store)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::own;

    fn facts(resize: bool) -> Facts {
        Facts {
            image_bytes: 500 * MIB,
            data_bytes: 400 * MIB,
            zram_bytes: 120 * MIB,
            erofs_bytes: None,
            entries: 10_000,
            ramdisk_bytes: 2000 * MIB,
            resize,
            reserved_bytes: 0,
            huge_pages_bytes: 0,
            kernel_bytes: 40 * MIB,
            initrd_packed: 2 * MIB,
            initrd_unpacked: 6 * MIB,
            initramfs_is_system: false,
            initramfs_is_tmpfs: false,
            reserve_bytes: ram_deploy::ram::RESERVE_BYTES,
            measured: None,
        }
    }

    fn warned(resize: bool, store: &str, machines: &[u64]) -> Option<String> {
        let facts = facts(resize);
        let wanted = Some(store).filter(|store| *store != "auto");
        let choice = Choice::new(model::needs(&facts, wanted), wanted.is_none());
        let said = outgrows(&choice, &facts, machines.iter().copied());
        let brd = model::needs(&facts, Some("brd")).remove(0);
        let left = machines
            .iter()
            .filter_map(|ram| model::left_mib(&brd, *ram));
        let room = left.min().map_or(0, |left| 400 + left);
        said.map(|said| {
            said.replace(&format!(" {room}:"), " ROOM:")
                .replace(&format!("={} or less", room * 1024), "=ROOM or less")
        })
    }

    #[test]
    fn a_root_that_outgrows_the_smallest_machine_is_told_with_both_sizes() {
        assert_eq!(
            warned(true, "brd", &[4096, 64, 1024]).unwrap(),
            "the root may take 2000 MiB of RAM (brd, ramdisk_size=2048000), a machine with 1024 MiB has room for ROOM: files \
             that are written beyond that take the system down; set ramdisk_size=ROOM or less, or set \
             rd.ramforge.store=tmpfs, which has a limit"
        );
    }

    #[test]
    fn only_a_store_that_fits_is_a_way_out() {
        // Not even the image's own holes may be filled there, and tmpfs would be refused.
        let least = |store| model::needs(&facts(true), Some(store))[0].least_ram_mib;
        assert!(least("zram") < least("brd") && least("brd") < least("tmpfs"));
        let said = warned(true, "brd", &[least("brd")]).unwrap();
        assert!(
            said.ends_with("down; set rd.ramforge.store=zram, which has a limit"),
            "{said}"
        );
        let only = Choice {
            stores: vec![model::needs(&facts(true), Some("brd")).remove(0)],
            auto: false,
        };
        let said = outgrows(&only, &facts(true), std::iter::once(least("brd"))).unwrap();
        assert!(
            said.ends_with("down; take a machine with more RAM"),
            "{said}"
        );
    }

    #[test]
    fn a_system_that_takes_more_than_is_kept_for_it_is_told_with_the_word() {
        let warned = |mib: u64, reserve: u64, store: &str, initrd: u64| {
            let mut facts = facts(true);
            (facts.measured, facts.reserve_bytes) = (Some(own(mib)), reserve * MIB);
            (facts.erofs_bytes, facts.initrd_unpacked) = (Some(160 * MIB), initrd * MIB);
            let wanted = Some(store).filter(|store| *store != "auto");
            let choice = Choice::new(model::needs(&facts, wanted), wanted.is_none());
            (not_refused(&choice, &facts), choice)
        };
        let stores = ["brd", "zram", "tmpfs", "erofs", "auto"];
        for (store, initrd) in stores.into_iter().flat_map(|s| [(s, 6), (s, 108)]) {
            let (said, choice) = warned(362, 96, store, initrd);
            let said = said.unwrap();
            let (_, word) = said.split_once("rd.ramforge.reserve=").unwrap();
            let (reserve, _) = word.split_once(' ').unwrap();
            // With the word nothing is left to say, and the statement is no more but for a step.
            let (again, with_word) = warned(362, reserve.parse().unwrap(), store, initrd);
            assert_eq!(again, None, "{store}: {said}");
            let (was, is) = (
                choice.first().least_ram_mib,
                with_word.first().least_ram_mib,
            );
            assert!(is <= was + STEP_MIB, "{store}: {is} after {was}");
        }
        assert_eq!(warned(40, 96, "zram", 6).0, None);
    }

    #[test]
    fn a_large_initramfs_is_no_system_that_takes_more() {
        for measured in [None, Some(own(60))] {
            let mut facts = facts(true);
            (facts.initrd_packed, facts.initrd_unpacked) = (220 * MIB, 400 * MIB);
            (facts.zram_bytes, facts.measured) = (60 * MIB, measured);
            facts.initramfs_is_system = true;
            let choice = Choice::new(model::needs(&facts, Some("zram")), false);
            assert_eq!(choice.first().peak_at, manifest::Moment::Unpack);
            assert_eq!(not_refused(&choice, &facts), None);
        }
    }

    #[test]
    fn sizes_that_no_machine_has_end_at_once_and_without_a_word() {
        let mut facts = facts(true);
        facts.measured = Some(own(1 << 33));
        let choice = Choice::new(model::needs(&facts, Some("brd")), false);
        assert_eq!(not_refused(&choice, &facts), None);
    }

    #[test]
    fn what_is_written_within_a_limit_is_not_kept_twice() {
        let word = |store: &str| {
            let mut facts = facts(true);
            let written = Own {
                written_kib: 300 << 10,
                ..own(364)
            };
            facts.measured = Some(written);
            let wanted = Some(store).filter(|store| *store != "auto");
            let choice = Choice::new(model::needs(&facts, wanted), wanted.is_none());
            let said = not_refused(&choice, &facts);
            let word = said.as_ref().and_then(|s| s.split("reserve=").nth(1));
            let word = word.map(|word| word.split(' ').next().unwrap().parse::<u64>().unwrap());
            (word, without_room(&choice, &facts))
        };
        let (brd, room) = word("brd");
        assert!(brd.unwrap() >= 376 && room.is_none(), "{room:?}");
        for store in ["zram", "tmpfs"] {
            let (word, room) = word(store);
            let told = "the system writes 300 MiB to its root before login";
            assert!(word.is_none() && room.unwrap().starts_with(told), "{store}");
        }
        let (word, room) = word("auto");
        assert!(word.is_none() && room.is_some(), "{word:?}");
    }

    #[test]
    fn a_little_that_is_written_is_no_warning() {
        let mut facts = facts(true);
        let little = Own {
            written_kib: 8 << 10,
            ..own(60)
        };
        facts.measured = Some(little);
        for store in ["brd", "zram", "tmpfs"] {
            let choice = Choice::new(model::needs(&facts, Some(store)), false);
            assert_eq!(without_room(&choice, &facts), None, "{store}");
        }
    }

    #[test]
    fn a_small_system_that_is_assumed_is_no_warning() {
        let choice = Choice::new(model::needs(&facts(true), Some("brd")), false);
        assert_eq!(not_refused(&choice, &facts(true)), None);
    }

    #[test]
    fn what_cannot_outgrow_a_machine_is_no_warning() {
        assert_eq!(warned(true, "brd", &[4096]), None);
        assert_eq!(warned(false, "brd", &[1024]), None);
        assert_eq!(warned(true, "zram", &[1024]), None);
        assert_eq!(warned(true, "brd", &[]), None);
        assert_eq!(warned(true, "brd", &[64]), None);
        // auto takes tmpfs there, brd with less, and zram with less than that.
        assert_eq!(warned(true, "auto", &[1024, 300]), None);
        assert!(warned(true, "auto", &[608]).is_some());
    }
}
