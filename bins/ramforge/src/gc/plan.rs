//! What stays and what may go, as the store was when the collector looked.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use manifest::Digest;
use stage::{At, Result};
use store::Store;

use super::inventory::{Action, Inventory, Run};
use super::mark::Marker;

/// Which runs keep their results.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Runs that are younger do.
    pub(crate) keep: Duration,
    /// As long as the objects that stay have at most this many bytes together.
    pub(crate) max_size: Option<u64>,
}

/// What may go, unless somebody comes to need it in the meantime.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Keys of actions.
    pub(crate) actions: Vec<Digest>,
    pub(crate) objects: Vec<Digest>,
    /// Objects that are made of others.
    pub(crate) recipes: Vec<Digest>,
    pub(crate) journals: Vec<Run>,
    /// Journals that were read, with their length then.
    pub(crate) known: HashMap<PathBuf, u64>,
    /// Runs that keep their results.
    pub(crate) kept_runs: usize,
    /// Runs whose results go, though they are young enough: the store would be too large.
    pub(crate) too_large: usize,
}

/// Decides. Afterwards `marker` has everything that stays.
///
/// # Errors
/// Exit code 1 where something cannot be read, 130 after a signal.
pub(crate) fn plan(
    store: &Store,
    inventory: &Inventory,
    marker: &mut Marker<'_>,
    policy: Policy,
) -> Result<Plan> {
    let mut plan = Plan::default();
    mark_fixed(store, marker)?;
    mark_runs(store, inventory, marker, policy, &mut plan)?;
    mark_actions(inventory, marker)?;
    let may_go = |action: &Digest| !marker.has_action(action);
    plan.actions = inventory.actions.keys().copied().filter(may_go).collect();
    let may_go = |object: &Digest| !marker.has_object(object);
    plan.objects = inventory.objects.keys().copied().filter(may_go).collect();
    plan.recipes = inventory.recipes.keys().copied().filter(may_go).collect();
    plan.actions.sort();
    plan.objects.sort();
    Ok(plan)
}

/// Marks what stays under every policy: what running builds need, and what is pinned.
///
/// # Errors
/// As [`plan`].
pub(crate) fn mark_fixed(store: &Store, marker: &mut Marker<'_>) -> Result<()> {
    for hold in store.holds(None)? {
        marker.file(&hold)?;
    }
    for pin in pins(store)? {
        marker.file(&pin)?;
    }
    Ok(())
}

/// The files of the pins.
///
/// # Errors
/// As [`plan`].
pub(crate) fn pins(store: &Store) -> Result<Vec<PathBuf>> {
    let dir = store.refs_dir();
    let paths = fs::read_dir(&dir).at(&dir)?.map(|e| e.map(|e| e.path()));
    let mut pins: Vec<_> = paths.collect::<std::io::Result<_>>().at(&dir)?;
    pins.sort();
    Ok(pins)
}

fn mark_runs(
    store: &Store,
    inventory: &Inventory,
    marker: &mut Marker<'_>,
    policy: Policy,
    plan: &mut Plan,
) -> Result<()> {
    let held = held_runs(store)?;
    let (running, ended): (Vec<&Run>, Vec<&Run>) = inventory
        .runs
        .iter()
        .partition(|run| held.contains(&run.name().to_owned()));
    for run in running {
        marker.run(run)?;
        plan.known.insert(run.path.clone(), run.size);
        plan.kept_runs += 1;
    }
    let mut room = true;
    for run in ended {
        plan.known.insert(run.path.clone(), run.size);
        if run.age() >= policy.keep {
            plan.journals.push(run.clone());
            continue;
        }
        let checkpoint = marker.checkpoint();
        if room {
            marker.run(run)?;
            room = policy.max_size.is_none_or(|max| marker.bytes() <= max);
        }
        if room {
            plan.kept_runs += 1;
        } else {
            plan.too_large += 1;
            marker.undo(checkpoint);
            marker.facts(&run.path)?;
        }
    }
    Ok(())
}

/// The runs with a hold that counts.
fn held_runs(store: &Store) -> Result<Vec<String>> {
    let holds = store.holds(None)?.into_iter();
    Ok(holds
        .filter_map(|p| Some(p.file_name()?.to_str()?.to_owned()))
        .collect())
}

/// An action whose objects all stay anyway stays as well, whoever recorded it.
fn mark_actions(inventory: &Inventory, marker: &mut Marker<'_>) -> Result<()> {
    loop {
        let stays = |(key, action): (&Digest, &Action)| {
            (!marker.has_action(key) && costs_nothing(action, marker)).then_some(*key)
        };
        let more: Vec<Digest> = inventory.actions.iter().filter_map(stays).collect();
        if more.is_empty() {
            return Ok(());
        }
        more.into_iter().try_for_each(|key| marker.action(key))?;
    }
}

/// Whether keeping the action keeps no object that would go without it.
pub(crate) fn costs_nothing(action: &Action, marker: &Marker<'_>) -> bool {
    let stay = action
        .objects
        .iter()
        .all(|object| marker.has_object(object));
    stay && !action.objects.is_empty()
}
