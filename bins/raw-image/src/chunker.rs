//! Turns bytes that arrive in any order into a chunk map, in constant memory.
//!
//! A chunk whose last byte has arrived goes to the workers: they hash it, look for its frame in the
//! store, and compress it only where there is none. What never arrives counts as zero. Only chunks
//! that are begun and not complete are held. The bytes of chunks that are known before do not matter.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use manifest::{Digest, Object, StageKey, stage_key};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stage::{Error, Result};
use store::Store;
use store::chunk_map::{CHUNK_SIZE, Chunk, ChunkMap, FORMAT};

use crate::known::{self, Chunks, Known};

/// Unit in which RAM stores allocate, in bytes.
const PAGE: usize = 4096;
/// Chunks that wait for a worker: bounds the memory between reading and compressing.
const QUEUE: usize = 4;

/// A disk image in the making.
#[derive(Debug)]
pub(crate) struct Chunker {
    size: u64,
    open: BTreeMap<u64, Pending>,
    chunks: Chunks,
    workers: Workers,
}

/// A chunk of which some bytes have not arrived.
#[derive(Debug)]
struct Pending {
    bytes: Vec<u8>,
    missing: u64,
}

/// A finished image, or a part of one.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Chunked {
    /// The chunks that are not all zero, by ascending place.
    pub(crate) chunks: Vec<Chunk>,
    /// Bytes in pages that are not all zero.
    pub(crate) data_bytes: u64,
    /// Chunks that were compressed, because no frame of theirs was in the store.
    #[serde(skip)]
    pub(crate) compressed: u64,
}

impl Chunked {
    /// Puts a part into the image, at a multiple of the chunk size where nothing else is.
    pub(crate) fn insert(&mut self, offset: u64, part: Self) {
        let first = offset / CHUNK_SIZE;
        let moved = part.chunks.into_iter().map(|chunk| Chunk {
            at: chunk.at + first,
            ..chunk
        });
        self.chunks.extend(moved);
        self.chunks.sort_by_key(|chunk| chunk.at);
        self.data_bytes += part.data_bytes;
        self.compressed += part.compressed;
    }

    /// Adds the chunk at that place.
    fn add(&mut self, at: u64, chunk: &Known) {
        if let Some((blake3, frame)) = chunk.frame {
            self.chunks.push(Chunk { at, blake3, frame });
            self.data_bytes += chunk.data_bytes;
        }
    }

    /// The chunk map of an image of `size` bytes.
    pub(crate) fn map(self, size: u64) -> ChunkMap {
        ChunkMap {
            format: FORMAT,
            size,
            chunk_size: CHUNK_SIZE,
            chunks: self.chunks,
        }
    }
}

impl Chunker {
    /// An image of `size` bytes, whose frames are compressed at zstd `level`.
    pub(crate) fn new(store: &Store, size: u64, level: i32) -> Self {
        Self {
            size,
            open: BTreeMap::new(),
            chunks: Chunks::default(),
            workers: Workers::start(store, level),
        }
    }

    /// The same image, of which this is known before.
    pub(crate) fn knowing(mut self, chunks: Chunks) -> Self {
        self.chunks = chunks;
        self
    }

    /// Bytes of the image. No byte may arrive twice.
    pub(crate) fn data(&mut self, mut offset: u64, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let at = offset / CHUNK_SIZE;
            let begin = (offset % CHUNK_SIZE) as usize;
            let take = bytes.len().min(CHUNK_SIZE as usize - begin);
            if !self.chunks.known.contains_key(&at) {
                let pending = self.pending(at)?;
                pending.bytes[begin..begin + take].copy_from_slice(&bytes[..take]);
                self.arrived(at, take as u64)?;
            }
            offset += take as u64;
            bytes = &bytes[take..];
        }
        Ok(())
    }

    /// A range of the image that is zero. It costs nothing.
    pub(crate) fn zeros(&mut self, mut offset: u64, mut length: u64) -> Result<()> {
        while length > 0 {
            let at = offset / CHUNK_SIZE;
            let take = length.min((at + 1) * CHUNK_SIZE - offset);
            let is_known = self.chunks.known.contains_key(&at);
            if !is_known && (self.open.contains_key(&at) || take < self.chunk_len(at)) {
                self.pending(at)?;
                self.arrived(at, take)?;
            }
            offset += take;
            length -= take;
        }
        Ok(())
    }

    /// The chunks, when everything has arrived.
    pub(crate) fn finish(mut self) -> Result<Chunked> {
        for (at, pending) in std::mem::take(&mut self.open) {
            self.send(at, pending.bytes)?;
        }
        let mut all = self.workers.finish()?;
        let mut known = Chunked::default();
        for (at, chunk) in self.chunks.known {
            known.add(at, &chunk);
        }
        all.insert(0, known);
        Ok(all)
    }

    fn send(&mut self, at: u64, bytes: Vec<u8>) -> Result<()> {
        let key = self.chunks.keys.remove(&at);
        self.workers.send(Job { at, bytes, key })
    }

    fn chunk_len(&self, at: u64) -> u64 {
        CHUNK_SIZE.min(self.size.saturating_sub(at * CHUNK_SIZE))
    }

    fn pending(&mut self, at: u64) -> Result<&mut Pending> {
        let missing = self.chunk_len(at);
        if missing == 0 {
            return Err(Error::failed(format!(
                "chunk {at} lies behind the end of the image"
            )));
        }
        Ok(self.open.entry(at).or_insert_with(|| Pending {
            bytes: vec![0; missing as usize],
            missing,
        }))
    }

    fn arrived(&mut self, at: u64, bytes: u64) -> Result<()> {
        let Some(pending) = self.open.get_mut(&at) else {
            return Ok(());
        };
        pending.missing = pending.missing.saturating_sub(bytes);
        if pending.missing == 0
            && let Some(whole) = self.open.remove(&at)
        {
            self.send(at, whole.bytes)?;
        }
        Ok(())
    }
}

/// A chunk that one of the workers shall take.
#[derive(Debug)]
struct Job {
    at: u64,
    bytes: Vec<u8>,
    /// Under which it is recorded, where files alone say what it holds.
    key: Option<StageKey>,
}

#[derive(Debug)]
struct Workers {
    jobs: SyncSender<Job>,
    threads: Vec<JoinHandle<Result<Chunked>>>,
}

impl Workers {
    fn start(store: &Store, level: i32) -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let (jobs, queue) = sync_channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        let spawn = |_| {
            let (store, queue) = (store.clone(), Arc::clone(&queue));
            std::thread::spawn(move || work(&store, level, &queue))
        };
        Self {
            jobs,
            threads: (0..count).map(spawn).collect(),
        }
    }

    fn send(&mut self, job: Job) -> Result<()> {
        stage::interrupted()?;
        if self.jobs.send(job).is_ok() {
            return Ok(());
        }
        // All workers have ended, so one of them knows why.
        self.join()
            .and(Err(Error::failed("the compressing threads ended early")))
    }

    fn finish(mut self) -> Result<Chunked> {
        self.jobs = sync_channel(0).0;
        self.join()
    }

    fn join(&mut self) -> Result<Chunked> {
        let mut all = Chunked::default();
        for thread in self.threads.drain(..) {
            let lost = |_| Err(Error::failed("a compressing thread was lost"));
            all.insert(0, thread.join().unwrap_or_else(lost)?);
        }
        Ok(all)
    }
}

fn work(store: &Store, level: i32, queue: &Mutex<Receiver<Job>>) -> Result<Chunked> {
    let mut compressor = zstd::bulk::Compressor::new(level).map_err(zstd_error)?;
    let mut done = Chunked::default();
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { at, bytes, key }) = job else {
            return Ok(done);
        };
        let used = bytes
            .chunks(PAGE)
            .filter(|page| page.iter().any(|&b| b != 0));
        let mut chunk = Known {
            data_bytes: used.map(|page| page.len() as u64).sum(),
            frame: None,
        };
        if chunk.data_bytes > 0 {
            let blake3 = Digest::of(&bytes);
            let (frame, is_new) = frame(store, &mut compressor, level, &blake3, &bytes)?;
            chunk.frame = Some((blake3, frame));
            done.compressed += u64::from(is_new);
        }
        done.add(at, &chunk);
        if let Some(key) = key {
            known::record(store, &key, &chunk)?;
        }
    }
}

/// The frame of a chunk, from the store where the same bytes were compressed before; and whether it is new.
fn frame(
    store: &Store,
    compressor: &mut zstd::bulk::Compressor<'_>,
    level: i32,
    blake3: &Digest,
    bytes: &[u8],
) -> Result<(Object, bool)> {
    let key = stage_key(
        "raw-image/frame",
        &json!({"blake3": blake3, "level": level, "zstd": zstd::zstd_safe::version_number()}),
    )?;
    if let Some(found) = store.action(&key)?
        && let Ok(frame) = serde_json::from_value::<Object>(found)
        && store.expects(&frame)
    {
        return Ok((frame, false));
    }
    let frame = store.put(&compressor.compress(bytes).map_err(zstd_error)?)?;
    store.record_action(&key, &json!(frame))?;
    Ok((frame, true))
}

fn zstd_error(error: std::io::Error) -> Error {
    Error::failed(format!("zstd: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    #[test]
    fn order_does_not_matter_and_zeros_are_left_out() {
        let (_dir, store) = store();
        let size = 3 * CHUNK_SIZE + 4096;
        let mut forward = Chunker::new(&store, size, 3);
        forward.data(0, b"begin").unwrap();
        forward.data(CHUNK_SIZE - 2, b"over").unwrap();
        forward.zeros(2 * CHUNK_SIZE, CHUNK_SIZE).unwrap();
        forward.data(3 * CHUNK_SIZE, &[7; 4096]).unwrap();
        let forward = forward.finish().unwrap();
        let mut backward = Chunker::new(&store, size, 3);
        backward.data(3 * CHUNK_SIZE, &[7; 4096]).unwrap();
        backward.data(CHUNK_SIZE - 2, b"over").unwrap();
        backward.data(0, b"begin").unwrap();
        let backward = backward.finish().unwrap();
        assert_eq!(forward.chunks, backward.chunks);
        assert_eq!((forward.compressed, backward.compressed), (3, 0));
        let places = |chunks: &[Chunk]| chunks.iter().map(|c| c.at).collect::<Vec<_>>();
        assert_eq!(places(&forward.chunks), [0, 1, 3]);
        let mut whole = Chunked::default();
        whole.insert(2 * CHUNK_SIZE, backward);
        assert_eq!(places(&whole.map(size).chunks), [2, 3, 5]);
        assert_eq!(forward.data_bytes, 4 * 4096);
    }

    #[test]
    fn what_is_known_needs_no_bytes() {
        let (_dir, store) = store();
        let make = |chunks: Chunks, bytes: &[u8]| {
            let mut chunker = Chunker::new(&store, 2 * CHUNK_SIZE, 3).knowing(chunks);
            chunker.data(0, bytes).unwrap();
            chunker.zeros(5, CHUNK_SIZE).unwrap();
            chunker.data(CHUNK_SIZE + 5, b"rest").unwrap();
            chunker.finish().unwrap()
        };
        let key = stage_key("test", &1).unwrap();
        let chunks = |known: Option<Known>| Chunks {
            keys: known.is_none().then_some((0, key)).into_iter().collect(),
            known: known.map(|known| (0, known)).into_iter().collect(),
        };
        let whole = make(chunks(None), b"begin");
        let recorded = store.action(&key).unwrap().unwrap();
        let known = serde_json::from_value(recorded).unwrap();
        let again = make(chunks(Some(known)), b"wrong");
        assert_eq!(again.chunks, whole.chunks);
        assert_eq!(again.data_bytes, whole.data_bytes);
        assert_eq!((whole.compressed, again.compressed), (2, 0));
    }

    #[test]
    fn a_frame_holds_what_was_written() {
        let (_dir, store) = store();
        let mut chunker = Chunker::new(&store, CHUNK_SIZE, 3);
        chunker.data(5, b"content").unwrap();
        chunker.zeros(12, CHUNK_SIZE - 12).unwrap();
        let chunked = chunker.finish().unwrap();
        let plain = zstd::decode_all(&store.get(&chunked.chunks[0].frame).unwrap()[..]).unwrap();
        assert_eq!(
            (plain.len() as u64, &plain[5..12]),
            (CHUNK_SIZE, &b"content"[..])
        );
        assert_eq!(Digest::of(&plain), chunked.chunks[0].blake3);
    }

    #[test]
    fn bytes_behind_the_end_are_refused() {
        let (_dir, store) = store();
        assert!(
            Chunker::new(&store, CHUNK_SIZE, 3)
                .data(CHUNK_SIZE, b"x")
                .is_err()
        );
    }
}
