//! Two disk images, chunk by chunk: from a chunk to the byte, from the byte to the partition.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use manifest::{Disk, Object, Partition, PartitionRole};
use stage::{At, Error, Result};
use store::Store;
use store::chunk_map::{Chunk, ChunkMap};

use super::Sides;
use super::bytes::first;
use super::report::Report;

/// Names, in every chunk that differs, the first byte that does.
///
/// # Errors
/// Exit code 6 where something is damaged.
pub(super) fn explain(sides: &Sides<'_>, was: &Disk, is: &Disk, report: &mut Report) -> Result<()> {
    let (a, b) = (map(sides.was, &was.map)?, map(sides.is, &is.map)?);
    if a.size != b.size {
        report.add(format!("size was {}, is {}", a.size, b.size))?;
    }
    if a.chunk_size != b.chunk_size {
        return report.add(format!(
            "chunk size was {}, is {}",
            a.chunk_size, b.chunk_size
        ));
    }
    let (by_place, new) = (places(&a), places(&b));
    let all: BTreeSet<u64> = by_place.keys().chain(new.keys()).copied().collect();
    for at in all {
        let (was, now) = (by_place.get(&at).copied(), new.get(&at).copied());
        if was.map(|c| c.blake3) != now.map(|c| c.blake3) {
            chunk(sides, &a, (at, was, now), &is.partitions, report)?;
        } else if was.map(|c| c.frame) != now.map(|c| c.frame) {
            let fact =
                format!("chunk {at}: the same bytes, compressed otherwise (another --level?)");
            report.add(fact)?;
        }
    }
    Ok(())
}

fn map(store: &Store, object: &Object) -> Result<ChunkMap> {
    ChunkMap::parse(&store.get(object)?).map_err(|e| Error::damaged(e.to_string()))
}

fn places(map: &ChunkMap) -> BTreeMap<u64, &Chunk> {
    map.chunks.iter().map(|chunk| (chunk.at, chunk)).collect()
}

fn chunk(
    sides: &Sides<'_>,
    map: &ChunkMap,
    (at, was, is): (u64, Option<&Chunk>, Option<&Chunk>),
    partitions: &[Partition],
    report: &mut Report,
) -> Result<()> {
    if !report.is_open() {
        return report.add("");
    }
    let was = plain(sides.was, map, was)?;
    let is = plain(sides.is, map, is)?;
    let differing = was.iter().zip(&is).filter(|(a, b)| a != b).count();
    let base = at * map.chunk_size;
    match first(&was[..], &is[..]).at(sides.is.root())? {
        Some(mut difference) => {
            let place = place(base + difference.offset, partitions);
            difference.offset += base;
            report.add(format!(
                "{difference} ({place}; {differing} bytes of this chunk)"
            ))
        }
        None => Ok(()),
    }
}

/// The bytes of a chunk; one that is left out is all zeros.
fn plain(store: &Store, map: &ChunkMap, chunk: Option<&Chunk>) -> Result<Vec<u8>> {
    let Some(chunk) = chunk else {
        return Ok(vec![0; map.chunk_size as usize]);
    };
    let path = store.object_path(&chunk.frame);
    let length = map.chunk_len(chunk.at);
    let mut bytes = Vec::new();
    let frame = zstd::Decoder::new(store.open_object(&chunk.frame)?).at(&path)?;
    frame.take(length).read_to_end(&mut bytes).at(&path)?;
    bytes.resize(map.chunk_size as usize, 0);
    Ok(bytes)
}

/// What lies at a byte of the disk.
fn place(offset: u64, partitions: &[Partition]) -> String {
    let inside = |p: &&Partition| (p.offset..p.offset + p.size).contains(&offset);
    match partitions.iter().find(inside) {
        Some(p) => format!(
            "partition {}, {}, byte {}",
            p.number,
            match p.role {
                PartitionRole::BiosBoot => "GRUB for BIOS",
                PartitionRole::Esp => "the ESP",
                PartitionRole::Root => "the root file system",
            },
            offset - p.offset
        ),
        None => "in no partition: a partition table or a gap".to_owned(),
    }
}
