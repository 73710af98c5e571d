//! Files of packages into the tree, several packages at once, from the store.
//!
//! Only packages without a `preinst` script are unpacked here for good; see [`super::dpkg`].
//!
//! Two packages may bring the same file when one `Replaces` the other, as dpkg has it. Directories that
//! several bring get owner and mode from the first in the installation order, whichever came first in time.
//!
//! *Not unpacked:* device nodes (a user namespace cannot make them; devtmpfs brings them at boot).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use manifest::Object;
use md5::{Digest, Md5};
use stage::{At, Error, Result};
use store::Store;
use store::tree::{Entry, Kind, Tree, decode_path};

use super::files::{self, Meta};
use super::warn;

/// Directories of `/` that are links into `/usr` in a merged tree.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
/// Further ones, made only when a package brings them.
const MERGED_LATER: [&str; 3] = ["lib32", "libx32", "libo32"];
/// What unpacking needs to know of a package.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Its name.
    pub name: String,
    /// Packages whose files it may take over.
    pub replaces: BTreeSet<String>,
}

/// What dpkg's database will say of an unpacked package's files.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// Paths as the package names them, with a leading slash.
    pub paths: Vec<String>,
    /// MD5 of the files that were asked for.
    pub md5: Vec<(String, String)>,
}

/// The tree while packages are unpacked into it.
pub struct Unpacker<'a> {
    store: &'a Store,
    names: Vec<Names>,
    /// File → the package that it belongs to, by its number.
    owners: HashMap<PathBuf, usize>,
    /// Files that a package lost to another.
    lost: HashMap<usize, HashSet<PathBuf>>,
    /// Directory → owner and mode, and the package that says so.
    dirs: Mutex<HashMap<PathBuf, (usize, Meta)>>,
    /// File → its content, of those that were unpacked for good.
    contents: Mutex<HashMap<PathBuf, Object>>,
}

/// How a package is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// For good: its files are claimed.
    Install,
    /// For the time being, until dpkg unpacks it again.
    Lend,
}

impl<'a> Unpacker<'a> {
    /// Prepares the root directory. `names` are all packages in the installation order.
    ///
    /// # Errors
    /// Exit code 1 with the path.
    pub fn new(store: &'a Store, names: Vec<Names>) -> Result<Self> {
        for name in MERGED {
            merge(name)?;
        }
        Ok(Self {
            store,
            names,
            owners: HashMap::new(),
            lost: HashMap::new(),
            dirs: Mutex::default(),
            contents: Mutex::default(),
        })
    }

    /// Claims the files of package number `index` for it: before any package is unpacked for good, so that no order
    /// of work decides whose file stays.
    ///
    /// # Errors
    /// Exit code 1 where another package has one of them, and neither replaces the other.
    pub fn claim(&mut self, index: usize, contents: &Tree) -> Result<()> {
        for entry in contents.iter().filter(|e| e.kind != Kind::Dir) {
            let item = Item::of(entry)?;
            if !is_merged(&item.path) {
                self.claim_one(index, item.path).map_err(|fact| {
                    let name = &self.names[index].name;
                    Error::failed(format!("package {name}: {}: {fact}", item.listed))
                })?;
            }
        }
        Ok(())
    }

    /// Makes the directories and symbolic links of package number `index`: of one package after the other in the
    /// installation order, because where one has a link and another a directory, the first one decides.
    ///
    /// # Errors
    /// Exit code 1 with the package and the path.
    pub fn frame(&self, index: usize, contents: &Tree, how: How) -> Result<()> {
        for entry in contents.iter().filter(|e| is_frame(&e.kind)) {
            let item = Item::of(entry)?;
            let placed = self.place(index, &item, how, None);
            placed.map_err(|e| self.failed(index, &item, &e))?;
        }
        Ok(())
    }

    fn failed(&self, index: usize, item: &Item, error: &io::Error) -> Error {
        let name = &self.names[index].name;
        Error::failed(format!("package {name}: {}: {error}", item.listed))
    }

    /// Unpacks package number `index`, which holds `contents`; its [frame](Self::frame) is there already. MD5 sums are made of the files that `wanted` names.
    ///
    /// # Errors
    /// Exit code 1 with the package and the path, 6 where a file is damaged in the store.
    pub fn unpack(
        &self,
        index: usize,
        contents: &Tree,
        how: How,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Unpacked> {
        let mut unpacked = Unpacked::default();
        let is_link = |entry: &&Entry| matches!(entry.kind, Kind::Hardlink(_));
        // A hard link needs its file.
        let (links, others): (Vec<&Entry>, Vec<&Entry>) = contents.iter().partition(is_link);
        for entry in others.into_iter().chain(links) {
            let mut item = Item::of(entry)?;
            unpacked.paths.push(item.listed.clone());
            match &entry.kind {
                kind if is_frame(kind) => continue,
                // The file has become another package's: what this one has under its other name stays.
                Kind::Hardlink(to) if how == How::Install && !self.owns(index, to) => {
                    item.kind = contents.get(to).map_or(item.kind, |e| &e.kind);
                }
                _ => {}
            }
            let md5 = (how == How::Install && wanted(&item.listed)).then(Md5::new);
            let placed = self.place(index, &item, how, md5);
            let sum = placed.map_err(|e| self.failed(index, &item, &e))?;
            if let Some(sum) = sum {
                unpacked.md5.push((item.listed, sum));
            }
        }
        unpacked.paths.sort();
        Ok(unpacked)
    }

    /// Whether the file at that path of the listing is that package's, and not another one's that took it over.
    fn owns(&self, index: usize, listed: &str) -> bool {
        let path = decode_path(listed).map(|bytes| real_path(&String::from_utf8_lossy(&bytes)));
        path.is_some_and(|path| self.owners.get(&path) == Some(&index))
    }

    /// The files that packages were unpacked to for good, with their contents.
    pub fn into_contents(self) -> HashMap<PathBuf, Object> {
        let contents = self.contents.into_inner();
        contents.unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives directories their owners and modes. One that several paths lead to has those of the first package.
    ///
    /// # Errors
    /// Exit code 1 with the path.
    pub fn finish_dirs(&self) -> Result<()> {
        let dirs = locked(&self.dirs);
        let mut dirs: Vec<_> = dirs.iter().collect();
        dirs.sort_by_key(|(path, (index, _))| (*index, *path));
        let mut done = HashSet::new();
        for (path, (_, meta)) in dirs {
            let real = fs::canonicalize(path).at(path)?;
            if !super::mounts::is_mounted(&real) && done.insert(real) {
                files::finish_dir(path, *meta).at(path)?;
            }
        }
        Ok(())
    }

    /// Takes out of a package's list what another package has taken over.
    pub fn without_lost(&self, index: usize, mut unpacked: Unpacked) -> Unpacked {
        if let Some(lost) = self.lost.get(&index) {
            unpacked.paths.retain(|p| !lost.contains(&real_path(p)));
        }
        unpacked
    }

    /// Puts one thing into the tree; gives the MD5 of a file when asked to.
    fn place(
        &self,
        index: usize,
        item: &Item,
        how: How,
        md5: Option<Md5>,
    ) -> io::Result<Option<String>> {
        let path = &item.path;
        if *item.kind == Kind::Dir {
            return self.place_dir(index, item).map(|()| None);
        }
        let is_mine = || self.owners.get(path) == Some(&index);
        if is_merged(path) || (how == How::Install && !is_mine()) {
            return Ok(None);
        }
        match item.kind {
            Kind::File(content) => {
                let sum = self.place_file(item, content, md5)?;
                if how == How::Install {
                    locked(&self.contents).insert(path.clone(), *content);
                }
                return Ok(sum);
            }
            // As dpkg has it: the directory stays.
            Kind::Symlink(_) if fs::symlink_metadata(path).is_ok_and(|m| m.is_dir()) => {}
            Kind::Symlink(target) => {
                files::symlink(&decoded(target)?, path)?;
                files::finish_link(path, item.meta)?;
            }
            Kind::Hardlink(target) => {
                files::hard_link(&real_path(&decoded(target)?.to_string_lossy()), path)?;
            }
            kind => warn(format!(
                "package {}: {} is left out: a {kind:?} needs real root",
                self.names[index].name, item.listed
            )),
        }
        Ok(None)
    }

    fn place_file(
        &self,
        item: &Item,
        content: &Object,
        mut md5: Option<Md5>,
    ) -> io::Result<Option<String>> {
        let mut from = self.store.open_object(content).map_err(io::Error::other)?;
        let mut file = files::create(&item.path)?;
        match &mut md5 {
            None => from.pour(&mut file)?,
            Some(md5) => from.pour(&mut Summed(&mut file, md5))?,
        }
        files::finish_file(&file, item.meta)?;
        Ok(md5.map(|sum| sum.finalize().iter().map(|b| format!("{b:02x}")).collect()))
    }

    fn place_dir(&self, index: usize, item: &Item) -> io::Result<()> {
        if item.path == Path::new("/") {
            return Ok(());
        }
        if let Some(name) = item.path.to_str().and_then(|p| p.strip_prefix('/'))
            && MERGED_LATER.contains(&name)
        {
            return merge(name).map_err(|e| io::Error::other(e.to_string()));
        }
        if is_merged(&item.path) {
            return Ok(());
        }
        match fs::create_dir(&item.path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && item.path.is_dir() => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => make_target(&item.path)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => fs::create_dir_all(&item.path)?,
            done => done?,
        }
        let mut dirs = locked(&self.dirs);
        let best = dirs.get(&item.path).map_or(usize::MAX, |d| d.0);
        if index < best && !super::mounts::is_mounted(&item.path) {
            dirs.insert(item.path.clone(), (index, item.meta));
        }
        Ok(())
    }

    fn claim_one(&mut self, index: usize, path: PathBuf) -> std::result::Result<(), String> {
        let Some(&other) = self.owners.get(&path) else {
            self.owners.insert(path, index);
            return Ok(());
        };
        let (mine, theirs) = (&self.names[index], &self.names[other]);
        let loser = if mine.replaces.contains(&theirs.name) {
            self.owners.insert(path.clone(), index);
            other
        } else if theirs.replaces.contains(&mine.name) {
            index
        } else {
            return Err(format!(
                "also in package {}, and neither replaces the other",
                theirs.name
            ));
        };
        self.lost.entry(loser).or_default().insert(path);
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One entry of a package.
struct Item<'a> {
    kind: &'a Kind,
    /// Where it goes.
    path: PathBuf,
    /// As dpkg lists it.
    listed: String,
    meta: Meta,
}

impl<'a> Item<'a> {
    fn of(entry: &'a Entry) -> Result<Self> {
        let damaged = || Error::damaged(format!("a listing's path {:?} is damaged", entry.path));
        let name = decode_path(&entry.path).ok_or_else(damaged)?;
        let name = String::from_utf8(name).map_err(|_| damaged())?;
        Ok(Self {
            kind: &entry.kind,
            path: real_path(&name),
            listed: match name.is_empty() {
                true => "/.".to_owned(),
                false => format!("/{name}"),
            },
            meta: Meta {
                mode: entry.mode,
                uid: entry.uid,
                gid: entry.gid,
                mtime: entry.mtime,
            },
        })
    }
}

/// What is made one package after the other.
fn is_frame(kind: &Kind) -> bool {
    matches!(kind, Kind::Dir | Kind::Symlink(_))
}

/// Makes the directory that the link at `path`, which leads nowhere yet, leads to.
fn make_target(path: &Path) -> io::Result<()> {
    let no_link = |_| io::Error::other("another package has a file where this one has a directory");
    let target = fs::read_link(path).map_err(no_link)?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir.join(target))
}

fn decoded(path: &str) -> io::Result<PathBuf> {
    let bytes = decode_path(path).ok_or_else(|| io::Error::other("a damaged target"))?;
    Ok(OsStr::from_bytes(&bytes).into())
}

/// Writes to a file and sums what it writes.
struct Summed<'a>(&'a mut fs::File, &'a mut Md5);

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The absolute path in a merged tree: `lib/x` is `/usr/lib/x`.
fn real_path(name: &str) -> PathBuf {
    let name = name.trim_start_matches("./").trim_start_matches('/');
    let merged = name
        .split_once('/')
        .is_some_and(|(first, _)| MERGED.contains(&first) || MERGED_LATER.contains(&first));
    Path::new(if merged { "/usr" } else { "/" }).join(name)
}

/// Whether the path is one of the links that make the tree a merged one.
fn is_merged(path: &Path) -> bool {
    let name = path.to_str().and_then(|p| p.strip_prefix('/'));
    name.is_some_and(|n| MERGED.contains(&n) || MERGED_LATER.contains(&n))
}

/// Makes `/name` a link to `usr/name`, with the directory behind it.
fn merge(name: &str) -> Result<()> {
    let dir = Path::new("/usr").join(name);
    fs::create_dir_all(&dir).at(&dir)?;
    let link = Path::new("/").join(name);
    match std::os::unix::fs::symlink(Path::new("usr").join(name), &link) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done.at(&link),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_where_a_merged_tree_has_them() {
        for (name, path) in [
            ("./lib/x", "/usr/lib/x"),
            ("lib64/ld.so", "/usr/lib64/ld.so"),
            ("./etc/x", "/etc/x"),
            ("library/x", "/library/x"),
            ("", "/"),
        ] {
            assert_eq!(real_path(name), Path::new(path), "{name}");
        }
        assert!(is_merged(Path::new("/bin")) && !is_merged(Path::new("/usr/bin")));
    }

    #[test]
    fn replaces_decides_who_owns_a_file() {
        let names = |name: &str, replaces: &[&str]| Names {
            name: name.into(),
            replaces: replaces.iter().map(|r| (*r).into()).collect(),
        };
        let file = |path: &str| {
            let mut tree = Tree::default();
            tree.insert(Entry {
                path: path.to_owned(),
                kind: Kind::File(Object::of(b"")),
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: 0,
                xattrs: std::collections::BTreeMap::new(),
            });
            tree
        };
        let dir = tempfile::tempdir().unwrap();
        let mut unpacker = Unpacker {
            store: &Store::open(dir.path()).unwrap(),
            names: vec![names("old", &[]), names("new", &["old"]), names("x", &[])],
            owners: HashMap::new(),
            lost: HashMap::new(),
            dirs: Mutex::default(),
            contents: Mutex::default(),
        };
        for index in [1, 0] {
            unpacker.claim(index, &file("f")).unwrap();
        }
        assert_eq!(unpacker.owners[Path::new("/f")], 1);
        let unpacked = Unpacked {
            paths: vec!["/f".into(), "/g".into()],
            md5: Vec::new(),
        };
        assert_eq!(unpacker.without_lost(0, unpacked).paths, ["/g"]);
        let error = unpacker.claim(2, &file("f")).unwrap_err().to_string();
        assert!(error.contains("also in package new"), "{error}");
    }

    #[test]
    fn of_two_paths_to_a_directory_the_first_package_decides() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let home = tempfile::tempdir().unwrap();
        let (real, link) = (home.path().join("real"), home.path().join("link"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        let owner = fs::metadata(&real).unwrap();
        let meta = |mode| Meta {
            mode,
            uid: owner.uid(),
            gid: owner.gid(),
            mtime: 0,
        };
        // A map's order is another one every time.
        for _ in 0..20 {
            let dirs = HashMap::from([
                (link.clone(), (1, meta(0o755))),
                (real.clone(), (0, meta(0o700))),
            ]);
            let unpacker = Unpacker {
                store: &Store::open(home.path()).unwrap(),
                names: Vec::new(),
                owners: HashMap::new(),
                lost: HashMap::new(),
                dirs: Mutex::new(dirs),
                contents: Mutex::default(),
            };
            unpacker.finish_dirs().unwrap();
            let mode = fs::metadata(&real).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700);
        }
    }
}
