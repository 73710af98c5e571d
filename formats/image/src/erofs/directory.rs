//! Directories: names in the order of their bytes, in blocks that each begin with their entries.

use std::collections::HashMap;

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
    /// [`Error::Unfit`] where the nodes are no tree: two of one path, a parent that is missing or no directory, a hard
    /// link to no inode; or where a name cannot be expressed.
    pub(super) fn of(nodes: &[Node]) -> Result<Self> {
        let paths = paths(nodes)?;
        let mut names = Self::default();
        for (index, node) in nodes.iter().enumerate() {
            let target = target(nodes, &paths, index)?;
            let kind = format::kind(&nodes[target].kind).1;
            let parent = match index {
                0 => 0,
                _ => parent(nodes, &paths, node)?,
            };
            if node.kind == Kind::Dir {
                names.add(index, b".", index, kind);
                names.add(index, b"..", parent, kind);
            }
            if index != 0 {
                names.add(parent, name(node)?, target, kind);
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

/// The nodes by their paths; the first one is the root.
fn paths(nodes: &[Node]) -> Result<HashMap<&str, usize>> {
    if nodes.first().map(|node| (node.path.as_str(), &node.kind)) != Some(("", &Kind::Dir)) {
        let expected = "the root directory as the first node";
        return Err(Error::unfit("erofs", "no root", expected));
    }
    let mut paths = HashMap::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        if paths.insert(node.path.as_str(), index).is_some() {
            return Err(Error::unfit(&node.path, "two nodes have it", "one"));
        }
    }
    Ok(paths)
}

/// The directory in which a node stands that is not the root.
fn parent(nodes: &[Node], paths: &HashMap<&str, usize>, node: &Node) -> Result<usize> {
    let path = node.path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let fact = match paths.get(path) {
        Some(index) if nodes[*index].kind == Kind::Dir => return Ok(*index),
        Some(_) => "is no directory",
        None => "is no node",
    };
    let expected = "a directory among the nodes";
    Err(Error::unfit(&node.path, format!("{path} {fact}"), expected))
}

/// The node whose inode a node names: its own, or that of the file that it is a hard link to.
fn target(nodes: &[Node], paths: &HashMap<&str, usize>, index: usize) -> Result<usize> {
    let node = &nodes[index];
    let Kind::Hardlink(path) = &node.kind else {
        return Ok(index);
    };
    let fact = match paths.get(path.as_str()).map(|n| (*n, &nodes[*n].kind)) {
        None => "is no node",
        Some((_, Kind::Dir)) => "is a directory",
        Some((_, Kind::Hardlink(_))) => "is a hard link itself",
        Some((target, _)) => return Ok(target),
    };
    let expected = "a file among the nodes";
    Err(Error::unfit(
        &node.path,
        format!("a hard link to {path}, which {fact}"),
        expected,
    ))
}

/// The name of a node in its directory.
fn name(node: &Node) -> Result<&[u8]> {
    let name = node.path.rsplit_once('/').map_or(&*node.path, |(_, n)| n);
    let fact = match name {
        "" => "its name is empty",
        "." | ".." => "its name is that of a directory itself",
        _ if name.contains('\0') => "its name has a byte 0",
        _ if name.len() > LONGEST => "its name is too long",
        _ => return Ok(name.as_bytes()),
    };
    let expected = "a name of 1 to 255 bytes other than . and ..";
    Err(Error::unfit(&node.path, fact, expected))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn node(path: &str, kind: Kind) -> Node {
        Node {
            path: path.to_owned(),
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: Vec::new(),
        }
    }

    fn refused(nodes: &[(&str, Kind)]) -> String {
        let nodes = nodes.iter().map(|(path, kind)| node(path, kind.clone()));
        let nodes: Vec<Node> = std::iter::once(node("", Kind::Dir)).chain(nodes).collect();
        Names::of(&nodes).unwrap_err().to_string()
    }

    #[test]
    fn nodes_that_are_no_tree_are_refused() {
        let file = |path| (path, Kind::File(1));
        let link = |path, to: &str| (path, Kind::Hardlink(to.to_owned()));
        for (nodes, fact) in [
            (vec![file("a"), file("a")], "a: two nodes have it"),
            (vec![("", Kind::Dir)], ": two nodes have it"),
            (vec![file("a/b")], "a/b: a is no node"),
            (vec![file("a"), file("a/b")], "a/b: a is no directory"),
            (
                vec![link("a", "b")],
                "a: a hard link to b, which is no node",
            ),
            (
                vec![link("a", "")],
                "a: a hard link to , which is a directory",
            ),
            (
                vec![file("a"), link("b", "a"), link("c", "b")],
                "c: a hard link to b, which is a hard link itself",
            ),
            (vec![("a", Kind::Dir), file("a/")], "a/: its name is empty"),
            (vec![file("..")], "..: its name is that of a directory"),
            (vec![file("a\0")], "its name has a byte 0"),
            (vec![file(&"x".repeat(256))], "its name is too long"),
        ] {
            let text = refused(&nodes);
            assert!(text.contains(fact) && text.contains("expected"), "{text}");
        }
        let no_root = |nodes: &[Node]| Names::of(nodes).unwrap_err().to_string();
        assert!(no_root(&[]).contains("no root"));
        assert!(no_root(&[node("", Kind::Fifo)]).contains("no root"));
    }

    #[test]
    fn hard_links_count_as_names_of_their_file() {
        let nodes = [
            node("", Kind::Dir),
            node("b", Kind::Hardlink("a".into())),
            node("a", Kind::Symlink("x".into())),
        ];
        let names = Names::of(&nodes).unwrap();
        assert_eq!((names.links(0), names.links(2)), (2, 2));
        let entries = names.entries(0);
        assert_eq!(entries.len(), 4);
        assert_eq!((entries[2].node, entries[3].node), (2, 2));
    }
}
