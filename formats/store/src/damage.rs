//! Damage: noted where it is met, taken away when somebody says so.
//!
//! Whoever reads an object that is not what its name says gets an error, which may be wrapped many times on its
//! way up; whoever writes one anew over half a file notices nothing. So the store keeps notes: all clones of a
//! [`Store`] share them, and [`Store::damage`] tells what was met.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use manifest::{Digest, Object};
use serde::{Deserialize, Serialize};

use crate::error::{At, Result};
use crate::layout::Store;
use crate::objects::hash;

/// An object that is not what its name says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The object.
    pub object: Object,
    /// What is wrong with it.
    pub fact: String,
}

/// What was met so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<Damage>>>);

impl Notes {
    pub(crate) fn add(&self, damage: Damage) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.iter().any(|d| d.object == damage.object) {
            all.push(damage);
        }
    }

    fn take(&self) -> Vec<Damage> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store {
    /// The damage that was met since the last call, by this store or a clone of it.
    pub fn damage(&self) -> Vec<Damage> {
        self.notes().take()
    }

    /// Notes damage that somebody else has met.
    pub fn note_damage(&self, damage: Damage) {
        self.notes().add(damage);
    }

    /// Takes a damaged object away. Gives whether it did: another program may have made it anew meanwhile, so
    /// it is looked at once more when nobody else can reach it.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn take_away(&self, name: &Digest) -> Result<bool> {
        let path = self.object_path(&Object {
            blake3: *name,
            size: 0,
        });
        let aside = self
            .tmp_dir()
            .join(format!("damaged-{name}-{}", std::process::id()));
        let file = match fs::File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened.at(&path)?,
        };
        // Locked, it is not swept; one that was made anew just now is too young for that.
        file.lock_shared().at(&path)?;
        match fs::rename(&path, &aside) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            done => done.at(&path)?,
        }
        let whole = fs::File::open(&aside)
            .and_then(|mut file| hash(&mut file))
            .is_ok_and(|object| object.blake3 == *name);
        match whole {
            true => fs::rename(&aside, &path).at(&path)?,
            false => fs::remove_file(&aside).at(&aside)?,
        }
        Ok(!whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_met_is_noted_once_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let object = store.put(b"content").unwrap();
        let path = store.object_path(&object);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, b"c0ntent").unwrap();
        let clone = store.clone();
        assert!(clone.get(&object).is_err() && clone.get(&object).is_err());
        let damage = store.damage();
        assert_eq!(damage.len(), 1);
        assert_eq!(damage[0].object, object);
        assert!(store.damage().is_empty() && clone.damage().is_empty());
        assert!(store.take_away(&object.blake3).unwrap() && !path.exists());
        assert!(!store.take_away(&object.blake3).unwrap());
        assert!(store.get(&object).is_err(), "it is not there");
        assert_eq!(store.damage()[0].fact, "the object is not there");
    }

    #[test]
    fn what_is_whole_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let object = store.put(b"content").unwrap();
        assert!(!store.take_away(&object.blake3).unwrap());
        assert_eq!(store.get(&object).unwrap(), b"content");
        assert!(store.damage().is_empty());
    }
}
