//! The directories of the medium, with the identifiers that ECMA-119 knows them by.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::MAX_NAME;
use crate::error::{Error, Result};

/// Levels of directories, the root's included (ECMA-119 6.8.2.1).
const MAX_LEVELS: usize = 8;
/// Characters of file name and extension together at interchange level 2 (10.2).
const MAX_FILE_ID: usize = 30;
/// Characters of a directory identifier (7.6.3).
const MAX_DIRECTORY_ID: usize = 31;
/// Characters kept of an extension.
const MAX_EXTENSION: usize = 8;

/// All directories in the order of the path table (ECMA-119 6.9.1), the root first.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) directories: Vec<Directory>,
}

/// One directory.
#[derive(Debug)]
pub(super) struct Directory {
    /// Number of the directory it lies in; the root's own for the root.
    pub(super) parent: usize,
    /// Identifier; empty for the root.
    pub(super) id: String,
    /// In the order of directory records (ECMA-119 9.3).
    pub(super) entries: Vec<Entry>,
}

/// A name in a directory.
#[derive(Debug)]
pub(super) struct Entry {
    /// Rock Ridge name.
    pub(super) name: String,
    /// ECMA-119 identifier.
    pub(super) id: String,
    pub(super) node: Node,
}

/// What the name stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Node {
    /// The number of a directory.
    Directory(usize),
    /// The number of a file.
    File(usize),
}

#[derive(Default)]
struct Folder<'a> {
    names: BTreeMap<&'a str, Item<'a>>,
}

enum Item<'a> {
    Folder(Folder<'a>),
    File(usize),
}

impl Tree {
    /// From the paths of all files; their numbers are their places in `paths`.
    pub(super) fn new<'a>(paths: impl Iterator<Item = &'a str>) -> Result<Tree> {
        let mut root = Folder::default();
        for (number, path) in paths.enumerate() {
            let parts: Vec<&str> = path.split('/').collect();
            check(path, &parts)?;
            insert(&mut root, path, &parts, number)?;
        }
        Ok(flatten(&root))
    }
}

fn check(path: &str, parts: &[&str]) -> Result<()> {
    if parts.len() > MAX_LEVELS {
        let fact = format!("{} levels deep", parts.len());
        return Err(Error::unfit(
            path,
            fact,
            format!("at most {MAX_LEVELS} on an ISO image"),
        ));
    }
    for part in parts {
        if matches!(*part, "" | "." | "..") || part.contains('\0') {
            return Err(Error::unfit(
                format!("path {path:?}"),
                format!("has the component {part:?}"),
                "a relative path of plain names",
            ));
        }
        if part.len() > MAX_NAME {
            let fact = format!("a name of {} bytes", part.len());
            return Err(Error::unfit(
                path,
                fact,
                format!("at most {MAX_NAME} on an ISO image"),
            ));
        }
    }
    Ok(())
}

fn insert<'a>(folder: &mut Folder<'a>, path: &str, parts: &[&'a str], number: usize) -> Result<()> {
    let twice = || Error::unfit(path, "exists already on the ISO image", "each path once");
    match parts {
        [] => Ok(()),
        [name] => match folder.names.insert(name, Item::File(number)) {
            None => Ok(()),
            Some(_) => Err(twice()),
        },
        [name, rest @ ..] => {
            let item = folder
                .names
                .entry(name)
                .or_insert_with(|| Item::Folder(Folder::default()));
            match item {
                Item::Folder(inner) => insert(inner, path, rest, number),
                Item::File(_) => Err(twice()),
            }
        }
    }
}

/// Numbers the directories level by level, which is the order of the path table.
fn flatten(root: &Folder<'_>) -> Tree {
    let mut directories = Vec::new();
    let mut next = 1;
    let mut queue = VecDeque::from([(root, 0, String::new())]);
    while let Some((folder, parent, id)) = queue.pop_front() {
        let number = directories.len();
        let mut entries = Vec::new();
        for (id, name, item) in identified(folder) {
            let node = match item {
                Item::File(number) => Node::File(*number),
                Item::Folder(inner) => {
                    queue.push_back((inner, number, id.clone()));
                    next += 1;
                    Node::Directory(next - 1)
                }
            };
            entries.push(Entry {
                name: name.to_owned(),
                id,
                node,
            });
        }
        directories.push(Directory {
            parent,
            id,
            entries,
        });
    }
    Tree { directories }
}

/// The folder's names with identifiers, sorted as ECMA-119 9.3 wants them.
fn identified<'a, 'b>(folder: &'b Folder<'a>) -> Vec<(String, &'a str, &'b Item<'a>)> {
    let mut taken = BTreeSet::new();
    let mut named = BTreeMap::new();
    for (name, item) in &folder.names {
        let (stem, extension) = match item {
            Item::File(_) => parts_of(name, MAX_FILE_ID),
            Item::Folder(_) => (d_characters(name, MAX_DIRECTORY_ID), None),
        };
        let stem = free_stem(&taken, &stem, &extension);
        taken.insert((stem.clone(), extension.clone()));
        let id = match &extension {
            Some(extension) => format!("{stem}.{extension};1"),
            None => stem.clone(),
        };
        // A space sorts before every d-character, so comparing the unpadded parts is enough.
        named.insert((stem, extension), (id, *name, item));
    }
    named.into_values().collect()
}

/// File name and file name extension.
fn parts_of(name: &str, limit: usize) -> (String, Option<String>) {
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, extension),
        _ => (name, ""),
    };
    let extension = d_characters(extension, MAX_EXTENSION);
    (d_characters(stem, limit - extension.len()), Some(extension))
}

/// At most `limit` characters of A–Z, 0–9 and underscore (ECMA-119 7.4.1).
fn d_characters(name: &str, limit: usize) -> String {
    let upper = name.chars().map(|c| c.to_ascii_uppercase());
    let allowed = upper.map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    allowed.take(limit).collect()
}

/// `stem`, or its beginning with the first number that makes it different from all in `taken`.
fn free_stem(
    taken: &BTreeSet<(String, Option<String>)>,
    stem: &str,
    extension: &Option<String>,
) -> String {
    let is_free = |stem: &String| !taken.contains(&(stem.clone(), extension.clone()));
    let plain = std::iter::once(stem.to_owned());
    let numbered = (1u64..).map(|number| {
        let number = number.to_string();
        let kept = stem.len().min(MAX_FILE_ID - MAX_EXTENSION - number.len());
        format!("{}{number}", &stem[..kept])
    });
    plain.chain(numbered).find(is_free).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(paths: &[&str]) -> Vec<String> {
        let tree = Tree::new(paths.iter().copied()).unwrap();
        tree.directories
            .iter()
            .flat_map(|d| d.entries.iter().map(|e| e.id.clone()))
            .collect()
    }

    #[test]
    fn identifiers_are_d_characters_and_sorted() {
        let paths = [
            "boot/grub/grub.cfg",
            "boot/vmlinuz-6.1",
            "deploy.json",
            ".disk",
            "boot/initrd",
        ];
        assert_eq!(
            ids(&paths),
            [
                "BOOT",
                "DEPLOY.JSON;1",
                "_DISK.;1",
                "GRUB",
                "INITRD.;1",
                "VMLINUZ_6.1;1",
                "GRUB.CFG;1"
            ]
        );
    }

    #[test]
    fn equal_identifiers_are_told_apart() {
        let long = "a".repeat(60);
        let longer = "a".repeat(61);
        let found = ids(&["a+b", "a-b", "A_b", &long, &longer]);
        let distinct: BTreeSet<_> = found.iter().collect();
        assert_eq!(distinct.len(), 5, "{found:?}");
        assert!(found.iter().all(|id| id.len() <= 33), "{found:?}");
    }

    #[test]
    fn directories_are_numbered_by_level() {
        let tree = Tree::new(["b/x/1", "a/y/2", "a/z/3"].into_iter()).unwrap();
        let seen: Vec<_> = tree
            .directories
            .iter()
            .map(|d| (d.id.as_str(), d.parent))
            .collect();
        assert_eq!(
            seen,
            [("", 0), ("A", 0), ("B", 0), ("Y", 1), ("Z", 1), ("X", 2)]
        );
    }

    #[test]
    fn bad_paths_are_refused() {
        for paths in [
            &["/a"][..],
            &["a//b"],
            &["../a"],
            &[""],
            &["a", "a"],
            &["a", "a/b"],
            &["a/b", "a"],
            &["1/2/3/4/5/6/7/8/9"],
        ] {
            assert!(Tree::new(paths.iter().copied()).is_err(), "{paths:?}");
        }
        let name = "n".repeat(MAX_NAME + 1);
        assert!(Tree::new([name.as_str()].into_iter()).is_err());
    }
}
