//! What can go wrong in a store.

use std::io;
use std::path::{Path, PathBuf};

/// A result whose error is a store's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why the store did not do what was asked. Every message names the path.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("store: {}: {source}{}", path.display(), hint(source))]
    Io {
        /// The path that was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A copy of an object could not be written.
    #[error("the copy of {}: {source}{}", object.display(), copy_hint(source))]
    Copy {
        /// The object.
        object: PathBuf,
        /// What the system said of the copy.
        source: io::Error,
    },
    /// No place for the store is known.
    #[error(
        "store: neither RAMFORGE_STORE, XDG_CACHE_HOME nor HOME is set; set RAMFORGE_STORE to a directory"
    )]
    NoPlace,
    /// The directory belongs to a newer release.
    #[error("store: {} has layout {found}, this program knows {known}; use a newer release, or set RAMFORGE_STORE to another directory", path.display())]
    NewerLayout {
        /// The store's directory.
        path: PathBuf,
        /// The version met.
        found: u64,
        /// The version known.
        known: u64,
    },
    /// A file of the store does not hold what its name says.
    #[error("store: {}: {fact}; run `ramforge verify --repair`, what is missing is made again", path.display())]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// What is wrong with it.
        fact: String,
    },
    /// A name that is no file name.
    #[error("store: the name {0:?}: expected up to 200 letters, digits, '-', '_' and '.'")]
    BadName(String),
    /// A value could not be written as canonical JSON.
    #[error("store: {0}")]
    Manifest(#[from] manifest::Error),
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space, or set RAMFORGE_STORE to a larger file system. \
             Nothing is lost: the next run goes on from the last finished stage"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; set RAMFORGE_STORE to a directory that this user may write"
        }
        _ => "",
    }
}

fn copy_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space where it goes, or name another directory. The store has the result"
        }
        _ => "",
    }
}

/// Attaches a path to an error of the operating system.
pub(crate) trait At<T> {
    /// Names the path that was touched.
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })
    }
}
