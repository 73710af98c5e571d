use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use manifest::{Digest, Object};
use store::chunk_map::{Chunk, ChunkMap, FORMAT};

use super::*;
use crate::target::Disk;

const CHUNK: u64 = 64 * 1024;

/// Bytes that do not compress well, from a seed.
fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// An image of ten chunks with holes and repetitions, its map and its payload.
fn image() -> (Vec<u8>, ChunkMap, Vec<u8>) {
    let mut bytes = Vec::new();
    for seed in [1, 0, 2, 3, 2, 0, 4, 5, 1, 6] {
        let mut chunk = noise(seed, CHUNK as usize);
        if seed == 0 {
            chunk.fill(0);
        }
        chunk[8192..16384].fill(0);
        bytes.extend(chunk);
    }
    bytes.truncate(bytes.len() - 512);
    let (mut chunks, mut payload) = (Vec::new(), Vec::new());
    let mut seen = std::collections::HashSet::new();
    for (at, plain) in bytes.chunks(CHUNK as usize).enumerate() {
        if plain.iter().all(|b| *b == 0) {
            continue;
        }
        let frame = zstd::bulk::compress(plain, 3).unwrap();
        if seen.insert(Digest::of(plain)) {
            payload.extend(&frame);
        }
        chunks.push(Chunk {
            at: at as u64,
            blake3: Digest::of(plain),
            frame: Object::of(&frame),
        });
    }
    let map = ChunkMap {
        format: FORMAT,
        size: bytes.len() as u64,
        chunk_size: CHUNK,
        chunks,
    };
    (bytes, map, payload)
}

struct Memory {
    bytes: Vec<u8>,
    /// Reads that still fail or lie.
    bad_reads: AtomicU64,
}

impl Source for Memory {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let offset = offset as usize;
        let found = self.bytes.get(offset..offset + bytes.len());
        bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        let bad = |n: u64| n.checked_sub(1);
        if self
            .bad_reads
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, bad)
            .is_ok()
        {
            bytes[0] ^= 1;
        }
        Ok(())
    }
    fn forget(&self, _: u64, _: u64) {}
    fn place(&self, offset: u64) -> String {
        format!("payload offset {offset}")
    }
}

fn memory(bytes: Vec<u8>) -> Memory {
    Memory {
        bytes,
        bad_reads: AtomicU64::new(0),
    }
}

fn to_file(map: &ChunkMap, source: &dyn Source, path: &Path) -> Result<()> {
    std::fs::File::create(path)
        .unwrap()
        .set_len(map.size)
        .unwrap();
    deploy(map, source, &Disk::file(path).unwrap(), 3, &|_| ())
}

#[test]
fn the_target_gets_the_image_and_holes_stay_holes() {
    let (bytes, map, payload) = image();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let told = AtomicU64::new(0);
    std::fs::File::create(&path)
        .unwrap()
        .set_len(map.size)
        .unwrap();
    let target = Disk::file(&path).unwrap();
    let tell = |done| {
        told.fetch_max(done, Ordering::Relaxed);
    };
    deploy(&map, &memory(payload), &target, 4, &tell).unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
    assert_eq!(told.into_inner(), 8 * CHUNK - 512);
    let blocks = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap());
    assert!(
        blocks * 512 <= 8 * (CHUNK - 8192) + 4096,
        "{blocks} blocks: zero pages were written"
    );
}

#[test]
fn a_bad_chunk_stops_before_the_partition_table_is_written() {
    let (_, map, mut payload) = image();
    let last = payload.len() - 1;
    payload[last] ^= 0x40;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let text = to_file(&map, &memory(payload), &path)
        .unwrap_err()
        .to_string();
    assert!(text.starts_with("chunk 9 at payload offset "), "{text}");
    assert!(text.contains("is damaged"), "{text}");
    let written = std::fs::read(&path).unwrap();
    assert!(written[..CHUNK as usize].iter().all(|b| *b == 0));
}

#[test]
fn every_flipped_frame_is_found() {
    let (_, map, payload) = image();
    let dir = tempfile::tempdir().unwrap();
    let (offsets, _) = map.payload();
    for (frame, offset) in offsets {
        let mut damaged = payload.clone();
        damaged[offset as usize + frame.size as usize / 2] ^= 1;
        assert!(to_file(&map, &memory(damaged), &dir.path().join("disk")).is_err());
    }
}

#[test]
fn one_bad_read_is_forgiven_two_are_not() {
    let (bytes, mut map, payload) = image();
    map.chunks.truncate(1);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let source = memory(payload);
    source.bad_reads.store(1, Ordering::SeqCst);
    to_file(&map, &source, &path).unwrap();
    assert!(std::fs::read(&path).unwrap()[..CHUNK as usize] == bytes[..CHUNK as usize]);
    source.bad_reads.store(2, Ordering::SeqCst);
    assert!(to_file(&map, &source, &path).is_err());
}

#[test]
fn a_short_payload_is_said_so() {
    let (_, map, mut payload) = image();
    payload.truncate(payload.len() - 1);
    let dir = tempfile::tempdir().unwrap();
    let text = to_file(&map, &memory(payload), &dir.path().join("disk"))
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("chunk 9") && text.contains("ends before it should"),
        "{text}"
    );
}

#[test]
fn a_write_error_stops() {
    let (_, map, payload) = image();
    let target = Disk::file(Path::new("/dev/full")).unwrap();
    let text = deploy(&map, &memory(payload), &target, 2, &|_| ())
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("the RAM store failed while writing at offset "),
        "{text}"
    );
    assert!(text.ends_with("add RAM or build a smaller image"), "{text}");
}

#[test]
fn a_frame_of_two_chunks_with_other_bytes_is_refused() {
    let (_, mut map, payload) = image();
    map.chunks[1].frame = map.chunks[0].frame;
    let dir = tempfile::tempdir().unwrap();
    let text = to_file(&map, &memory(payload), &dir.path().join("disk"))
        .unwrap_err()
        .to_string();
    assert!(text.contains("names a frame of other bytes"), "{text}");
}

/// What is read ahead over a network counts, the chunk in the reader's hand and the one that is written last, and some
/// MiB for the program and the chunk map.
#[test]
fn buffers_stay_within_what_is_counted() {
    let chunk_size = 1 << 20;
    for cpus in [1, 2, 8, 64] {
        let n = workers(chunk_size, cpus);
        assert!((1..=16).contains(&n) && n <= cpus);
        let held = n as u64 * each(chunk_size) + waiting(chunk_size) as u64 * chunk_size;
        let all = held + AHEAD + 2 * chunk_size + (6 << 20);
        assert!(all <= crate::ram::WORKING_BYTES, "{cpus}: {all}");
    }
    // Larger chunks than ours: one worker in any case.
    assert_eq!(workers(64 << 20, 8), 1);
}

/// Read here and there, the image is the same, and a wrong byte is met where its chunk is looked at.
#[test]
fn a_part_of_the_image_is_read_here_and_there() {
    use crate::store::chunks::Chunks;
    use ::image::ext4::reader::ReadAt;

    let (bytes, map, payload) = image();
    let source = memory(payload.clone());
    let part = CHUNK + 512..bytes.len() as u64;
    let chunks = Chunks::new(&map, &source, part.clone(), 1);
    let mut found = vec![0; 2 * CHUNK as usize];
    for at in [0, 7, 3 * CHUNK - 512, 6 * CHUNK, 100] {
        chunks.read_at(at, &mut found).unwrap();
        let from = (part.start + at) as usize;
        assert!(found == bytes[from..from + found.len()], "{at}");
    }
    let behind = part.end - part.start - 2 * CHUNK + 1;
    assert!(chunks.read_at(behind, &mut found).is_err());

    let mut damaged = payload;
    *damaged.last_mut().unwrap() ^= 1;
    let source = memory(damaged);
    let chunks = Chunks::new(&map, &source, 0..map.size, 1);
    chunks.read_at(0, &mut found).unwrap();
    let error = chunks.read_at(map.size - 10, &mut found[..10]).unwrap_err();
    assert!(
        error.to_string().starts_with("chunk 9 at payload offset"),
        "{error}"
    );
}

/// Two copies of a payload.
struct Copies([Memory; 2], AtomicU64);

impl Source for Copies {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0[self.copy() as usize].read(offset, bytes)
    }
    fn forget(&self, _: u64, _: u64) {}
    fn copy(&self) -> u64 {
        self.1.load(Ordering::SeqCst)
    }
    fn elsewhere(&self, copy: u64) -> bool {
        let turned = (self.1).compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst);
        turned.is_ok() || copy == 0
    }
    fn place(&self, offset: u64) -> String {
        format!("payload offset {offset}")
    }
}

#[test]
fn a_wrong_copy_is_left_for_another() {
    let (bytes, map, payload) = image();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let mut wrong = payload.clone();
    let middle = wrong.len() / 2;
    wrong[middle] ^= 1;
    let copies = |first, second| Copies([memory(first), memory(second)], AtomicU64::new(0));
    to_file(&map, &copies(wrong.clone(), payload), &path).unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
    let stop = to_file(&map, &copies(wrong.clone(), wrong), &path).unwrap_err();
    assert!(stop.to_string().contains("is damaged"), "{stop}");
}
