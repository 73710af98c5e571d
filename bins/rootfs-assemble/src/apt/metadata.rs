//! The repositories' metadata: what apt verified and then chooses from, kept in the store.
//!
//! After `apt-get update` the lists directory holds one file for each `InRelease` and each package index. Their
//! digests decide which packages are chosen, so they are in the key of the stage. The files themselves are kept as
//! zstd frames, so that packages can be chosen again without a network.

use std::fs;
use std::path::{Path, PathBuf};

use manifest::{Digest, Object};
use serde::{Deserialize, Serialize};
use stage::{At, Error, Result};
use store::Store;

use super::{Apt, explain};
use crate::parallel;

/// zstd level of the kept files: they are large, and read as often as written.
const LEVEL: i32 = 1;
/// Bytes that must be free before apt begins: a distribution's metadata, unpacked. On a full disk apt may
/// wait for ever instead of failing.
const ROOM: u64 = 128 << 20;

/// The verified metadata of all repositories of a plan, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    lists: Vec<List>,
}

/// One file of apt's lists directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct List {
    /// Its name there, which apt makes from the URI.
    name: String,
    /// BLAKE3 of its bytes.
    blake3: Digest,
    /// Its bytes as a zstd frame.
    frame: Object,
}

impl Metadata {
    /// What decides about the packages that are chosen: name and digest of every file.
    pub fn identity(&self) -> Vec<(&str, Digest)> {
        let pairs = self.lists.iter().map(|l| (l.name.as_str(), l.blake3));
        pairs.collect()
    }

    /// Whether the store has all files.
    pub fn is_here(&self, store: &Store) -> bool {
        self.lists.iter().all(|list| store.expects(&list.frame))
    }

    /// Puts the files where apt looks for them.
    ///
    /// # Errors
    /// Exit code 6 where a file in the store is damaged.
    pub fn lay(&self, apt: &Apt<'_>) -> Result<()> {
        let (store, dir) = (apt.cx.store(), lists_dir(apt));
        let lay = |list: &List| {
            let damaged = |fact: &str| {
                Error::damaged(format!(
                    "{}: {fact}",
                    store.object_path(&list.frame).display()
                ))
                .advice("ramforge verify --repair removes it, and the next run makes it again")
            };
            let bytes = zstd::decode_all(store.get(&list.frame)?.as_slice())
                .map_err(|e| damaged(&e.to_string()))?;
            if Digest::of(&bytes) != list.blake3 {
                return Err(damaged("its plain bytes are not those of the metadata"));
            }
            let path = dir.join(&list.name);
            fs::write(&path, bytes).at(&path)
        };
        parallel::map(&self.lists, lay).map(drop)
    }
}

/// Reads the repositories, verifies their signatures and keeps their metadata. `before` is what was known of
/// them: what has not changed is not sent again.
///
/// # Errors
/// Exit code 1 with the repository and the fault.
pub fn update(apt: &Apt<'_>, before: Option<&Metadata>) -> Result<Metadata> {
    room(apt)?;
    if let Some(before) = before {
        before.lay(apt)?;
    }
    let output = apt.tool("apt-get")?.args(["-q", "update"]).run_any()?;
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    match explain::update_failure(&said, apt.repositories) {
        Some(error) => Err(error),
        None if output.status.success() => keep(apt),
        None => Err(Error::failed(format!(
            "apt-get update failed:\n{}",
            output.tail()
        ))),
    }
}

fn room(apt: &Apt<'_>) -> Result<()> {
    let dir = apt.cx.store().root();
    let about = rustix::fs::statvfs(dir)
        .map_err(std::io::Error::from)
        .at(dir)?;
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    if free >= ROOM {
        return Ok(());
    }
    let (dir, free, room) = (dir.display(), free >> 20, ROOM >> 20);
    Err(explain::full(&format!(
        "{dir}: No space left on device: {free} MiB are free, the packages' metadata alone needs up to {room}"
    )))
}

/// Puts the files of the lists directory into the store.
fn keep(apt: &Apt<'_>) -> Result<Metadata> {
    let (store, dir) = (apt.cx.store(), lists_dir(apt));
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(&dir).at(&dir)? {
        let path = entry.at(&dir)?.path();
        // `lock` and `partial` are apt's own. A local repository's index is a link to it.
        if path.is_file() && !path.ends_with("lock") {
            paths.push(path);
        }
    }
    paths.sort();
    let keep = |path: &PathBuf| {
        let bytes = fs::read(path).at(path)?;
        let frame = zstd::encode_all(bytes.as_slice(), LEVEL).at(path)?;
        Ok(List {
            name: name_of(path),
            blake3: Digest::of(&bytes),
            frame: store.put(&frame)?,
        })
    };
    let lists = parallel::map(&paths, keep)?;
    Ok(Metadata { lists })
}

fn lists_dir(apt: &Apt<'_>) -> PathBuf {
    apt.dir.join("state/lists")
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
