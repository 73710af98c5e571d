//! No stage's memory grows with the image.
//!
//! The fault tests' small system with a large overlay: `RAMFORGE_TREE_MIB` MiB of it (`make soak`: 8192).

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::fs::{self, File};
use std::io::{BufWriter, Write};
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
/// MiB of one file: enough files that they are read on all cores, the last one half as large.
const FILE_MIB: u64 = 256;
/// Bytes of a piece of a file. Each is of its own, so that no chunk is like another, and half of it is noise.
const PIECE: usize = 1 << 16;

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
    let mut left = (mib << 20) as usize;
    let mut piece = vec![0; PIECE];
    for n in 0.. {
        let length = left.min((FILE_MIB << 20) as usize);
        if length == 0 {
            return;
        }
        let mut file = BufWriter::new(File::create(dir.join(n.to_string())).unwrap());
        for _ in 0..length / PIECE {
            rng.fill(&mut piece[..PIECE / 2]);
            file.write_all(&piece).unwrap();
        }
        file.flush().unwrap();
        left -= length;
    }
}
