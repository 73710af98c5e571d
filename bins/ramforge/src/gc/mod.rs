//! Garbage collection: what no recent run led to goes, beside running builds.
//!
//! **Roots** are the journals of runs (every section, fact and log that they name) with the keys that they had,
//! the pins in `refs/`, and the holds of running builds (see [`store::Store::hold`]). From a root everything
//! is followed that it names, in whatever format: see [`names`]. A run keeps what it leads to while it is
//! younger than `--keep-days`; above `--max-size` the oldest runs' results go first, so the least recently
//! used go first: a run that finds a result in the store names it as well as the one that made it.
//! A package file stays as long as a lock that stays names it, and a part of a result as long as a result
//! that stays has it.
//!
//! **How it goes.** The collector lists the store and marks what stays, while builds go on ([`plan`]). What is
//! not marked may go, and only that. It goes in short steps ([`sweep`]). In each one the gate is closed, all
//! holds, pins and changed journals are marked again, and then some of it is removed: first journals and
//! actions, then the recipes of objects that are made of others, and when none of those is left, objects.
//!
//! **Why a running build never misses anything.** Let *S* be the step that removes object *x*, and let some
//! process *p* need *x* afterwards. There are only these ways to need an object:
//!
//! 1. *p*, or another process of its run, put it, new or not. Then it was noted in the run's hold inside the
//!    gate, before it was renamed to its name or taken as present. If that was before *S*, the hold was read in
//!    *S* and *x* was marked. If it was after *S*, *x* was not there, so it was written anew.
//! 2. *p* found it by an action, which was read and noted inside the gate. If that was before *S*, the hold
//!    was read in *S*, and everything that the action's value leads to was marked. If it was after *S*, the action
//!    was there in *S* or was recorded later. In *S* every action that was there was a root. One that was
//!    recorded later names what its own run put, found or was given: that run's case, not this one.
//! 3. *p* was given it: its manifest names it, or what that leads to. Within a run the stage before had put
//!    or found it, and the hold is the run's, not the process's; so case 1 or 2. A manifest that was kept
//!    outside of any run is noted before the first object is read; an object that was removed earlier is
//!    missed before any work begins.
//! 4. *p* made it part of something and reads it by its path: the medium of its frames, the initrd of its
//!    base. Those are named by what case 3 notes.
//!
//! A hold ends with `ramforge finish-run`, after the last file is exported, or a day after its last note
//! when none of the run's processes lives. What a finished run made was named in its journal and its list of keys by
//! then; a journal that was not read for the plan, or that has grown since, is a root in every step. Marks are only
//! ever added, and an object's bytes never change; so what was marked once, in whatever step, was followed
//! rightly. If the collector dies at any instruction, what it left behind is unreachable but for actions: an
//! object only goes after every action that could lead to it, and the file system is flushed in between.
//!
//! *Not done:* objects that are put into the store past these programs, and programs of a release that knows
//! no holds, are not protected.

mod inventory;
mod kind;
mod mark;
mod names;
mod plan;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use manifest::Digest;
use stage::Result;
use store::Store;

pub(crate) use inventory::{Inventory, Run};
pub(crate) use kind::Kind;
pub(crate) use mark::Marker;
pub(crate) use plan::{Plan, Policy, mark_fixed, pins};

use crate::print;

/// Runs that are younger than this keep their results, in days.
pub(crate) const KEEP_DAYS: u64 = 30;

/// The command.
///
/// # Errors
/// Exit code 1 where something cannot be read or removed, 130 after a signal.
pub(crate) fn gc(store: &Store, keep_days: u64, max_size: Option<u64>, dry: bool) -> Result<()> {
    let policy = Policy {
        keep: days(keep_days),
        max_size,
    };
    let inventory = Inventory::take(store)?;
    let kinds = everything(store, &inventory)?;
    let mut marker = Marker::new(store, &inventory);
    let plan = plan::plan(store, &inventory, &mut marker, policy)?;
    let gone = match dry {
        true => plan.objects.clone(),
        false => sweep::sweep(store, &inventory, &mut marker, &plan)?,
    };
    report(&inventory, &kinds, &plan, &gone, dry)?;
    let stay: u64 = inventory.objects.values().map(|o| o.size).sum();
    let stay = stay - bytes(&inventory, &gone);
    if max_size.is_some_and(|max| stay > max) {
        print("this is more than --max-size: pins, running builds and the journal's facts stay")?;
    }
    Ok(())
}

/// That many days; more than anybody lives stands for ever.
pub(crate) fn days(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(24 * 3600))
}

/// Follows everything that is there, so that the kind of each object is known.
///
/// # Errors
/// As [`gc`].
pub(crate) fn everything<'a>(store: &'a Store, inventory: &'a Inventory) -> Result<Marker<'a>> {
    let mut all = Marker::new(store, inventory);
    mark_fixed(store, &mut all)?;
    for run in &inventory.runs {
        all.run(run)?;
    }
    for key in inventory.actions.keys() {
        all.action(*key)?;
    }
    Ok(all)
}

/// Objects and bytes of each kind.
pub(crate) fn by_kind<'a>(
    inventory: &Inventory,
    kinds: &Marker<'_>,
    objects: impl Iterator<Item = &'a Digest>,
) -> BTreeMap<Kind, (u64, u64)> {
    let mut sums = BTreeMap::new();
    for object in objects {
        let (count, bytes) = sums.entry(kinds.kind(object)).or_insert((0, 0));
        *count += 1;
        *bytes += inventory.size(object);
    }
    sums
}

fn bytes(inventory: &Inventory, objects: &[Digest]) -> u64 {
    objects.iter().map(|o| inventory.size(o)).sum()
}

fn report(
    inventory: &Inventory,
    kinds: &Marker<'_>,
    plan: &Plan,
    gone: &[Digest],
    dry: bool,
) -> Result<()> {
    for (kind, (count, bytes)) in by_kind(inventory, kinds, gone.iter()) {
        print(&line(kind.words(), count, bytes))?;
    }
    print(&line(
        "recorded results",
        plan.actions.len() as u64,
        actions(inventory, plan),
    ))?;
    print(&line(
        "journals",
        plan.journals.len() as u64,
        plan.journals.iter().map(|r| r.size).sum(),
    ))?;
    let sum: u64 = inventory.objects.values().map(|o| o.size).sum();
    let gone = bytes(inventory, gone);
    print(&format!(
        "{} {:.1} MiB; {:.1} MiB stay, for {} runs{}",
        if dry { "would free" } else { "freed" },
        mib(gone),
        mib(sum - gone),
        plan.kept_runs,
        match plan.too_large {
            0 => String::new(),
            n => format!(" ({n} more would be too large)"),
        },
    ))
}

fn actions(inventory: &Inventory, plan: &Plan) -> u64 {
    let size = |key| inventory.actions.get(key).map_or(0, |a| a.size);
    plan.actions.iter().map(size).sum()
}

/// One line of a table: what, how many, how much.
pub(crate) fn line(what: &str, count: u64, bytes: u64) -> String {
    format!("{what:26} {count:8}  {:12.1} MiB", mib(bytes))
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
