//! Package files into the store, each once: what the store has is never fetched again.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use manifest::{LockedPackage, Object, package_key};
use sha2::{Digest, Sha256};
use stage::{At, Error, Result};
use store::Store;

use super::Apt;
use crate::parallel;

/// Files in one call of apt's downloader, to stay below the limit for arguments.
const BATCH: usize = 400;
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

/// Fetches the packages that are not in the store: those whose place in `objects` is empty.
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
    for batch in missing.chunks(BATCH) {
        let bytes: u64 = batch.iter().map(|&i| chosen[i].size).sum();
        apt.cx.progress(&format!(
            "fetch {} packages, {} MiB",
            batch.len(),
            bytes >> 20
        ));
        download(apt, chosen, batch)?;
        let ingest = |&i: &usize| Ok((i, ingest(store, &target(apt, i), &chosen[i])?));
        for (i, object) in parallel::map(batch, ingest)? {
            objects[i] = Some(object);
        }
    }
    Ok(objects.into_iter().flatten().collect())
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
    let bytes = fs::read(path).at(path)?;
    let found: String = Sha256::digest(&bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    if found != package.sha256 {
        return Err(Error::failed(format!(
            "package {}: SHA-256 {found}, the signed metadata says {}",
            package.name, package.sha256
        ))
        .advice("something changed it on the way: try again, or use another mirror"));
    }
    let mut writer = store.writer()?;
    writer.write_all(&bytes).at(path)?;
    let object = writer.finish()?;
    let value = serde_json::to_value(object).map_err(|e| Error::failed(e.to_string()))?;
    store.record_action(&package_key(&package.sha256)?, &value)?;
    fs::remove_file(path).at(path)?;
    Ok(object)
}
