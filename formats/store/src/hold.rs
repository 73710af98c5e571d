//! Holds: what running builds need, written down before they need it, so that garbage collection beside
//! them takes nothing away.
//!
//! ```text
//! gate          passed (locked shared) for a moment by everybody who comes to need something;
//!               closed (locked exclusive) by the collector while it decides and removes
//! holds/RUN     everything that the processes of a run have put, found or were given, as text with digests;
//!               locked shared by each of these processes while it lives
//! ```
//!
//! The rule: **a process with a hold notes an object inside the gate, before it relies on it.** So the
//! collector, inside the closed gate, finds in the holds every object that anybody relies on, and nobody can
//! begin to rely on another one before the gate opens. A hold lives while a process has it locked, and for
//! [`HOLD_LASTS`] after its last note: between two stages that are run by hand nobody has it locked.
//! [`Store::release`] ends it at once. What is left of it then is `journal/RUN.keys`: the keys of the results that
//! the run found or recorded, for whoever wants to know which runs use them.
//!
//! *Not in the list of keys:* results that are one object and nothing else, such as a chunk's frame. Whoever uses
//! them names the object.
//!
//! *Not held:* what is only looked at ([`Store::has`], [`Store::get`] and the like of things that were
//! noted before), and anything at all in a store that was opened without a hold.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use manifest::{Object, StageKey, to_canonical};

use crate::error::{At, Error, Result};
use crate::layout::Store;
use crate::objects::write_whole;

/// How long a hold counts after its last note when no process has it open.
pub const HOLD_LASTS: Duration = Duration::from_secs(24 * 3600);

/// How a line begins that names a key.
const KEY: &str = "{\"key\":";
/// How a result begins that is one object and nothing else.
const OBJECT: &[u8] = b"{\"blake3\":";

/// A run's hold, open in one of its processes.
#[derive(Debug)]
pub(crate) struct Hold {
    path: PathBuf,
    /// Locked shared; appended to by all threads, a note a `write(2)`.
    file: File,
}

/// The right to come to need something, while it is passed; to remove something, while it is closed.
#[derive(Debug)]
#[must_use = "the gate is passed or closed only as long as this lives"]
pub struct Gate {
    _file: File,
}

/// A way through the gate for a store that may have a hold.
pub(crate) struct Pass<'a> {
    hold: Option<(&'a Hold, Gate)>,
}

impl Store {
    /// The same store, whose user from now on notes what it needs for the run of that name.
    ///
    /// # Errors
    /// [`Error::BadName`], or [`Error::Io`].
    pub fn hold(mut self, run: &str) -> Result<Self> {
        let path = self.holds_dir().join(file_name(run)?);
        let gate = self.gate(File::lock_shared)?;
        let dir = self.holds_dir();
        fs::create_dir_all(&dir).at(&dir)?;
        let file = OpenOptions::new().append(true).create(true).open(&path);
        let file = file.at(&path)?;
        file.lock_shared().at(&path)?;
        drop(gate);
        self.held = Some(Arc::new(Hold { path, file }));
        Ok(self)
    }

    /// Ends the hold of a run, unless one of its processes still lives.
    ///
    /// # Errors
    /// [`Error::BadName`], or [`Error::Io`].
    pub fn release(&self, run: &str) -> Result<()> {
        let path = self.holds_dir().join(file_name(run)?);
        let _gate = self.close_gate()?;
        match is_locked(&path) {
            Ok(true) => Ok(()),
            Ok(false) => self.retire(&path),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e).at(&path),
        }
    }

    /// Closes the gate: nobody comes to need anything until the value is dropped. Waits for those inside.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn close_gate(&self) -> Result<Gate> {
        self.gate(File::lock)
    }

    /// The files of the holds that count. Those that have ended are removed, if the gate is closed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn holds(&self, closed: Option<&Gate>) -> Result<Vec<PathBuf>> {
        let dir = self.holds_dir();
        let entries = match fs::read_dir(&dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.at(&dir)?,
        };
        let mut living = Vec::new();
        for entry in entries {
            let path = entry.at(&dir)?.path();
            match (counts(&path), closed) {
                (Ok(true), _) => living.push(path),
                (Ok(false), Some(_)) => self.retire(&path)?,
                (Ok(false), None) => {}
                (Err(e), _) if e.kind() == ErrorKind::NotFound => {}
                (Err(e), _) => return Err(e).at(&path),
            }
        }
        Ok(living)
    }

    /// Where the keys of a run are that has ended, whether or not there are any.
    pub fn run_keys_path(&self, run: &str) -> PathBuf {
        self.journal_dir().join(format!("{run}.keys"))
    }

    /// Removes a hold; its keys go beside the journal of the run, where there is one.
    fn retire(&self, hold: &Path) -> Result<()> {
        let run = hold.file_name().and_then(|name| name.to_str());
        let run = run.filter(|r| self.journal_dir().join(format!("{r}.jsonl")).exists());
        if let Some(run) = run {
            let path = self.run_keys_path(run);
            let before = fs::read_to_string(&path).unwrap_or_default();
            let text = fs::read_to_string(hold).at(hold)?;
            let lines = before.lines().chain(text.lines());
            let keys: BTreeSet<&str> = lines.filter(|l| l.starts_with(KEY)).collect();
            if !keys.is_empty() {
                let text: String = keys.iter().flat_map(|line| [line, "\n"]).collect();
                write_whole(self, &path, text.as_bytes())?;
            }
        }
        fs::remove_file(hold).at(hold)
    }

    /// Notes everything that `text` names: what a build was given.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn note(&self, text: &str) -> Result<()> {
        self.enter()?.note(text.as_bytes())
    }

    /// Whether the object is here, as [`Store::has`]; if it is, it is noted, and stays.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn claim(&self, object: &Object) -> Result<bool> {
        let pass = self.enter()?;
        let here = self.has(object);
        if here {
            pass.note_object(object)?;
        }
        Ok(here)
    }

    /// Passes the gate; without a hold there is nothing to pass it for.
    pub(crate) fn enter(&self) -> Result<Pass<'_>> {
        let hold = match &self.held {
            Some(hold) => Some((&**hold, self.gate(File::lock_shared)?)),
            None => None,
        };
        Ok(Pass { hold })
    }

    fn gate(&self, lock: fn(&File) -> std::io::Result<()>) -> Result<Gate> {
        let path = self.root().join("gate");
        // Every passage has an open file of its own: threads that share one would share its lock.
        let file = OpenOptions::new().append(true).create(true).open(&path);
        let file = file.at(&path)?;
        lock(&file).at(&path)?;
        Ok(Gate { _file: file })
    }

    fn holds_dir(&self) -> PathBuf {
        self.root().join("holds")
    }
}

impl Pass<'_> {
    /// Appends a line to the hold.
    pub(crate) fn note(&self, text: &[u8]) -> Result<()> {
        let Some((hold, _)) = &self.hold else {
            return Ok(());
        };
        let line = [text, b"\n"].concat();
        (&hold.file).write_all(&line).at(&hold.path)
    }

    /// Notes a result that was found or recorded.
    pub(crate) fn note_result(&self, key: &StageKey, value: &[u8]) -> Result<()> {
        if !value.starts_with(OBJECT) {
            self.note(format!("{KEY}\"{key}\"}}").as_bytes())?;
        }
        self.note(value)
    }

    pub(crate) fn note_object(&self, object: &Object) -> Result<()> {
        match self.hold {
            Some(_) => self.note(to_canonical(object)?.as_bytes()),
            None => Ok(()),
        }
    }
}

/// A name for a file of its own, as a run's or a ref's.
pub(crate) fn file_name(name: &str) -> Result<&str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.chars().all(fits) {
        return Err(Error::BadName(name.to_owned()));
    }
    Ok(name)
}

fn counts(path: &Path) -> std::io::Result<bool> {
    let age = SystemTime::now().duration_since(fs::metadata(path)?.modified()?);
    // A time in the future says nothing about its age: then it counts.
    Ok(age.map_or(true, |age| age < HOLD_LASTS) || is_locked(path)?)
}

fn is_locked(path: &Path) -> std::io::Result<bool> {
    match File::open(path)?.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    fn age(path: &Path) {
        let file = File::options().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - 2 * HOLD_LASTS)
            .unwrap();
    }

    #[test]
    fn what_is_put_found_and_given_is_noted() {
        let (_dir, store) = store();
        let old = store.put(b"old").unwrap();
        let key = manifest::stage_key("test", &1).unwrap();
        let found = store.put(b"found").unwrap();
        let value = serde_json::to_value(found).unwrap();
        store.record_action(&key, &value).unwrap();
        let held = store.clone().hold("run").unwrap();
        let given = Object::of(b"given");
        held.note(&to_canonical(&given).unwrap()).unwrap();
        assert!(held.claim(&old).unwrap());
        assert!(!held.claim(&Object::of(b"absent")).unwrap());
        held.action(&key).unwrap();
        let new = held.put(b"new").unwrap();
        let text = fs::read_to_string(&store.holds(None).unwrap()[0]).unwrap();
        for object in [old, found, given, new] {
            assert!(text.contains(&object.blake3.to_string()), "{text}");
        }
        assert!(!text.contains(&Object::of(b"absent").blake3.to_string()));
    }

    #[test]
    fn a_hold_lives_as_long_as_its_process_and_a_day_after_its_last_note() {
        let (_dir, store) = store();
        let held = store.clone().hold("run").unwrap();
        let path = store.holds(None).unwrap().remove(0);
        age(&path);
        let gate = store.close_gate().unwrap();
        assert_eq!(store.holds(Some(&gate)).unwrap().len(), 1);
        drop(held);
        assert_eq!(store.holds(Some(&gate)).unwrap().len(), 0);
        assert!(!path.exists());
    }

    #[test]
    fn the_keys_of_a_run_stay_when_its_hold_ends() {
        let (_dir, store) = store();
        fs::write(store.journal_dir().join("run.jsonl"), "").unwrap();
        let keys: Vec<StageKey> = (0..3)
            .map(|n| manifest::stage_key("test", &n).unwrap())
            .collect();
        let object = serde_json::to_value(store.put(b"frame").unwrap()).unwrap();
        store.record_action(&keys[0], &[1].into()).unwrap();
        let held = store.clone().hold("run").unwrap();
        held.action(&keys[0]).unwrap();
        held.record_action(&keys[1], &[2].into()).unwrap();
        held.record_action(&keys[2], &object).unwrap();
        drop(held);
        store.release("run").unwrap();
        let text = fs::read_to_string(store.run_keys_path("run")).unwrap();
        let named = keys.iter().map(|key| text.contains(&key.to_string()));
        assert_eq!(named.collect::<Vec<_>>(), [true, true, false], "{text}");
    }

    #[test]
    fn a_release_ends_a_hold_that_nobody_uses() {
        let (_dir, store) = store();
        let held = store.clone().hold("run").unwrap();
        store.release("run").unwrap();
        assert_eq!(store.holds(None).unwrap().len(), 1);
        drop(held);
        store.release("run").unwrap();
        assert_eq!(store.holds(None).unwrap().len(), 0);
        store.release("run").unwrap();
        assert!(matches!(store.release("../x"), Err(Error::BadName(_))));
    }

    #[test]
    fn nobody_passes_a_closed_gate() {
        let (_dir, store) = store();
        let held = store.clone().hold("run").unwrap();
        let gate = store.close_gate().unwrap();
        let passed = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                held.put(b"content").unwrap();
                passed.store(true, std::sync::atomic::Ordering::SeqCst);
            });
            std::thread::sleep(Duration::from_millis(50));
            assert!(!passed.load(std::sync::atomic::Ordering::SeqCst));
            assert!(!store.has(&Object::of(b"content")));
            drop(gate);
        });
        assert!(store.has(&Object::of(b"content")));
    }
}
