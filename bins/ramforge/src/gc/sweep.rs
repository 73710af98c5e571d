//! Removing, in short steps between which the builds beside go on.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use manifest::{Digest, Object};
use stage::{At, Result};
use store::{Gate, Store};

use super::inventory::{Action, Inventory, named, runs};
use super::mark::Marker;
use super::plan::{Plan, costs_nothing, pins};

/// Files that go while the gate is closed once: a fraction of a second.
const STEP: usize = 4096;

/// Removes what the plan names and nobody needs; gives the objects that went.
///
/// # Errors
/// Exit code 1 where something cannot be removed, 130 after a signal. What is left then is a whole store.
pub(crate) fn sweep<'a>(
    store: &'a Store,
    inventory: &'a Inventory,
    marker: &mut Marker<'a>,
    plan: &'a Plan,
) -> Result<Vec<Digest>> {
    let mut sweep = Sweep {
        store,
        inventory,
        marker,
        plan,
    };
    sweep.journals()?;
    for step in plan.actions.chunks(STEP) {
        sweep.actions(step)?;
    }
    for step in plan.recipes.chunks(STEP) {
        sweep.recipes(step)?;
    }
    // After a power cut no action may be back whose objects are gone.
    store.flush()?;
    let mut gone = Vec::new();
    for step in plan.objects.chunks(STEP) {
        gone.extend(sweep.objects(step)?);
    }
    store.sweep()?;
    Ok(gone)
}

struct Sweep<'a, 'b> {
    store: &'a Store,
    inventory: &'a Inventory,
    marker: &'b mut Marker<'a>,
    plan: &'a Plan,
}

impl Sweep<'_, '_> {
    /// Closes the gate and marks what somebody came to need since the plan was made.
    fn close(&mut self) -> Result<Gate> {
        stage::interrupted()?;
        let gate = self.store.close_gate()?;
        for hold in self.store.holds(Some(&gate))? {
            self.marker.file(&hold)?;
        }
        for pin in pins(self.store)? {
            self.marker.file(&pin)?;
        }
        for run in runs(self.store)? {
            if self.plan.known.get(&run.path) != Some(&run.size) {
                self.marker.run(&run)?;
            }
        }
        Ok(gate)
    }

    /// Old journals, but not those that were written to just now, or that somebody may still write to.
    fn journals(&mut self) -> Result<()> {
        let _gate = self.close()?;
        let holds = self.store.holds(None)?;
        for run in &self.plan.journals {
            let held = holds.iter().any(|h| h.file_name() == run.path.file_stem());
            let same = fs::metadata(&run.path).is_ok_and(|m| m.len() == run.size);
            if same && !held {
                remove(&run.path)?;
                remove(&self.store.run_keys_path(run.name()))?;
            }
        }
        Ok(())
    }

    fn actions(&mut self, keys: &[Digest]) -> Result<()> {
        let _gate = self.close()?;
        for key in keys {
            let stays = |action: &Action| costs_nothing(action, self.marker);
            let stays = self.inventory.actions.get(key).is_some_and(stays);
            if !stays && !self.marker.has_action(key) {
                remove(&self.store.action_path(&(*key).into()))?;
            }
        }
        Ok(())
    }

    /// An object that is made of others goes before its parts.
    fn recipes(&mut self, objects: &[Digest]) -> Result<()> {
        let _gate = self.close()?;
        self.mark_results()?;
        for digest in objects.iter().filter(|o| !self.marker.has_object(o)) {
            let (blake3, size) = (*digest, 0);
            remove(&self.store.recipe_path(&Object { blake3, size }))?;
        }
        Ok(())
    }

    /// Every action and recipe that is there now is a root, above all those that were recorded since.
    fn mark_results(&mut self) -> Result<()> {
        for (key, _) in named(&self.store.root().join("actions")) {
            if !self.marker.has_action(&key) {
                self.marker.action(key)?;
            }
        }
        for (object, _) in named(&self.store.root().join("recipes")) {
            if !self.inventory.recipes.contains_key(&object) {
                self.marker.object(object)?;
            }
        }
        Ok(())
    }

    fn objects(&mut self, objects: &[Digest]) -> Result<Vec<Digest>> {
        let _gate = self.close()?;
        self.mark_results()?;
        let free = |object: &&Digest| !self.marker.has_object(object);
        let free: Vec<Digest> = objects.iter().filter(free).copied().collect();
        for digest in &free {
            let (blake3, size) = (*digest, 0);
            remove(&self.store.object_path(&Object { blake3, size }))?;
        }
        Ok(free)
    }
}

/// Removes a file; one that is gone already is success.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e).at(path),
        _ => Ok(()),
    }
}
