//! A damaged store: what does not match its name is taken away, with every result that led to it, and made
//! again.
//!
//! One damaged object means that the disk, the memory or a person has changed bytes, so the whole store is read
//! through, once. Then the stage does its work again. What belongs to an earlier stage is beyond it: that is
//! exit code 6, after which `pipeline.sh` runs all stages once more.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use ::journal::Event;
use manifest::{Digest, Object, StageKey};
use serde_json::Value;
use store::{Damage, Store};
use walkdir::WalkDir;

use crate::context::Context;
use crate::error::{At, Error, Result};
use crate::interrupt::interrupted;
use crate::journal::cut;

/// What a look through the whole store has found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Number of objects read.
    pub objects: u64,
    /// Files that do not hold what their names say.
    pub damaged: Vec<PathBuf>,
    /// Recorded results and recipes that cannot be read, or lead to what is not there.
    pub results: Vec<PathBuf>,
}

/// Reads every object, on all processors, then follows every recorded result to the last object that it leads to. With
/// `repair` both are removed where they are not whole. `show` is told how many objects of how many were read.
///
/// # Errors
/// Those of the file system, or exit code 130.
pub fn survey(store: &Store, repair: bool, show: &(dyn Fn(usize, usize) + Sync)) -> Result<Survey> {
    let objects: Vec<PathBuf> = files(&store.root().join("objects")).collect();
    let mut survey = Survey {
        objects: objects.len() as u64,
        ..Survey::default()
    };
    for path in damaged(store, &objects, show)? {
        let gone = match (repair, name_of(&path)) {
            (true, Some(name)) => store.take_away(&name)?,
            (true, None) => std::fs::remove_file(&path).at(&path).map(|()| true)?,
            (false, _) => true,
        };
        if gone {
            survey.damaged.push(path);
        }
    }
    for path in files(&store.root().join("recipes")) {
        let broken = match name_of(&path).and_then(|name| store.listed_parts(&name)) {
            Some(parts) if parts.iter().all(|part| store.has(part)) => continue,
            // Garbage collection removes a recipe before its parts.
            _ if !path.exists() => continue,
            Some(_) => &mut survey.results,
            None => &mut survey.damaged,
        };
        if repair {
            remove(&path)?;
        }
        broken.push(path);
    }
    let mut known = Known::new(store);
    for path in files(&store.root().join("actions")) {
        interrupted()?;
        let value = match name_of(&path) {
            Some(name) => store.action(&StageKey::from(name))?,
            None => None,
        };
        // Garbage collection removes results before it removes what they lead to.
        if !value.is_some_and(|value| known.leads_to_all(&value)) && path.exists() {
            if repair {
                remove(&path)?;
            }
            survey.results.push(path);
        }
    }
    // What was looked at here is dealt with.
    store.damage();
    Ok(survey)
}

/// Those of the files that are not what their name says.
fn damaged(
    store: &Store,
    objects: &[PathBuf],
    show: &(dyn Fn(usize, usize) + Sync),
) -> Result<Vec<PathBuf>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut damaged = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = objects.get(n) else {
                return Ok(damaged);
            };
            interrupted()?;
            show(n, objects.len());
            let whole = name_of(path).is_some_and(|name| is_whole(store, name));
            // One that garbage collection has just taken is not damaged.
            if !whole && path.exists() {
                damaged.push(path.clone());
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for worker in workers {
            let lost = |_| Err(Error::failed("a reading thread was lost"));
            all.extend(worker.join().unwrap_or_else(lost)?);
        }
        all.sort();
        Ok(all)
    })
}

/// Whether everything that a JSON text leads to is there.
pub fn leads_to_all(store: &Store, text: &str) -> bool {
    serde_json::from_str(text).is_ok_and(|value| Known::new(store).leads_to_all(&value))
}

/// Removes a file that somebody else may remove at the same time.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).at(path),
        _ => Ok(()),
    }
}

fn files(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = WalkDir::new(dir).sort_by_file_name().into_iter().flatten();
    entries
        .filter(|e| e.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
}

/// `…/ab/cdef…` → `abcdef…`.
fn name_of(path: &Path) -> Option<Digest> {
    let mut parts = path.iter().rev().filter_map(|p| p.to_str());
    let rest = parts.next()?;
    format!("{}{rest}", parts.next()?).parse().ok()
}

/// Whether the file of that name can be read and has that digest.
fn is_whole(store: &Store, blake3: Digest) -> bool {
    let path = store.object_path(&Object { blake3, size: 0 });
    let size = std::fs::metadata(path).map(|meta| meta.len());
    size.is_ok_and(|size| store.verify(&Object { blake3, size }).is_ok())
}

/// Objects that were followed already.
struct Known<'a> {
    store: &'a Store,
    complete: HashMap<Object, bool>,
}

impl<'a> Known<'a> {
    fn new(store: &'a Store) -> Self {
        let complete = HashMap::new();
        Self { store, complete }
    }

    /// Whether every object that `value` names is there, and with it all that those name.
    fn leads_to_all(&mut self, value: &Value) -> bool {
        match value {
            Value::Object(fields) => match serde_json::from_value::<Object>(value.clone()) {
                Ok(object) => self.is_complete(object),
                Err(_) => fields.values().all(|v| self.leads_to_all(v)),
            },
            Value::Array(items) => items.iter().all(|v| self.leads_to_all(v)),
            _ => true,
        }
    }

    fn is_complete(&mut self, object: Object) -> bool {
        if let Some(&known) = self.complete.get(&object) {
            return known;
        }
        let complete = self.store.has(&object) && self.follow(&object);
        self.complete.insert(object, complete);
        complete
    }

    /// Listings and maps are JSON, a value a line; what is not leads nowhere.
    fn follow(&mut self, object: &Object) -> bool {
        let Ok(reader) = self.store.open_object(object) else {
            return false;
        };
        let mut reader = BufReader::new(reader);
        if reader
            .fill_buf()
            .map_or(true, |bytes| bytes.first() != Some(&b'{'))
        {
            return true;
        }
        for line in reader.lines() {
            let Some(value) = line
                .ok()
                .and_then(|l| serde_json::from_str::<Value>(&l).ok())
            else {
                return true;
            };
            if !self.leads_to_all(&value) {
                return false;
            }
        }
        true
    }
}

/// Damage that was repaired, as it is told to people and to the journal.
#[derive(Debug)]
pub struct Repaired {
    damage: Vec<Damage>,
    /// Recorded results that were removed because they led to it.
    results: usize,
}

impl Repaired {
    /// Takes away everything in the store that is damaged, when some damage was met; `None` where none was.
    ///
    /// # Errors
    /// As [`survey`].
    pub fn repair(store: &Store) -> Result<Option<Self>> {
        let mut damage = store.damage();
        if damage.is_empty() {
            return Ok(None);
        }
        let survey = survey(store, true, &|_, _| ())?;
        for path in &survey.damaged {
            let met = |d: &Damage| store.object_path(&d.object) == *path;
            if let (Some(blake3), false) = (name_of(path), damage.iter().any(met)) {
                // Its length cannot be known any more.
                let object = Object { blake3, size: 0 };
                let fact = "its bytes do not match its name".to_owned();
                damage.push(Damage { object, fact });
            }
        }
        let results = survey.results.len();
        Ok(Some(Self { damage, results }))
    }

    /// One event for each object.
    pub fn events(&self, stage: &str) -> Vec<Event> {
        let event = |damage: &Damage| Event::ObjectDamaged {
            stage: stage.to_owned(),
            object: damage.object,
            fact: cut(&damage.fact),
        };
        self.damage.iter().map(event).collect()
    }

    /// One sentence: what it was and what was done.
    pub fn sentence(&self) -> String {
        let first = self.damage.iter().take(1);
        let first = first.map(|d| format!("object {}: {}", d.object.blake3, d.fact));
        let more = match self.damage.len() {
            0 | 1 => String::new(),
            n => format!(", and {} more", n - 1),
        };
        let results = match self.results {
            0 => String::new(),
            n => format!(", and so are {n} results that led there"),
        };
        format!(
            "the store was damaged ({}{more}); that is removed{results}, and made again where it is needed",
            first.collect::<String>()
        )
    }

    fn tell(&self, cx: &Context) -> Result<()> {
        for event in self.events(cx.name) {
            cx.journal(event)?;
        }
        cx.warn(&self.sentence())
    }
}

/// Does the work. Where it meets damage, that is repaired and the work is done once more, unless something that
/// the manifest leads to is gone.
pub(crate) fn mending<T>(
    cx: &mut Context,
    mut work: impl FnMut(&mut Context) -> Result<T>,
) -> Result<T> {
    let error = match work(cx) {
        Err(error) => error,
        done => {
            tell(cx)?;
            return done;
        }
    };
    interrupted()?;
    let Some(repaired) = Repaired::repair(&cx.store)? else {
        return Err(error);
    };
    repaired.tell(cx)?;
    let given: Value = serde_json::from_str(&cx.manifest.to_line()?)
        .map_err(|e| Error::failed(format!("manifest: {e}")))?;
    if !Known::new(&cx.store).leads_to_all(&given) {
        return Err(
            Error::damaged("something that an earlier stage made is damaged")
                .advice("run the stages before this one again: they make anew what was removed"),
        );
    }
    work(cx)
}

/// Tells of damage that did not stop the work: what was missing or half there has been made again.
pub(crate) fn tell(cx: &Context) -> Result<()> {
    let damage = cx.store.damage();
    let results = 0;
    match damage.is_empty() {
        true => Ok(()),
        false => Repaired { damage, results }.tell(cx),
    }
}
