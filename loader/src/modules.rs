//! Where GRUB's modules come from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use manifest::{Digest, Object};
use serde_json::{Map, Value};
use stage::{At, Error, Result};
use store::Store;
use store::tree::{Kind, Tree, lists};

/// One of GRUB's platforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// BIOS.
    Bios,
    /// UEFI on 64-bit x86.
    Efi,
}

impl Platform {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Bios, Self::Efi];

    /// The directory below `/usr/lib/grub`.
    pub fn dir(self) -> &'static str {
        match self {
            Self::Bios => "i386-pc",
            Self::Efi => "x86_64-efi",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Bios => "grub-pc-bin",
            Self::Efi => "grub-efi-amd64-bin",
        }
    }
}

/// One platform's modules.
#[derive(Debug)]
pub struct Modules<'a> {
    /// The platform.
    pub platform: Platform,
    /// BLAKE3 over names and contents: what a core image depends on.
    pub digest: Digest,
    store: &'a Store,
    origin: Origin,
}

/// Where the modules are.
#[derive(Debug)]
enum Origin {
    /// A directory of the build host.
    Host(PathBuf),
    /// The image's own tree: name and content.
    Tree(BTreeMap<String, Object>),
}

/// Modules of the build host.
fn host_dir(platform: Platform) -> PathBuf {
    Path::new("/usr/lib/grub").join(platform.dir())
}

/// The host's modules for the stage key: those of the platforms for which `tree` has none of its own.
///
/// # Errors
/// Exit code 1 where a file that is there cannot be read, 6 where the tree's listing is damaged.
pub fn host_identity(store: &Store, tree: &Object) -> Result<Value> {
    let listing = store.get(tree)?;
    let mut identity = Map::new();
    for platform in Platform::ALL {
        let dir = host_dir(platform);
        if !lists(&listing, &index(platform)) && dir.join(INDEX).exists() {
            identity.insert(platform.dir().to_owned(), digest(&dir)?.to_string().into());
        }
    }
    Ok(Value::Object(identity))
}

/// The file by which a directory of modules is known.
const INDEX: &str = "moddep.lst";

/// [`INDEX`] of the tree's own modules.
fn index(platform: Platform) -> String {
    format!("usr/lib/grub/{}/{INDEX}", platform.dir())
}

impl<'a> Modules<'a> {
    /// Finds the platform's modules: those of the tree, else those of the build host.
    ///
    /// # Errors
    /// Exit code 5 where neither has them.
    pub fn find(store: &'a Store, tree: &Tree, platform: Platform) -> Result<Self> {
        let (origin, digest) = if tree.get(&index(platform)).is_some() {
            let files = of_tree(tree, platform);
            let digest = digest_of(files.iter().filter(|(name, _)| counts(name)))?;
            (Origin::Tree(files), digest)
        } else {
            let dir = host_dir(platform);
            if !dir.join(INDEX).exists() {
                return Err(absent(platform));
            }
            let digest = digest(&dir)?;
            (Origin::Host(dir), digest)
        };
        Ok(Self {
            platform,
            digest,
            store,
            origin,
        })
    }

    /// One file of the directory: `boot.img`, `boot_hybrid.img`.
    ///
    /// # Errors
    /// Exit code 1 where there is none or it cannot be read, 6 where the store's object is damaged.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        match &self.origin {
            Origin::Host(dir) => {
                let path = dir.join(name);
                fs::read(&path).at(&path)
            }
            Origin::Tree(files) => {
                let object = files.get(name).ok_or_else(|| {
                    Error::failed(format!(
                        "the image has GRUB's {} modules, and no {name}",
                        self.platform.dir()
                    ))
                })?;
                Ok(self.store.get(object)?)
            }
        }
    }

    /// A directory with what `grub-mkimage` reads for an image of the modules `names`: the host's own, else one that
    /// is filled in `scratch`. A file that is written is an inode, and is freed again: only what is needed is.
    ///
    /// # Errors
    /// Exit code 1 where it cannot be written, 6 where an object of the store is damaged.
    pub(crate) fn lay_out(&self, names: &[&str], scratch: &Path) -> Result<PathBuf> {
        let files = match &self.origin {
            Origin::Host(dir) => return Ok(dir.clone()),
            Origin::Tree(files) => files,
        };
        let index = self.read(INDEX)?;
        let index = String::from_utf8_lossy(&index);
        let needed = needed(&index, names);
        let dir = scratch.join(self.platform.dir());
        fs::create_dir(&dir).at(&dir)?;
        for (name, object) in files {
            let is_needed = match name.strip_suffix(".mod") {
                Some(module) => needed.contains(module),
                None => counts(name),
            };
            if is_needed {
                let path = dir.join(name);
                fs::write(&path, self.store.get(object)?).at(&path)?;
            }
        }
        Ok(dir)
    }
}

fn absent(platform: Platform) -> Error {
    let (dir, package) = (platform.dir(), platform.package());
    Error::missing(format!(
        "GRUB's {dir} modules are neither in the image nor on this host"
    ))
    .advice(format!(
        "apt-get install {package}, or add {package} to the image's packages"
    ))
}

/// The files of the platform's directory in the tree.
fn of_tree(tree: &Tree, platform: Platform) -> BTreeMap<String, Object> {
    let below = format!("usr/lib/grub/{}/", platform.dir());
    let files = tree.iter().filter_map(|entry| {
        let name = entry.path.strip_prefix(&below)?;
        match entry.kind {
            Kind::File(object) if !name.contains('/') => Some((name.to_owned(), object)),
            _ => None,
        }
    });
    files.collect()
}

/// `names` and the modules that those need, as `moddep.lst` has it: `NAME: NAME NAME`.
fn needed<'a>(index: &'a str, names: &[&'a str]) -> BTreeSet<&'a str> {
    let of: BTreeMap<&str, &str> = index.lines().filter_map(|l| l.split_once(':')).collect();
    let mut needed = BTreeSet::new();
    let mut open = names.to_vec();
    while let Some(name) = open.pop() {
        if needed.insert(name) {
            open.extend(of.get(name).into_iter().flat_map(|l| l.split_whitespace()));
        }
    }
    needed
}

/// Whether `grub-mkimage` may read a file of that name.
fn counts(name: &str) -> bool {
    [".mod", ".img", ".lst"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// That of a directory of the host.
fn digest(dir: &Path) -> Result<Digest> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).at(dir)? {
        let path = entry.at(dir)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if counts(&name) {
            let object = Object::of(&fs::read(&path).at(&path)?);
            files.insert(name.into_owned(), object);
        }
    }
    digest_of(files.iter())
}

fn digest_of<'a>(files: impl Iterator<Item = (&'a String, &'a Object)>) -> Result<Digest> {
    let listing: Vec<(&String, &Object)> = files.collect();
    Ok(Digest::of(manifest::to_canonical(&listing)?.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::tree::Entry;

    #[test]
    fn what_modules_need_is_needed() {
        let index = "normal: boot terminal\nterminal:\nboot: mmap\nmmap: boot\nother: normal\n";
        let names = ["normal", "absent"];
        assert_eq!(
            needed(index, &names),
            BTreeSet::from(["normal", "boot", "terminal", "mmap", "absent"])
        );
    }

    #[test]
    fn a_tree_and_a_directory_with_the_same_files_are_the_same() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("store")).unwrap();
        let dir = home.path().join("i386-pc");
        fs::create_dir(&dir).unwrap();
        let mut tree = Tree::default();
        for (name, text) in [
            (INDEX, "a: b\nb:\n"),
            ("a.mod", "A"),
            ("b.mod", "B"),
            ("c.mod", "C"),
            ("kernel.img", "K"),
            ("notes", "N"),
        ] {
            fs::write(dir.join(name), text).unwrap();
            let path = format!("usr/lib/grub/i386-pc/{name}");
            tree.insert(Entry {
                path,
                kind: Kind::File(store.put(text.as_bytes()).unwrap()),
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: 1,
                xattrs: BTreeMap::new(),
            });
        }
        let modules = Modules::find(&store, &tree, Platform::Bios).unwrap();
        assert_eq!(modules.digest, digest(&dir).unwrap());
        assert_eq!(modules.read("a.mod").unwrap(), b"A");
        let laid = modules.lay_out(&["a"], home.path().join("x").as_path());
        assert!(laid.is_err(), "no such directory");
        fs::create_dir(home.path().join("x")).unwrap();
        let laid = modules.lay_out(&["a"], &home.path().join("x")).unwrap();
        let mut names: Vec<_> = fs::read_dir(laid)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["a.mod", "b.mod", "kernel.img", INDEX]);
    }
}
