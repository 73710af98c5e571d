//! A part of the image read here and there, from verified chunks.
//!
//! A chunk that is looked at is read, decompressed and verified once, and stays for a while: who reads in the order of
//! the image reads every frame once. Several threads may read; the same chunk is never fetched twice at a time.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use image::ext4::reader::ReadAt;
use store::chunk_map::{Chunk, ChunkMap};
use zstd::bulk::Decompressor;

use crate::deploy::{self, Source};
use crate::stop::{Result, Stop};

/// Bytes that the chunks which stay may take at most.
const MOST: u64 = 24 << 20;
/// Chunks that must stay for each thread: that of its file, and one of those that all look at.
const LEAST: u64 = 2;

/// Threads that read chunks of `chunk_size` bytes on `cpus` processors, within the budget of all buffers.
pub fn threads(chunk_size: u64, cpus: usize) -> usize {
    let each = deploy::each(chunk_size) + LEAST * chunk_size;
    deploy::fitting(deploy::left(0), each, cpus)
}

/// Chunks that stay beside what so many threads take.
fn stay(chunk_size: u64, threads: usize) -> u64 {
    let taken = deploy::each(chunk_size) * threads as u64;
    let left = deploy::left(0).saturating_sub(taken).min(MOST);
    (left / chunk_size).max(LEAST)
}

/// Plain bytes, or why there are none; empty until somebody has fetched them.
type Slot = Arc<OnceLock<Result<Vec<u8>>>>;

/// A part of the image.
pub struct Chunks<'a> {
    map: &'a ChunkMap,
    source: &'a dyn Source,
    part: Range<u64>,
    chunks: HashMap<u64, &'a Chunk>,
    offsets: HashMap<manifest::Object, u64>,
    /// How many chunks stay.
    most: usize,
    /// The chunks that stay, the one used last at the end.
    kept: Mutex<Vec<(u64, Slot)>>,
}

impl<'a> Chunks<'a> {
    /// The bytes `part` of the image, for so many `threads` at a time.
    pub fn new(
        map: &'a ChunkMap,
        source: &'a dyn Source,
        part: Range<u64>,
        threads: usize,
    ) -> Self {
        Self {
            map,
            source,
            part,
            chunks: map.chunks.iter().map(|chunk| (chunk.at, chunk)).collect(),
            offsets: map.payload().0,
            most: stay(map.chunk_size, threads) as usize,
            kept: Mutex::new(Vec::new()),
        }
    }

    /// The slot of a chunk, used last from here on.
    fn slot(&self, place: u64) -> Slot {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().position(|(at, _)| *at == place);
        let slot = match found {
            Some(n) => kept.remove(n).1,
            None => Slot::default(),
        };
        while kept.len() >= self.most {
            kept.remove(0);
        }
        kept.push((place, Arc::clone(&slot)));
        slot
    }

    fn fetch(&self, chunk: &Chunk) -> Result<Vec<u8>> {
        let offset = self.offsets.get(&chunk.frame).copied().unwrap_or_default();
        let work = deploy::Work::one(chunk, offset, self.map.chunk_len(chunk.at));
        let zstd = Decompressor::new();
        let mut zstd = zstd.map_err(|e| Stop::new(format!("zstd: {e}"), "add RAM"))?;
        let mut plain = vec![0; self.map.chunk_len(chunk.at) as usize];
        deploy::fetch(self.source, &work, &mut zstd, &mut plain)?;
        Ok(plain)
    }
}

impl ReadAt for Chunks<'_> {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut at = self.part.start.saturating_add(offset);
        if at.saturating_add(bytes.len() as u64) > self.part.end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (place, inside) = (at / self.map.chunk_size, at % self.map.chunk_size);
            let length = (self.map.chunk_size - inside).min(rest.len() as u64) as usize;
            let (now, later) = rest.split_at_mut(length);
            match self.chunks.get(&place) {
                None => now.fill(0),
                Some(chunk) => {
                    let slot = self.slot(place);
                    let plain = slot.get_or_init(|| self.fetch(chunk));
                    let plain = plain.as_ref().map_err(|s| io::Error::other(s.clone()))?;
                    let part = plain.get(inside as usize..inside as usize + length);
                    now.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                }
            }
            rest = later;
            at += length as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ram::WORKING_BYTES;

    /// With what is read ahead over a network, and room for the program and the chunk map.
    #[test]
    fn buffers_stay_within_what_is_counted() {
        let chunk_size = 1 << 20;
        for cpus in [1, 2, 4, 8, 64] {
            let threads = threads(chunk_size, cpus);
            let stay = stay(chunk_size, threads);
            assert!(stay >= LEAST * threads as u64, "{cpus}: {stay} chunks");
            let held = threads as u64 * deploy::each(chunk_size) + stay * chunk_size;
            let all = held + deploy::AHEAD + (8 << 20);
            assert!(all <= WORKING_BYTES, "{cpus}: {all}");
        }
        // Few processors leave the most that is of use.
        assert_eq!((threads(chunk_size, 2), stay(chunk_size, 2)), (2, 24));
    }
}
