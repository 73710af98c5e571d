//! Archives of the description: tar, plain or compressed with gzip, xz or zstd, as its first bytes say.
//!
//! Owners, modes and times are those of the archive: it says them on purpose, and they are the same on
//! every machine. *Not read:* sparse maps beyond what the tar crate resolves, ACLs.
//!
//! A few KiB may unpack to any number of TiB, so all archives of a description share one [`Budget`], and what
//! the reader holds in memory (long names, attributes, the decoder's window) has a limit of its own.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::rc::Rc;

use stage::Context;
use store::tree::{Entry, Kind, Tree, encode_path};

use crate::overlay;

/// Most bytes that all archives of a description unpack to.
const MAX_UNPACKED: u64 = 16 << 30;
/// Most entries of all archives of a description.
const MAX_ENTRIES: u64 = 500_000;
/// Most bytes that the paths, links and attributes of all entries have together: they are held in memory.
const MAX_NAMES: u64 = 128 << 20;
/// Longest path or link in bytes, as the kernel takes it (PATH_MAX).
const LONGEST_PATH: usize = 4096;
/// Most bytes between the contents of two entries: headers, long names, extended attributes.
const MAX_HEADERS: u64 = 1 << 20;
/// Most bytes of memory of a decoder: the window of `xz -9` is 64 MiB, of `zstd --long` 128 MiB.
const MAX_WINDOW: u64 = 256 << 20;

/// What the archives of a description may still unpack.
pub struct Budget {
    bytes: u64,
    entries: u64,
    names: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes: MAX_UNPACKED,
            entries: MAX_ENTRIES,
            names: MAX_NAMES,
        }
    }
}

impl Budget {
    /// Takes one entry with its content out of the budget.
    fn spend(&mut self, bytes: u64) -> Result<(), String> {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.ok_or_else(|| {
            let limit = MAX_UNPACKED >> 30;
            format!("it unpacks to more than the {limit} GiB that all archives may have together")
        })?;
        let left = self.entries.checked_sub(1);
        self.entries = left.ok_or_else(|| {
            format!("all archives may have {MAX_ENTRIES} entries together, and it has more")
        })?;
        Ok(())
    }

    /// Takes what the tree holds of an entry out of the budget.
    fn hold(&mut self, entry: &Entry) -> Result<(), String> {
        let attributes = entry
            .xattrs
            .iter()
            .map(|(name, hex)| name.len() + hex.len());
        let link = match &entry.kind {
            Kind::Symlink(to) | Kind::Hardlink(to) => to.len(),
            _ => 0,
        };
        let bytes = entry.path.len() + link + attributes.sum::<usize>();
        let left = self.names.checked_sub(bytes as u64);
        self.names = left.ok_or_else(|| {
            let limit = MAX_NAMES >> 20;
            format!("names and attributes of all archives may have {limit} MiB together, and it has more")
        })?;
        Ok(())
    }
}

/// Unpacks an archive into `target` (relative to the root, empty for the root itself).
///
/// # Errors
/// A sentence without the archive's name.
pub fn add_archive(
    cx: &Context,
    tree: &mut Tree,
    archive: impl Read + 'static,
    target: &str,
    budget: &mut Budget,
) -> Result<(), String> {
    let allowance = Rc::new(Cell::new(MAX_HEADERS));
    let reader = Metered {
        reader: decompressed(archive)?,
        allowance: Rc::clone(&allowance),
    };
    let mut tar = tar::Archive::new(reader);
    for found in tar.entries().map_err(|e| e.to_string())? {
        stage::interrupted().map_err(|e| e.to_string())?;
        let mut found = found.map_err(|e| no_header(&e))?;
        budget.spend(found.size())?;
        // Its content is stored or skipped, never held: only what comes before the next entry counts.
        allowance.set(found.size().saturating_add(MAX_HEADERS));
        if let Some(entry) = convert(cx, &mut found, target)? {
            add(tree, entry, budget)?;
        }
        std::io::copy(&mut found, &mut std::io::sink()).map_err(|e| e.to_string())?;
        allowance.set(MAX_HEADERS);
    }
    Ok(())
}

/// Adds an entry and the directories above it that are missing.
fn add(tree: &mut Tree, entry: Entry, budget: &mut Budget) -> Result<(), String> {
    // What is above a directory that is there is there too.
    let mut missing = Vec::new();
    let mut below = entry.path.as_str();
    while let Some((directory, _)) = below.rsplit_once('/') {
        if tree.get(directory).is_some() {
            break;
        }
        missing.push(overlay::entry(directory.to_owned(), Kind::Dir, 0o755));
        below = directory;
    }
    tree.insert_parents("", 0);
    for entry in missing.into_iter().rev().chain([entry]) {
        budget.hold(&entry)?;
        tree.insert(entry);
    }
    Ok(())
}

/// The words for a header that cannot be read. Those of the tar reader repeat the bytes.
fn no_header(wrong: &std::io::Error) -> String {
    let text = wrong.to_string();
    match text.contains("cksum for") || text.contains("checksum mismatch") {
        true => "it is no tar archive, or a damaged one".to_owned(),
        false => text,
    }
}

/// A reader that fails where more is read than is allowed at the moment.
struct Metered {
    reader: Box<dyn Read>,
    allowance: Rc<Cell<u64>>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(buffer).map_err(decoder_words)?;
        match self.allowance.get().checked_sub(read as u64) {
            Some(left) => self.allowance.set(left),
            None => return Err(std::io::Error::other(TOO_LONG)),
        }
        Ok(read)
    }
}

/// The decoders of xz and zstd each have their own words for a window beyond [`MAX_WINDOW`].
fn decoder_words(wrong: std::io::Error) -> std::io::Error {
    let text = wrong.to_string();
    if text.contains("memory limit") || text.contains("too much memory") {
        let limit = MAX_WINDOW >> 20;
        let fact =
            format!("unpacking it takes more memory than the {limit} MiB that a decoder may have");
        return std::io::Error::other(fact);
    }
    wrong
}

const TOO_LONG: &str = "a name or attribute in it is longer than any has";

fn decompressed(archive: impl Read + 'static) -> Result<Box<dyn Read>, String> {
    let mut reader = BufReader::new(archive);
    let head = reader.fill_buf().map_err(|e| e.to_string())?;
    Ok(match head {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            const CONCATENATED: u32 = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(MAX_WINDOW, CONCATENATED);
            let stream = stream.map_err(|e| e.to_string())?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(reader, stream))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = zstd::stream::read::Decoder::with_buffer(reader);
            let mut decoder = decoder.map_err(|e| e.to_string())?;
            let window = MAX_WINDOW.ilog2() - 1;
            decoder.window_log_max(window).map_err(|e| e.to_string())?;
            Box::new(decoder)
        }
        [b'B', b'Z', b'h', ..] => return Err("it is compressed with bzip2".to_owned()),
        [0x5d, 0, 0, ..] => return Err("it is compressed with lzma".to_owned()),
        [b'P', b'K', 3, 4, ..] => return Err("it is a zip file".to_owned()),
        [0xed, 0xab, 0xee, 0xdb, ..] => return Err("it is an RPM package".to_owned()),
        [b'!', b'<', b'a', b'r', b'c', b'h', b'>', ..] => {
            return Err("it is an ar archive, as Debian packages are".to_owned());
        }
        [] => return Err("it is empty".to_owned()),
        _ => Box::new(reader),
    })
}

/// One entry; `None` for the root itself and for headers that are no entries.
fn convert<R: Read>(
    cx: &Context,
    found: &mut tar::Entry<'_, R>,
    target: &str,
) -> Result<Option<Entry>, String> {
    let name = inside(&found.path_bytes(), target)?;
    if name == target {
        return Ok(None);
    }
    let header = found.header();
    let number = |n: std::io::Result<u64>| n.map_err(|e| format!("{name}: {e}"));
    let (mode, mtime) = (
        header.mode().map_err(|e| format!("{name}: {e}"))?,
        number(header.mtime())?,
    );
    let (uid, gid) = (number(header.uid())?, number(header.gid())?);
    let Some(kind) = kind(cx, found, &name, target)? else {
        return Ok(None);
    };
    let small =
        |n: u64| u32::try_from(n).map_err(|_| format!("{name}: the owner {n} is no user id"));
    Ok(Some(Entry {
        kind,
        mode: mode & 0o7777,
        uid: small(uid)?,
        gid: small(gid)?,
        mtime: i64::try_from(mtime).unwrap_or(0),
        xattrs: xattrs(found)?,
        path: name,
    }))
}

fn kind<R: Read>(
    cx: &Context,
    found: &mut tar::Entry<'_, R>,
    name: &str,
    target: &str,
) -> Result<Option<Kind>, String> {
    use tar::EntryType as T;
    let link = found.link_name_bytes().map(|l| l.into_owned());
    let link = || {
        link.clone()
            .ok_or_else(|| format!("{name}: the link leads nowhere"))
    };
    Ok(Some(match found.header().entry_type() {
        T::Regular | T::Continuous | T::GNUSparse => {
            Kind::File(cx.store().put_reader(found).map_err(|e| e.to_string())?)
        }
        T::Directory => Kind::Dir,
        T::Symlink => Kind::Symlink(encode_path(short(&link()?)?)),
        T::Link => Kind::Hardlink(inside(&link()?, target)?),
        T::Fifo => Kind::Fifo,
        T::Char | T::Block => {
            let header = found.header();
            let number = |n: std::io::Result<Option<u32>>| n.ok().flatten().unwrap_or(0);
            let (major, minor) = (number(header.device_major()), number(header.device_minor()));
            match header.entry_type() {
                T::Char => Kind::Char(major, minor),
                _ => Kind::Block(major, minor),
            }
        }
        _ => return Ok(None),
    }))
}

fn xattrs<R: Read>(found: &mut tar::Entry<'_, R>) -> Result<BTreeMap<String, String>, String> {
    let mut list = BTreeMap::new();
    let Some(extensions) = found.pax_extensions().map_err(|e| e.to_string())? else {
        return Ok(list);
    };
    for extension in extensions {
        let extension = extension.map_err(|e| e.to_string())?;
        let name = extension
            .key()
            .ok()
            .and_then(|k| k.strip_prefix("SCHILY.xattr."));
        if let Some(name) = name {
            let hex = extension
                .value_bytes()
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            list.insert(name.to_owned(), hex);
        }
    }
    Ok(list)
}

/// A path that the kernel takes.
fn short(path: &[u8]) -> Result<&[u8], String> {
    match path.len() < LONGEST_PATH {
        true => Ok(path),
        false => Err(format!(
            "a path in it has {} bytes, the kernel takes fewer than {LONGEST_PATH}",
            path.len()
        )),
    }
}

/// A name of the archive below the target directory.
fn inside(bytes: &[u8], target: &str) -> Result<String, String> {
    short(bytes)?;
    let mut parts: Vec<String> = target
        .split('/')
        .filter(|p| !p.is_empty())
        .map(str::to_owned)
        .collect();
    for part in bytes.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                let name = String::from_utf8_lossy(bytes).into_owned();
                return Err(format!("{name:?} leads out of the image"));
            }
            name => parts.push(encode_path(name)),
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_share_what_they_may_unpack() {
        let mut budget = Budget::default();
        for _ in 0..MAX_ENTRIES {
            assert_eq!(budget.spend(0), Ok(()));
        }
        let wrong = budget.spend(0).unwrap_err();
        assert!(wrong.contains("may have 500000 entries"), "{wrong}");

        let mut budget = Budget::default();
        assert_eq!(budget.spend(15 << 30), Ok(()));
        assert_eq!(budget.spend(1 << 30), Ok(()));
        let wrong = budget.spend(1).unwrap_err();
        assert!(wrong.contains("more than the 16 GiB"), "{wrong}");
    }

    #[test]
    fn names_that_are_held_have_a_limit() {
        let mut budget = Budget {
            names: 1000,
            ..Budget::default()
        };
        let file = |path: &str| overlay::entry(path.to_owned(), Kind::Fifo, 0o644);
        let mut tree = Tree::default();
        // Each directory above it is an entry with a path of its own, but only once.
        add(&mut tree, file("a/b/c"), &mut budget).unwrap();
        assert_eq!(budget.names, 1000 - 5 - 3 - 1);
        add(&mut tree, file("a/b/d"), &mut budget).unwrap();
        assert_eq!((budget.names, tree.len()), (1000 - 9 - 5, 5));
        let wrong = add(&mut tree, file(&"n/".repeat(40)), &mut budget).unwrap_err();
        assert!(
            wrong.contains("names and attributes of all archives"),
            "{wrong}"
        );
    }
}
