//! Archives of the description: tar, plain or compressed with gzip, xz or zstd, as its first bytes say.
//!
//! Owners, modes and times are those of the archive: it says them on purpose, and they are the same on
//! every machine. *Not read:* sparse maps beyond what the tar crate resolves, ACLs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

use stage::Context;
use store::tree::{Entry, Kind, Tree, encode_path};

/// Unpacks an archive into `target` (relative to the root, empty for the root itself).
///
/// # Errors
/// A sentence without the archive's name.
pub fn add_archive(
    cx: &Context,
    tree: &mut Tree,
    archive: impl Read + 'static,
    target: &str,
) -> Result<(), String> {
    let mut tar = tar::Archive::new(decompressed(archive)?);
    for found in tar.entries().map_err(|e| e.to_string())? {
        stage::interrupted().map_err(|e| e.to_string())?;
        let mut found = found.map_err(|e| e.to_string())?;
        if let Some(entry) = convert(cx, &mut found, target)? {
            tree.insert_parents(&entry.path, 0);
            tree.insert(entry);
        }
    }
    Ok(())
}

fn decompressed(archive: impl Read + 'static) -> Result<Box<dyn Read>, String> {
    let mut reader = BufReader::new(archive);
    let head = reader.fill_buf().map_err(|e| e.to_string())?;
    Ok(match head {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(reader))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = zstd::stream::read::Decoder::with_buffer(reader);
            Box::new(decoder.map_err(|e| e.to_string())?)
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
