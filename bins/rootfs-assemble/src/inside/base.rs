//! The base tree: the packages, configured, before anything of the description is laid over them.
//!
//! It depends on the packages alone, so it is kept in the store and laid out again when only the overlay, the
//! settings or the scripts have changed.

use std::thread::JoinHandle;

use manifest::{Object, StageKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stage::{Error, Result};
use store::Store;
use store::tree::Tree;

use super::capture::{Captured, capture, laid};
use super::{dpkg, found, key_of, mounts, overlay, part};
use crate::contents;
use crate::job::Job;

/// The version of how packages are installed. Changelog. 1: the first. 2: essential packages are configured
/// before all others. 3: a package's lists are in the order of their paths. 4: of a link and a directory the first
/// package's stays, and a hard link keeps the content of a file that another package has taken over;
/// of two paths of a directory the first package's mode counts.
const VERSION: u32 = 4;
/// The name of this part of the work.
const PART: &str = "base tree";

/// The base tree, laid out in the root directory.
pub struct Base {
    /// The image's time stamp.
    pub epoch: u64,
    /// What it consists of.
    pub captured: Captured,
    recording: Option<JoinHandle<Result<()>>>,
}

/// What the store keeps.
#[derive(Serialize, Deserialize)]
struct Kept {
    tree: Object,
    epoch: u64,
}

/// Lays the base tree out: from the store, or by installing the packages.
///
/// # Errors
/// Exit code 1 with the package or the path.
pub fn prepare(store: &Store, job: &Job) -> Result<Base> {
    let key = key_of(store, PART, &facts(job))?;
    if let Some((tree, epoch)) = kept(store, &key)? {
        found(PART, &key);
        let captured = part("restore", || {
            overlay::lay(store, &tree)?;
            overlay::set_times(&tree)?;
            laid(&tree, mounts::TREE.as_ref())
        })?;
        return Ok(Base {
            epoch,
            captured,
            recording: None,
        });
    }
    let dpkg::Installed { epoch, placed } = dpkg::install(store, job)?;
    super::quiet()?;
    let captured = part("capture base", || {
        capture(store, mounts::TREE.as_ref(), epoch, &placed)
    })?;
    let tree = captured.tree.write(store)?;
    let store = store.clone();
    // Waiting for the disk takes as long as it takes: meanwhile the work goes on.
    let recording = std::thread::spawn(move || {
        store.sync()?;
        Ok(store.record_action(&key, &json!(Kept { tree, epoch }))?)
    });
    Ok(Base {
        epoch,
        captured,
        recording: Some(recording),
    })
}

impl Base {
    /// Waits until the base tree is safely in the store.
    ///
    /// # Errors
    /// Those of the store.
    pub fn recorded(&mut self) -> Result<()> {
        match self.recording.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(done)) => done,
            Some(Err(_)) => Err(Error::failed("a working thread was lost")),
        }
    }
}

fn facts(job: &Job) -> Value {
    json!({
        "version": format!("{VERSION}, contents {}", contents::VERSION),
        "architecture": job.architecture,
        "packages": job.packages,
        "epoch": job.image.source_date_epoch,
    })
}

/// The base tree of an earlier run, if every object of it is still there.
fn kept(store: &Store, key: &StageKey) -> Result<Option<(Tree, u64)>> {
    let value = store.action(key)?;
    let Some(kept) = value.and_then(|v| serde_json::from_value::<Kept>(v).ok()) else {
        return Ok(None);
    };
    let tree = Tree::read_whole(store, &kept.tree)?;
    Ok(tree.map(|tree| (tree, kept.epoch)))
}
