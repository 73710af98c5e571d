//! What a machine leaves to applications, and the machines that leave enough.
//!
//! What the store needs at login is counted for the least machine; a larger one takes more for the kernel's own page
//! descriptors and tables. Page cache counts as left: the kernel gives it up.
//!
//! Where more than [`AMPLE_MIB`] is left, ram-deploy lets the kernel keep free what it wants for transparent huge pages,
//! [`HUGE_PAGES_MIB`] more than on a tight machine. Between the two nothing is promised of what comes:
//!
//! ```text
//! left        ╱      a tight machine: RAM less what is in use
//!        ____╱       from AMPLE on no more is promised until that much lies beneath
//!       ╱
//! ```

use manifest::{StoreNeed, Term};

use super::terms::{FOR_HUGE_PAGES, GROWS_WITH_RAM_KIB, WATERMARKS_KIB};
use super::terms::{NOT_OFFERED, PAGE_DESCRIPTORS, ROOM, WRITTEN, has_limit};
use super::{Deploy, Login, MIB_IN_KIB, STEP_MIB, least_mib};

/// The kernel's watermarks with transparent huge pages. Linux 6.1: 66 MiB at 1 GiB, 73 MiB at 3 GiB.
const WITH_HUGE_PAGES_KIB: u64 = 73 * MIB_IN_KIB;
/// What is lost to applications where ram-deploy leaves them as they are.
const HUGE_PAGES_MIB: u64 = (WITH_HUGE_PAGES_KIB - WATERMARKS_KIB) / MIB_IN_KIB;

/// The same beside what a term counts already.
pub(super) fn lost_mib(terms: &[Term]) -> u64 {
    let counted = terms.iter().find(|term| term.name == FOR_HUGE_PAGES);
    let counted = counted.map_or(0, |term| term.kib / MIB_IN_KIB);
    HUGE_PAGES_MIB.saturating_sub(counted)
}

/// So much is left at most while they are surely lowered: half of what ram-deploy calls ample, since the least machine
/// that is stated may have some to spare.
const AMPLE_MIB: u64 = ram_deploy::watermarks::AMPLE / 2 / (1 << 20);
/// What a recommended machine leaves at its login prompt: three times what the page cache has there (Debian 12: 38 MiB), so
/// that programs are not read from the RAM store again and again, and a short peak is none.
const RECOMMENDED_LEFT_MIB: u64 = 128;

/// So much at most is a statement above what a small system needs, as measured, in MiB.
const MOST_ABOVE_MIB: u64 = 48;

/// How far above the need a statement may be, as measured on systems of 300 to 2500 MiB: 48 MiB or a tenth at most, and
/// a step. So much below it a machine may still be one that the store is taken on.
fn above_mib(least_mib: u64) -> u64 {
    MOST_ABOVE_MIB.max(least_mib / 10) + STEP_MIB
}

/// The machines on which ram-deploy finds RAM for a store, and those on which the system then comes up. All in MiB.
#[derive(Debug, Clone, Copy)]
pub struct Demand {
    /// From here on the store is surely taken where it is the first that is tried.
    pub surely: u64,
    /// From here on it may be.
    perhaps: u64,
    /// From here on the system is up.
    least: u64,
    /// From here on it would be taken if ram-deploy knew the system, but for what that writes to a store with a limit.
    pub known: u64,
    /// From here on the limit has room for that.
    pub roomy: u64,
}

impl Demand {
    /// That of a store: of the three moments ram-deploy knows its own alone.
    pub fn of(need: &StoreNeed) -> Self {
        let least = |moment, without: &[&str]| {
            let counted = need.terms.iter().filter(|term| {
                let left_out = without.iter().any(|name| term.name.contains(name));
                !left_out && term.at.contains(&moment)
            });
            least_mib(counted.map(|term| term.kib).sum(), moment)
        };
        let surely = least(Deploy, &[PAGE_DESCRIPTORS, NOT_OFFERED, ROOM]);
        let written = if has_limit(&need.store) {
            WRITTEN
        } else {
            ROOM
        };
        Self {
            surely,
            perhaps: surely.saturating_sub(above_mib(surely)),
            least: need.least_ram_mib,
            known: least(Login, &[PAGE_DESCRIPTORS, written]),
            roomy: least(Deploy, &[PAGE_DESCRIPTORS, NOT_OFFERED]),
        }
    }

    /// Whether ram-deploy may find RAM for it on a machine with `ram_mib` MiB.
    pub fn may_take(self, ram_mib: u64) -> bool {
        ram_mib >= self.perhaps
    }

    /// Whether the system is up on a machine with `ram_mib` MiB that the store is taken on. Where ram-deploy's own moment
    /// is the highest, its demand answers for the others.
    pub fn comes_up(self, ram_mib: u64) -> bool {
        ram_mib >= self.least || (self.surely == self.least && self.roomy == self.surely)
    }

    /// Whether a machine that ram-deploy does not refuse has room for what is written: what is stated may be more than it
    /// demands by so much anyway.
    pub fn is_roomy(self) -> bool {
        self.roomy <= self.surely + MOST_ABOVE_MIB
    }

    /// The machines at which one of the answers changes.
    pub fn bounds(self) -> [u64; 3] {
        [self.perhaps, self.surely, self.least]
    }
}

/// MiB that are left to applications after login on a machine with `ram_mib` MiB; `None` where the system does not fit.
pub fn left_mib(need: &StoreNeed, ram_mib: u64) -> Option<u64> {
    let beyond = ram_mib.checked_sub(need.least_ram_mib)?;
    let grown = beyond
        .saturating_mul(GROWS_WITH_RAM_KIB)
        .div_ceil(MIB_IN_KIB);
    let tight = ram_mib
        .saturating_sub(need.steady_mib)
        .saturating_sub(grown);
    let ample = tight.saturating_sub(lost_mib(&need.terms));
    Some(tight.min(ample.max(AMPLE_MIB)))
}

/// The least machine in MiB that leaves `leave_mib` MiB to applications.
pub fn least_leaving(need: &StoreNeed, leave_mib: u64) -> u64 {
    let lost = lost_mib(&need.terms);
    leaving(need.least_ram_mib, need.steady_mib, lost, leave_mib)
}

/// The recommended machine in MiB, where `least_mib` is the least, `steady_mib` in use on it at the login prompt, and
/// `lost_mib` more with ample RAM.
pub(super) fn recommended(least_mib: u64, steady_mib: u64, lost_mib: u64) -> u64 {
    leaving(least_mib, steady_mib, lost_mib, RECOMMENDED_LEFT_MIB)
}

fn leaving(least_mib: u64, steady_mib: u64, lost_mib: u64, leave_mib: u64) -> u64 {
    let kept_free = match leave_mib {
        0..=AMPLE_MIB => 0,
        _ => lost_mib,
    };
    let beside = least_mib.saturating_sub(steady_mib);
    let lacking = leave_mib.saturating_add(kept_free).saturating_sub(beside);
    let more = lacking.saturating_mul(MIB_IN_KIB);
    least_mib
        .saturating_add(more.div_ceil(MIB_IN_KIB - GROWS_WITH_RAM_KIB))
        .checked_next_multiple_of(STEP_MIB)
        .unwrap_or(u64::MAX)
}
