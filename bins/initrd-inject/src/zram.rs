//! What the root takes in a zram, measured on its own pages.
//!
//! Every page is compressed alone, as the kernel does, by zstd at the kernel's level. Where the kernel has lzo-rle or lz4
//! only, a zram takes about a quarter more; the reserve of ram-deploy's check covers that for small systems.

use std::sync::atomic::{AtomicUsize, Ordering};

use manifest::{Object, Partition, stage_key};
use ram_deploy::pages::PAGE;
use serde::{Deserialize, Serialize};
use serde_json::json;
use stage::{Context, Error, Result};
use store::Store;
use store::chunk_map::{Chunk, ChunkMap};
use zstd::bulk::Compressor;

/// The version of how it is measured. Changelog. 1: the first. 2: each chunk by itself.
const VERSION: u32 = 2;
/// The level at which the kernel's crypto API compresses (`ZSTD_DEF_LEVEL` in `crypto/zstd.c`).
const LEVEL: i32 = 3;
/// Of a chunk one page in so many is compressed.
const SAMPLE: u64 = 4;
/// Longer results are kept as whole pages (`huge_class_size` of zsmalloc).
const HUGE: usize = 3264;
/// Objects of zsmalloc have lengths in these steps, in bytes.
const STEP: usize = 16;
/// Of so many bytes zsmalloc loses one between its objects.
const LOSS: u64 = 32;

/// What the pages of a chunk come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Pages {
    /// Those that do not repeat one word.
    filled: u64,
    /// Those of them that were compressed.
    sampled: u64,
    /// Bytes that these take.
    bytes: u64,
}

/// Bytes that the pages of `root` take in a zram.
pub(crate) fn measure(cx: &Context, map: &Object, root: &Partition) -> Result<u64> {
    let facts = json!({"version": VERSION, "map": map, "offset": root.offset, "size": root.size});
    cx.cached("zram", &facts, || {
        let bytes = cx.store().get(map)?;
        let map = ChunkMap::parse(&bytes).map_err(|e| Error::damaged(e.to_string()))?;
        let place = root.offset..root.offset + root.size;
        let is_inside = |chunk: &&Chunk| place.contains(&(chunk.at * map.chunk_size));
        let chunks: Vec<&Chunk> = map.chunks.iter().filter(is_inside).collect();
        let all = all_pages(cx.store(), &chunks, map.chunk_size as usize)?;
        let bytes = all.bytes + all.bytes / LOSS;
        Ok(bytes * all.filled / all.sampled.max(1))
    })
}

/// The pages of all chunks together, on all processors.
fn all_pages(store: &Store, chunks: &[&Chunk], size: usize) -> Result<Pages> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Pages> {
        let mut sum = Pages::default();
        while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
            stage::interrupted()?;
            let pages = pages(store, chunk, size)?;
            sum.filled += pages.filled;
            sum.sampled += pages.sampled;
            sum.bytes += pages.bytes;
        }
        Ok(sum)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = Pages::default();
        for worker in workers {
            let lost = |_| Err(Error::failed("a measuring thread was lost"));
            let sum = worker.join().unwrap_or_else(lost)?;
            all.filled += sum.filled;
            all.sampled += sum.sampled;
            all.bytes += sum.bytes;
        }
        Ok(all)
    })
}

/// The pages of one chunk: measured once, since most chunks of a changed image are those of the image before.
fn pages(store: &Store, chunk: &Chunk, size: usize) -> Result<Pages> {
    let facts = json!({"version": VERSION, "chunk": chunk.blake3});
    let key = stage_key("initrd-inject/zram", &facts)?;
    let known = store.action(&key)?;
    if let Some(pages) = known.and_then(|v| serde_json::from_value(v).ok()) {
        return Ok(pages);
    }
    let failed = |e: std::io::Error| Error::failed(format!("zstd: {e}"));
    let frame = store.get(&chunk.frame)?;
    let plain = zstd::bulk::decompress(&frame, size)
        .map_err(|e| Error::damaged(format!("chunk {}: {e}", chunk.at)))?;
    let mut compressor = Compressor::new(LEVEL).map_err(failed)?;
    let mut pages = Pages::default();
    for page in plain.chunks(PAGE).filter(|page| !is_filled(page)) {
        if pages.filled % SAMPLE == 0 {
            pages.sampled += 1;
            pages.bytes += kept(compressor.compress(page).map_err(failed)?.len()) as u64;
        }
        pages.filled += 1;
    }
    store.record_action(&key, &json!(pages))?;
    Ok(pages)
}

/// Whether a page repeats one word: zram keeps nothing but the word.
fn is_filled(page: &[u8]) -> bool {
    page.chunks(8).all(|word| word == &page[..word.len()])
}

/// Bytes that a compressed page takes.
fn kept(length: usize) -> usize {
    match length {
        0..HUGE => length.next_multiple_of(STEP),
        _ => PAGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_one_word_cost_nothing() {
        assert!(is_filled(&[7; PAGE]) && is_filled(&[1, 2, 3, 4, 5, 6, 7, 8].repeat(512)));
        let mut page = [0; PAGE];
        page[PAGE - 1] = 1;
        assert!(!is_filled(&page));
    }

    #[test]
    fn a_chunk_is_measured_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut plain: Vec<u8> = (0..8 * PAGE).map(|n| (n * n / 7) as u8).collect();
        plain[..PAGE].fill(7);
        let frame = store
            .put(&zstd::bulk::compress(&plain, 3).unwrap())
            .unwrap();
        let blake3 = manifest::Digest::of(&plain);
        let chunk = Chunk {
            at: 0,
            blake3,
            frame,
        };
        let first = pages(&store, &chunk, plain.len()).unwrap();
        assert_eq!((first.filled, first.sampled), (7, 2));
        assert!(first.bytes > 0 && first.bytes <= 2 * PAGE as u64);
        std::fs::remove_file(store.object_path(&frame)).unwrap();
        let twice = all_pages(&store, &[&chunk, &chunk], plain.len()).unwrap();
        assert_eq!((twice.filled, twice.bytes), (14, 2 * first.bytes));
    }

    #[test]
    fn what_hardly_shrinks_is_a_whole_page() {
        assert_eq!(kept(1), 16);
        assert_eq!(kept(3263), 3264);
        assert_eq!(kept(3264), PAGE);
    }
}
