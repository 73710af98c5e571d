//! What was written is read back (`oem-skip-verify` is false): every chunk is compared with the map once more.
//!
//! Not read: holes, where nothing was written, and a chunk at the edge of a store that takes only a part of the image.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use manifest::Digest;
use store::chunk_map::{Chunk, ChunkMap};

use crate::pages::Aligned;
use crate::stop::{Result, Stop};
use crate::target::Disk;

/// Plain bytes of the chunks that `target` holds.
pub fn total(map: &ChunkMap, target: &Disk) -> u64 {
    let held = map.chunks.iter().filter(|chunk| holds(map, target, chunk));
    held.map(|chunk| map.chunk_len(chunk.at)).sum()
}

fn holds(map: &ChunkMap, target: &Disk, chunk: &Chunk) -> bool {
    target.holds(chunk.at * map.chunk_size, map.chunk_len(chunk.at))
}

/// Compares what `target` holds with `map`, with that many threads. `progress` is told the bytes that are done, now and
/// then, from any thread. `target` may have been opened for direct input and output.
///
/// # Errors
/// The first chunk that differs or cannot be read, as a sentence.
pub fn read_back(
    map: &ChunkMap,
    target: &Disk,
    workers: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || -> Result<()> {
        let mut buffer = Aligned::new(map.chunk_size as usize);
        while let Some(chunk) = map.chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
            if !holds(map, target, chunk) {
                continue;
            }
            let length = map.chunk_len(chunk.at);
            compare(map, target, chunk, &mut buffer.whole()[..length as usize])?;
            progress(done.fetch_add(length, Ordering::Relaxed) + length);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let ends = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        // A panic has stopped the program already.
        ends.flatten().collect()
    })
}

fn compare(map: &ChunkMap, target: &Disk, chunk: &Chunk, buffer: &mut [u8]) -> Result<()> {
    let offset = chunk.at * map.chunk_size;
    let fact = match target.read(offset, buffer) {
        Ok(()) if Digest::of(buffer) == chunk.blake3 => return Ok(()),
        Ok(()) => "differs from what was written".to_owned(),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => "is not there".to_owned(),
        Err(e) => format!("cannot be read: {e}"),
    };
    Err(Stop::new(
        format!(
            "the RAM store was read back: chunk {} at offset {offset} {fact}",
            chunk.at
        ),
        "this is most often damaged RAM: test it, for example with memtest86+",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::Object;

    fn map(image: &[u8]) -> ChunkMap {
        let chunk = |(at, bytes): (u64, &[u8])| Chunk {
            at,
            blake3: Digest::of(bytes),
            frame: Object::of(bytes),
        };
        let chunks = (0..).zip(image.chunks(4096)).map(chunk);
        ChunkMap {
            format: 1,
            size: image.len() as u64,
            chunk_size: 4096,
            chunks: chunks.filter(|c| c.at != 3).collect(),
        }
    }

    #[test]
    fn every_byte_but_those_of_holes_is_compared() {
        let image: Vec<u8> = (0..10 * 4096 + 512u32).map(|n| (n % 253) as u8).collect();
        let map = map(&image);
        let file = tempfile::NamedTempFile::new().unwrap();
        let check = |image: &[u8]| {
            std::fs::write(file.path(), image).unwrap();
            let most = AtomicU64::new(0);
            let progress = |done| {
                most.fetch_max(done, Ordering::Relaxed);
            };
            let disk = Disk::file(file.path()).unwrap();
            let outcome = read_back(&map, &disk, 3, &progress);
            outcome.map(|()| most.into_inner())
        };
        assert_eq!(check(&image), Ok(9 * 4096 + 512));
        for at in [0, 4095, 4096 * 5 + 7, image.len() - 1] {
            let mut other = image.clone();
            other[at] ^= 4;
            let text = check(&other).unwrap_err().to_string();
            let chunk = format!("chunk {} at offset {}", at / 4096, at / 4096 * 4096);
            assert!(text.contains(&chunk) && text.contains("differs"), "{text}");
        }
        let part = Disk::file(file.path()).unwrap().only(4096..2 * 4096 + 1);
        assert_eq!(total(&map, &part), 4096);
        let mut hole = image.clone();
        hole[3 * 4096] ^= 1;
        assert!(check(&hole).is_ok());
        let text = check(&image[..image.len() - 1]).unwrap_err().to_string();
        assert!(text.contains("is not there"), "{text}");
    }
}
