//! A package for dpkg that was decompressed before: the original's control member, and a data archive made from the
//! listing of its contents, not compressed.
//!
//! ```text
//! debian-binary, control.tar.*   copied
//! data.tar                       directories, files and devices in the order of their paths; hard links; symbolic
//!                                links at the end, as dpkg-deb has them
//! ```

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use stage::{At, Error, Result};
use store::Store;
use store::tree::{Entry, Kind, Tree, decode_path};
use tar::{EntryType, Header};

use super::{BUFFER, ar, member};

/// Writes the package `original`, which holds `contents`, to `target`.
///
/// # Errors
/// Exit code 1 with the path that failed, 6 where a file is damaged in the store.
pub fn write_plain(original: &Path, contents: &Tree, store: &Store, target: &Path) -> Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, File::create(target).at(target)?);
    let from = BufReader::new(File::open(original).at(original)?);
    let mut from = ar::Reader::new(from).at(original)?;
    ar::write_magic(&mut out).at(target)?;
    for prefix in ["debian-binary", "control.tar"] {
        let name = member(&mut from, prefix).at(original)?;
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).at(original)?;
        ar::write_member(&mut out, &name, &bytes).at(target)?;
    }
    let data = ar::begin_member(&mut out, "data.tar").at(target)?;
    write_data(&mut out, contents, store)
        .map_err(|e| Error::failed(format!("{}: {e}", target.display())))?;
    ar::end_member(&mut out, "data.tar", data).at(target)?;
    out.flush().at(target)
}

fn write_data(out: &mut impl Write, contents: &Tree, store: &Store) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    for pass in 0..3 {
        for entry in contents.iter().filter(|e| turn(e) == pass) {
            write_entry(&mut tar, entry, store)?;
        }
    }
    tar.finish()
}

/// When an entry is written.
fn turn(entry: &Entry) -> u8 {
    match entry.kind {
        Kind::Hardlink(_) => 1,
        Kind::Symlink(_) => 2,
        _ => 0,
    }
}

fn write_entry(tar: &mut tar::Builder<impl Write>, entry: &Entry, store: &Store) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_mtime(u64::try_from(entry.mtime).unwrap_or(0));
    header.set_size(0);
    let name = format!("./{}", decoded(&entry.path)?);
    let mut device = |kind, major, minor| {
        header.set_entry_type(kind);
        header.set_device_major(major)?;
        header.set_device_minor(minor)
    };
    match &entry.kind {
        Kind::File(content) => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(content.size);
            let from = store.open_object(content).map_err(io::Error::other)?;
            return tar.append_data(&mut header, name, from);
        }
        Kind::Hardlink(target) => {
            header.set_entry_type(EntryType::Link);
            return tar.append_link(&mut header, name, format!("./{}", decoded(target)?));
        }
        Kind::Symlink(target) => {
            header.set_entry_type(EntryType::Symlink);
            return tar.append_link(&mut header, name, decoded(target)?);
        }
        Kind::Dir => {
            header.set_entry_type(EntryType::Directory);
            let slash = if entry.path.is_empty() { "" } else { "/" };
            return tar.append_data(&mut header, format!("{name}{slash}"), io::empty());
        }
        Kind::Char(major, minor) => device(EntryType::Char, *major, *minor)?,
        Kind::Block(major, minor) => device(EntryType::Block, *major, *minor)?,
        Kind::Fifo => device(EntryType::Fifo, 0, 0)?,
    }
    tar.append_data(&mut header, name, io::empty())
}

fn decoded(path: &str) -> io::Result<String> {
    let bytes = decode_path(path).and_then(|bytes| String::from_utf8(bytes).ok());
    bytes.ok_or_else(|| io::Error::other(format!("{path:?} in the listing is damaged")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents;
    use crate::deb::Package;
    use crate::deb::tests::{deb_of, tar_of};

    #[test]
    fn a_plain_copy_is_the_same_package() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let data = tar_of(&[
            ("./usr/share/b", 0o640, b"content"),
            ("./usr/bin/a", 0o4755, b"program"),
        ]);
        let deb = store.put(&deb_of(".xz", &data)).unwrap();
        let (packed, plain) = (store.object_path(&deb), dir.path().join("plain.deb"));
        let listed = contents::of(&store, "a", &deb).unwrap();
        write_plain(&packed, &listed, &store, &plain).unwrap();
        let (one, other) = (
            Package::open(&packed).unwrap(),
            Package::open(&plain).unwrap(),
        );
        assert_eq!(one.control.files, other.control.files);
        // The foreign judges.
        let judge = |arguments: &[&str]| {
            let output = std::process::Command::new("dpkg-deb")
                .args(arguments)
                .arg(&plain)
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            output.stdout
        };
        let names = String::from_utf8(judge(&["--contents"])).unwrap();
        let modes: Vec<&str> = names.lines().map(|line| &line[..10]).collect();
        assert_eq!(modes, ["-rwsr-xr-x", "-rw-r-----"], "{names}");
        let data = judge(&["--fsys-tarfile"]);
        let mut tar = tar::Archive::new(&data[..]);
        let mut first = tar.entries().unwrap().next().unwrap().unwrap();
        let mut text = String::new();
        first.read_to_string(&mut text).unwrap();
        assert_eq!(text, "program");
    }
}
