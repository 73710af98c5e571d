//! What differs inside objects: trees path by path, chunk maps chunk by chunk, packages by version.

use std::collections::BTreeMap;

use manifest::Object;
use serde_json::Value;
use store::Store;
use store::chunk_map::ChunkMap;
use store::tree::{Entry, Kind, Tree};

use super::differ::Difference;
use super::sentence::listed;

/// How two listings differ. `one` is what a single file is called, where it has a name of its own.
pub(super) fn tree(
    store: &Store,
    one: &str,
    many: &str,
    before: Option<Object>,
    after: Option<Object>,
) -> String {
    let (before, after) = match (before, after) {
        (None, Some(_)) => return format!("{many} is new"),
        (Some(_), None) => return format!("{many} is gone"),
        (None, None) => return format!("{many} changed"),
        (Some(before), Some(after)) => (before, after),
    };
    let read = |object: &Object| Tree::read(store, object).ok();
    let (Some(a), Some(b)) = (read(&before), read(&after)) else {
        return format!(
            "{many} changed; a listing is not in the store any more, so no file can be named"
        );
    };
    let changes = Changes::between(&a, &b);
    match changes.single() {
        Some((path, how)) if !one.is_empty() => format!("{one} {path} {how}"),
        _ => format!("{many} changed: {changes}"),
    }
}

/// Paths by how they changed.
#[derive(Default)]
struct Changes {
    groups: BTreeMap<(u8, &'static str), Vec<String>>,
}

impl Changes {
    fn between(before: &Tree, after: &Tree) -> Self {
        let mut changes = Self::default();
        for entry in after.iter() {
            match before.get(&entry.path) {
                None => changes.add(0, "is new", entry),
                Some(earlier) => {
                    if let Some((rank, how)) = change(earlier, entry) {
                        changes.add(rank, how, entry);
                    }
                }
            }
        }
        for entry in before.iter().filter(|e| after.get(&e.path).is_none()) {
            changes.add(2, "is gone", entry);
        }
        // The time of a directory follows from what is in it.
        if changes.groups.len() > 1 {
            changes.groups.retain(|(rank, _), _| *rank < 9);
        }
        changes
    }

    fn add(&mut self, rank: u8, how: &'static str, entry: &Entry) {
        let path = match entry.path.as_str() {
            "" => "/".to_owned(),
            path => path.to_owned(),
        };
        self.groups.entry((rank, how)).or_default().push(path);
    }

    /// The only path that changed, apart from directories that came or went with it.
    fn single(&self) -> Option<(&str, &str)> {
        let mut all = self.groups.iter();
        match (all.next(), all.next()) {
            (Some(((_, how), paths)), None) => match paths.as_slice() {
                [path] => Some((path, how)),
                [.., path] if is_chain(paths) => Some((path, how)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Whether each path lies in the one before it.
fn is_chain(paths: &[String]) -> bool {
    paths
        .windows(2)
        .all(|pair| pair[1].starts_with(&format!("{}/", pair[0])))
}

impl std::fmt::Display for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut first = true;
        for ((_, how), paths) in &self.groups {
            let verb = match (paths.len(), *how) {
                (1, how) => how.to_owned(),
                (_, "is new") => "are new".to_owned(),
                (_, "is gone") => "are gone".to_owned(),
                (_, how) => how.replacen("has another", "have another", 1),
            };
            let noun = if paths.len() == 1 { "file" } else { "files" };
            let comma = if first { "" } else { ", " };
            write!(f, "{comma}{} {noun} {verb}: {}", paths.len(), listed(paths))?;
            first = false;
        }
        if first {
            f.write_str("nothing that a listing shows")?;
        }
        Ok(())
    }
}

/// How an entry changed: rank for the order of telling, and words.
fn change(before: &Entry, after: &Entry) -> Option<(u8, &'static str)> {
    let is_dir = before.kind == Kind::Dir && after.kind == Kind::Dir;
    let how = if before.kind != after.kind {
        (1, "changed")
    } else if before.mode != after.mode {
        (3, "has another mode")
    } else if (before.uid, before.gid) != (after.uid, after.gid) {
        (4, "has another owner")
    } else if before.xattrs != after.xattrs {
        (5, "has another attribute")
    } else if before.mtime != after.mtime {
        (if is_dir { 9 } else { 6 }, "has another time")
    } else {
        return None;
    };
    Some(how)
}

/// How two chunk maps differ.
pub(super) fn chunks(
    store: &Store,
    what: &str,
    before: Option<Object>,
    after: Option<Object>,
) -> String {
    let read = |object: Option<Object>| ChunkMap::parse(&store.get(&object?).ok()?).ok();
    let (Some(a), Some(b)) = (read(before), read(after)) else {
        return format!(
            "{what} changed; a chunk map is not in the store any more, so nothing can be counted"
        );
    };
    let earlier: BTreeMap<u64, _> = a.chunks.iter().map(|c| (c.at, c.blake3)).collect();
    let new = b
        .chunks
        .iter()
        .filter(|c| earlier.get(&c.at) != Some(&c.blake3));
    format!(
        "{what} changed: {} of {} chunks differ",
        new.count(),
        b.chunks.len()
    )
}

/// How a list of packages with versions differs. The name is the second step of each path.
pub(super) fn packages(differences: &[&Difference]) -> Vec<String> {
    let (mut new, mut gone, mut other) = (Vec::new(), Vec::new(), Vec::new());
    let (mut versions, mut rest) = (Vec::new(), Vec::new());
    for difference in differences {
        let Some(name) = difference.path.get(1) else {
            other.push("the order of packages changed".to_owned());
            continue;
        };
        let text = |value: &Option<Value>| {
            let text = value.as_ref().and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        match difference.path.get(2).map(String::as_str) {
            None if difference.before.is_none() => new.push(name.clone()),
            None => gone.push(name.clone()),
            Some("version") => {
                let (a, b) = (text(&difference.before), text(&difference.after));
                versions.push(format!("{name} {a} → {b}"));
            }
            Some(_) => rest.push(name.clone()),
        }
    }
    // The file follows from the version.
    rest.retain(|name| !versions.iter().any(|v| v.split(' ').next() == Some(name)));
    rest.dedup();
    let mut said = Vec::new();
    for (names, one, many) in [
        (
            versions,
            "package has another version",
            "packages have other versions",
        ),
        (new, "package is new", "packages are new"),
        (gone, "package is gone", "packages are gone"),
        (
            rest,
            "package is asked for in another way",
            "packages are asked for in another way",
        ),
    ] {
        let words = if names.len() == 1 { one } else { many };
        if !names.is_empty() {
            said.push(format!("{} {words}: {}", names.len(), listed(&names)));
        }
    }
    said.extend(other);
    said
}
