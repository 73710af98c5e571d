//! Room for unfinished work, on the store's own file system.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

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

    /// Removes scratch directories whose owner is gone. Says how many there were.
    ///
    /// # Errors
    /// [`crate::Error::Io`] where `tmp/` cannot be listed. What cannot be removed stays for later.
    pub fn sweep(&self) -> Result<usize> {
        let tmp = self.tmp_dir();
        let mut swept = 0;
        for entry in fs::read_dir(&tmp).at(&tmp)?.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "lock") && is_abandoned(&path) {
                let removed = fs::remove_dir_all(path.with_extension(""));
                if removed.is_ok() || !path.with_extension("").exists() {
                    let _ = fs::remove_file(&path);
                    swept += 1;
                }
            }
        }
        Ok(swept)
    }
}

fn is_abandoned(lock: &Path) -> bool {
    File::open(lock).is_ok_and(|f| !matches!(f.try_lock(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_takes_the_abandoned_and_leaves_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mine = store.scratch().unwrap();
        let lost = store.tmp_dir().join("scratch-lost");
        fs::create_dir(&lost).unwrap();
        fs::write(lost.with_extension("lock"), b"").unwrap();
        assert_eq!(store.sweep().unwrap(), 1);
        assert!(mine.path().exists() && !lost.exists());
    }
}
