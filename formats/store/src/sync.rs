//! What must be flushed to the disk before anything durable refers to it.
//!
//! Many new files are flushed with their whole file system at once: ten thousand calls of fsync(2) would take
//! minutes. A few are flushed one by one: the file system may hold gigabytes of other people's unwritten data.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{At, Result};

/// Up to this many files are flushed one by one.
const FEW: usize = 64;

/// The files that were put in place since the last flush; shared by all clones of a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unsynced(Arc<Mutex<Vec<PathBuf>>>);

impl Unsynced {
    /// Remembers a file that was just put in place.
    pub(crate) fn note(&self, path: &Path) {
        self.paths().push(path.to_owned());
    }

    /// Flushes what was remembered; `root` lies on the same file system.
    pub(crate) fn sync(&self, root: &Path) -> Result<()> {
        let paths = std::mem::take(&mut *self.paths());
        if paths.len() > FEW {
            let dir = File::open(root).at(root)?;
            return rustix::fs::syncfs(&dir)
                .map_err(std::io::Error::from)
                .at(root);
        }
        let dirs: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
        let files = paths.iter().map(PathBuf::as_path);
        for path in files.chain(dirs) {
            match File::open(path) {
                // Replaced or collected since: nothing refers to it.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                opened => opened.and_then(|file| file.sync_all()).at(path)?,
            }
        }
        Ok(())
    }

    fn paths(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_files_are_flushed_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let unsynced = Unsynced::default();
        for count in [1, FEW + 1] {
            for n in 0..count {
                let path = dir.path().join(n.to_string());
                std::fs::write(&path, "x").unwrap();
                unsynced.note(&path);
            }
            unsynced.note(&dir.path().join("gone"));
            unsynced.sync(dir.path()).unwrap();
            assert!(unsynced.paths().is_empty());
        }
    }
}
