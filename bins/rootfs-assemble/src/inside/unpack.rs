//! Files of packages into the tree, several packages at once.
//!
//! Only packages without a `preinst` script are unpacked here for good; see [`super::dpkg`].
//!
//! Two packages may bring the same file when one `Replaces` the other, as dpkg has it. Directories that
//! several bring get owner and mode from the first in the installation order, whichever came first in time.
//!
//! *Not unpacked:* device nodes (a user namespace cannot make them; devtmpfs brings them at boot).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use md5::{Digest, Md5};
use stage::{At, Error, Result};
use tar::EntryType;

use super::files::{self, Meta};
use super::warn;
use crate::deb::Package;

/// Directories of `/` that are links into `/usr` in a merged tree.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
/// Further ones, made only when a package brings them.
const MERGED_LATER: [&str; 3] = ["lib32", "libx32", "libo32"];
/// Bytes of a file that are in memory at once.
const BUFFER: usize = 1 << 18;

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
pub struct Unpacker {
    names: Vec<Names>,
    placed: Mutex<Placed>,
    newest: AtomicI64,
}

#[derive(Default)]
struct Placed {
    /// File → the package that it belongs to, by its number.
    files: HashMap<PathBuf, usize>,
    /// Directory → owner and mode, and the package that says so.
    dirs: HashMap<PathBuf, (usize, Meta)>,
    /// Files that a package lost to another.
    lost: HashMap<usize, HashSet<PathBuf>>,
}

/// How a package is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// For good: its files are claimed.
    Install,
    /// For the time being, until dpkg unpacks it again.
    Lend,
}

impl Unpacker {
    /// Prepares the root directory. `names` are all packages in the installation order.
    ///
    /// # Errors
    /// Exit code 1 with the path.
    pub fn new(names: Vec<Names>) -> Result<Self> {
        for name in MERGED {
            merge(name)?;
        }
        Ok(Self {
            names,
            placed: Mutex::default(),
            newest: AtomicI64::new(0),
        })
    }

    /// Time of the newest file seen so far.
    pub fn newest(&self) -> u64 {
        u64::try_from(self.newest.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Unpacks package number `index`. MD5 sums are made of the files that `wanted` names.
    ///
    /// # Errors
    /// Exit code 1 with the package and the path.
    pub fn unpack(
        &self,
        index: usize,
        package: &mut Package,
        how: How,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Unpacked> {
        let name = self.names[index].name.clone();
        let failed = |e: io::Error| Error::failed(format!("package {name}: data.tar: {e}"));
        let data = BufReader::with_capacity(BUFFER, package.data()?);
        let mut archive = tar::Archive::new(data);
        let mut buffer = vec![0; BUFFER];
        let mut unpacked = Unpacked::default();
        for entry in archive.entries().map_err(failed)? {
            let mut entry = entry.map_err(failed)?;
            let item = Item::of(&entry).map_err(failed)?;
            self.newest.fetch_max(item.meta.mtime, Ordering::Relaxed);
            unpacked.paths.push(item.listed.clone());
            let md5 = (how == How::Install && wanted(&item.listed)).then(Md5::new);
            let sum = self
                .place(index, &item, &mut entry, how, &mut buffer, md5)
                .map_err(|e| Error::failed(format!("package {name}: {}: {e}", item.listed)))?;
            if let Some(sum) = sum {
                unpacked.md5.push((item.listed, sum));
            }
        }
        Ok(unpacked)
    }

    /// Looks at the times of a package that dpkg will unpack.
    ///
    /// # Errors
    /// Exit code 1 with the package.
    pub fn look_at_times(&self, index: usize, package: &mut Package) -> Result<()> {
        let name = &self.names[index].name;
        let failed = |e: io::Error| Error::failed(format!("package {name}: data.tar: {e}"));
        let data = BufReader::with_capacity(BUFFER, package.data()?);
        for entry in tar::Archive::new(data).entries().map_err(failed)? {
            let mtime = entry.map_err(failed)?.header().mtime().map_err(failed)?;
            let mtime = i64::try_from(mtime).unwrap_or(0);
            self.newest.fetch_max(mtime, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Gives directories their owners and modes.
    ///
    /// # Errors
    /// Exit code 1 with the path.
    pub fn finish_dirs(&self) -> Result<()> {
        for (path, (_, meta)) in &self.placed().dirs {
            files::finish_dir(path, *meta).at(path)?;
        }
        Ok(())
    }

    /// Takes out of a package's list what another package has taken over.
    pub fn without_lost(&self, index: usize, mut unpacked: Unpacked) -> Unpacked {
        if let Some(lost) = self.placed().lost.get(&index) {
            unpacked.paths.retain(|p| !lost.contains(&real_path(p)));
        }
        unpacked
    }

    fn placed(&self) -> MutexGuard<'_, Placed> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one thing into the tree; gives the MD5 of a file when asked to.
    fn place(
        &self,
        index: usize,
        item: &Item,
        content: &mut dyn Read,
        how: How,
        buffer: &mut [u8],
        md5: Option<Md5>,
    ) -> io::Result<Option<String>> {
        let path = &item.path;
        if item.kind == EntryType::Directory {
            return self.place_dir(index, item).map(|()| None);
        }
        if is_merged(path) {
            return Ok(None);
        }
        if how == How::Install && !self.claim(index, path)? {
            return Ok(None);
        }
        match item.kind {
            EntryType::Regular | EntryType::Continuous => {
                let mut file = files::create(path)?;
                let sum = copy(content, &mut file, buffer, md5)?;
                files::finish_file(&file, item.meta)?;
                return Ok(sum);
            }
            EntryType::Symlink => {
                files::symlink(&item.target, path)?;
                files::finish_link(path, item.meta)?;
            }
            EntryType::Link => files::hard_link(&real_path(&item.target.to_string_lossy()), path)?,
            kind => warn(format!(
                "package {}: {} is left out: a {kind:?} needs real root",
                self.names[index].name, item.listed
            )),
        }
        Ok(None)
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
            Err(e) if e.kind() == io::ErrorKind::NotFound => fs::create_dir_all(&item.path)?,
            done => done?,
        }
        let mut placed = self.placed();
        let best = placed.dirs.get(&item.path).map_or(usize::MAX, |d| d.0);
        if index < best && !super::mounts::is_mounted(&item.path) {
            placed.dirs.insert(item.path.clone(), (index, item.meta));
        }
        Ok(())
    }

    /// Whether package number `index` may write the file; notes who owns it.
    fn claim(&self, index: usize, path: &Path) -> io::Result<bool> {
        let mut placed = self.placed();
        let Some(&other) = placed.files.get(path) else {
            placed.files.insert(path.to_owned(), index);
            return Ok(true);
        };
        let (mine, theirs) = (&self.names[index], &self.names[other]);
        let loser = if mine.replaces.contains(&theirs.name) {
            placed.files.insert(path.to_owned(), index);
            other
        } else if theirs.replaces.contains(&mine.name) {
            index
        } else {
            let fact = format!(
                "also in package {}, and neither replaces the other",
                theirs.name
            );
            return Err(io::Error::other(fact));
        };
        placed
            .lost
            .entry(loser)
            .or_default()
            .insert(path.to_owned());
        Ok(loser != index)
    }
}

/// One member of a data archive.
struct Item {
    kind: EntryType,
    /// Where it goes.
    path: PathBuf,
    /// As dpkg lists it.
    listed: String,
    target: PathBuf,
    meta: Meta,
}

impl Item {
    fn of<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<Self> {
        let header = entry.header();
        let name = entry.path_bytes();
        let name = std::str::from_utf8(&name)
            .map_err(|_| io::Error::other("a name that is not UTF-8; expected UTF-8"))?;
        let name = name.trim_start_matches("./").trim_end_matches('/');
        if name.split('/').any(|part| part == "..") {
            return Err(io::Error::other(format!("{name:?} leads out of the tree")));
        }
        let name = if name == "." { "" } else { name };
        let listed = if name.is_empty() {
            "/.".to_owned()
        } else {
            format!("/{name}")
        };
        Ok(Self {
            kind: header.entry_type(),
            path: real_path(name),
            listed,
            target: entry
                .link_name()?
                .map(|t| t.into_owned())
                .unwrap_or_default(),
            meta: Meta {
                mode: header.mode()? & 0o7777,
                uid: u32::try_from(header.uid()?).unwrap_or(0),
                gid: u32::try_from(header.gid()?).unwrap_or(0),
                mtime: i64::try_from(header.mtime()?).unwrap_or(0),
            },
        })
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

fn copy(
    from: &mut dyn Read,
    to: &mut fs::File,
    buffer: &mut [u8],
    mut md5: Option<Md5>,
) -> io::Result<Option<String>> {
    loop {
        match from.read(buffer)? {
            0 => break,
            n => {
                to.write_all(&buffer[..n])?;
                if let Some(md5) = &mut md5 {
                    md5.update(&buffer[..n]);
                }
            }
        }
    }
    Ok(md5.map(|sum| sum.finalize().iter().map(|b| format!("{b:02x}")).collect()))
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
        let unpacker = Unpacker {
            names: vec![names("old", &[]), names("new", &["old"]), names("x", &[])],
            placed: Mutex::default(),
            newest: AtomicI64::new(0),
        };
        let path = Path::new("/f");
        assert!(unpacker.claim(1, path).unwrap());
        assert!(!unpacker.claim(0, path).unwrap());
        let unpacked = Unpacked {
            paths: vec!["/f".into(), "/g".into()],
            md5: Vec::new(),
        };
        assert_eq!(unpacker.without_lost(0, unpacked).paths, ["/g"]);
        let error = unpacker.claim(2, path).unwrap_err().to_string();
        assert!(error.contains("also in package new"), "{error}");
    }
}
