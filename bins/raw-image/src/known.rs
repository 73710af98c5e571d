//! Chunks that are known without their bytes: those that hold nothing but contents of files.
//!
//! What such a chunk is made of (the bytes of which file, from which place on) is a key under which its frame is
//! recorded. So a disk of which one file has changed is laid out again without reading all others.
//!
//! *Not known so:* chunks with a structure of the file system in them, or with free room. There are few.

use std::collections::BTreeMap;

use image::ext4::{BLOCK, Stretch};
use manifest::{Digest, Object, StageKey, stage_key};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stage::Result;
use store::Store;
use store::chunk_map::CHUNK_SIZE;

/// The version of how contents fill chunks. Changelog. 1: the first.
const VERSION: u32 = 1;

/// What is recorded of a chunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Bytes in pages that are not all zero.
    pub(crate) data_bytes: u64,
    /// The digest of its plain bytes, and their frame; absent where all are zero.
    pub(crate) frame: Option<(Digest, Object)>,
}

/// Bytes of a file in a chunk.
#[derive(Debug, PartialEq, Serialize)]
struct Piece {
    /// Where they lie in the chunk.
    at: u64,
    /// Where they begin in the file.
    from: u64,
    /// How many they are; zeros follow, up to the end of a block.
    length: u64,
    /// The file.
    object: Digest,
}

/// The chunks of an image, as far as files alone say what they hold.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    /// Whose frames are there.
    pub(crate) known: BTreeMap<u64, Known>,
    /// Under which keys the others are to be recorded.
    pub(crate) keys: BTreeMap<u64, StageKey>,
}

impl Chunks {
    /// Looks for the chunks of an image of `size` bytes at zstd `level`, in which `files` lie.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn find<'a>(
        store: &Store,
        size: u64,
        level: i32,
        files: impl Iterator<Item = (Object, &'a [Stretch])>,
    ) -> Result<Self> {
        let mut chunks = Self::default();
        for (at, pieces) in whole(size, files) {
            let zstd = zstd::zstd_safe::version_number();
            let facts = json!({"version": VERSION, "pieces": pieces, "level": level, "zstd": zstd});
            let key = stage_key("raw-image/chunk", &facts)?;
            match recorded(store, &key)? {
                Some(known) => drop(chunks.known.insert(at, known)),
                None => drop(chunks.keys.insert(at, key)),
            }
        }
        Ok(chunks)
    }

    /// Whether nothing needs to be read of what lies at those places.
    pub(crate) fn cover(&self, places: &[Stretch]) -> bool {
        places.iter().all(|place| {
            let last = (place.offset + place.length).saturating_sub(1) / CHUNK_SIZE;
            (place.offset / CHUNK_SIZE..=last).all(|at| self.known.contains_key(&at))
        })
    }
}

/// Records what a chunk is.
///
/// # Errors
/// Those of the store.
pub(crate) fn record(store: &Store, key: &StageKey, known: &Known) -> Result<()> {
    Ok(store.record_action(key, &json!(known))?)
}

fn recorded(store: &Store, key: &StageKey) -> Result<Option<Known>> {
    let value = store.action(key)?;
    let known = value.and_then(|v| serde_json::from_value::<Known>(v).ok());
    Ok(known.filter(|known| known.frame.is_none_or(|(_, frame)| store.expects(&frame))))
}

/// The chunks of which every block belongs to a file, with what they are made of.
fn whole<'a>(
    size: u64,
    files: impl Iterator<Item = (Object, &'a [Stretch])>,
) -> BTreeMap<u64, Vec<Piece>> {
    let mut chunks: BTreeMap<u64, Vec<Piece>> = BTreeMap::new();
    for (object, places) in files {
        let mut from = 0;
        for place in places {
            let (mut offset, end) = (place.offset, place.offset + place.length);
            while offset < end {
                let at = offset % CHUNK_SIZE;
                let length = (end - offset).min(CHUNK_SIZE - at);
                let piece = Piece {
                    at,
                    from,
                    length,
                    object: object.blake3,
                };
                chunks.entry(offset / CHUNK_SIZE).or_default().push(piece);
                (offset, from) = (offset + length, from + length);
            }
        }
    }
    chunks.retain(|at, pieces| {
        pieces.sort_by_key(|piece| piece.at);
        let filled: u64 = pieces
            .iter()
            .map(|p| p.length.next_multiple_of(BLOCK))
            .sum();
        filled == CHUNK_SIZE.min(size.saturating_sub(at * CHUNK_SIZE))
    });
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(offset: u64, length: u64) -> Stretch {
        Stretch { offset, length }
    }

    #[test]
    fn only_chunks_full_of_files_count() {
        let (a, b) = (Object::of(b"a"), Object::of(b"b"));
        let long = [stretch(CHUNK_SIZE - BLOCK, 2 * CHUNK_SIZE)];
        let rest = [stretch(3 * CHUNK_SIZE - BLOCK, 10)];
        let files = [(a, &long[..]), (b, &rest[..])];
        let found = whole(8 * CHUNK_SIZE, files.into_iter());
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [1, 2]);
        let piece = |at, from, length, object: Object| Piece {
            at,
            from,
            length,
            object: object.blake3,
        };
        assert_eq!(found[&1], [piece(0, BLOCK, CHUNK_SIZE, a)]);
        let tail = piece(CHUNK_SIZE - BLOCK, 0, 10, b);
        assert_eq!(found[&2][1], tail);
        assert_eq!(found[&2][0].from, BLOCK + CHUNK_SIZE);
    }

    #[test]
    fn a_recorded_chunk_is_found_as_long_as_its_frame_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (file, frame) = (Object::of(b"file"), store.put(b"frame").unwrap());
        let place = [stretch(0, CHUNK_SIZE)];
        let find = || Chunks::find(&store, 2 * CHUNK_SIZE, 9, [(file, &place[..])].into_iter());
        let before = find().unwrap();
        assert!(!before.cover(&place) && before.known.is_empty());
        let known = Known {
            data_bytes: 7,
            frame: Some((file.blake3, frame)),
        };
        record(&store, &before.keys[&0], &known).unwrap();
        let after = find().unwrap();
        assert!(after.cover(&place) && !after.cover(&[stretch(0, CHUNK_SIZE + 1)]));
        assert_eq!(after.known[&0], known);
        std::fs::remove_file(store.object_path(&frame)).unwrap();
        assert!(find().unwrap().known.is_empty());
    }
}
