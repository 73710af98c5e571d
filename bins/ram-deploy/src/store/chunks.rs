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

/// Bytes that the chunks which stay may take.
const BUDGET: u64 = 24 << 20;

/// Plain bytes, or why there are none; empty until somebody has fetched them.
type Slot = Arc<OnceLock<Result<Vec<u8>>>>;

/// A part of the image.
pub struct Chunks<'a> {
    map: &'a ChunkMap,
    source: &'a dyn Source,
    part: Range<u64>,
    chunks: HashMap<u64, &'a Chunk>,
    offsets: HashMap<manifest::Object, u64>,
    /// The chunks that stay, the one used last at the end.
    kept: Mutex<Vec<(u64, Slot)>>,
}

impl<'a> Chunks<'a> {
    /// The bytes `part` of the image.
    pub fn new(map: &'a ChunkMap, source: &'a dyn Source, part: Range<u64>) -> Self {
        Self {
            map,
            source,
            part,
            chunks: map.chunks.iter().map(|chunk| (chunk.at, chunk)).collect(),
            offsets: map.payload().0,
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
        let most = (BUDGET / self.map.chunk_size).max(2) as usize;
        while kept.len() >= most {
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
