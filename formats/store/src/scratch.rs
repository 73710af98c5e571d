//! Room for unfinished work, on the store's own file system.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{At, Result};
use crate::layout::Store;

/// A directory below `tmp/` that is removed on drop. While it is in use, a lock says so; what a crash
/// leaves behind has no lock and is swept by [`Store::sweep`].
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing can be done about a failure here, and the next sweep tries again.
        let _ = fs::remove_dir_all(&self.path);
        let _ = fs::remove_file(&self.lock_path);
    }
}

impl Store {
    /// An empty directory of its own for the caller.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn scratch(&self) -> Result<Scratch> {
        let tmp = self.tmp_dir();
        let dir = tempfile::Builder::new()
            .prefix("scratch-")
            .tempdir_in(&tmp)
            .at(&tmp)?;
        let lock_path = dir.path().with_extension("lock");
        let lock = File::create(&lock_path).at(&lock_path)?;
        lock.lock().at(&lock_path)?;
        Ok(Scratch {
            path: dir.keep(),
            lock_path,
            _lock: lock,
        })
    }

    /// Removes what crashes left in `tmp/`: scratch directories whose owner is gone, and files that
    /// nobody has written to for an hour. Says how many there were.
    ///
    /// # Errors
    /// [`crate::Error::Io`] where `tmp/` cannot be listed. What cannot be removed stays for later.
    pub fn sweep(&self) -> Result<usize> {
        let tmp = self.tmp_dir();
        let mut swept = 0;
        for entry in fs::read_dir(&tmp).at(&tmp)?.flatten() {
            let path = entry.path();
            let gone = if path.extension().is_some_and(|e| e == "lock") {
                is_older(&path, LOCKED_BY) && is_abandoned(&path) && remove_scratch(&path)
            } else {
                path.is_file() && is_older(&path, FORGOTTEN) && fs::remove_file(&path).is_ok()
            };
            swept += usize::from(gone);
        }
        Ok(swept)
    }
}

/// By this age a lock file is locked, if its owner lives.
const LOCKED_BY: Duration = Duration::from_secs(60);
/// A file in `tmp/` that was not written to for that long has no owner.
const FORGOTTEN: Duration = Duration::from_secs(3600);

fn is_older(path: &Path, age: Duration) -> bool {
    let time = fs::metadata(path).and_then(|m| m.modified());
    time.is_ok_and(|t| t.elapsed().is_ok_and(|passed| passed > age))
}

fn is_abandoned(lock: &Path) -> bool {
    File::open(lock).is_ok_and(|f| !matches!(f.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Removes a scratch directory and then its lock file.
fn remove_scratch(lock: &Path) -> bool {
    let dir = lock.with_extension("");
    let removed = fs::remove_dir_all(&dir);
    (removed.is_ok() || !dir.exists()) && fs::remove_file(lock).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn a_sweep_takes_the_abandoned_and_leaves_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mine = store.scratch().unwrap();
        let lost = store.tmp_dir().join("scratch-lost");
        fs::create_dir(&lost).unwrap();
        let draft = store.tmp_dir().join("object-lost");
        for old in [lost.with_extension("lock"), draft.clone()] {
            let file = File::create(&old).unwrap();
            file.set_modified(SystemTime::now() - 2 * FORGOTTEN)
                .unwrap();
        }
        let young = store.draft().unwrap();
        assert_eq!(store.sweep().unwrap(), 2);
        assert!(young.path().exists() && !draft.exists());
        assert!(mine.path().exists() && !lost.exists());
    }
}
