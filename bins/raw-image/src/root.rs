//! The root file system: the tree, what the disk adds to it, and its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use image::ext4::{self, Kind, Laid, Node, Parameters, RegionSink, Stretch};
use manifest::Object;
use serde_json::{Value, json};
use stage::{Context, Error, Event, Result};
use store::Store;
use store::tree::{self, Entry, Tree, decode_path};

use crate::chunker::{Chunked, Chunker};
use crate::known::Chunks;
use crate::layout::Ids;
use crate::{Input, boot, initrd, unfit};

/// Free room beside the least size: a sixteenth, and a step that keeps the layout of the file system the
/// same while its content changes a little. Holes cost nothing on the medium and in RAM.
const SLACK: u64 = 16;
/// Sizes are rounded up to a multiple of this, in bytes.
const ROUND: u64 = 32 << 20;

/// The version of how the file system is laid out. Changelog. 1: the first. 2: the overlay's files lie last.
/// 3: access control lists have the form of the disk.
pub(crate) const VERSION: u32 = 3;

/// What the disk adds to the tree: path and content.
pub(crate) type Added = BTreeMap<String, Object>;

/// Adds to the tree what makes it bootable from this disk.
pub(crate) fn add_files(cx: &Context, tree: &mut Tree, input: &Input, ids: &Ids) -> Result<Added> {
    let mtime = epoch(input)?;
    let present = match tree.get("etc/fstab").map(|e| &e.kind) {
        Some(tree::Kind::File(object)) => cx.store().get(object)?,
        _ => Vec::new(),
    };
    let initrd = initrd::make(cx, tree, input, ids)?;
    let fstab = boot::fstab(&String::from_utf8_lossy(&present), ids);
    let mut added = Added::new();
    let mut add = |path: &str, object: Object| {
        added.insert(path.to_owned(), object);
        let kind = tree::Kind::File(object);
        tree.insert_parents(path, mtime);
        let (path, xattrs) = (path.to_owned(), BTreeMap::new());
        tree.insert(Entry {
            path,
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime,
            xattrs,
        });
    };
    let menu = boot::menu(input, ids, initrd.paths);
    add("etc/fstab", cx.store().put(fstab.as_bytes())?);
    add("boot/grub/grub.cfg", cx.store().put(menu.as_bytes())?);
    if let Some((path, object)) = initrd.added {
        add(path, object);
    }
    Ok(added)
}

fn epoch(input: &Input) -> Result<i64> {
    i64::try_from(input.rootfs.source_date_epoch).map_err(|_| {
        Error::refused("rootfs.source_date_epoch is not a time; expected seconds since 1970")
    })
}

/// The root file system before it is written.
pub(crate) struct Root {
    store: Store,
    parameters: Parameters,
    nodes: Vec<Node>,
    /// Content of each node that is a file.
    contents: Vec<Option<Object>>,
}

impl Root {
    pub(crate) fn new(cx: &Context, tree: &Tree, input: &Input, ids: &Ids) -> Result<Self> {
        let label = input.plan.disk.root_label.clone();
        let parameters = Parameters {
            uuid: ids.root_fs.printed(),
            label,
            epoch: epoch(input)?,
        };
        let mut entries: Vec<&Entry> = tree.iter().collect();
        let late = late_directories(tree);
        entries.sort_by_key(|entry| rank(entry, &late));
        let nodes = entries
            .iter()
            .map(|entry| node(entry))
            .collect::<Result<_>>()?;
        let contents = entries.iter().map(|entry| content(entry)).collect();
        Ok(Self {
            store: cx.store().clone(),
            parameters,
            nodes,
            contents,
        })
    }

    /// The size of the file system in bytes that the disk should give at least.
    pub(crate) fn least_size(&self) -> Result<u64> {
        let least = ext4::rough_size(&self.parameters, &self.nodes).map_err(unfit)?;
        Ok((least + least / SLACK).next_multiple_of(ROUND))
    }

    /// What the bytes of the file system depend on. Where it lies on the disk is not among it.
    pub(crate) fn facts(&self, input: &Input, added: &Added, size: u64, level: i32) -> Value {
        json!({
            "version": VERSION,
            "tree": input.rootfs.tree,
            "added": added,
            "uuid": self.parameters.uuid,
            "label": self.parameters.label,
            "epoch": self.parameters.epoch,
            "size": size,
            "level": level,
            "zstd": zstd::zstd_safe::version_number(),
        })
    }

    /// What it consists of.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Opens the content of a node that is a file.
    pub(crate) fn open(&self, index: usize) -> io::Result<Box<dyn io::Read>> {
        let object = self.contents[index].ok_or_else(|| io::Error::other("no content"))?;
        let file = self.store.open_object(&object).map_err(io::Error::other)?;
        Ok(Box::new(file))
    }

    /// Writes the file system of `size` bytes as chunks of its own.
    pub(crate) fn write(&self, cx: &Context, size: u64, level: i32) -> Result<Chunked> {
        let laid = ext4::lay_out(&self.parameters, &self.nodes, size).map_err(unfit)?;
        let places: BTreeMap<usize, Vec<Stretch>> = laid.places().collect();
        let files = places.iter().filter_map(|(&index, places)| {
            let object = self.contents[index]?;
            Some((object, &places[..]))
        });
        let chunks = Chunks::find(&self.store, size, level, files)?;
        let unread =
            |(index, places): (&usize, &Vec<Stretch>)| chunks.cover(places).then_some(*index);
        let unread: BTreeSet<usize> = places.iter().filter_map(unread).collect();
        let mut chunker = Chunker::new(&self.store, size, level).knowing(chunks);
        self.write_to(&mut chunker, laid, &unread)?;
        let content = chunker.finish()?;
        let data = json!({"chunks": content.chunks.len(), "compressed": content.compressed});
        cx.journal(Event::Custom {
            stage: cx.stage().to_owned(),
            name: "frames".to_owned(),
            data,
        })?;
        Ok(content)
    }

    /// Writes what was laid out; of the files in `unread` only the length counts.
    fn write_to(
        &self,
        chunker: &mut Chunker,
        laid: Laid<'_>,
        unread: &BTreeSet<usize>,
    ) -> Result<()> {
        let mut sink = Sink::new(chunker);
        let mut open = |index: usize| -> io::Result<Box<dyn io::Read>> {
            match self.contents[index] {
                Some(object) if unread.contains(&index) => {
                    Ok(Box::new(io::repeat(0).take(object.size)))
                }
                _ => self.open(index),
            }
        };
        let done = laid.write(&mut sink, &mut open);
        sink.end(done)
    }
}

/// Directories first, then files from the oldest to the newest, then those of the overlay, which have no time,
/// with directories of their own: what a build changes lies at the end, and the blocks before it stay where they
/// were.
fn rank<'a>(entry: &'a Entry, late: &BTreeSet<&str>) -> (u8, i64, &'a str) {
    match entry.kind {
        tree::Kind::Dir if late.contains(entry.path.as_str()) => (2, 0, &entry.path),
        tree::Kind::Dir => (0, 0, &entry.path),
        tree::Kind::Hardlink(_) => (3, 0, &entry.path),
        _ if entry.mtime == 0 => (2, 0, &entry.path),
        _ => (1, entry.mtime, &entry.path),
    }
}

/// The directories in which nothing but files of the overlay stands.
fn late_directories(tree: &Tree) -> BTreeSet<&str> {
    let (mut late, mut early) = (BTreeSet::new(), BTreeSet::from([""]));
    for entry in tree.iter().filter(|e| e.kind != tree::Kind::Dir) {
        let kind = if entry.mtime == 0 {
            &mut late
        } else {
            &mut early
        };
        let mut path = entry.path.as_str();
        while let Some((parent, _)) = path.rsplit_once('/') {
            kind.insert(parent);
            path = parent;
        }
    }
    late.retain(|path| !early.contains(path));
    late
}

fn content(entry: &Entry) -> Option<Object> {
    match entry.kind {
        tree::Kind::File(object) => Some(object),
        _ => None,
    }
}

fn node(entry: &Entry) -> Result<Node> {
    let kind = match &entry.kind {
        tree::Kind::File(object) => Kind::File(object.size),
        tree::Kind::Dir => Kind::Dir,
        tree::Kind::Symlink(target) => Kind::Symlink(text(target)?),
        tree::Kind::Hardlink(to) => Kind::Hardlink(text(to)?),
        tree::Kind::Char(major, minor) => Kind::Char(*major, *minor),
        tree::Kind::Block(major, minor) => Kind::Block(*major, *minor),
        tree::Kind::Fifo => Kind::Fifo,
    };
    let xattrs = entry
        .xattrs
        .iter()
        .map(|(name, value)| Ok((name.clone(), hex(value)?)));
    Ok(Node {
        path: text(&entry.path)?,
        kind,
        mode: (entry.mode & 0o7777) as u16,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        xattrs: xattrs.collect::<Result<_>>()?,
    })
}

/// A path of the listing as the name in the file system.
fn text(path: &str) -> Result<String> {
    decode_path(path)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            Error::failed(format!(
                "{path}: this name is not UTF-8, which the ext4 writer needs"
            ))
            .advice("rename the file in the overlay, or in config.sh")
        })
}

fn hex(digits: &str) -> Result<Vec<u8>> {
    let byte = |i: usize| {
        digits
            .get(i..i + 2)
            .and_then(|d| u8::from_str_radix(d, 16).ok())
    };
    (0..digits.len())
        .step_by(2)
        .map(byte)
        .collect::<Option<_>>()
        .ok_or_else(|| {
            Error::damaged(format!(
                "extended attribute {digits:?}: expected hexadecimal digits"
            ))
        })
}

/// Hands the file system's bytes to the chunker, and keeps the error that `io` cannot carry.
pub(crate) struct Sink<'a> {
    chunker: &'a mut Chunker,
    error: Option<Error>,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(chunker: &'a mut Chunker) -> Self {
        Self {
            chunker,
            error: None,
        }
    }

    /// What writing came to: the chunker's own error first.
    pub(crate) fn end<T>(self, done: image::Result<T>) -> Result<T> {
        match self.error {
            Some(error) => Err(error),
            None => done.map_err(unfit),
        }
    }

    fn keep(&mut self, done: Result<()>) -> io::Result<()> {
        done.map_err(|error| {
            let text = error.to_string();
            self.error = Some(error);
            io::Error::other(text)
        })
    }
}

impl RegionSink for Sink<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let done = self.chunker.data(offset, bytes);
        self.keep(done)
    }

    fn zeros(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let done = self.chunker.zeros(offset, len);
        self.keep(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: tree::Kind, mtime: i64) -> Entry {
        Entry {
            path: path.to_owned(),
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime,
            xattrs: BTreeMap::new(),
        }
    }

    #[test]
    fn the_overlay_lies_last_with_its_own_directories() {
        let file = |path: &str, mtime| entry(path, tree::Kind::File(Object::of(b"x")), mtime);
        let dir = |path: &str| entry(path, tree::Kind::Dir, 9);
        let mut tree = Tree::default();
        for entry in [
            dir(""),
            dir("a"),
            file("a/new", 9),
            file("a/old", 3),
            dir("opt"),
            dir("opt/x"),
            file("opt/x/y", 0),
            dir("srv"),
            file("a/motd", 0),
        ] {
            tree.insert(entry);
        }
        let late = late_directories(&tree);
        let mut entries: Vec<&Entry> = tree.iter().collect();
        entries.sort_by_key(|entry| rank(entry, &late));
        let order: Vec<_> = entries.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(
            order,
            [
                "", "a", "srv", "a/old", "a/new", "a/motd", "opt", "opt/x", "opt/x/y"
            ]
        );
    }
}
