//! Objects that consist of others: an ISO of a thousand frames, an initrd of two segments.
//!
//! Such an object is not kept a second time. A *recipe* at `recipes/ab/cdef…`, under the object's own name, lists
//! its parts in order, and the BLAKE3 of that list stands behind it:
//!
//! ```text
//! {"object":{"blake3":"abcdef…","size":N},"parts":[{"blake3":"…","size":N},…]}
//! 0123…
//! ```
//!
//! So a medium with another boot menu costs a few hundred KiB of store, and nothing of it is written but that.
//! Reading checks every part; [`Store::verify`] also checks that the parts make the object.
//!
//! *Not done:* parts that are themselves made of parts: whoever has such a part gives the parts of it.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use manifest::{Digest, Object, to_canonical};
use serde::{Deserialize, Serialize};

use crate::error::{At, Error, Result};
use crate::layout::{Store, fan_out};
use crate::objects::{ObjectReader, write_whole};

/// Bytes that are hashed at once.
const BUFFER: usize = 1 << 18;

/// How an object is made of others.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    object: Object,
    parts: Vec<Object>,
}

impl Store {
    /// Stores what `parts`, one after the other, consist of. They are read for the name and, by another thread, to
    /// see that they are whole; `step` is called now and then and may end the work.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`] where a part is not what its name says, or the error of `step`.
    pub fn put_parts(
        &self,
        parts: &[Object],
        step: &mut dyn FnMut() -> io::Result<()>,
    ) -> Result<Object> {
        let (blake3, verified) = std::thread::scope(|scope| {
            let verify = scope.spawn(|| parts.iter().try_for_each(|part| self.verify(part)));
            let blake3 = self.digest_of(parts, step);
            (blake3, verify.join())
        });
        match verified {
            Ok(verified) => verified?,
            Err(_) => return Err(io::Error::other("a verifying thread was lost")).at(self.root()),
        }
        let object = Object {
            blake3: blake3?,
            size: parts.iter().map(|part| part.size).sum(),
        };
        self.record_recipe(object, parts)?;
        Ok(object)
    }

    fn digest_of(
        &self,
        parts: &[Object],
        step: &mut dyn FnMut() -> io::Result<()>,
    ) -> Result<Digest> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; BUFFER];
        for part in parts {
            let path = self.object_path(part);
            let mut file = fs::File::open(&path).at(&path)?;
            loop {
                step().at(&path)?;
                match file.read(&mut buffer).at(&path)? {
                    0 => break,
                    n => hasher.update(&buffer[..n]),
                };
            }
        }
        Ok(Digest::from(hasher.finalize()))
    }

    /// The objects whose bytes, one after the other, are those of `object`: itself where it is kept as it is.
    ///
    /// # Errors
    /// [`Error::Damaged`] where neither the object nor a whole recipe is there.
    pub fn parts(&self, object: &Object) -> Result<Vec<Object>> {
        if self.object_path(object).exists() {
            return Ok(vec![*object]);
        }
        match self.recipe(object)? {
            Some(recipe) => Ok(recipe.parts),
            None => Err(self.damaged(object, "the object is not there")),
        }
    }

    /// The object with that digest, with its size as it is kept; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Damaged`] for a recipe that is not the one that was written.
    pub fn find(&self, blake3: Digest) -> Result<Option<Object>> {
        let nameless = Object { blake3, size: 0 };
        let path = self.object_path(&nameless);
        match fs::metadata(&path) {
            Ok(meta) => {
                let size = meta.len();
                return Ok(Some(Object { blake3, size }));
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).at(&path),
            Err(_) => {}
        }
        Ok(self.any_recipe(&nameless)?.map(|recipe| recipe.object))
    }

    /// What the recipe at that name's place lists; `None` where it is not the one that was written.
    pub fn listed_parts(&self, name: &Digest) -> Option<Vec<Object>> {
        let object = Object {
            blake3: *name,
            size: 0,
        };
        let recipe = parse(&fs::read(self.recipe_path(&object)).ok()?)?;
        (recipe.object.blake3 == *name).then_some(recipe.parts)
    }

    /// Where the recipe of an object lies, whether or not it is there.
    pub fn recipe_path(&self, object: &Object) -> PathBuf {
        self.root().join("recipes").join(fan_out(&object.blake3))
    }

    /// Whether the object can be made of parts that are all here.
    pub(crate) fn has_parts(&self, object: &Object) -> bool {
        let recipe = self.recipe(object).ok().flatten();
        recipe.is_some_and(|r| r.parts.iter().all(|part| self.has_plain(part)))
    }

    /// A reader of an object that has a recipe; `None` where it has none.
    pub(crate) fn open_parts(&self, object: &Object) -> Result<Option<PartsReader>> {
        Ok(self.recipe(object)?.map(|recipe| PartsReader {
            store: self.clone(),
            left: recipe.parts.into_iter().rev().collect(),
            current: None,
        }))
    }

    /// Notes the damage of a recipe; gives it as an error.
    pub(crate) fn damaged_recipe(&self, object: &Object, fact: &str) -> Error {
        self.damaged(object, fact);
        let (path, fact) = (self.recipe_path(object), fact.to_owned());
        Error::Damaged { path, fact }
    }

    fn record_recipe(&self, object: Object, parts: &[Object]) -> Result<()> {
        let path = self.recipe_path(&object);
        let pass = self.enter()?;
        pass.note_object(&object)?;
        if self.has_plain(&object) {
            return Ok(());
        }
        let parts = parts.to_vec();
        let list = to_canonical(&Recipe { object, parts })?;
        let text = format!("{list}\n{}\n", Digest::of(list.as_bytes()));
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).at(dir)?;
        }
        write_whole(self, &path, text.as_bytes())
    }

    fn recipe(&self, object: &Object) -> Result<Option<Recipe>> {
        match self.any_recipe(object)? {
            Some(recipe) if recipe.object.size != object.size => {
                Err(self.damaged_recipe(object, "it is not the recipe that was written"))
            }
            recipe => Ok(recipe),
        }
    }

    /// The recipe of the object with that digest, whatever its size.
    fn any_recipe(&self, object: &Object) -> Result<Option<Recipe>> {
        let path = self.recipe_path(object);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.at(&path)?,
        };
        let recipe = parse(&bytes).filter(|r| {
            let sum: u64 = r.parts.iter().map(|p| p.size).sum();
            r.object.blake3 == object.blake3 && sum == r.object.size
        });
        match recipe {
            Some(recipe) => Ok(Some(recipe)),
            None => Err(self.damaged_recipe(object, "it is not the recipe that was written")),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Recipe> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (list, digest) = text.strip_suffix('\n')?.split_once('\n')?;
    (Digest::of(list.as_bytes()).to_string() == digest).then_some(())?;
    serde_json::from_str(list).ok()
}

/// Reads the parts one after the other, each checked.
#[derive(Debug)]
pub(crate) struct PartsReader {
    store: Store,
    /// The parts still to come, the next one last.
    left: Vec<Object>,
    current: Option<Box<ObjectReader>>,
}

impl Read for PartsReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(reader) = &mut self.current {
                match reader.read(buffer)? {
                    0 if !buffer.is_empty() => self.current = None,
                    n => return Ok(n),
                }
            }
            let Some(part) = self.left.pop() else {
                return Ok(0);
            };
            let reader = self.store.open_plain(&part).map_err(io::Error::other)?;
            self.current = Some(Box::new(reader));
        }
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

    #[test]
    fn an_object_of_parts_is_read_like_any_other() {
        let (_dir, store) = store();
        let parts = [b"one ".as_slice(), b"", b"two"].map(|bytes| store.put(bytes).unwrap());
        let whole = store.put_parts(&parts, &mut || Ok(())).unwrap();
        assert_eq!(whole, Object::of(b"one two"));
        assert!(store.has(&whole) && !store.object_path(&whole).exists());
        assert_eq!(store.get(&whole).unwrap(), b"one two");
        assert_eq!(store.parts(&whole).unwrap(), parts);
        assert_eq!(store.parts(&parts[0]).unwrap(), [parts[0]]);
        store.verify(&whole).unwrap();
    }

    #[test]
    fn damage_is_named_where_it_is() {
        let (_dir, store) = store();
        let parts = [b"one ".as_slice(), b"two"].map(|bytes| store.put(bytes).unwrap());
        let whole = store.put_parts(&parts, &mut || Ok(())).unwrap();
        let path_of = |done: Result<Vec<u8>>| match done {
            Err(Error::Damaged { path, .. }) => path,
            other => panic!("{other:?}"),
        };
        let part = store.object_path(&parts[1]);
        fs::remove_file(&part).unwrap();
        fs::write(&part, b"tw0").unwrap();
        assert!(store.has(&whole));
        assert_eq!(path_of(store.get(&whole)), part);
        fs::remove_file(&part).unwrap();
        assert!(!store.has(&whole));
        let recipe = store.recipe_path(&whole);
        let mut bytes = fs::read(&recipe).unwrap();
        bytes[40] ^= 1;
        fs::write(&recipe, bytes).unwrap();
        assert_eq!(path_of(store.get(&whole)), recipe);
    }

    #[test]
    fn a_recipe_of_other_bytes_does_not_pass_verify() {
        let (_dir, store) = store();
        let parts = [b"one ".as_slice(), b"two"].map(|bytes| store.put(bytes).unwrap());
        let other = Object::of(b"two one");
        store.record_recipe(other, &parts).unwrap();
        assert!(matches!(store.verify(&other), Err(Error::Damaged { .. })));
    }
}
