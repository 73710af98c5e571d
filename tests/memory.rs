//! No stage's memory grows with the image.
//!
//! The fault tests' small system with a large overlay: `RAMFORGE_TREE_MIB` MiB of it (`make soak`: 8192).

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use fastrand::Rng;
use journal::Event;
use pipeline_tests::{events, root, run, scratch, small, succeed};

/// MiB of the overlay in a plain run of the tests.
const TREE_MIB: u64 = 1024;
/// The most that a stage may take, with every program that it runs, in MiB.
const LIMIT_MIB: u64 = 256;
/// Where the files lie in the overlay.
const PLACE: &str = "root/srv/data";
/// MiB of one file: enough files that they are read on all cores.
const FILE_MIB: u64 = 256;
/// A file consists of pieces of so many bytes, each of which begins with noise of its own: no chunk is like another, and
/// the disk of the test needs little room.
const PIECE: u64 = 1 << 16;
/// Bytes of noise in a piece.
const NOISE: usize = 1 << 13;

#[test]
fn a_large_tree_takes_no_more_memory_than_a_small_one() {
    let small = small();
    let scratch = scratch();
    let description = scratch.path().join("description");
    run(
        "cp",
        &[
            &"-r",
            &root().join("tests/faults/description"),
            &description,
        ],
    );
    let mib = std::env::var("RAMFORGE_TREE_MIB").map_or(TREE_MIB, |mib| mib.parse().unwrap());
    fill(&description.join(PLACE), mib);
    let config = description.join("config.xml");
    let size = format!("ramdisk_size={}", (mib + 1024) * 1024);
    let text = fs::read_to_string(&config).unwrap();
    let text = text
        .replace("ramdisk_size=1024000", &size)
        .replace("<oem-ramdisk-size>1024000</oem-ramdisk-size>", "");
    fs::write(&config, text).unwrap();
    let (store, out) = (scratch.path().join("store"), scratch.path().join("out"));
    let mut pipeline = small.pipeline_of(&description, &store, &out);
    succeed(&mut pipeline, "the large tree");
    let peaks: Vec<(String, u64)> = events(&store, &description.to_string_lossy())
        .into_iter()
        .filter_map(|event| match event {
            Event::StageFinished {
                stage, peak_kib, ..
            } => Some((stage, peak_kib >> 10)),
            _ => None,
        })
        .collect();
    for (stage, peak) in &peaks {
        println!("{stage}: {peak} MiB with a tree of {mib} MiB");
    }
    assert_eq!(peaks.len(), 6, "{peaks:?}");
    let over: Vec<_> = peaks.iter().filter(|(_, peak)| *peak > LIMIT_MIB).collect();
    assert!(over.is_empty(), "more than {LIMIT_MIB} MiB: {over:?}");
}

/// Fills a directory with files that are not alike.
fn fill(dir: &Path, mib: u64) {
    fs::create_dir_all(dir).unwrap();
    let mut rng = Rng::with_seed(8);
    let mut noise = [0; NOISE];
    for n in 0..mib.div_ceil(FILE_MIB) {
        let length = (mib - n * FILE_MIB).min(FILE_MIB) << 20;
        let file = File::create(dir.join(n.to_string())).unwrap();
        file.set_len(length).unwrap();
        for piece in 0..length / PIECE {
            rng.fill(&mut noise);
            file.write_all_at(&noise, piece * PIECE).unwrap();
        }
    }
}
