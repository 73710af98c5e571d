//! Laying a tree of the store into the build tree: the overlay over packages, or a base tree into nothing.
//!
//! Directories that are there stay, with the new owner and mode; a link to a directory is followed, so that
//! `lib/x` lands in `/usr/lib/x`. Everything else is replaced.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use stage::{Error, Result};
use store::tree::{Entry, Kind, Tree, decode_path};
use store::{ObjectReader, Store};

use super::files::{self, Meta};
use super::{mounts, warn};
use crate::parallel;

/// Lays `tree` into the root directory.
///
/// # Errors
/// Exit code 1 with the path, 6 where a file of the tree is damaged.
pub fn lay(store: &Store, tree: &Tree) -> Result<()> {
    let mut passes: [Vec<&Entry>; 3] = Default::default();
    for entry in tree.iter().filter(|e| !e.path.is_empty()) {
        // Files and links need their directories; hard links need their files.
        let pass = match entry.kind {
            Kind::Dir => 0,
            Kind::Hardlink(_) => 2,
            _ => 1,
        };
        passes[pass].push(entry);
    }
    let place = |entry: &&Entry| {
        let path = absolute(&entry.path)?;
        place(store, entry, &path)?.map_err(|e| Error::failed(format!("{}: {e}", path.display())))
    };
    passes[0].iter().try_for_each(place)?;
    parallel::map(&passes[1], place)?;
    passes[2].iter().try_for_each(place)
}

/// Gives the directories of `tree` their times, when nothing more is put into them.
///
/// # Errors
/// Exit code 1 with the path.
pub fn set_times(tree: &Tree) -> Result<()> {
    for entry in tree.iter().filter(|e| e.kind == Kind::Dir) {
        let path = absolute(&entry.path)?;
        if !mounts::is_mounted(&path) {
            files::set_mtime(&path, entry.mtime)
                .map_err(|e| Error::failed(format!("{}: {e}", path.display())))?;
        }
    }
    Ok(())
}

fn absolute(encoded: &str) -> Result<PathBuf> {
    let bytes = decode_path(encoded)
        .ok_or_else(|| Error::damaged(format!("a tree's path {encoded:?} is damaged")))?;
    Ok(Path::new("/").join(std::ffi::OsStr::from_bytes(&bytes)))
}

fn place(store: &Store, entry: &Entry, path: &Path) -> Result<io::Result<()>> {
    let meta = Meta {
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
    };
    Ok(match &entry.kind {
        Kind::File(content) => {
            let mut from = store.open_object(content)?;
            clear(path)
                .and_then(|()| copy(&mut from, path, meta))
                .and_then(|()| set_xattrs(path, &entry.xattrs))
        }
        Kind::Dir if mounts::is_mounted(path) => Ok(()),
        Kind::Dir => make_dir(path, meta).and_then(|()| set_xattrs(path, &entry.xattrs)),
        Kind::Symlink(target) => {
            let target = decode_path(target).unwrap_or_default();
            let target = Path::new(std::ffi::OsStr::from_bytes(&target));
            if path.is_dir() && !path.is_symlink() {
                Err(io::Error::other(
                    "a directory of a package stands where the overlay has a link",
                ))
            } else {
                files::symlink(target, path).and_then(|()| files::finish_link(path, meta))
            }
        }
        Kind::Hardlink(to) => clear(path).and_then(|()| {
            let to = absolute(to).map_err(|e| io::Error::other(e.to_string()))?;
            files::hard_link(&to, path)
        }),
        Kind::Char(..) | Kind::Block(..) | Kind::Fifo => {
            warn(format!(
                "{} is left out: no file, directory or link",
                entry.path
            ));
            Ok(())
        }
    })
}

/// Takes an empty directory out of the way of a file.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => fs::remove_dir(path),
        _ => Ok(()),
    }
}

fn copy(from: &mut ObjectReader, path: &Path, meta: Meta) -> io::Result<()> {
    let mut file = files::create(path)?;
    from.pour(&mut file)?;
    files::finish_file(&file, meta)
}

fn make_dir(path: &Path, meta: Meta) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            fs::create_dir(path)?;
        }
        done => done?,
    }
    files::finish_dir(path, meta)
}

fn set_xattrs(path: &Path, xattrs: &BTreeMap<String, String>) -> io::Result<()> {
    for (name, value) in xattrs {
        let value = unhex(value).ok_or_else(|| io::Error::other("a damaged attribute value"))?;
        rustix::fs::lsetxattr(path, name.as_str(), &value, rustix::fs::XattrFlags::empty())?;
    }
    Ok(())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(pair).collect()
}
