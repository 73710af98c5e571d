//! Whether the store holds what its names say, and whether every recorded result is still whole.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};

use manifest::{Digest, Object};
use serde_json::Value;
use stage::{At, Error, Result};
use store::Store;

use crate::objects::files;
use crate::print;

/// Reads every object, then follows every recorded result to the last object that it leads to.
pub(crate) fn verify(store: &Store, repair: bool) -> Result<()> {
    let (mut checked, mut damaged, mut incomplete) = (0_u64, 0_u64, 0_u64);
    for path in files(&store.root().join("objects")) {
        stage::interrupted()?;
        checked += 1;
        if !is_whole(store, &name_of(&path)) {
            damaged += 1;
            print(&format!("damaged: {}", path.display()))?;
            if repair {
                fs::remove_file(&path).at(&path)?;
            }
        }
    }
    let mut known = Known {
        store,
        complete: HashMap::new(),
    };
    for path in files(&store.root().join("actions")) {
        stage::interrupted()?;
        let text = fs::read(&path).at(&path)?;
        let whole = serde_json::from_slice(&text).is_ok_and(|value| known.leads_to_all(&value));
        if !whole {
            incomplete += 1;
            if repair {
                fs::remove_file(&path).at(&path)?;
            }
        }
    }
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

/// Whether the file of that name can be read and has that digest.
fn is_whole(store: &Store, name: &str) -> bool {
    let Ok(blake3) = name.parse::<Digest>() else {
        return false;
    };
    let path = store.object_path(&Object { blake3, size: 0 });
    let Ok(meta) = fs::metadata(path) else {
        return false;
    };
    store
        .verify(&Object {
            blake3,
            size: meta.len(),
        })
        .is_ok()
}

/// `…/ab/cdef…` → `abcdef…`.
fn name_of(path: &std::path::Path) -> String {
    let mut parts = path.iter().rev().filter_map(|p| p.to_str());
    let rest = parts.next().unwrap_or_default();
    format!("{}{rest}", parts.next().unwrap_or_default())
}

/// Objects that were followed already.
struct Known<'a> {
    store: &'a Store,
    complete: HashMap<Object, bool>,
}

impl Known<'_> {
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
