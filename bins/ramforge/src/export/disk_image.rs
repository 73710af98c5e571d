//! The disk image as a sparse file.
//!
//! What an earlier export of another build has already is copied from there inside the kernel, which file systems
//! with reflinks do without copying.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use manifest::{Digest, Object};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use stage::{At, Error, Result};
use store::Store;
use store::chunk_map::{Chunk, ChunkMap};

/// Zeros in units of a page are left as holes.
pub(super) const PAGE: usize = 4096;

/// Writes a disk image from its chunk map: every chunk verified, zeros left as holes. `earlier` is the file that an
/// earlier export left, and its map.
///
/// # Errors
/// Exit code 6 where a frame is damaged, 1 where the file cannot be written.
pub(super) fn write(
    store: &Store,
    map: &Object,
    to: &File,
    earlier: Option<&(Object, File)>,
) -> Result<()> {
    let map = read(store, map)?;
    to.set_len(map.size).map_err(unwritten)?;
    let earlier = earlier.and_then(|(object, file)| {
        let before = read(store, object).ok()?;
        Some((same_chunks(&map, &before), file))
    });
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(chunk) = map.chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let taken = earlier.as_ref().is_some_and(|(same, from)| {
                same.contains(&chunk.at) && take_over(&map, chunk, from, to).is_ok()
            });
            if !taken {
                write_chunk(store, &map, chunk, to)?;
            }
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let lost = |_| Err(Error::failed("a writing thread was lost"));
        workers
            .into_iter()
            .try_for_each(|w| w.join().unwrap_or_else(lost))
    })
}

/// Writes a chunk, verified, where the file has a hole.
///
/// # Errors
/// As [`write`].
pub(super) fn write_chunk(store: &Store, map: &ChunkMap, chunk: &Chunk, to: &File) -> Result<()> {
    stage::interrupted()?;
    let path = store.object_path(&chunk.frame);
    let length = map.chunk_len(chunk.at) as usize;
    let mut plain = Vec::with_capacity(length);
    let frame = store.get(&chunk.frame)?;
    zstd::Decoder::new(&frame[..])
        .at(&path)?
        .take(length as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|e| damaged(&path, &e.to_string()))?;
    if plain.len() != length || Digest::of(&plain) != chunk.blake3 {
        return Err(damaged(&path, "its plain bytes do not match the chunk map"));
    }
    let mut at = chunk.at * map.chunk_size;
    let is_zero = |page: &[u8]| page.iter().all(|&b| b == 0);
    let pages: Vec<&[u8]> = plain.chunks(PAGE).collect();
    for run in pages.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        let length: usize = run.iter().map(|page| page.len()).sum();
        if !is_zero(run[0]) {
            let begin = (at - chunk.at * map.chunk_size) as usize;
            to.write_all_at(&plain[begin..begin + length], at)
                .map_err(unwritten)?;
        }
        at += length as u64;
    }
    Ok(())
}

/// The places of the chunks that both maps have.
pub(super) fn same_chunks(map: &ChunkMap, before: &ChunkMap) -> HashSet<u64> {
    if map.chunk_size != before.chunk_size {
        return HashSet::new();
    }
    let known: HashSet<(u64, Digest)> = before.chunks.iter().map(|c| (c.at, c.blake3)).collect();
    let is_same = |chunk: &&Chunk| {
        known.contains(&(chunk.at, chunk.blake3))
            && map.chunk_len(chunk.at) == before.chunk_len(chunk.at)
    };
    map.chunks.iter().filter(is_same).map(|c| c.at).collect()
}

/// Copies a chunk from the same place of an earlier file; not every file system can.
fn take_over(map: &ChunkMap, chunk: &Chunk, from: &File, to: &File) -> rustix::io::Result<()> {
    let begin = chunk.at * map.chunk_size;
    copy_data(from, to, begin..begin + map.chunk_len(chunk.at))
}

/// Copies what is data in a range, and leaves its holes.
fn copy_data(from: &File, to: &File, range: Range<u64>) -> rustix::io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let data = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => return Ok(()),
            found => found?,
        };
        if data >= range.end {
            return Ok(());
        }
        let end = rustix::fs::seek(from, SeekFrom::Hole(data))?.min(range.end);
        at = data;
        while at < end {
            let (mut source, mut target) = (at, at);
            let length = usize::try_from(end - at).unwrap_or(usize::MAX);
            match rustix::fs::copy_file_range(
                from,
                Some(&mut source),
                to,
                Some(&mut target),
                length,
            )? {
                0 => return Err(Errno::IO),
                n => at += n as u64,
            }
        }
    }
    Ok(())
}

/// Reads a chunk map.
///
/// # Errors
/// Exit code 6 where it is damaged.
pub(super) fn read(store: &Store, map: &Object) -> Result<ChunkMap> {
    ChunkMap::parse(&store.get(map)?).map_err(|e| Error::damaged(e.to_string()))
}

fn unwritten(error: std::io::Error) -> Error {
    Error::failed(format!("disk image: {error}"))
}

fn damaged(path: &Path, fact: &str) -> Error {
    Error::damaged(format!("{}: {fact}", path.display()))
        .advice("ramforge verify --repair removes it, and the next run makes it again")
}
