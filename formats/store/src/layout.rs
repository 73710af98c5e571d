//! The directory of a store: where things are, and what makes it one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use manifest::{Digest, Object, StageKey, to_canonical};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::damage::Notes;
use crate::error::{At, Error, Result};
use crate::hold::{Hold, file_name};
use crate::objects::write_whole;
use crate::sync::Unsynced;

/// The version of the layout. Changelog. 1: the first. 2: recipes; a store of version 1 becomes one of
/// version 2 as soon as it is opened, since it only lacks them.
pub const LAYOUT_VERSION: u64 = 2;

/// What is hashed into `store.json`, so that two layouts of one version cannot be mixed up.
const LAYOUT: &str =
    "objects/xx/rest recipes/xx/rest actions/xx/rest refs/name tmp/any journal/run.jsonl";

/// The cache directory convention's signature, so that backups leave the store out.
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This directory holds Ramforge's store. It can be made again.\n";

/// A store on a local file system. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    pub(crate) unsynced: Unsynced,
    pub(crate) held: Option<Arc<Hold>>,
    notes: Notes,
}

impl Store {
    /// Opens the store that the environment names, and makes it where there is none.
    ///
    /// # Errors
    /// [`Error::NoPlace`] without any of the three variables, otherwise as [`Store::open`].
    pub fn open_default() -> Result<Self> {
        let set = |name| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let root = set("RAMFORGE_STORE")
            .or_else(|| set("XDG_CACHE_HOME").map(|d| d.join("ramforge")))
            .or_else(|| set("HOME").map(|d| d.join(".cache/ramforge")))
            .ok_or(Error::NoPlace)?;
        Self::open(&root)
    }

    /// Opens the store at `root`, and makes it where there is none.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NewerLayout`], or [`Error::Damaged`] where `store.json` is not readable.
    pub fn open(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).at(root)?;
        let store = Self {
            root,
            unsynced: Unsynced::default(),
            held: None,
            notes: Notes::default(),
        };
        match fs::read(store.root.join("store.json")) {
            Ok(bytes) => store.check_layout(&bytes)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => store.create()?,
            Err(e) => return Err(e).at(&store.root.join("store.json")),
        }
        Ok(store)
    }

    /// The directory of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The damage met so far.
    pub(crate) fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Where the journals lie.
    pub fn journal_dir(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Where the manifests lie that garbage collection keeps.
    pub fn refs_dir(&self) -> PathBuf {
        self.root.join("refs")
    }

    /// Where unfinished things lie.
    pub(crate) fn tmp_dir(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Where an object lies, whether or not it is there.
    pub fn object_path(&self, object: &Object) -> PathBuf {
        self.root.join("objects").join(fan_out(&object.blake3))
    }

    /// The digest of the object that lies at `path`, with size 0; `None` where that is no place of an object.
    pub fn object_at(&self, path: &Path) -> Option<Object> {
        let name = path.strip_prefix(self.root.join("objects")).ok()?;
        let blake3 = name.to_str()?.replace('/', "").parse().ok()?;
        Some(Object { blake3, size: 0 })
    }

    /// Where an action lies, whether or not it is there.
    pub fn action_path(&self, key: &StageKey) -> PathBuf {
        self.root.join("actions").join(fan_out(key.digest()))
    }

    fn create(&self) -> Result<()> {
        for name in ["objects", "recipes", "actions", "refs", "tmp", "journal"] {
            let dir = self.root.join(name);
            fs::create_dir_all(&dir).at(&dir)?;
        }
        write_whole(
            self,
            &self.root.join("CACHEDIR.TAG"),
            CACHEDIR_TAG.as_bytes(),
        )?;
        let layout = json!({"version": LAYOUT_VERSION, "layout": Digest::of(LAYOUT.as_bytes())});
        let text = to_canonical(&layout)? + "\n";
        write_whole(self, &self.root.join("store.json"), text.as_bytes())?;
        self.sync()
    }

    /// Compares `store.json`. What a power cut or a bad disk left of it in a store that has objects is written
    /// anew.
    fn check_layout(&self, bytes: &[u8]) -> Result<()> {
        let found = serde_json::from_slice::<Value>(bytes).ok();
        let version = found.as_ref().and_then(|v| v.get("version")?.as_u64());
        let layout = found.as_ref().and_then(|v| v.get("layout")?.as_str());
        match version {
            Some(LAYOUT_VERSION) if layout == Some(&Digest::of(LAYOUT.as_bytes()).to_string()) => {
                Ok(())
            }
            Some(found) if found > LAYOUT_VERSION => Err(Error::NewerLayout {
                path: self.root.clone(),
                found,
                known: LAYOUT_VERSION,
            }),
            Some(1) => self.create(),
            None | Some(LAYOUT_VERSION) if self.root.join("objects").is_dir() => self.create(),
            _ => Err(Error::Damaged {
                path: self.root.join("store.json"),
                fact: "it does not describe a store of this layout".to_owned(),
            }),
        }
    }

    /// What was recorded under `key`; `None` where nothing was, or only rubbish is left of it. It is noted in
    /// the hold, if there is one: what it names stays.
    ///
    /// # Errors
    /// [`Error::Io`] where the entry exists and cannot be read.
    pub fn action(&self, key: &StageKey) -> Result<Option<Value>> {
        let path = self.action_path(key);
        let pass = self.enter()?;
        match fs::read(&path) {
            Ok(bytes) => {
                let value = Recorded::read(&bytes);
                if let Some(value) = &value {
                    pass.note_result(key, to_canonical(value)?.as_bytes())?;
                }
                Ok(value)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).at(&path),
        }
    }

    /// How long ago something was recorded under `key`; `None` where nothing was, or the clock was set back.
    ///
    /// # Errors
    /// [`Error::Io`] where the entry exists and cannot be looked at.
    pub fn action_age(&self, key: &StageKey) -> Result<Option<Duration>> {
        let path = self.action_path(key);
        match fs::metadata(&path).and_then(|m| m.modified()) {
            Ok(time) => Ok(time.elapsed().ok()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).at(&path),
        }
    }

    /// Records the outcome of the work that `key` names; replaces what was there.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Manifest`] where the value is not canonical.
    pub fn record_action(&self, key: &StageKey, value: &Value) -> Result<()> {
        let path = self.action_path(key);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).at(dir)?;
        }
        let text = to_canonical(value)?;
        self.enter()?.note_result(key, text.as_bytes())?;
        write_whole(self, &path, Recorded::of(value)?.as_bytes())
    }

    /// Where the ref of that name lies, whether or not it is there.
    ///
    /// # Errors
    /// [`Error::BadName`].
    pub fn ref_path(&self, name: &str) -> Result<PathBuf> {
        Ok(self.refs_dir().join(file_name(name)?))
    }

    /// Writes a ref: a manifest whose objects stay. Replaces the one of that name.
    ///
    /// # Errors
    /// [`Error::BadName`] or [`Error::Io`].
    pub fn set_ref(&self, name: &str, manifest: &[u8]) -> Result<()> {
        write_whole(self, &self.ref_path(name)?, manifest)
    }

    /// Makes everything that this process has stored so far survive a power cut. Comes before anything durable
    /// refers to it.
    ///
    /// # Errors
    /// [`Error::Io`]: late write errors show here.
    pub fn sync(&self) -> Result<()> {
        self.unsynced.sync(&self.root)
    }

    /// Makes everything that was done to the store, by whomever, survive a power cut.
    ///
    /// # Errors
    /// As [`Store::sync`].
    pub fn flush(&self) -> Result<()> {
        let dir = fs::File::open(&self.root).at(&self.root)?;
        rustix::fs::syncfs(&dir)
            .map_err(std::io::Error::from)
            .at(&self.root)
    }
}

/// An entry of the index. Unlike an object's, its name does not say what it holds, so it says so itself.
#[derive(Serialize, Deserialize)]
struct Recorded {
    /// Of the canonical value.
    digest: Digest,
    value: Value,
}

impl Recorded {
    fn of(value: &Value) -> Result<String> {
        let recorded = Self {
            digest: Digest::of(to_canonical(value)?.as_bytes()),
            value: value.clone(),
        };
        Ok(to_canonical(&recorded)?)
    }

    fn read(bytes: &[u8]) -> Option<Value> {
        let found: Self = serde_json::from_slice(bytes).ok()?;
        let text = to_canonical(&found.value).ok()?;
        (Digest::of(text.as_bytes()) == found.digest).then_some(found.value)
    }
}

/// `ab/cdef…`: 256 directories keep each one small.
pub(crate) fn fan_out(digest: &Digest) -> PathBuf {
    let hex = digest.to_string();
    Path::new(&hex[..2]).join(&hex[2..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::stage_key;

    #[test]
    fn an_action_is_found_again_and_rubbish_counts_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let key = stage_key("test", &1).unwrap();
        assert_eq!(store.action(&key).unwrap(), None);
        store.record_action(&key, &json!({"a": 1})).unwrap();
        assert_eq!(store.action(&key).unwrap(), Some(json!({"a": 1})));
        let path = store.action_path(&key);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(":1}", ":2}")).unwrap();
        assert_eq!(
            store.action(&key).unwrap(),
            None,
            "it is not what was recorded"
        );
        fs::write(&path, &text[..9]).unwrap();
        assert_eq!(store.action(&key).unwrap(), None);
    }

    #[test]
    fn a_newer_layout_is_refused_with_advice() {
        let dir = tempfile::tempdir().unwrap();
        Store::open(dir.path()).unwrap();
        fs::write(dir.path().join("store.json"), b"{\"version\":7}").unwrap();
        let error = Store::open(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("layout 7") && error.contains("RAMFORGE_STORE"),
            "{error}"
        );
    }
}
