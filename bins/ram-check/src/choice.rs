//! Which RAM store a machine takes: that of the command line, or the one that `auto` finds RAM for.
//!
//! ram-deploy tries the stores in the order of [`Kind::BY_SPEED`] and takes the first that fits. What is stated is more
//! than the need, by 48 MiB or a tenth at most, so shortly below a statement it may take that store or a slower one:
//! there no more is promised than either leaves.

use manifest::StoreNeed;
use ram_deploy::store::Kind;

use crate::model;

/// The RAM stores of a medium.
#[derive(Debug)]
pub(crate) struct Choice {
    /// That of the command line first; without a word there the one that needs the least. Never empty.
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
        let order: Vec<_> = match self.auto {
            true => self.by_speed().collect(),
            false => vec![self.first()],
        };
        let Some(fits) = order
            .iter()
            .position(|need| model::left_mib(need, ram_mib).is_some())
        else {
            return Vec::new();
        };
        let may = order.into_iter().take(fits + 1);
        let may = may.filter(|need| model::may_fit(need, ram_mib));
        let mut may: Vec<_> = may.map(|need| taken(need, ram_mib)).collect();
        let surely = may.len() == 1;
        may.iter_mut().for_each(|taken| taken.surely = surely);
        may
    }

    /// The stores, the fastest at run time first.
    pub(crate) fn by_speed(&self) -> impl Iterator<Item = &StoreNeed> {
        let find = |kind: &Kind| self.stores.iter().find(|need| need.store == kind.name());
        Kind::BY_SPEED.iter().filter_map(find)
    }
}

fn taken(need: &StoreNeed, ram_mib: u64) -> Taken<'_> {
    let left = model::left_mib(need, ram_mib);
    Taken {
        need,
        left_mib: left.unwrap_or_else(|| ram_mib.saturating_sub(need.steady_mib)),
        surely: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::facts;

    fn auto() -> Choice {
        Choice {
            stores: model::needs(&facts(), None),
            auto: true,
        }
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
        let wanted = Choice {
            stores: model::needs(&facts(), Some("zram")),
            auto: false,
        };
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
}
