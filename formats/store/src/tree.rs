//! A tree: a root file system as a listing object.
//!
//! JSON Lines, one entry a line, in the byte order of the paths, so that a parent stands before its
//! children. Contents are objects; owners and device numbers are data, so that reading and merging
//! trees needs no privilege.
//!
//! *Not written:* access and change times, sub-second times, inode numbers, file flags.

use std::collections::BTreeMap;
use std::io::{BufRead, BufWriter, Write};

use manifest::{Object, to_canonical};
use serde::{Deserialize, Serialize};

use crate::error::{At, Error, Result};
use crate::layout::Store;

/// A listing, sorted by path.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

/// One path of a tree. The fields stand in the order of canonical JSON, so that a listing is written as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Group.
    pub gid: u32,
    /// What stands there.
    #[serde(rename = "is")]
    pub kind: Kind,
    /// Permission bits, set-id and sticky bits: at most 0o7777.
    pub mode: u32,
    /// Time of the last change of content, seconds since 1970 UTC.
    pub mtime: i64,
    /// Relative path without a leading slash; the root itself is "". See [`encode_path`].
    pub path: String,
    /// Owner.
    pub uid: u32,
    /// Extended attributes: name → value as hexadecimal digits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
}

impl Entry {
    /// The entry in canonical form. Its own fields stand in order; what else may need care is left to the
    /// canonical writer, which takes ten times as long.
    fn line(&self) -> Result<String> {
        const SAFE: u64 = 1 << 53;
        let size = match &self.kind {
            Kind::File(object) => object.size,
            _ => 0,
        };
        let plain = self.xattrs.is_empty() && self.mtime.unsigned_abs() < SAFE && size < SAFE;
        match serde_json::to_string(self) {
            Ok(line) if plain => Ok(line),
            _ => Ok(to_canonical(self)?),
        }
    }
}

/// Whether a listing has an entry at `path`: quicker than reading all of it.
pub fn lists(listing: &[u8], path: &str) -> bool {
    let wanted = format!("\"path\":{}", serde_json::Value::from(path));
    let mut lines = listing.split(|&b| b == b'\n');
    lines.any(|line| String::from_utf8_lossy(line).contains(&wanted))
}

/// The kinds of things in a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Kind {
    /// A regular file with its content.
    File(Object),
    /// A directory.
    Dir,
    /// A symbolic link and where it points (encoded like a path).
    Symlink(String),
    /// Another name of the file at that path, which stands in the same tree as a `File`.
    Hardlink(String),
    /// A character device: major, minor.
    Char(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

impl Tree {
    /// Reads a listing and checks it.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Damaged`] where a line is no entry or out of order.
    pub fn read(store: &Store, object: &Object) -> Result<Self> {
        let path = store.object_path(object);
        let damaged = |fact: String| Error::Damaged {
            path: path.clone(),
            fact,
        };
        let mut tree = Self::default();
        let listing = store.get(object)?;
        for (n, line) in listing.lines().enumerate() {
            let line = line.at(&path)?;
            let entry: Entry = serde_json::from_str(&line)
                .map_err(|e| damaged(format!("line {}: {e}; expected a tree entry", n + 1)))?;
            if tree
                .entries
                .last_key_value()
                .is_some_and(|(last, _)| *last >= entry.path)
            {
                return Err(damaged(format!(
                    "line {}: {:?} is out of order",
                    n + 1,
                    entry.path
                )));
            }
            tree.entries.insert(entry.path.clone(), entry);
        }
        Ok(tree)
    }

    /// The listing that a recorded result names, if it and every file in it are here; what is missing is noted as damage.
    ///
    /// # Errors
    /// As [`Tree::read`].
    pub fn read_whole(store: &Store, object: &Object) -> Result<Option<Self>> {
        if !store.expects(object) {
            return Ok(None);
        }
        let tree = Self::read(store, object)?;
        let here = tree.iter().all(|entry| match &entry.kind {
            Kind::File(content) => store.expects(content),
            _ => true,
        });
        Ok(here.then_some(tree))
    }

    /// Writes the listing as an object.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, store: &Store) -> Result<Object> {
        let mut out = BufWriter::new(store.writer()?);
        for entry in self.entries.values() {
            let line = entry.line()? + "\n";
            out.write_all(line.as_bytes()).at(store.root())?;
        }
        out.into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .at(store.root())?
            .finish()
    }

    /// The entry at `path`.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Adds an entry, or replaces the one at its path.
    pub fn insert(&mut self, entry: Entry) {
        self.entries.insert(entry.path.clone(), entry);
    }

    /// Removes the entry at `path` and everything below it.
    pub fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.entries
            .retain(|p, _| p != path && !p.starts_with(&below));
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Bytes of all files; further names of a file do not count.
    pub fn bytes(&self) -> u64 {
        let sizes = self.entries.values().map(|entry| match &entry.kind {
            Kind::File(content) => content.size,
            _ => 0,
        });
        sizes.sum()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds the directories above `path` that are missing: root's, mode 0755, with `mtime`.
    pub fn insert_parents(&mut self, path: &str, mtime: i64) {
        let cuts = path.match_indices('/').map(|(i, _)| &path[..i]);
        for dir in std::iter::once("").chain(cuts) {
            if !self.entries.contains_key(dir) {
                self.insert(Entry {
                    path: dir.to_owned(),
                    kind: Kind::Dir,
                    mode: 0o755,
                    uid: 0,
                    gid: 0,
                    mtime,
                    xattrs: BTreeMap::new(),
                });
            }
        }
    }

    /// The path that `path` leads to when the symbolic links in its directories are followed, as the
    /// kernel would with this tree as root: `lib/modules` → `usr/lib/modules` in a merged-/usr tree.
    /// `None` for a loop of links.
    pub fn resolve(&self, path: &str) -> Option<String> {
        let mut rest: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
        let mut done: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(name) = rest.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    done.pop();
                    continue;
                }
                _ => done.push(name),
            }
            if let Some(Entry {
                kind: Kind::Symlink(target),
                ..
            }) = self.get(&done.join("/"))
            {
                links += 1;
                if links > 40 {
                    return None;
                }
                done.pop();
                if target.starts_with('/') {
                    done.clear();
                }
                rest.extend(target.rsplit('/').map(str::to_owned));
            }
        }
        Some(done.join("/"))
    }
}

/// A path's bytes as text: bytes that are not UTF-8, control characters and `%` become `%XX`.
pub fn encode_path(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '%' || c.is_ascii_control() {
                text.push_str(&format!("%{:02X}", c as u32));
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The bytes that [`encode_path`] wrote. `None` where a `%` does not begin two hexadecimal digits.
pub fn decode_path(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        let path = path.to_owned();
        Entry {
            path,
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 7,
            xattrs: BTreeMap::new(),
        }
    }

    #[test]
    fn a_tree_reads_back_what_it_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut tree = Tree::default();
        tree.insert_parents("a/b", 7);
        tree.insert(entry("a/b", Kind::File(store.put(b"x").unwrap())));
        tree.insert(entry("dev/null", Kind::Char(1, 3)));
        let object = tree.write(&store).unwrap();
        assert_eq!(Tree::read(&store, &object).unwrap(), tree);
        let text = String::from_utf8(store.get(&object).unwrap()).unwrap();
        assert!(lists(text.as_bytes(), "a/b") && lists(text.as_bytes(), "a"));
        assert!(!lists(text.as_bytes(), "b") && !lists(text.as_bytes(), "a/"));
        assert!(
            text.starts_with("{\"gid\":0,\"is\":\"dir\",\"mode\":493,"),
            "{text}"
        );
    }

    #[test]
    fn a_line_is_canonical() {
        let object = Object::of(b"x");
        let kinds = [
            Kind::File(object),
            Kind::Dir,
            Kind::Symlink("../é \"quoted\"\u{7f}".into()),
            Kind::Hardlink("a\u{1}\u{8}\n".into()),
            Kind::Char(1, 3),
            Kind::Fifo,
        ];
        for kind in kinds {
            let mut entry = entry("päth/\u{10ffff}\\", kind);
            for attributes in [&[][..], &["user.b", "user.a"]] {
                let named = attributes
                    .iter()
                    .map(|n| ((*n).to_owned(), "00".to_owned()));
                entry.xattrs.extend(named);
                assert_eq!(entry.line().unwrap(), to_canonical(&entry).unwrap());
            }
        }
        let mut late = entry("x", Kind::Dir);
        late.mtime = i64::MAX;
        assert!(late.line().is_err());
    }

    #[test]
    fn links_are_followed_inside_the_tree() {
        let mut tree = Tree::default();
        tree.insert(entry("lib", Kind::Symlink("usr/lib".into())));
        tree.insert(entry("x", Kind::Symlink("/lib/../lib/y".into())));
        tree.insert(entry("l", Kind::Symlink("l".into())));
        assert_eq!(
            tree.resolve("lib/modules").as_deref(),
            Some("usr/lib/modules")
        );
        assert_eq!(tree.resolve("x").as_deref(), Some("usr/lib/y"));
        assert_eq!(tree.resolve("../../lib").as_deref(), Some("usr/lib"));
        assert_eq!(tree.resolve("l"), None);
    }

    #[test]
    fn any_bytes_survive_as_a_path() {
        for bytes in [&b"plain/\xc3\xa9"[..], b"100%\xff\xfe\n", b""] {
            assert_eq!(decode_path(&encode_path(bytes)).unwrap(), bytes);
        }
        assert_eq!(encode_path(b"a%\xff"), "a%25%FF");
        assert_eq!(decode_path("%2"), None);
    }
}
