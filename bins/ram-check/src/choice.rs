//! Which RAM store a machine takes: that of the command line, or the one that `auto` finds RAM for.
//!
//! ram-deploy tries the stores in the order of [`Kind::BY_SPEED`] and takes the first that it finds RAM for, by its own
//! [`Demand`]: of a measured working set it knows nothing but what the command line says. The demand counted here is more
//! than its own, by 48 MiB or a tenth at most, so shortly below it may take that store or a slower one: there no more is
//! promised than either leaves.
//!
//! So the least machine with `auto` is the one from which on the system comes up in whatever store may be taken. A smaller
//! one may do with a slow store, and one between the two be lost with a fast one: the statement holds for all larger ones.

use manifest::StoreNeed;
use ram_deploy::store::Kind;

use crate::model::{self, Demand};

/// The RAM stores of a medium.
#[derive(Debug)]
pub(crate) struct Choice {
    /// That of the command line first; without a word there the one that decides about the least machine. Never empty.
    pub(crate) stores: Vec<StoreNeed>,
    /// Whether the machine's RAM decides.
    pub(crate) auto: bool,
}

/// A store on a machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken<'a> {
    pub(crate) need: &'a StoreNeed,
    /// MiB that it leaves to applications.
    pub(crate) left_mib: u64,
    /// Whether no other may be taken there.
    pub(crate) surely: bool,
}

impl Choice {
    /// Of `stores` that of the command line stands first; with `auto` the machine's RAM decides.
    pub(crate) fn new(stores: Vec<StoreNeed>, auto: bool) -> Self {
        let mut choice = Self { stores, auto };
        if auto && let Some(least) = choice.least_of_all() {
            choice
                .stores
                .sort_by_key(|need| need.least_ram_mib != least);
        }
        choice
    }

    /// The least machine from which on every store comes up that may be taken: it is the least of one of them.
    fn least_of_all(&self) -> Option<u64> {
        let bounds = self
            .stores
            .iter()
            .flat_map(|need| Demand::of(need).bounds());
        let bounds: Vec<u64> = bounds.collect();
        let holds = |least: &u64| {
            let above = bounds.iter().filter(|ram| *ram >= least);
            above.chain([least]).all(|ram| self.all_come_up(*ram))
        };
        let leasts = self.stores.iter().map(|need| need.least_ram_mib);
        leasts.filter(holds).min()
    }

    /// Whether a store is surely taken on a machine with `ram_mib` MiB, and every one comes up that may be.
    fn all_come_up(&self, ram_mib: u64) -> bool {
        let may = self.found(ram_mib);
        let surely = |need: &&StoreNeed| Demand::of(need).surely <= ram_mib;
        may.iter().any(surely) && may.iter().all(|need| Demand::of(need).comes_up(ram_mib))
    }

    /// The stores that ram-deploy may find RAM for and take: none behind the first that surely fits.
    fn found(&self, ram_mib: u64) -> Vec<&StoreNeed> {
        let mut found = Vec::new();
        for need in self.by_speed() {
            let demand = Demand::of(need);
            if demand.may_take(ram_mib) {
                found.push(need);
            }
            if demand.surely <= ram_mib {
                break;
            }
        }
        found
    }

    /// The store that decides on the least machine.
    pub(crate) fn first(&self) -> &StoreNeed {
        &self.stores[0]
    }

    /// The store of a machine with `ram_mib` MiB: of those that may be taken the one that leaves the least; none where
    /// the system does not fit.
    pub(crate) fn taken(&self, ram_mib: u64) -> Option<Taken<'_>> {
        let may = self.may_take(ram_mib);
        may.into_iter().min_by_key(|taken| taken.left_mib)
    }

    /// The stores that may be taken on a machine with `ram_mib` MiB; none where the system does not fit.
    pub(crate) fn may_take(&self, ram_mib: u64) -> Vec<Taken<'_>> {
        if ram_mib < self.first().least_ram_mib {
            return Vec::new();
        }
        let may = match self.auto {
            true => self.found(ram_mib),
            false => vec![self.first()],
        };
        let surely = may.len() == 1;
        let may = may.into_iter().map(|need| taken(need, ram_mib, surely));
        may.collect()
    }

    /// The stores, the fastest at run time first.
    pub(crate) fn by_speed(&self) -> impl Iterator<Item = &StoreNeed> {
        let find = |kind: &Kind| self.stores.iter().find(|need| need.store == kind.name());
        Kind::BY_SPEED.iter().filter_map(find)
    }
}

fn taken(need: &StoreNeed, ram_mib: u64, surely: bool) -> Taken<'_> {
    let left = model::left_mib(need, ram_mib);
    Taken {
        need,
        left_mib: left.unwrap_or_else(|| ram_mib.saturating_sub(need.steady_mib)),
        surely,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::{facts, own};

    fn auto() -> Choice {
        Choice::new(model::needs(&facts(), None), true)
    }

    fn least(store: &str) -> u64 {
        model::needs(&facts(), Some(store))[0].least_ram_mib
    }

    fn names(choice: &Choice, ram_mib: u64) -> Vec<&str> {
        let may = choice.may_take(ram_mib);
        may.iter().map(|taken| taken.need.store.as_str()).collect()
    }

    #[test]
    fn auto_takes_the_fastest_that_fits_as_ram_deploy_does() {
        let choice = auto();
        assert_eq!(names(&choice, least("tmpfs")), ["tmpfs"]);
        assert_eq!(names(&choice, least("zram")), ["zram"]);
        assert!(names(&choice, least("zram") - 1).is_empty());
        let wanted = Choice::new(model::needs(&facts(), Some("zram")), false);
        assert_eq!(names(&wanted, 4096), ["zram"]);
    }

    #[test]
    fn shortly_below_a_statement_no_more_is_promised_than_either_store_leaves() {
        let choice = auto();
        let ram = least("brd") - 1;
        assert_eq!(names(&choice, ram), ["tmpfs", "brd", "zram"]);
        let taken = choice.taken(ram).unwrap();
        assert!(!taken.surely && taken.need.store != "zram");
        let zram = model::needs(&facts(), Some("zram")).remove(0);
        assert!(taken.left_mib + 200 < model::left_mib(&zram, ram).unwrap());
    }

    /// A small image without dracut, whose services take 362 MiB: ram-deploy finds room for a tmpfs long before the
    /// system has.
    fn measured() -> Vec<StoreNeed> {
        const MIB: u64 = 1 << 20;
        let mut facts = facts();
        (facts.image_bytes, facts.data_bytes) = (440 * MIB, 374 * MIB);
        (facts.zram_bytes, facts.entries) = (156 * MIB, 13_000);
        (facts.initrd_packed, facts.initrd_unpacked) = (2 * MIB, 7 * MIB);
        facts.initramfs_is_system = false;
        facts.measured = Some(own(362));
        model::needs(&facts, None)
    }

    #[test]
    fn no_machine_is_promised_on_which_a_store_may_be_taken_that_does_not_come_up() {
        let choice = Choice::new(measured(), true);
        let need = |store: &str| choice.stores.iter().find(|n| n.store == store).unwrap();
        let (tmpfs, zram) = (need("tmpfs"), need("zram"));
        let least = choice.first().least_ram_mib;
        // In a zram it would have come up; but a tmpfs is found room for there.
        let surely = Demand::of(tmpfs).surely;
        assert!(surely < zram.least_ram_mib && zram.least_ram_mib < tmpfs.least_ram_mib);
        assert_eq!(least, tmpfs.least_ram_mib);
        for ram in 0..least {
            assert!(names(&choice, ram).is_empty(), "{ram}");
        }
        for ram in least..least + 2000 {
            assert_eq!(names(&choice, ram), ["tmpfs"]);
            let taken = choice.taken(ram).unwrap();
            assert_eq!(Some(taken.left_mib), model::left_mib(tmpfs, ram));
        }
    }

    #[test]
    fn with_a_small_set_the_least_is_that_of_the_store_that_needs_the_least() {
        let choice = auto();
        let least = choice.stores.iter().map(|need| need.least_ram_mib).min();
        assert_eq!(Some(choice.first().least_ram_mib), least);
        assert_eq!(choice.first().store, "zram");
    }

    #[test]
    fn whatever_is_measured_a_larger_machine_is_promised_no_less() {
        for set in (0..1500).step_by(25) {
            let mut facts = facts();
            facts.measured = Some(own(set));
            let choice = Choice::new(model::needs(&facts, None), true);
            let least = choice.first().least_ram_mib;
            for ram in least..least + 1500 {
                let may = choice.may_take(ram);
                let lost = |taken: &&Taken| !Demand::of(taken.need).comes_up(ram);
                assert!(!may.is_empty(), "{ram} MiB, a set of {set} MiB");
                assert!(may.iter().find(lost).is_none(), "{ram} MiB, {set}: {may:?}");
            }
        }
    }
}
