//! The chunk map: a disk image as fixed-size chunks.
//!
//! Canonical JSON. Chunks stand in the order of their place; a chunk whose bytes are all zero is left
//! out. A chunk is named by the BLAKE3 of its plain bytes and kept as one independent zstd frame, so
//! it can be verified, decompressed and written alone, in any order, from any source.
//!
//! The **payload** of a medium is every distinct frame once, back to back, in the order of first use
//! in the map. So the map alone says where each frame lies: [`ChunkMap::payload`].
//!
//! *Not written:* the names of the payload's files; those belong to the medium.

use std::collections::HashMap;

use manifest::{Digest, Object, to_canonical};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::layout::Store;

/// Bytes per chunk of the maps that this release writes. A change is a new version of `raw-image`.
pub const CHUNK_SIZE: u64 = 1 << 20;

/// The largest chunk size that a reader accepts, in bytes.
pub const MAX_CHUNK_SIZE: u64 = 16 << 20;

/// Longest file of a payload in bytes: below the 4 GiB of ISO 9660, on a chunk's boundary.
pub const MAX_PAYLOAD_FILE: u64 = (1 << 32) - (1 << 20);

/// The version of the map's shape. Changelog. 1: the first.
pub const FORMAT: u64 = 1;

/// A disk image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkMap {
    /// The version of this shape.
    pub format: u64,
    /// Length of the image in bytes.
    pub size: u64,
    /// Length of each chunk in bytes; the last one may be shorter.
    pub chunk_size: u64,
    /// The chunks that are not all zero, by ascending place.
    pub chunks: Vec<Chunk>,
}

/// One chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// Its place: the offset in the image divided by the chunk size.
    pub at: u64,
    /// BLAKE3 of its plain bytes.
    pub blake3: Digest,
    /// The zstd frame.
    pub frame: Object,
}

/// Why a map is refused.
#[derive(Debug, thiserror::Error)]
#[error("chunk map: {0}")]
pub struct Invalid(String);

impl ChunkMap {
    /// Reads a map and checks that it makes sense: order, bounds and sizes.
    ///
    /// # Errors
    /// [`Invalid`] with the fact and the expectation.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, Invalid> {
        let map: Self = serde_json::from_slice(bytes).map_err(|e| Invalid(e.to_string()))?;
        map.check()?;
        Ok(map)
    }

    fn check(&self) -> std::result::Result<(), Invalid> {
        let refuse = |fact: String| Err(Invalid(fact));
        if self.format != FORMAT {
            return refuse(format!("format {}, expected {FORMAT}", self.format));
        }
        if !self.chunk_size.is_power_of_two() || !(4096..=MAX_CHUNK_SIZE).contains(&self.chunk_size)
        {
            return refuse(format!(
                "chunk size {}, expected a power of two from 4096 to {MAX_CHUNK_SIZE}",
                self.chunk_size
            ));
        }
        let end = self.size.div_ceil(self.chunk_size);
        if let Some(chunk) = self.chunks.iter().find(|c| c.at >= end) {
            return refuse(format!(
                "chunk {} lies behind the end of the image ({end} chunks)",
                chunk.at
            ));
        }
        if let Some(pair) = self.chunks.windows(2).find(|pair| pair[0].at >= pair[1].at) {
            return refuse(format!(
                "chunk {} stands after chunk {}",
                pair[1].at, pair[0].at
            ));
        }
        // A frame of incompressible bytes is a little longer than they are, never twice as long.
        match self
            .chunks
            .iter()
            .find(|c| c.frame.size > 2 * self.chunk_size)
        {
            Some(chunk) => refuse(format!(
                "chunk {} has a frame of {} bytes",
                chunk.at, chunk.frame.size
            )),
            None => Ok(()),
        }
    }

    /// Writes the map as an object.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn write(&self, store: &Store) -> Result<Object> {
        store.put(to_canonical(self)?.as_bytes())
    }

    /// Plain length of the chunk at place `at` in bytes.
    pub fn chunk_len(&self, at: u64) -> u64 {
        (self.size - at * self.chunk_size).min(self.chunk_size)
    }

    /// The distinct frames in the order of the payload.
    pub fn frames(&self) -> Vec<Object> {
        let mut seen = HashMap::new();
        self.chunks
            .iter()
            .filter(|c| seen.insert(c.frame, ()).is_none())
            .map(|c| c.frame)
            .collect()
    }

    /// The frames of each file that a payload is split into: as many as fit, and no frame lies in two files. So the
    /// map also says how many files there are, and how long each of them is.
    pub fn payload_files(&self) -> Vec<Vec<Object>> {
        split(self.frames(), MAX_PAYLOAD_FILE)
    }

    /// Offset of each distinct frame in the payload, in bytes, and the payload's length.
    pub fn payload(&self) -> (HashMap<Object, u64>, u64) {
        let mut offsets = HashMap::new();
        let mut end = 0;
        for frame in self.frames() {
            offsets.insert(frame, end);
            end += frame.size;
        }
        (offsets, end)
    }
}

/// Frames in groups of at most `limit` bytes.
fn split(frames: Vec<Object>, limit: u64) -> Vec<Vec<Object>> {
    let mut groups: Vec<(u64, Vec<Object>)> = Vec::new();
    for frame in frames {
        match groups.last_mut() {
            Some((size, group)) if *size + frame.size <= limit => {
                *size += frame.size;
                group.push(frame);
            }
            _ => groups.push((frame.size, vec![frame])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_longer_than_the_limit_and_no_frame_is_cut() {
        let frame = |n: u8, size| Object {
            size,
            ..Object::of(&[n])
        };
        let frames = vec![frame(1, 40), frame(2, 60), frame(3, 1), frame(4, 100)];
        let expected = [vec![frames[0], frames[1]], vec![frames[2]], vec![frames[3]]];
        assert_eq!(split(frames, 100), expected);
        assert!(split(Vec::new(), 100).is_empty());
    }

    fn map() -> ChunkMap {
        let chunk = |at, bytes: &[u8], frame: &[u8]| Chunk {
            at,
            blake3: Digest::of(bytes),
            frame: Object::of(frame),
        };
        ChunkMap {
            format: FORMAT,
            size: 3 * CHUNK_SIZE + 5,
            chunk_size: CHUNK_SIZE,
            chunks: vec![
                chunk(0, b"a", b"frame a"),
                chunk(2, b"b", b"fb"),
                chunk(3, b"a", b"frame a"),
            ],
        }
    }

    #[test]
    fn equal_frames_lie_in_the_payload_once() {
        let (offsets, end) = map().payload();
        assert_eq!(offsets[&Object::of(b"frame a")], 0);
        assert_eq!(offsets[&Object::of(b"fb")], 7);
        assert_eq!(end, 9);
        assert_eq!(map().chunk_len(3), 5);
    }

    #[test]
    fn a_map_that_makes_no_sense_is_refused() {
        let refused = |change: fn(&mut ChunkMap)| {
            let mut map = map();
            change(&mut map);
            ChunkMap::parse(to_canonical(&map).unwrap().as_bytes()).is_err()
        };
        assert!(!refused(|_| ()));
        assert!(refused(|m| m.format = 2));
        assert!(refused(|m| m.chunks.swap(0, 1)));
        assert!(refused(|m| m.size = 1));
        assert!(refused(|m| m.chunk_size = 3));
        assert!(refused(|m| m.chunks[0].frame.size = u64::from(u32::MAX)));
        assert!(ChunkMap::parse(b"{").is_err());
    }
}
