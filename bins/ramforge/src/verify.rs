//! Whether the store holds what its names say, and whether every recorded result is still whole.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use manifest::{Digest, Object};
use serde_json::Value;
use stage::{At, Error, Result};
use store::Store;

use crate::objects::{files, name_of};
use crate::print;

/// How often the progress is shown on a terminal.
const TICK: Duration = Duration::from_millis(200);

/// Reads every object, then follows every recorded result to the last object that it leads to.
pub(crate) fn verify(store: &Store, repair: bool) -> Result<()> {
    let objects: Vec<PathBuf> = files(&store.root().join("objects")).collect();
    let damaged = damaged(store, &objects)?;
    for path in &damaged {
        print(&format!("damaged: {}", path.display()))?;
        if repair {
            fs::remove_file(path).at(path)?;
        }
    }
    let (checked, damaged) = (objects.len(), damaged.len());
    let incomplete = incomplete(store, repair)?;
    print(&format!(
        "{checked} objects read, {damaged} damaged; {incomplete} results lead to what is not there"
    ))?;
    match (damaged + incomplete, repair) {
        (0, _) => Ok(()),
        (_, true) => print("what was damaged is removed; the next run makes again what it needs"),
        (_, false) => Err(Error::damaged(format!(
            "{damaged} objects are damaged, {incomplete} results incomplete"
        ))
        .advice("ramforge verify --repair removes them, and the next run makes them again")),
    }
}

/// Those of the files that are not what their name says; read on all processors.
fn damaged(store: &Store, objects: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let (next, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || {
        let mut damaged = Vec::new();
        while let Some(path) = objects.get(next.fetch_add(1, Ordering::Relaxed)) {
            stage::interrupted()?;
            // One that garbage collection has just taken is not damaged.
            match fs::metadata(path) {
                Ok(meta) if is_sound(store, path, meta.len()) => {
                    bytes.fetch_add(meta.len(), Ordering::Relaxed);
                }
                _ if path.exists() => damaged.push(path.clone()),
                _ => {}
            }
        }
        Ok(damaged)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let (done, shown) = channel::<()>();
        scope.spawn(|| show(shown, &next, objects.len(), &bytes));
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for worker in workers {
            let lost = |_| Err(Error::failed("a reading thread was lost"));
            all.extend(worker.join().unwrap_or_else(lost)?);
        }
        drop(done);
        all.sort();
        Ok(all)
    })
}

/// Shows how far the reading is, on a terminal, until the other end of `done` is gone.
fn show(done: std::sync::mpsc::Receiver<()>, next: &AtomicUsize, count: usize, bytes: &AtomicU64) {
    let terminal = std::io::stderr().is_terminal();
    while let Err(RecvTimeoutError::Timeout) = done.recv_timeout(TICK) {
        if terminal {
            let (at, mib) = (
                next.load(Ordering::Relaxed),
                bytes.load(Ordering::Relaxed) >> 20,
            );
            let at = at.min(count);
            let text = format!("\r\x1b[Kramforge: {at} of {count} objects, {mib} MiB");
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
    }
    if terminal {
        let _ = std::io::stderr().lock().write_all(b"\r\x1b[K");
    }
}

/// Whether the file at `path` has the digest that it is named by.
fn is_sound(store: &Store, path: &Path, size: u64) -> bool {
    let blake3 = name_of(path).parse::<Digest>();
    blake3.is_ok_and(|blake3| store.verify(&Object { blake3, size }).is_ok())
}

/// Number of recorded results that lead to what is not there.
fn incomplete(store: &Store, repair: bool) -> Result<usize> {
    let mut known = Known::new(store);
    let mut incomplete = 0;
    for path in files(&store.root().join("actions")) {
        stage::interrupted()?;
        let text = fs::read(&path).unwrap_or_default();
        let whole = serde_json::from_slice(&text).is_ok_and(|value| known.leads_to_all(&value));
        // Garbage collection removes results before it removes what they lead to.
        if !whole && path.exists() {
            incomplete += 1;
            if repair {
                fs::remove_file(&path).at(&path)?;
            }
        }
    }
    Ok(incomplete)
}

/// Whether everything that a JSON text leads to is there.
pub(crate) fn is_whole(store: &Store, text: &str) -> bool {
    serde_json::from_str(text).is_ok_and(|value| Known::new(store).leads_to_all(&value))
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
