//! Package files into the store, each once: what the store has is never fetched again.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use manifest::{LockedPackage, Object, package_key};
use sha2::{Digest, Sha256};
use stage::{At, Error, Result};
use store::Store;

use super::Apt;
use crate::{contents, parallel};

/// Files in one call of apt's downloader, to stay below the limit for arguments.
const BATCH: usize = 400;
/// Bytes in one call, unless a single file has more: enough for a connection, little enough to begin with the rest.
const BATCH_BYTES: u64 = 24 << 20;
/// Bytes of the largest package that is listed ahead: who waits for its end waits for milliseconds.
const AHEAD: u64 = 512 << 10;
/// Bytes of a package that are read at once.
const BUFFER: usize = 1 << 18;
/// apt's own downloader: its methods, proxies and credentials.
pub const HELPER: &str = "/usr/lib/apt/apt-helper";

/// The objects of those packages that were fetched before, in the packages' order.
///
/// # Errors
/// Those of the store.
pub fn fetched(store: &Store, chosen: &[LockedPackage]) -> Result<Vec<Option<Object>>> {
    let objects = chosen.iter().map(|package| known(store, &package.sha256));
    objects.collect()
}

/// Fetches the packages that are not in the store: those whose place in `objects` is empty. While apt's downloader is
/// at one batch, the packages of those before it are verified and listed.
///
/// # Errors
/// Exit code 1 with the package that cannot be fetched or is not what the metadata says.
pub fn fetch(
    apt: &Apt<'_>,
    chosen: &[LockedPackage],
    mut objects: Vec<Option<Object>>,
) -> Result<Vec<Object>> {
    let store = apt.cx.store();
    let missing: Vec<usize> = (0..chosen.len())
        .filter(|&i| objects[i].is_none())
        .collect();
    let bytes: u64 = missing.iter().map(|&i| chosen[i].size).sum();
    let count = missing.len();
    let what = format!("fetch {count} packages, {} MiB", bytes >> 20);
    apt.cx.progress(&what);
    let batches = batches(&missing, chosen);
    let come = parallel::pipe(
        |next| {
            for batch in &batches {
                download(apt, chosen, batch)?;
                if !batch.iter().all(|&i| next(i)) {
                    break;
                }
            }
            Ok(())
        },
        |i| {
            let object = ingest(store, &target(apt, i), &chosen[i])?;
            contents::of(store, &chosen[i].name, &object)?;
            Ok((i, object))
        },
    )?;
    come.into_iter()
        .for_each(|(i, object)| objects[i] = Some(object));
    Ok(objects.into_iter().flatten().collect())
}

/// Lists what packages hold that are here already, on another core while `work` is done. Who needs a listing of the
/// others, or meets an error, comes to it later.
pub fn listing_ahead<T>(store: &Store, packages: &[LockedPackage], work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    let list = || {
        for package in packages.iter().filter(|p| p.size <= AHEAD) {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            if let Ok(Some(deb)) = known(store, &package.sha256) {
                let _ = contents::of(store, &package.name, &deb);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(list);
        let done = work();
        is_over.store(true, Ordering::Relaxed);
        done
    })
}

/// The packages in the parts in which they are fetched.
fn batches(missing: &[usize], chosen: &[LockedPackage]) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for &i in missing {
        let full = batches.last().is_none_or(|batch| batch.len() == BATCH);
        match batches.last_mut() {
            Some(batch) if !full && chosen[i].size <= room => {
                batch.push(i);
                room -= chosen[i].size;
            }
            _ => {
                batches.push(vec![i]);
                room = BATCH_BYTES.saturating_sub(chosen[i].size);
            }
        }
    }
    batches
}

/// The object of a package that was fetched before.
fn known(store: &Store, sha256: &str) -> Result<Option<Object>> {
    let value = store.action(&package_key(sha256)?)?;
    let object = value.and_then(|v| serde_json::from_value(v).ok());
    Ok(object.filter(|o| store.expects(o)))
}

fn target(apt: &Apt<'_>, index: usize) -> PathBuf {
    apt.dir.join("cache/archives").join(format!("{index}.deb"))
}

fn download(apt: &Apt<'_>, chosen: &[LockedPackage], batch: &[usize]) -> Result<()> {
    let mut helper = apt.tool(HELPER)?.args(["-q", "download-file"]);
    for &i in batch {
        let package = &chosen[i];
        // The method "file" would give a link to the original.
        let uri = match package.uri.strip_prefix("file:") {
            Some(path) => format!("copy:{path}"),
            None => package.uri.clone(),
        };
        helper = helper
            .arg(uri)
            .arg(target(apt, i))
            .arg(format!("SHA256:{}", package.sha256));
    }
    let output = helper.run_any()?;
    let missing = batch.iter().find(|&&i| !target(apt, i).is_file());
    match missing {
        None => Ok(()),
        Some(&i) => Err(Error::failed(format!(
            "package {} cannot be fetched from {}:\n{}",
            chosen[i].name,
            chosen[i].uri,
            output.tail()
        ))
        .advice("try again later, or use another mirror: desc-parse --set-repo")),
    }
}

/// Moves a fetched file into the store, with its SHA-256 checked on the way.
fn ingest(store: &Store, path: &Path, package: &LockedPackage) -> Result<Object> {
    let mut from = File::open(path).at(path)?;
    let (mut writer, mut sum) = (store.writer()?, Sha256::new());
    let mut buffer = vec![0; BUFFER];
    loop {
        let piece = match from.read(&mut buffer).at(path)? {
            0 => break,
            n => &buffer[..n],
        };
        sum.update(piece);
        writer.write_all(piece).at(path)?;
    }
    let found: String = sum.finalize().iter().map(|b| format!("{b:02x}")).collect();
    if found != package.sha256 {
        return Err(Error::failed(format!(
            "package {}: SHA-256 {found}, the signed metadata says {}",
            package.name, package.sha256
        ))
        .advice("something changed it on the way: try again, or use another mirror"));
    }
    let object = writer.finish()?;
    let value = serde_json::to_value(object).map_err(|e| Error::failed(e.to_string()))?;
    store.record_action(&package_key(&package.sha256)?, &value)?;
    fs::remove_file(path).at(path)?;
    Ok(object)
}
