//! What lies in the store: objects, actions and runs, with their sizes and times.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use manifest::Digest;
use stage::{At, Result};
use store::Store;

use super::names::{Place, scan};
use crate::objects::{files, name_of};

/// Everything that was there when the collector looked.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) objects: HashMap<Digest, Stored>,
    pub(crate) actions: HashMap<Digest, Action>,
    /// Recipes of objects that are made of others: their bytes.
    pub(crate) recipes: HashMap<Digest, u64>,
    /// Newest first.
    pub(crate) runs: Vec<Run>,
}

/// A file of the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    /// Bytes.
    pub(crate) size: u64,
    /// When it was put there.
    pub(crate) since: SystemTime,
}

/// A recorded result.
#[derive(Debug)]
pub(crate) struct Action {
    pub(crate) size: u64,
    /// The objects that it names itself.
    pub(crate) objects: Vec<Digest>,
}

/// A journal.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) path: PathBuf,
    /// Bytes when it was looked at.
    pub(crate) size: u64,
    /// When it was last written to.
    pub(crate) at: SystemTime,
}

impl Run {
    /// The run's name.
    pub(crate) fn name(&self) -> &str {
        self.path.file_stem().and_then(|s| s.to_str()).unwrap_or("")
    }

    /// How long nothing was written to it; nothing for a time in the future.
    pub(crate) fn age(&self) -> Duration {
        self.at.elapsed().unwrap_or_default()
    }
}

impl Inventory {
    /// Lists the store.
    ///
    /// # Errors
    /// Exit code 1 where something cannot be read, 130 after a signal.
    pub(crate) fn take(store: &Store) -> Result<Self> {
        let mut all = Self::default();
        for (digest, path) in named(&store.root().join("objects")) {
            if let Some(stored) = stored(&path)? {
                all.objects.insert(digest, stored);
            }
        }
        for (digest, path) in named(&store.root().join("actions")) {
            stage::interrupted()?;
            if let Some(text) = read(&path)? {
                all.actions.insert(digest, Action::of(&text)?);
            }
        }
        for (digest, path) in named(&store.root().join("recipes")) {
            if let Some(stored) = stored(&path)? {
                all.recipes.insert(digest, stored.size);
            }
        }
        all.runs = runs(store)?;
        Ok(all)
    }

    /// Bytes of an object; 0 for one that came later.
    pub(crate) fn size(&self, object: &Digest) -> u64 {
        self.objects.get(object).map_or(0, |o| o.size)
    }
}

impl Action {
    fn of(text: &[u8]) -> Result<Self> {
        let mut objects = Vec::new();
        scan(text, &mut |name| {
            if let Place::Object(_) = name.place {
                objects.push(name.digest);
            }
        })
        .at(Path::new("action"))?;
        Ok(Self {
            size: text.len() as u64,
            objects,
        })
    }
}

/// The journals, newest first.
///
/// # Errors
/// Exit code 1 where one cannot be looked at.
pub(crate) fn runs(store: &Store) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    for path in journal::runs(&store.journal_dir())? {
        if let Some(Stored { size, since }) = stored(&path)? {
            runs.push(Run {
                path,
                size,
                at: since,
            });
        }
    }
    runs.sort_by(|a, b| (b.at, &b.path).cmp(&(a.at, &a.path)));
    Ok(runs)
}

/// The files below `dir` whose place is a digest: `ab/cdef…`.
pub(crate) fn named(dir: &Path) -> impl Iterator<Item = (Digest, PathBuf)> {
    files(dir).filter_map(|path| Some((name_of(&path).parse().ok()?, path)))
}

/// A file's size and time; nothing where it has just gone.
fn stored(path: &Path) -> Result<Option<Stored>> {
    match fs::metadata(path).and_then(|m| Ok((m.len(), m.modified()?))) {
        Ok((size, since)) => Ok(Some(Stored { size, since })),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).at(path),
    }
}

/// A file's content; nothing where it has just gone.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).at(path),
    }
}
