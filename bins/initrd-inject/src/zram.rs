//! What the root takes in a zram, measured on its own pages.
//!
//! Every page is compressed alone, as the kernel does, by zstd at the kernel's level. Where the kernel has lzo-rle or lz4
//! only, a zram takes about a quarter more; the reserve of ram-deploy's check covers that for small systems.

use manifest::{Object, Partition};
use ram_deploy::pages::PAGE;
use serde_json::json;
use stage::{Context, Error, Result};
use store::chunk_map::ChunkMap;
use zstd::bulk::{Compressor, Decompressor};

/// The version of how it is measured. Changelog. 1: the first.
const VERSION: u32 = 1;
/// The level at which the kernel's crypto API compresses (`ZSTD_DEF_LEVEL` in `crypto/zstd.c`).
const LEVEL: i32 = 3;
/// One page in so many is compressed.
const SAMPLE: usize = 4;
/// Longer results are kept as whole pages (`huge_class_size` of zsmalloc).
const HUGE: usize = 3264;
/// Objects of zsmalloc have lengths in these steps, in bytes.
const STEP: usize = 16;
/// Of so many bytes zsmalloc loses one between its objects.
const LOSS: u64 = 32;

/// Bytes that the pages of `root` take in a zram.
pub(crate) fn measure(cx: &Context, map: &Object, root: &Partition) -> Result<u64> {
    let facts = json!({"version": VERSION, "map": map, "offset": root.offset, "size": root.size});
    cx.cached("zram", &facts, || {
        let bytes = cx.store().get(map)?;
        let map = ChunkMap::parse(&bytes).map_err(|e| Error::damaged(e.to_string()))?;
        let failed = |e: std::io::Error| Error::failed(format!("zstd: {e}"));
        let mut compressor = Compressor::new(LEVEL).map_err(failed)?;
        let mut decompressor = Decompressor::new().map_err(failed)?;
        let (mut sampled, mut seen) = (0, 0);
        for chunk in &map.chunks {
            stage::interrupted()?;
            let offset = chunk.at * map.chunk_size;
            if offset < root.offset || offset >= root.offset + root.size {
                continue;
            }
            let frame = cx.store().get(&chunk.frame)?;
            let plain = decompressor.decompress(&frame, map.chunk_size as usize);
            let plain = plain.map_err(|e| Error::damaged(format!("chunk {}: {e}", chunk.at)))?;
            for page in plain.chunks(PAGE).filter(|page| !is_filled(page)) {
                seen += 1;
                if seen % SAMPLE == 1 {
                    sampled += kept(compressor.compress(page).map_err(failed)?.len()) as u64;
                }
            }
        }
        let pages = seen.div_ceil(SAMPLE).max(1) as u64;
        Ok((sampled + sampled / LOSS) * seen as u64 / pages)
    })
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
    fn what_hardly_shrinks_is_a_whole_page() {
        assert_eq!(kept(1), 16);
        assert_eq!(kept(3263), 3264);
        assert_eq!(kept(3264), PAGE);
    }
}
