//! The finished tree into the store: every file an object, everything else a line of the listing.
//!
//! *Not captured:* sockets, access times, parts of a second; labels of the host's security modules.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::io::{Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use manifest::{Digest, Object};
use stage::{At, Error, Result};
use store::Store;
use store::tree::{Entry, Kind, Tree, decode_path, encode_path};

use crate::parallel;

/// Files up to this many bytes are read once, larger ones are hashed first and copied if they are new.
const SMALL: u64 = 1 << 20;
/// Attributes that belong to the build host or to nobody.
const IGNORED: [&str; 4] = [
    "security.selinux",
    "security.ima",
    "security.evm",
    "security.SMACK64",
];

/// Nanoseconds within which two changes of a file may bear the same time.
const TICK: i128 = 100_000_000;

/// What was captured.
#[derive(Default)]
pub struct Captured {
    /// The listing.
    pub tree: Tree,
    /// Sum of file sizes, hard links counted once.
    pub bytes: u64,
    /// Files as they were then, so that the next capture reads only what has changed.
    seen: HashMap<Stamp, Object>,
}

/// What changes when a file's content does: device, inode, length, time of the last change in nanoseconds.
type Stamp = (u64, u64, u64, i128);

fn stamp(meta: &Metadata) -> Stamp {
    let changed = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
    (meta.dev(), meta.ino(), meta.len(), changed)
}

impl Captured {
    fn add(&mut self, entry: Entry, meta: &Metadata, begin: i128) {
        if let Kind::File(object) = &entry.kind {
            self.bytes += object.size;
            self.note(meta, *object, begin);
        }
        self.tree.insert(entry);
    }

    /// Notes a file's content as it was at `begin`.
    fn note(&mut self, meta: &Metadata, content: Object, begin: i128) {
        let stamp = stamp(meta);
        // A file that changed just before might change again without another time.
        if stamp.3 + TICK < begin {
            self.seen.insert(stamp, content);
        }
    }

    /// The object of the file at `path`.
    pub fn object(&self, path: &str) -> Option<Object> {
        match self.tree.get(path)?.kind {
            Kind::File(object) => Some(object),
            _ => None,
        }
    }
}

/// A tree that was just laid out below `root`, as if it had been captured: its files need not be read again.
///
/// # Errors
/// Exit code 1 with the path that is not there.
pub fn laid(tree: &Tree, root: &Path) -> Result<Captured> {
    let begin = now();
    let is_file = |entry: &&Entry| matches!(entry.kind, Kind::File(_));
    let files: Vec<&Entry> = tree.iter().filter(is_file).collect();
    let metas = parallel::map(&files, |entry| {
        let bytes = decode_path(&entry.path).unwrap_or_default();
        let path = root.join(std::ffi::OsStr::from_bytes(&bytes));
        fs::symlink_metadata(&path).at(&path)
    })?;
    let mut captured = Captured::default();
    for (entry, meta) in files.into_iter().zip(&metas) {
        captured.add(entry.clone(), meta, begin);
    }
    Ok(captured)
}

/// Files that were just put below `root`, with their contents: they need not be read as long as they do not change.
///
/// # Errors
/// Exit code 1 with the path that is not there.
pub fn placed(root: &Path, files: HashMap<PathBuf, Object>) -> Result<Captured> {
    let begin = now();
    let mut captured = Captured::default();
    for (path, object) in files {
        let path = root.join(path.strip_prefix("/").unwrap_or(&path));
        captured.note(&fs::symlink_metadata(&path).at(&path)?, object, begin);
    }
    Ok(captured)
}

/// Captures the tree below `root`. Times after `epoch` become `epoch`. `before` is an earlier capture of it.
///
/// # Errors
/// Exit code 1 with the path.
pub fn capture(store: &Store, root: &Path, epoch: u64, before: &Captured) -> Result<Captured> {
    let begin = now();
    let mut paths = vec![(PathBuf::new(), fs::symlink_metadata(root).at(root)?)];
    walk(root, Path::new(""), &mut paths)?;
    paths.sort_by(|a, b| a.0.as_os_str().cmp(b.0.as_os_str()));
    let links = first_names(&paths);
    let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
    let found = parallel::map(&paths, |(path, meta)| {
        let kind = match (links.get(path.as_path()), before.seen.get(&stamp(meta))) {
            (Some(first), _) => Some(Kind::Hardlink(encode(first))),
            (None, Some(object)) if meta.is_file() => Some(Kind::File(*object)),
            _ => kind_of(store, &root.join(path), meta)?,
        };
        kind.map(|kind| entry(root, path, meta, kind, epoch))
            .transpose()
    })?;
    let mut captured = Captured::default();
    for (entry, (_, meta)) in found.into_iter().zip(&paths) {
        if let Some(entry) = entry {
            captured.add(entry, meta, begin);
        }
    }
    Ok(captured)
}

/// The capture `before` with the entries at `paths` (as in the listing) as they are now; nothing else has changed.
///
/// # Errors
/// Exit code 1 with the path.
pub fn again(
    store: &Store,
    root: &Path,
    epoch: u64,
    mut before: Captured,
    paths: &[&str],
) -> Result<Captured> {
    let begin = now();
    let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
    for path in paths {
        let bytes = decode_path(path).unwrap_or_default();
        let path = Path::new(std::ffi::OsStr::from_bytes(&bytes));
        let meta = fs::symlink_metadata(root.join(path)).at(path)?;
        if let Some(kind) = kind_of(store, &root.join(path), &meta)? {
            let gone = before.object(&encode(path)).map_or(0, |o| o.size);
            before.bytes -= gone;
            before.add(entry(root, path, &meta, kind, epoch)?, &meta, begin);
        }
    }
    Ok(before)
}

fn now() -> i128 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

fn walk(root: &Path, dir: &Path, paths: &mut Vec<(PathBuf, Metadata)>) -> Result<()> {
    let here = root.join(dir);
    for entry in fs::read_dir(&here).at(&here)? {
        let entry = entry.at(&here)?;
        let path = dir.join(entry.file_name());
        let meta = entry.metadata().at(&entry.path())?;
        let is_dir = meta.is_dir();
        paths.push((path.clone(), meta));
        if is_dir {
            walk(root, &path, paths)?;
        }
    }
    Ok(())
}

/// For every further name of a file, its first name.
fn first_names(paths: &[(PathBuf, Metadata)]) -> HashMap<&Path, &Path> {
    let mut seen: HashMap<(u64, u64), &Path> = HashMap::new();
    let mut links = HashMap::new();
    for (path, meta) in paths.iter().filter(|(_, m)| m.is_file() && m.nlink() > 1) {
        match seen.get(&(meta.dev(), meta.ino())) {
            Some(first) => {
                links.insert(path.as_path(), *first);
            }
            None => {
                seen.insert((meta.dev(), meta.ino()), path);
            }
        }
    }
    links
}

/// What stands at `path`; `None` for what no listing holds.
fn kind_of(store: &Store, path: &Path, meta: &Metadata) -> Result<Option<Kind>> {
    let kind = meta.file_type();
    Ok(Some(if kind.is_file() {
        Kind::File(content(store, path, meta.len())?)
    } else if kind.is_dir() {
        Kind::Dir
    } else if kind.is_symlink() {
        Kind::Symlink(encode(&fs::read_link(path).at(path)?))
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_char_device() || kind.is_block_device() {
        let (major, minor) = (
            rustix::fs::major(meta.rdev()),
            rustix::fs::minor(meta.rdev()),
        );
        match kind.is_char_device() {
            true => Kind::Char(major, minor),
            false => Kind::Block(major, minor),
        }
    } else {
        return Ok(None);
    }))
}

fn content(store: &Store, path: &Path, length: u64) -> Result<Object> {
    let mut file = File::open(path).at(path)?;
    if length <= SMALL {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.read_to_end(&mut bytes).at(path)?;
        return Ok(store.put(&bytes)?);
    }
    let object = hash(&mut file).at(path)?;
    if store.claim(&object)? {
        return Ok(object);
    }
    file.rewind().at(path)?;
    let stored = store.put_reader(&mut file)?;
    if stored == object {
        return Ok(stored);
    }
    Err(Error::failed(format!(
        "{} changed while it was read; is a program of the tree still running?",
        path.display()
    )))
}

fn hash(file: &mut File) -> std::io::Result<Object> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 18];
    let mut size = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => {
                hasher.update(&buffer[..n]);
                size += n as u64;
            }
        }
    }
    let blake3 = Digest::from(hasher.finalize());
    Ok(Object { blake3, size })
}

fn entry(root: &Path, path: &Path, meta: &Metadata, kind: Kind, epoch: i64) -> Result<Entry> {
    let xattrs = match kind {
        Kind::Hardlink(_) => BTreeMap::new(),
        _ => xattrs(&root.join(path))?,
    };
    Ok(Entry {
        path: encode(path),
        kind,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: meta.mtime().clamp(0, epoch),
        xattrs,
    })
}

fn encode(path: &Path) -> String {
    encode_path(path.as_os_str().as_bytes())
}

fn xattrs(path: &Path) -> Result<BTreeMap<String, String>> {
    let mut names = vec![0_u8; 1024];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::RANGE) => {
            names.resize(1 << 16, 0);
            rustix::fs::llistxattr(path, &mut names[..])
                .map_err(std::io::Error::from)
                .at(path)?
        }
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(e) => return Err(std::io::Error::from(e)).at(path),
    };
    let mut found = BTreeMap::new();
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        if !IGNORED.contains(&name.as_str()) {
            let mut value = vec![0_u8; 1 << 16];
            let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value[..])
                .map_err(std::io::Error::from)
                .at(path)?;
            let hex = value[..length].iter().map(|b| format!("{b:02x}")).collect();
            found.insert(name, hex);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_directory_is_captured_with_links_modes_and_clamped_times() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("b")).unwrap();
        fs::write(root.join("b/file"), vec![7; 3 << 20]).unwrap();
        fs::write(root.join("b/small"), b"x").unwrap();
        fs::hard_link(root.join("b/file"), root.join("a-name")).unwrap();
        symlink("/b", root.join("link")).unwrap();
        let captured = capture(&store, &root, 1000, &Captured::default()).unwrap();
        let kind = |path: &str| captured.tree.get(path).unwrap().kind.clone();
        assert_eq!(captured.bytes, (3 << 20) + 1);
        assert_eq!(kind("b/file"), Kind::Hardlink("a-name".into()));
        assert_eq!(kind("link"), Kind::Symlink("/b".into()));
        assert_eq!(kind(""), Kind::Dir);
        let object = captured.object("a-name").unwrap();
        assert_eq!(store.get(&object).unwrap(), vec![7; 3 << 20]);
        assert!(captured.tree.iter().all(|e| e.mtime <= 1000));
        assert_eq!(captured.tree.len(), 6);
    }

    #[test]
    fn a_second_capture_sees_what_changed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        for name in ["same", "changed"] {
            fs::write(root.join(name), b"one").unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(150));
        let first = capture(&store, &root, 1000, &Captured::default()).unwrap();
        assert_eq!(first.seen.len(), 2);
        fs::write(root.join("changed"), b"two").unwrap();
        let second = capture(&store, &root, 1000, &first).unwrap();
        assert_eq!(second.object("same"), first.object("same"));
        assert_eq!(second.object("changed"), Some(Object::of(b"two")));
    }

    #[test]
    fn a_few_paths_looked_at_again_are_as_good_as_all() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("boot")).unwrap();
        for name in ["same", "boot/old"] {
            fs::write(root.join(name), b"one").unwrap();
        }
        let first = capture(&store, &root, 1000, &Captured::default()).unwrap();
        fs::write(root.join("boot/old"), b"longer").unwrap();
        fs::write(root.join("boot/new"), b"new").unwrap();
        let whole = capture(&store, &root, 1000, &Captured::default()).unwrap();
        let paths = ["boot", "boot/old", "boot/new"];
        let few = again(&store, &root, 1000, first, &paths).unwrap();
        assert_eq!(few.bytes, whole.bytes);
        assert_eq!(
            few.tree.write(&store).unwrap(),
            whole.tree.write(&store).unwrap()
        );
    }

    #[test]
    fn a_tree_that_was_laid_out_is_as_good_as_captured() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        for name in ["same", "changed"] {
            fs::write(root.join(name), b"one").unwrap();
        }
        let first = capture(&store, &root, 1000, &Captured::default()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(150));
        let known = laid(&first.tree, &root).unwrap();
        assert_eq!(known.seen.len(), 2);
        fs::write(root.join("changed"), b"two").unwrap();
        let second = capture(&store, &root, 1000, &known).unwrap();
        assert_eq!(second.object("same"), first.object("same"));
        assert_eq!(second.object("changed"), Some(Object::of(b"two")));
    }
}
