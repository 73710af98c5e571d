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

/// Most bytes that all archives of a description unpack to.
const MAX_UNPACKED: u64 = 16 << 30;
/// Most entries of all archives of a description.
const MAX_ENTRIES: u64 = 500_000;
/// Most bytes between the contents of two entries: headers, long names, extended attributes.
const MAX_HEADERS: u64 = 1 << 20;
/// Most bytes of memory of a decoder: the window of `xz -9` is 64 MiB, of `zstd --long` 128 MiB.
const MAX_WINDOW: u64 = 256 << 20;

/// What the archives of a description may still unpack.
pub struct Budget {
    bytes: u64,
    entries: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes: MAX_UNPACKED,
            entries: MAX_ENTRIES,
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
        let mut found = found.map_err(|e| e.to_string())?;
        budget.spend(found.size())?;
        // Its content is stored or skipped, never held: only what comes before the next entry counts.
        allowance.set(found.size().saturating_add(MAX_HEADERS));
        if let Some(entry) = convert(cx, &mut found, target)? {
            tree.insert_parents(&entry.path, 0);
            tree.insert(entry);
        }
        std::io::copy(&mut found, &mut std::io::sink()).map_err(|e| e.to_string())?;
        allowance.set(MAX_HEADERS);
    }
    Ok(())
}

/// A reader that fails where more is read than is allowed at the moment.
struct Metered {
    reader: Box<dyn Read>,
    allowance: Rc<Cell<u64>>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(buffer)?;
        match self.allowance.get().checked_sub(read as u64) {
            Some(left) => self.allowance.set(left),
            None => return Err(std::io::Error::other(TOO_LONG)),
        }
        Ok(read)
    }
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
        T::Symlink => Kind::Symlink(encode_path(&link()?)),
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

/// A name of the archive below the target directory.
fn inside(bytes: &[u8], target: &str) -> Result<String, String> {
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
