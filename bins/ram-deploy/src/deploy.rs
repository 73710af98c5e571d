//! The chunks of a map, from a source to a target: read ahead, verified, written in parallel.
//!
//! One thread reads the payload from front to back. Workers decompress a frame, compare the BLAKE3 of
//! the plain bytes, and write the pages that are not zero; holes are never touched. The chunk at
//! place 0 holds the partition table and is written last, after everything else is flushed: a target
//! that was interrupted never looks like a disk.
//!
//! Memory: a few frames wait ([`waiting`]), each worker holds a frame, a plain chunk and zstd's window.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use manifest::Digest;
use store::chunk_map::{Chunk, ChunkMap};
use zstd::bulk::Decompressor;

use crate::pages::{self, Aligned};
use crate::stop::{Result, Stop};

/// Bytes that all buffers together may take, whatever the store: the rest of [`crate::ram::WORKING_BYTES`] is the program,
/// the chunk map, and the two chunks that are read now and written last.
const BUDGET: u64 = 40 << 20;
/// Bytes of it that wait for a worker.
const WAITING: u64 = 8 << 20;
/// Bytes of it that are read ahead over a network rather than left out: who reads with several threads asks for them soon.
pub(crate) const AHEAD: u64 = 4 << 20;

/// Where frames come from.
pub trait Source: Sync {
    /// Fills `bytes` from `offset` of the payload.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` where the payload ends before.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
    /// Drops what is cached of a range, so that it costs no RAM and the next read is a real one.
    fn forget(&self, offset: u64, length: u64);
    /// What was read of a range is wrong: the next read of it must not give the same.
    fn wrong(&self, offset: u64, length: u64) {
        self.forget(offset, length);
    }
    /// How often what is wrong may be read again: as many places as it can come from.
    fn tries(&self) -> usize {
        1
    }
    /// Which of several copies of the payload is read now, a number.
    fn copy(&self) -> u64 {
        0
    }
    /// Turns to another copy because `copy` holds what is wrong. False where there is none.
    fn elsewhere(&self, copy: u64) -> bool {
        let _ = copy;
        false
    }
    /// The offset in words: file and offset in it.
    fn place(&self, offset: u64) -> String;
    /// What to do where it holds something else than it should.
    fn remedy(&self) -> &'static str {
        "write the ISO to the medium again and compare its checksum, or try another medium"
    }
}

/// Where chunks go. Both functions may be called from several threads.
pub trait Target: Sync {
    /// Whether any of these bytes of the image are written; chunks of which none is are not even read.
    fn wants(&self, offset: u64, length: u64) -> bool {
        let _ = (offset, length);
        true
    }
    /// Writes `bytes` at `offset`.
    ///
    /// # Errors
    /// What the system says.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns when everything written is really there.
    ///
    /// # Errors
    /// What the system says: late write errors too.
    fn flush(&self) -> io::Result<()>;
}

/// One distinct frame and the places of its chunk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Work {
    offset: u64,
    frame_size: usize,
    plain_size: usize,
    blake3: Digest,
    places: Vec<u64>,
}

impl Work {
    /// One chunk of `plain_size` bytes whose frame lies at `offset` of the payload.
    pub(crate) fn one(chunk: &Chunk, offset: u64, plain_size: u64) -> Self {
        Self {
            offset,
            frame_size: chunk.frame.size as usize,
            plain_size: plain_size as usize,
            blake3: chunk.blake3,
            places: vec![chunk.at],
        }
    }
}

/// The distinct frames that `target` wants in the order of the payload, with all places of each.
fn plan(map: &ChunkMap, target: &dyn Target) -> Result<Vec<Work>> {
    let (offsets, _) = map.payload();
    let mut index = HashMap::new();
    let mut works: Vec<Work> = Vec::new();
    let wanted = |chunk: &&Chunk| target.wants(chunk.at * map.chunk_size, map.chunk_len(chunk.at));
    for chunk in map.chunks.iter().filter(wanted) {
        let plain_size = map.chunk_len(chunk.at) as usize;
        let n = *index.entry(chunk.frame).or_insert(works.len());
        if n == works.len() {
            works.push(Work {
                offset: offsets.get(&chunk.frame).copied().unwrap_or_default(),
                frame_size: chunk.frame.size as usize,
                plain_size,
                blake3: chunk.blake3,
                places: Vec::new(),
            });
        }
        if works[n].plain_size != plain_size || works[n].blake3 != chunk.blake3 {
            return Err(Stop::new(
                format!("chunk map: chunk {} names a frame of other bytes", chunk.at),
                "build the image again",
            ));
        }
        works[n].places.push(chunk.at);
    }
    Ok(works)
}

/// Frames that may wait for a worker: at least one, so that reading goes on.
fn waiting(chunk_size: u64) -> usize {
    (WAITING / chunk_size).clamp(1, 32) as usize
}

/// Bytes that a worker takes: a frame, a plain chunk, and zstd's own or a piece of a file.
pub(crate) fn each(chunk_size: u64) -> u64 {
    2 * chunk_size + (1 << 20)
}

/// Bytes that are left for workers and for what they share.
pub(crate) fn left(beside: u64) -> u64 {
    BUDGET - AHEAD - beside
}

/// Worker threads for chunks of `chunk_size` bytes on `cpus` processors, so that all buffers take no more than 40 MiB.
pub fn workers(chunk_size: u64, cpus: usize) -> usize {
    fitting(left(WAITING), each(chunk_size), cpus)
}

/// So many threads that take `each` bytes fit into `bytes`, and one in any case.
pub(crate) fn fitting(bytes: u64, each: u64, cpus: usize) -> usize {
    cpus.min((bytes / each) as usize).clamp(1, 16)
}

struct Shared<'a> {
    map: &'a ChunkMap,
    source: &'a dyn Source,
    target: &'a dyn Target,
    progress: &'a (dyn Fn(u64) + Sync),
    done: AtomicU64,
    failed: AtomicBool,
    first: Mutex<(Option<Stop>, Option<Aligned>)>,
}

/// Plain bytes of the chunks that `target` wants: what [`deploy`] does in all.
pub fn total(map: &ChunkMap, target: &dyn Target) -> u64 {
    let chunks = map.chunks.iter();
    chunks
        .map(|chunk| (chunk.at * map.chunk_size, map.chunk_len(chunk.at)))
        .filter(|(offset, length)| target.wants(*offset, *length))
        .map(|(_, length)| length)
        .sum()
}

/// Deploys `map`. `progress` is told the plain bytes that are done, now and then, from any thread.
///
/// # Errors
/// The first failure as a sentence; the target then begins with zeros, if it did before.
pub fn deploy(
    map: &ChunkMap,
    source: &dyn Source,
    target: &dyn Target,
    workers: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let works = plan(map, target)?;
    let shared = Shared {
        map,
        source,
        target,
        progress,
        done: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        first: Mutex::new((None, None)),
    };
    // A frame waits in the channel or is in the hands of the reader or of a worker.
    let (jobs, queue) = sync_channel(waiting(map.chunk_size));
    let queue = Mutex::new(queue);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(&shared, &queue));
        }
        read_ahead(&shared, &works, jobs);
    });
    let (stop, head) = shared
        .first
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(stop) = stop {
        return Err(stop);
    }
    target.flush().map_err(|e| unwritten("flushing", &e))?;
    if let Some(head) = head {
        write_pages(target, 0, head.slice(usize::MAX)).map_err(|(at, e)| unwritten_at(at, &e))?;
        target.flush().map_err(|e| unwritten("flushing", &e))?;
    }
    Ok(())
}

type Job<'a> = (&'a Work, Vec<u8>);

fn read_ahead<'a>(shared: &Shared, works: &'a [Work], jobs: SyncSender<Job<'a>>) {
    for work in works {
        if shared.failed.load(Ordering::Relaxed) {
            return;
        }
        let mut frame = vec![0; work.frame_size];
        // A failed read goes on as an empty frame: the worker reads again and finds the words.
        if shared.source.read(work.offset, &mut frame).is_err() {
            frame.clear();
        }
        if jobs.send((work, frame)).is_err() {
            return;
        }
    }
}

fn work<'a>(shared: &Shared, queue: &Mutex<Receiver<Job<'a>>>) {
    let mut buffer = Aligned::new(shared.map.chunk_size as usize);
    let mut decompressor = Decompressor::new();
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((work, frame)) = job else { return };
        // After a failure the queue is drained, so that the reader does not wait for ever.
        if shared.failed.load(Ordering::Relaxed) {
            continue;
        }
        let outcome = match &mut decompressor {
            Ok(decompressor) => one(shared, work, frame, decompressor, &mut buffer),
            Err(e) => Err(Stop::new(format!("zstd: {e}"), "add RAM")),
        };
        if let Err(stop) = outcome {
            shared.failed.store(true, Ordering::Relaxed);
            let mut first = shared.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.0.get_or_insert(stop);
        }
    }
}

fn one(
    shared: &Shared,
    work: &Work,
    frame: Vec<u8>,
    decompressor: &mut Decompressor,
    buffer: &mut Aligned,
) -> Result<()> {
    if !verified(work, &frame, decompressor, buffer.whole()) {
        again(shared.source, work, frame, decompressor, buffer.whole())?;
    }
    shared.source.forget(work.offset, work.frame_size as u64);
    let plain = buffer.slice(work.plain_size);
    for at in &work.places {
        if *at == 0 {
            let mut first = shared.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.1 = Some(Aligned::copy_of(plain));
        } else {
            write_pages(shared.target, at * shared.map.chunk_size, plain)
                .map_err(|(at, e)| unwritten_at(at, &e))?;
        }
        let done = shared
            .done
            .fetch_add(work.plain_size as u64, Ordering::Relaxed);
        (shared.progress)(done + work.plain_size as u64);
    }
    Ok(())
}

/// Whether `frame` holds the chunk that the map names; its plain bytes are then in `buffer`.
fn verified(work: &Work, frame: &[u8], zstd: &mut Decompressor, buffer: &mut [u8]) -> bool {
    zstd.decompress_to_buffer(frame, buffer)
        .is_ok_and(|n| n == work.plain_size && Digest::of(&buffer[..n]) == work.blake3)
}

/// Reads one chunk alone; its plain bytes are then in `buffer`, verified.
///
/// # Errors
/// A sentence with the chunk and its place.
pub(crate) fn fetch(
    source: &dyn Source,
    work: &Work,
    zstd: &mut Decompressor,
    buffer: &mut [u8],
) -> Result<()> {
    let mut frame = vec![0; work.frame_size];
    // A failed read is an empty frame: it is read again below, and that finds the words.
    if source.read(work.offset, &mut frame).is_err() {
        frame.clear();
    }
    if !verified(work, &frame, zstd, buffer) {
        again(source, work, frame, zstd, buffer)?;
    }
    source.forget(work.offset, work.frame_size as u64);
    Ok(())
}

/// Reads a bad frame again, from wherever else it can come from, before giving up.
fn again(
    source: &dyn Source,
    work: &Work,
    mut frame: Vec<u8>,
    zstd: &mut Decompressor,
    buffer: &mut [u8],
) -> Result<()> {
    loop {
        let copy = source.copy();
        match from_copy(source, work, &mut frame, zstd, buffer) {
            Err(_) if source.elsewhere(copy) => (),
            end => return end,
        }
    }
}

/// The same from one copy of the payload.
fn from_copy(
    source: &dyn Source,
    work: &Work,
    frame: &mut Vec<u8>,
    zstd: &mut Decompressor,
    buffer: &mut [u8],
) -> Result<()> {
    let mut what = String::new();
    for _ in 0..source.tries() {
        source.wrong(work.offset, work.frame_size as u64);
        frame.resize(work.frame_size, 0);
        what = match source.read(work.offset, frame) {
            Ok(()) if verified(work, frame, zstd, buffer) => return Ok(()),
            Ok(()) => "is damaged (its BLAKE3 differs from the chunk map's)".to_owned(),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                "ends before it should".to_owned()
            }
            Err(e) => match e.get_ref().and_then(|inner| inner.downcast_ref::<Stop>()) {
                // What the medium or the servers have come to is said already.
                Some(stop) => return Err(stop.clone()),
                None => format!("cannot be read: {e}"),
            },
        };
    }
    Err(Stop::new(
        format!(
            "chunk {} at {} {what}",
            work.places[0],
            source.place(work.offset)
        ),
        source.remedy(),
    ))
}

/// Writes the pages of `plain` that are not zero. The error carries the offset.
fn write_pages(
    target: &dyn Target,
    offset: u64,
    plain: &[u8],
) -> std::result::Result<(), (u64, io::Error)> {
    for run in pages::runs(plain) {
        let at = offset + run.start as u64;
        target.write(at, &plain[run]).map_err(|e| (at, e))?;
    }
    Ok(())
}

fn unwritten_at(offset: u64, error: &io::Error) -> Stop {
    unwritten(&format!("writing at offset {offset}"), error)
}

fn unwritten(action: &str, error: &io::Error) -> Stop {
    Stop::new(
        format!("the RAM store failed while {action}: {error}"),
        "this is most often too little RAM: add RAM or build a smaller image",
    )
}

#[cfg(test)]
mod tests;
