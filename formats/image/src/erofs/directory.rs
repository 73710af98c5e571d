//! Directories: names in the order of their bytes, in blocks that each begin with their entries.

use std::collections::{BTreeMap, HashMap};

use super::format::{self, BLOCK, DIRENT};
use crate::error::{Error, Result};
use crate::ext4::{Kind, Node};

/// Longest name in bytes.
const LONGEST: usize = 255;

/// A name in a directory.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    name: Vec<u8>,
    /// The node whose inode it names.
    node: usize,
    /// Type, as a directory entry has it.
    kind: u8,
}

/// The names of all nodes.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Those in each directory, sorted.
    directories: HashMap<usize, Vec<Entry>>,
    /// How many names each inode has.
    links: HashMap<usize, u32>,
}

impl Names {
    /// Sorts the names of the nodes into their directories.
    ///
    /// # Errors
    /// [`Error::Unfit`] where a parent or the file of a hard link is missing, or a name is too long.
    pub(super) fn of(nodes: &[Node]) -> Result<Self> {
        let paths: BTreeMap<&str, usize> = nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (node.path.as_str(), index))
            .collect();
        if paths.get("") != Some(&0) {
            return Err(Error::unfit(
                "erofs",
                "no root",
                "the root as the first node",
            ));
        }
        let find = |node: &Node, path: &str| {
            let missing =
                || Error::unfit(&node.path, format!("{path} is no node"), "one before it");
            paths.get(path).copied().ok_or_else(missing)
        };
        let mut names = Self::default();
        for (index, node) in nodes.iter().enumerate() {
            let (parent, name) = node.path.rsplit_once('/').unwrap_or(("", &node.path));
            let parent = find(node, parent)?;
            if name.len() > LONGEST {
                return Err(Error::unfit(
                    &node.path,
                    "its name is too long",
                    "at most 255 bytes",
                ));
            }
            let target = match &node.kind {
                Kind::Hardlink(path) => find(node, path)?,
                _ => index,
            };
            let kind = format::kind(&nodes[target].kind).1;
            if node.kind == Kind::Dir {
                names.add(index, b".", index, kind);
                names.add(index, b"..", parent, kind);
            }
            if index != 0 {
                names.add(parent, name.as_bytes(), target, kind);
            }
        }
        for entries in names.directories.values_mut() {
            entries.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(names)
    }

    fn add(&mut self, directory: usize, name: &[u8], node: usize, kind: u8) {
        let entries = self.directories.entry(directory).or_default();
        let name = name.to_vec();
        entries.push(Entry { name, node, kind });
        *self.links.entry(node).or_default() += 1;
    }

    /// The names in the directory that is the node of that index.
    pub(super) fn entries(&self, index: usize) -> &[Entry] {
        self.directories.get(&index).map_or(&[], Vec::as_slice)
    }

    /// How many names the inode of that node has.
    pub(super) fn links(&self, index: usize) -> u32 {
        self.links.get(&index).copied().unwrap_or(1)
    }
}

/// The entries of each block.
fn blocks(entries: &[Entry]) -> Vec<&[Entry]> {
    let mut blocks = Vec::new();
    let (mut first, mut used) = (0, 0);
    for (n, entry) in entries.iter().enumerate() {
        let length = DIRENT + entry.name.len();
        if used + length > BLOCK {
            blocks.push(&entries[first..n]);
            (first, used) = (n, 0);
        }
        used += length;
    }
    blocks.push(&entries[first..]);
    blocks
}

/// Length of a directory in bytes; the last block is as long as what it holds.
pub(super) fn size(entries: &[Entry]) -> usize {
    let blocks = blocks(entries);
    let last = blocks.last().into_iter().copied().flatten();
    let last: usize = last.map(|entry| DIRENT + entry.name.len()).sum();
    (blocks.len() - 1) * BLOCK + last
}

/// The bytes of a directory. `nid` gives the number of a node's inode.
pub(super) fn bytes(entries: &[Entry], nid: impl Fn(usize) -> u64) -> Vec<u8> {
    let mut out = Vec::new();
    for block in blocks(entries) {
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        let mut name = block.len() * DIRENT;
        for entry in block {
            out.extend(format::dirent(nid(entry.node), name as u16, entry.kind));
            name += entry.name.len();
        }
        block.iter().for_each(|entry| out.extend(&entry.name));
    }
    out
}
