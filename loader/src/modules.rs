//! Where GRUB's modules come from.

use std::fs;
use std::path::{Path, PathBuf};

use manifest::Object;
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

/// A directory with one platform's modules.
#[derive(Debug)]
pub struct Modules {
    /// The platform.
    pub platform: Platform,
    /// Where the modules lie now.
    pub dir: PathBuf,
    /// BLAKE3 over names and contents: what a core image depends on.
    pub digest: manifest::Digest,
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

impl Modules {
    /// Finds the platform's modules; those of the tree are copied to `scratch`.
    ///
    /// # Errors
    /// Exit code 5 where neither the tree nor the host has them.
    pub fn find(store: &Store, tree: &Tree, platform: Platform, scratch: &Path) -> Result<Self> {
        let place = format!("usr/lib/grub/{}", platform.dir());
        let dir = if tree.get(&index(platform)).is_some() {
            let dir = scratch.join(platform.dir());
            copy_out(store, tree, &place, &dir)?;
            dir
        } else {
            host_dir(platform)
        };
        if !dir.join(INDEX).exists() {
            let package = platform.package();
            return Err(Error::missing(format!(
                "GRUB's {} modules are neither in the image nor on this host",
                platform.dir()
            ))
            .advice(format!(
                "apt-get install {package}, or add {package} to the image's packages"
            )));
        }
        Ok(Self {
            platform,
            digest: digest(&dir)?,
            dir,
        })
    }

    /// One file of the directory: `boot.img`, `boot_hybrid.img`.
    ///
    /// # Errors
    /// Exit code 1 where it cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.dir.join(name);
        fs::read(&path).at(&path)
    }
}

fn copy_out(store: &Store, tree: &Tree, place: &str, to: &Path) -> Result<()> {
    fs::create_dir_all(to).at(to)?;
    let below = format!("{place}/");
    for entry in tree.iter() {
        if let (Some(name), Kind::File(object)) = (entry.path.strip_prefix(&below), &entry.kind)
            && !name.contains('/')
        {
            let path = to.join(name);
            fs::write(&path, store.get(object)?).at(&path)?;
        }
    }
    Ok(())
}

fn digest(dir: &Path) -> Result<manifest::Digest> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .at(dir)?
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .filter(|name| {
            let name = name.to_string_lossy();
            [".mod", ".img", ".lst"]
                .iter()
                .any(|end| name.ends_with(end))
        })
        .collect();
    names.sort();
    let mut listing = Vec::new();
    for name in names {
        let path = dir.join(&name);
        let object = manifest::Object::of(&fs::read(&path).at(&path)?);
        listing.push((name.to_string_lossy().into_owned(), object));
    }
    Ok(manifest::Digest::of(
        manifest::to_canonical(&listing)?.as_bytes(),
    ))
}
