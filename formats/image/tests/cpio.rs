//! GNU cpio reads what `cpio` wrote, and the walker survives whatever it is fed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};

use image::cpio::{Compression, Meta, Writer, segments, walk};

const EPOCH: u32 = 1_704_164_645;

fn early() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), EPOCH);
    let path = "kernel/x86/microcode/GenuineIntel.bin";
    writer.file(path, Meta::root(0o644), b"microcode").unwrap();
    writer.finish().unwrap()
}

fn main_segment() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), EPOCH);
    writer.directory("root", Meta::root(0o700)).unwrap();
    writer
        .file("root/.profile", Meta::root(0o600), b"")
        .unwrap();
    writer
        .file(
            "usr/bin/ram-deploy",
            Meta {
                mode: 0o4755,
                uid: 7,
                gid: 8,
            },
            &[1; 1001],
        )
        .unwrap();
    writer.symlink("init", "usr/bin/ram-deploy").unwrap();
    writer
        .character_device("dev/console", Meta::root(0o600), (5, 1))
        .unwrap();
    writer
        .block_device("dev/ram1", Meta::root(0o660), (1, 1))
        .unwrap();
    writer.finish().unwrap()
}

/// The paths of [`main_segment`].
const MAIN_PATHS: [&str; 9] = [
    "root",
    "root/.profile",
    "usr",
    "usr/bin",
    "usr/bin/ram-deploy",
    "init",
    "dev",
    "dev/console",
    "dev/ram1",
];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Early cpio, then one segment of every compression, zeros between them as `lsinitrd` and the kernel
/// accept them; the gzip segment holds two archives.
fn initrd() -> Vec<u8> {
    let mut initrd = early();
    initrd.extend([0; 512]);
    initrd.extend(gzip(&[main_segment(), vec![0; 8], early()].concat()));
    initrd.extend(xz(&main_segment()));
    initrd.resize(initrd.len().next_multiple_of(4), 0);
    initrd.extend(main_segment());
    initrd.extend(zstd::encode_all(&early()[..], 3).unwrap());
    initrd.extend([0; 4]);
    initrd
}

/// Feeds `bytes` to GNU cpio and returns what it prints.
fn gnu_cpio(arguments: &[&str], directory: &Path, bytes: &[u8]) -> String {
    let child = Command::new("cpio")
        .args(arguments)
        .current_dir(directory)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|e| panic!("cpio (package cpio): {e}"));
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "cpio {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn gnu_cpio_lists_every_path() {
    let dir = tempfile::tempdir().unwrap();
    let listed = gnu_cpio(&["-t", "--quiet"], dir.path(), &main_segment());
    assert_eq!(listed.lines().collect::<Vec<_>>(), MAIN_PATHS);
    let long = gnu_cpio(&["-tv", "--quiet", "-n"], dir.path(), &main_segment());
    let words = |n: usize| {
        long.lines()
            .nth(n)
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert_eq!(words(0)[..4], ["drwx------", "2", "0", "0"], "{long}");
    assert_eq!(
        words(4)[..5],
        ["-rwsr-xr-x", "1", "7", "8", "1001"],
        "{long}"
    );
    assert_eq!(
        words(7)[..6],
        ["crw-------", "1", "0", "0", "5,", "1"],
        "{long}"
    );
    assert_eq!(words(8)[0], "brw-rw----", "{long}");
    assert!(long.contains("init -> usr/bin/ram-deploy"), "{long}");
}

#[test]
fn gnu_cpio_extracts_the_same_content() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = [
        "-i",
        "-d",
        "-m",
        "--quiet",
        "--no-preserve-owner",
        "usr/*",
        "init",
        "root*",
    ];
    gnu_cpio(&wanted, dir.path(), &main_segment());
    let file = dir.path().join("usr/bin/ram-deploy");
    assert!(fs::read(&file).unwrap() == [1; 1001]);
    assert_eq!(fs::metadata(file).unwrap().mtime(), i64::from(EPOCH));
    let link = fs::read_link(dir.path().join("init")).unwrap();
    assert_eq!(link, Path::new("usr/bin/ram-deploy"));
    assert!(
        !fs::symlink_metadata(dir.path().join("root"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
}

#[test]
fn the_walker_finds_all_segments() {
    let initrd = initrd();
    let found = segments(&initrd[..]).unwrap();
    let kinds: Vec<_> = found.iter().map(|s| s.place.compression).collect();
    let expected = [
        Compression::None,
        Compression::Gzip,
        Compression::Xz,
        Compression::None,
        Compression::Zstd,
    ];
    assert_eq!(kinds, expected);
    let paths = |n: usize| -> Vec<String> {
        let entries = found[n].entries.iter();
        entries
            .map(|e| String::from_utf8_lossy(&e.path).into_owned())
            .collect()
    };
    assert_eq!(paths(3), MAIN_PATHS);
    assert_eq!(paths(1).len(), MAIN_PATHS.len() + 4);
    assert_eq!(
        paths(4).last().unwrap(),
        "kernel/x86/microcode/GenuineIntel.bin"
    );
    for segment in &found[1..] {
        let magic = &initrd[segment.place.offset as usize..][..2];
        let expected: &[u8] = match segment.place.compression {
            Compression::None => b"07",
            Compression::Gzip => b"\x1f\x8b",
            Compression::Zstd => b"\x28\xb5",
            Compression::Xz => b"\xfd7",
        };
        assert_eq!(magic, expected);
    }
}

#[test]
fn the_walker_reads_what_gnu_cpio_writes() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/f"), b"content").unwrap();
    let archive = dir.path().join("out.cpio");
    let target = archive.to_str().unwrap();
    gnu_cpio(
        &["-o", "-H", "newc", "--quiet", "-O", target],
        dir.path(),
        b"d\nd/f\n",
    );
    let archive = fs::read(archive).unwrap();
    let mut seen = Vec::new();
    walk(&archive[..], &mut |_, entry, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).unwrap();
        seen.push((entry.path.clone(), bytes));
        Ok(())
    })
    .unwrap();
    let expected = [
        (b"d".to_vec(), Vec::new()),
        (b"d/f".to_vec(), b"content".to_vec()),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn content_may_be_left_unread() {
    let mut count = 0;
    walk(&initrd()[..], &mut |_, _, content| {
        count += 1;
        content
            .read(&mut [0; 3])
            .map(drop)
            .map_err(image::Error::io("test"))
    })
    .unwrap();
    assert_eq!(count, 4 + MAIN_PATHS.len() + 4 + MAIN_PATHS.len() * 2 + 4);
}

#[test]
fn damage_is_named_with_its_place() {
    let error = |bytes: &[u8]| segments(bytes).unwrap_err().to_string();
    let whole = main_segment();
    assert!(error(&whole[..whole.len() - 200]).contains("ends too early"));
    assert_eq!(
        error(b"\0\0\0\0junk, and more"),
        "initrd: segment at byte 4: damaged: begins with [6a, 75, 6e, 6b, 2c, 20]"
    );
    assert!(error(&[b"\0", &whole[..]].concat()).contains("multiple of 4"));
    assert!(error(b"\x02\x21\x4c\x18....").contains("compressed by lz4; expected zstd"));
    let mut broken = gzip(&whole);
    let middle = broken.len() / 2;
    broken[middle] ^= 0xff;
    assert!(error(&broken).starts_with("initrd: segment at byte 0: damaged: "));
}

#[test]
fn every_shortened_initrd_is_read_or_refused() {
    let initrd = initrd();
    let all = segments(&initrd[..]).unwrap();
    for len in 0..initrd.len() {
        if let Ok(found) = segments(&initrd[..len]) {
            assert!(all.starts_with(&found), "{len} bytes");
        }
    }
}

/// A small generator of numbers that are the same in every run (splitmix64).
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ z >> 31) as usize
}

#[test]
fn the_walker_survives_garbage() {
    let whole = initrd();
    let mut state = 1;
    let mut refused = 0;
    for _ in 0..3_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random(&mut state) % 4 {
            let at = random(&mut state) % bytes.len();
            match random(&mut state) % 3 {
                0 => bytes[at] ^= 1 << (random(&mut state) % 8),
                1 => bytes[at] = random(&mut state) as u8,
                _ => drop(bytes.drain(at..(at + random(&mut state) % 9).min(bytes.len()))),
            }
        }
        refused += usize::from(segments(&bytes[..]).is_err());
    }
    assert!(refused > 1_500, "only {refused} of 3000 were refused");
}

#[test]
fn what_cannot_be_written_is_refused() {
    let mut writer = Writer::new(Vec::new(), EPOCH);
    let long = "p/".repeat(2048) + "f";
    for path in [
        "/abs",
        "a//b",
        "a/../b",
        "./a",
        "",
        "nul\0",
        "TRAILER!!!",
        &long,
    ] {
        assert!(
            writer.file(path, Meta::root(0o644), b"").is_err(),
            "{path:?}"
        );
    }
    let mut zero = std::io::repeat(0);
    let error = writer
        .file_from("huge", Meta::root(0o644), 1 << 32, &mut zero)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "huge: 4294967296 bytes long; expected less than 4 GiB in a cpio archive"
    );
    let error = writer
        .file_from("short", Meta::root(0o644), 9, &mut &b"abc"[..])
        .unwrap_err();
    assert_eq!(error.to_string(), "short: damaged: 3 bytes of 9 are there");
}

#[test]
fn the_bytes_are_pinned() {
    let digest = blake3::hash(&main_segment()).to_hex();
    assert_eq!(
        digest.as_str(),
        "bd1c0cdf3b30fb5cca1d612f1a673f882ff17cee72f6b75b1f5687ecf2a0255c"
    );
}
