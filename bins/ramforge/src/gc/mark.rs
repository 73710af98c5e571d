//! Marking: from roots to everything that they lead to.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use manifest::{Digest, Object, package_key};
use stage::{At, Result};
use store::Store;

use super::inventory::{Inventory, Run, read};
use super::kind::Kind;
use super::names::{Name, Place, scan};

/// What is marked so far.
pub(crate) struct Marker<'a> {
    store: &'a Store,
    inventory: &'a Inventory,
    objects: HashMap<Digest, Marked>,
    actions: HashSet<Digest>,
    bytes: u64,
    /// Objects to look into.
    queue: Vec<Digest>,
    /// What was done, so that it can be undone.
    trail: Vec<Step>,
}

#[derive(Debug, Clone, Copy)]
struct Marked {
    kind: Kind,
    /// Whether what it names is marked as well.
    followed: bool,
}

enum Step {
    Object(Digest),
    Followed(Digest),
    Action(Digest),
}

impl<'a> Marker<'a> {
    pub(crate) fn new(store: &'a Store, inventory: &'a Inventory) -> Self {
        Self {
            store,
            inventory,
            objects: HashMap::new(),
            actions: HashSet::new(),
            bytes: 0,
            queue: Vec::new(),
            trail: Vec::new(),
        }
    }

    /// Bytes of all marked objects.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn has_object(&self, object: &Digest) -> bool {
        self.objects.contains_key(object)
    }

    /// What an object was named as; the first kind of the list where there are several.
    pub(crate) fn kind(&self, object: &Digest) -> Kind {
        self.objects.get(object).map_or(Kind::Other, |m| m.kind)
    }

    pub(crate) fn has_action(&self, key: &Digest) -> bool {
        self.actions.contains(key)
    }

    /// Marks everything that the file leads to. One that is gone leads nowhere.
    ///
    /// # Errors
    /// Exit code 1 where something cannot be read, 130 after a signal.
    pub(crate) fn file(&mut self, path: &Path) -> Result<()> {
        match File::open(path) {
            Ok(file) => self.text(file, path),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e).at(path),
        }
    }

    /// Marks everything that a run leads to: what its journal names, and its keys.
    ///
    /// # Errors
    /// As [`Marker::file`].
    pub(crate) fn run(&mut self, run: &Run) -> Result<()> {
        self.file(&run.path)?;
        self.file(&self.store.run_keys_path(run.name()))
    }

    /// Marks what `journal` calls facts, and nothing that they lead to: small, and all that `ramforge why` needs.
    ///
    /// # Errors
    /// As [`Marker::file`].
    pub(crate) fn facts(&mut self, journal: &Path) -> Result<()> {
        let Some(text) = read(journal)? else {
            return Ok(());
        };
        let mut facts = Vec::new();
        scan(&text[..], &mut |name| {
            if name.place == Place::Object("facts".to_owned()) {
                facts.push(name.digest);
            }
        })
        .at(journal)?;
        facts.into_iter().for_each(|digest| {
            self.mark(digest, Kind::Record);
        });
        Ok(())
    }

    /// Marks a recorded result and everything that it leads to.
    ///
    /// # Errors
    /// As [`Marker::file`].
    pub(crate) fn action(&mut self, key: Digest) -> Result<()> {
        self.key(key, Kind::Other)?;
        // Another collector may have taken it just now: it is dealt with all the same.
        if self.actions.insert(key) {
            self.trail.push(Step::Action(key));
        }
        self.drain()
    }

    /// Marks an object and everything that it leads to.
    ///
    /// # Errors
    /// As [`Marker::file`].
    pub(crate) fn object(&mut self, object: Digest) -> Result<()> {
        self.mark(object, Kind::Other);
        self.queue.push(object);
        self.drain()
    }

    /// Where the marks stand now, for [`Marker::undo`].
    pub(crate) fn checkpoint(&self) -> usize {
        self.trail.len()
    }

    /// Takes back every mark since the checkpoint.
    pub(crate) fn undo(&mut self, checkpoint: usize) {
        for step in self.trail.drain(checkpoint..).rev() {
            match step {
                Step::Object(digest) => {
                    self.objects.remove(&digest);
                    self.bytes -= self.inventory.size(&digest);
                }
                Step::Followed(digest) => {
                    if let Some(marked) = self.objects.get_mut(&digest) {
                        marked.followed = false;
                    }
                }
                Step::Action(key) => {
                    self.actions.remove(&key);
                }
            }
        }
    }

    fn text(&mut self, text: impl Read, path: &Path) -> Result<()> {
        self.names(text, path, Kind::Other)?;
        self.drain()
    }

    fn drain(&mut self) -> Result<()> {
        while let Some(digest) = self.queue.pop() {
            stage::interrupted()?;
            self.follow(digest)?;
        }
        Ok(())
    }

    /// Marks what `text` names itself; `unnamed` is the kind of what stands in no field.
    fn names(&mut self, text: impl Read, path: &Path, unnamed: Kind) -> Result<()> {
        let mut failed = None;
        let mut found = |name| {
            if let Err(e) = self.name(&name, unnamed) {
                failed = Some(e);
            }
        };
        scan(text, &mut found).at(path)?;
        failed.map_or(Ok(()), Err)
    }

    fn name(&mut self, name: &Name, unnamed: Kind) -> Result<()> {
        let kind = Kind::of(&name.place).min(unnamed);
        self.mark(name.digest, kind);
        if kind.is_leaf() {
            return Ok(());
        }
        if self.objects.get(&name.digest).is_some_and(|m| !m.followed) {
            self.queue.push(name.digest);
        }
        if name.place == Place::Package {
            let key = package_key(&name.digest.to_string())?;
            self.key(*key.digest(), Kind::Package)?;
        }
        self.key(name.digest, Kind::Other)
    }

    fn mark(&mut self, digest: Digest, kind: Kind) {
        let marked = self.objects.get_mut(&digest);
        if let Some(marked) = marked {
            marked.kind = marked.kind.min(kind);
            return;
        }
        let followed = false;
        self.objects.insert(digest, Marked { kind, followed });
        self.bytes += self.inventory.size(&digest);
        self.trail.push(Step::Object(digest));
    }

    /// Marks the action of that key, if there is one, and what it names itself.
    fn key(&mut self, key: Digest, unnamed: Kind) -> Result<()> {
        let path = self.store.action_path(&key.into());
        if self.actions.contains(&key) || !path.exists() {
            return Ok(());
        }
        self.actions.insert(key);
        self.trail.push(Step::Action(key));
        match read(&path)? {
            Some(text) => self.names(&text[..], &path, unnamed),
            None => Ok(()),
        }
    }

    /// Marks what an object is made of, and what it names, if it is JSON.
    fn follow(&mut self, digest: Digest) -> Result<()> {
        match self.objects.get_mut(&digest) {
            Some(marked) if !marked.followed => marked.followed = true,
            _ => return Ok(()),
        }
        self.trail.push(Step::Followed(digest));
        let object = Object {
            blake3: digest,
            size: 0,
        };
        let (path, recipe) = (
            self.store.object_path(&object),
            self.store.recipe_path(&object),
        );
        let parts = read(&recipe)?;
        if let Some(text) = &parts {
            self.names(&text[..], &recipe, Kind::Other)?;
        }
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                if parts.is_none() {
                    self.unfollow(digest);
                }
                return Ok(());
            }
            Err(e) => return Err(e).at(&path),
        };
        let mut first = [0];
        let read = file.read(&mut first).at(&path)?;
        match &first[..read] {
            b"{" | b"[" => self.names(file, &path, Kind::Other),
            _ => Ok(()),
        }
    }

    /// What is not there yet may come, and then it has names.
    fn unfollow(&mut self, digest: Digest) {
        self.trail.pop();
        if let Some(marked) = self.objects.get_mut(&digest) {
            marked.followed = false;
        }
    }
}
