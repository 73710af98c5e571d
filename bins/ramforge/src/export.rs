//! Files for people: the ISO, the sparse disk image, the package list, the lock and the manifest.
//!
//! A file is written beside its place and renamed, so that an interrupted export leaves no half file.
//! An extended attribute remembers which object a file holds; an untouched file is not written again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use manifest::{Digest, Disk, Manifest, Media, Object, Plan, Rootfs};
use stage::{At, Error, Result};
use store::Store;
use store::chunk_map::{Chunk, ChunkMap};

use crate::print;

/// Remembers what a file holds: digest, then length and time of the file when it was written.
const ATTRIBUTE: &str = "user.ramforge.object";
/// Zeros in units of a page are left as holes.
const PAGE: usize = 4096;

pub(crate) fn export(store: &Store, manifest: Option<&Path>, dir: &Path) -> Result<()> {
    let text = match manifest {
        Some(path) => fs::read_to_string(path).at(path)?,
        None => io::read_to_string(io::stdin().lock())
            .map_err(|e| Error::failed(format!("stdin: {e}")))?,
    };
    let manifest = Manifest::parse(&text)?;
    let plan: Plan = manifest.section()?;
    let stem = format!("{}.{}-{}", plan.name, plan.arch, plan.version);
    if stem.contains('/') {
        return Err(Error::refused(format!(
            "plan: {stem:?} is no file name; expected one without slashes"
        )));
    }
    fs::create_dir_all(dir).at(dir)?;
    if manifest.has("rootfs") {
        let rootfs: Rootfs = manifest.section()?;
        file(
            &dir.join(format!("{stem}.packages")),
            &rootfs.packages_file,
            |f| copy(store, &rootfs.packages_file, f),
        )?;
        if let Some(lock) = rootfs.lock {
            file(&dir.join(format!("{stem}.lock.json")), &lock, |f| {
                copy(store, &lock, f)
            })?;
        }
    }
    if manifest.has("disk") {
        let disk: Disk = manifest.section()?;
        file(&dir.join(format!("{stem}.raw")), &disk.map, |f| {
            image(store, &disk.map, f)
        })?;
    }
    if manifest.has("media") {
        let media: Media = manifest.section()?;
        file(&dir.join(format!("{stem}.install.iso")), &media.iso, |f| {
            copy(store, &media.iso, f)
        })?;
    }
    let line = manifest.to_line()? + "\n";
    let whole = Object::of(line.as_bytes());
    file(&dir.join("manifest.json"), &whole, |f| {
        f.write_all_at(line.as_bytes(), 0)
            .map_err(|e| Error::failed(e.to_string()))
    })
}

/// Writes one file unless it is there already.
fn file(path: &Path, object: &Object, write: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    if !is_current(path, object) {
        let dir = path.parent().unwrap_or(Path::new("."));
        let tmp = tempfile::Builder::new()
            .prefix(".ramforge-")
            .tempfile_in(dir)
            .at(dir)?;
        write(tmp.as_file())?;
        tmp.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))
            .at(path)?;
        let file = tmp.persist(path).map_err(|e| e.error).at(path)?;
        remember(&file, object);
    }
    print(&path.display().to_string())
}

fn is_current(path: &Path, object: &Object) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    let mut value = [0; 256];
    let found = rustix::fs::fgetxattr(&file, ATTRIBUTE, &mut value);
    found.is_ok_and(|n| Some(&value[..n]) == mark(&file, object).as_deref())
}

fn remember(file: &File, object: &Object) {
    if let Some(mark) = mark(file, object) {
        // Without attributes on this file system the file is written again next time.
        let _ = rustix::fs::fsetxattr(file, ATTRIBUTE, &mark, rustix::fs::XattrFlags::empty());
    }
}

fn mark(file: &File, object: &Object) -> Option<Vec<u8>> {
    let meta = file.metadata().ok()?;
    let text = format!(
        "{} {} {}.{}",
        object.blake3,
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    Some(text.into_bytes())
}

fn copy(store: &Store, object: &Object, to: &File) -> Result<()> {
    let step = || stage::interrupted().map_err(io::Error::other);
    let copied = store.copy_to(object, to, &step);
    stage::interrupted()?;
    Ok(copied?)
}

/// Writes a disk image from its chunk map: every chunk verified, zeros left as holes.
fn image(store: &Store, map: &Object, to: &File) -> Result<()> {
    let map = ChunkMap::parse(&store.get(map)?).map_err(|e| Error::damaged(e.to_string()))?;
    to.set_len(map.size)
        .map_err(|e| Error::failed(format!("disk image: {e}")))?;
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = || {
            while let Some(chunk) = map.chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
                write_chunk(store, &map, chunk, to)?;
            }
            Ok(())
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let lost = |_| Err(Error::failed("a writing thread was lost"));
        workers
            .into_iter()
            .try_for_each(|w| w.join().unwrap_or_else(lost))
    })
}

fn write_chunk(store: &Store, map: &ChunkMap, chunk: &Chunk, to: &File) -> Result<()> {
    stage::interrupted()?;
    let path = store.object_path(&chunk.frame);
    let length = map.chunk_len(chunk.at) as usize;
    let mut plain = Vec::with_capacity(length);
    let frame = zstd::Decoder::new(store.open_object(&chunk.frame)?).at(&path)?;
    frame
        .take(length as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|e| damaged(&path, &e.to_string()))?;
    if plain.len() != length || Digest::of(&plain) != chunk.blake3 {
        return Err(damaged(&path, "its plain bytes do not match the chunk map"));
    }
    let base = chunk.at * map.chunk_size;
    for (n, page) in plain
        .chunks(PAGE)
        .enumerate()
        .filter(|(_, page)| page.iter().any(|&b| b != 0))
    {
        to.write_all_at(page, base + (n * PAGE) as u64)
            .map_err(|e| Error::failed(format!("disk image: {e}")))?;
    }
    Ok(())
}

fn damaged(path: &Path, fact: &str) -> Error {
    Error::damaged(format!("{}: {fact}", path.display()))
        .advice("ramforge verify --repair removes it, and the next run makes it again")
}
