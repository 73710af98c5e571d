//! What a package holds, in the store: a listing, and every file an object. A package is decompressed once, as soon as
//! it is there; whoever installs it later copies objects.
//!
//! The listing is a [`Tree`] with the package's own paths: `lib/x` stays `lib/x`, and "" is its own root.
//!
//! *Not kept:* the order of the archive, the names of owners (a package's owners have fixed numbers), extended
//! attributes (dpkg does not unpack them either).

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

use manifest::{Object, StageKey, part_key};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stage::{Error, Result};
use store::Store;
use store::tree::{Entry, Kind, Tree, encode_path};
use tar::EntryType;

use crate::deb::Package;

/// The version of how a package is listed. Changelog. 1: the first.
pub const VERSION: u32 = 1;
/// Files up to this many bytes are written only where the store lacks them.
const SMALL: u64 = 1 << 20;
/// Bytes of an archive that are read at once.
const BUFFER: usize = 1 << 18;

/// What is recorded for a package.
#[derive(Serialize, Deserialize)]
struct Listed {
    tree: Object,
}

/// The listing of the package `name`, whose file is in the store; made if it is not there yet.
///
/// # Errors
/// Exit code 1 where the file is no package.
pub fn of(store: &Store, name: &str, deb: &Object) -> Result<Tree> {
    let key = key(deb)?;
    if let Some(tree) = known(store, &key)? {
        return Ok(tree);
    }
    let failed = |e: io::Error| Error::failed(format!("package {name}: data.tar: {e}"));
    let mut package = Package::open(&store.object_path(deb))?;
    let data = BufReader::with_capacity(BUFFER, package.data()?);
    let mut tree = Tree::default();
    for entry in tar::Archive::new(data).entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let mut listed = described(&entry).map_err(failed)?;
        if let Kind::File(_) = listed.kind {
            listed.kind = Kind::File(content(store, &mut entry)?);
        }
        tree.insert(listed);
    }
    let listed = json!(Listed {
        tree: tree.write(store)?
    });
    store.record_action(&key, &listed)?;
    Ok(tree)
}

fn key(deb: &Object) -> Result<StageKey> {
    let facts = json!({"version": VERSION, "deb": deb});
    Ok(part_key("rootfs-assemble", "contents", &facts)?)
}

fn known(store: &Store, key: &StageKey) -> Result<Option<Tree>> {
    let value = store.action(key)?;
    let listed = value.and_then(|v| serde_json::from_value::<Listed>(v).ok());
    match listed {
        Some(listed) => Ok(Tree::read_whole(store, &listed.tree)?),
        None => Ok(None),
    }
}

/// A member of the archive, without its content.
fn described<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<Entry> {
    let header = entry.header();
    let number = |n: u64| u32::try_from(n).unwrap_or(0);
    let device = || -> io::Result<(u32, u32)> {
        let (major, minor) = (header.device_major()?, header.device_minor()?);
        Ok((major.unwrap_or(0), minor.unwrap_or(0)))
    };
    let target = || -> io::Result<Vec<u8>> {
        let bytes = entry.link_name_bytes();
        bytes.map_or(Err(invalid("a link without a target")), |b| {
            Ok(b.into_owned())
        })
    };
    let kind = match header.entry_type() {
        EntryType::Regular | EntryType::Continuous => Kind::File(Object::of(b"")),
        EntryType::Directory => Kind::Dir,
        EntryType::Symlink => Kind::Symlink(encode_path(&target()?)),
        EntryType::Link => Kind::Hardlink(path(&target()?)?),
        EntryType::Char => device().map(|(major, minor)| Kind::Char(major, minor))?,
        EntryType::Block => device().map(|(major, minor)| Kind::Block(major, minor))?,
        EntryType::Fifo => Kind::Fifo,
        other => {
            return Err(invalid(&format!(
                "a member of kind {other:?}; expected a file, directory, link or device"
            )));
        }
    };
    Ok(Entry {
        path: path(&entry.path_bytes())?,
        kind,
        mode: header.mode()? & 0o7777,
        uid: number(header.uid()?),
        gid: number(header.gid()?),
        mtime: i64::try_from(header.mtime()?).unwrap_or(0),
        xattrs: BTreeMap::new(),
    })
}

/// A member's name as the path of a listing: `./usr/bin/` is `usr/bin`.
fn path(name: &[u8]) -> io::Result<String> {
    let name = std::str::from_utf8(name)
        .map_err(|_| invalid("a name that is not UTF-8; expected UTF-8"))?;
    let parts = name
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    let parts: Vec<&str> = parts.collect();
    match parts.contains(&"..") {
        true => Err(invalid(&format!("{name:?} leads out of the tree"))),
        false => Ok(encode_path(parts.join("/").as_bytes())),
    }
}

/// The content of a file as an object. A large one goes through a file of its own, not through memory.
fn content<R: Read>(store: &Store, entry: &mut tar::Entry<'_, R>) -> Result<Object> {
    if entry.size() > SMALL {
        return Ok(store.put_reader(entry)?);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(entry.size()).unwrap_or(0));
    entry
        .read_to_end(&mut bytes)
        .map_err(|e| Error::failed(e.to_string()))?;
    Ok(store.put(&bytes)?)
}

fn invalid(fact: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fact.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deb::tests::deb_of;

    fn archive() -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |kind, path: &str, mode, link: Option<&str>, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(bytes.len() as u64);
            header.set_mode(mode);
            header.set_mtime(86400);
            header.set_uid(7);
            header.set_gid(8);
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
            match link {
                Some(target) => tar.append_link(&mut header, path, target).unwrap(),
                None => tar.append_data(&mut header, path, bytes).unwrap(),
            }
        };
        add(EntryType::Directory, "./", 0o755, None, b"");
        add(EntryType::Directory, "./lib/", 0o755, None, b"");
        add(
            EntryType::Regular,
            "./lib/big",
            0o4755,
            None,
            &vec![3; 2 << 20],
        );
        add(EntryType::Regular, "./lib/small", 0o644, None, b"x");
        add(
            EntryType::Link,
            "./lib/again",
            0o644,
            Some("./lib/small"),
            b"",
        );
        add(
            EntryType::Symlink,
            "./lib/link",
            0o777,
            Some("../etc/x"),
            b"",
        );
        add(EntryType::Char, "./dev", 0o600, None, b"");
        tar.into_inner().unwrap()
    }

    fn stored(store: &Store, data: &[u8]) -> Object {
        store.put(&deb_of(".xz", data)).unwrap()
    }

    #[test]
    fn a_package_becomes_a_listing_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let deb = stored(&store, &archive());
        let tree = of(&store, "a", &deb).unwrap();
        let kind = |path: &str| tree.get(path).unwrap().kind.clone();
        assert_eq!(kind(""), Kind::Dir);
        assert_eq!(kind("lib/again"), Kind::Hardlink("lib/small".into()));
        assert_eq!(kind("lib/link"), Kind::Symlink("../etc/x".into()));
        assert_eq!(kind("dev"), Kind::Char(1, 3));
        let big = tree.get("lib/big").unwrap();
        assert_eq!(
            (big.mode, big.uid, big.gid, big.mtime),
            (0o4755, 7, 8, 86400)
        );
        assert_eq!(big.kind, Kind::File(Object::of(&vec![3; 2 << 20])));
        // The package is not looked at again.
        std::fs::remove_file(store.object_path(&deb)).unwrap();
        assert_eq!(of(&store, "a", &deb).unwrap(), tree);
    }

    #[test]
    fn a_listing_that_lacks_a_file_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let deb = stored(&store, &archive());
        let tree = of(&store, "a", &deb).unwrap();
        let small = Object::of(b"x");
        std::fs::remove_file(store.object_path(&small)).unwrap();
        assert_eq!(of(&store, "a", &deb).unwrap(), tree);
        assert!(store.has(&small));
    }

    #[test]
    fn a_name_that_leads_out_is_refused_with_the_package() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_old();
        header.as_old_mut().name[..10].copy_from_slice(b"a/../../bc");
        header.set_size(0);
        header.set_cksum();
        tar.append(&header, io::empty()).unwrap();
        let deb = stored(&store, &tar.into_inner().unwrap());
        let error = of(&store, "evil", &deb).unwrap_err().to_string();
        assert!(
            error.contains("evil") && error.contains("leads out"),
            "{error}"
        );
    }
}
