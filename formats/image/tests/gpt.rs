//! sgdisk reads what `gpt` wrote and grew.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod judge;

use std::fs::{File, OpenOptions};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use image::gpt::{self, Partition, SECTOR, Table};
use image::{Error, Guid};
use tempfile::TempDir;

const MIB: u64 = (1 << 20) / SECTOR;

fn partition(n: u8, kind: Guid, first: u64, last: u64, name: &str) -> Partition {
    let guid = Guid::from_digest([n; 16]);
    Partition {
        kind,
        guid,
        first,
        last,
        attributes: u64::from(n),
        name: name.into(),
    }
}

/// The layout of a system disk of 64 MiB.
fn sample() -> Table {
    Table {
        guid: Guid::from_digest([9; 16]),
        sectors: 64 * MIB,
        partitions: vec![
            partition(1, gpt::BIOS_BOOT, MIB, 2 * MIB - 1, "BIOS"),
            partition(2, gpt::ESP, 2 * MIB, 10 * MIB - 1, "ESP"),
            partition(3, gpt::LINUX_ROOT_X86_64, 10 * MIB, 63 * MIB - 1, "root ü"),
        ],
    }
}

fn disk(table: &Table) -> (TempDir, PathBuf, File) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    file.set_len(table.sectors * SECTOR).unwrap();
    gpt::write(&mut file, table, &[0xfa; 440]).unwrap();
    (dir, path, file)
}

fn sgdisk(option: &str, path: &Path) -> String {
    judge::ok("sgdisk", &[option, path.to_str().unwrap()])
}

fn assert_sound(path: &Path) {
    let report = sgdisk("-v", path);
    assert!(report.contains("No problems found"), "{report}");
}

#[test]
fn sgdisk_reads_the_same_partitions() {
    let (_dir, path, mut file) = disk(&sample());
    assert_sound(&path);
    let report = sgdisk("-p", &path);
    let rows: Vec<Vec<&str>> = report
        .lines()
        .skip_while(|line| !line.starts_with("Number"))
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        ["1", "2048", "4095", "1024.0", "KiB", "EF02", "BIOS"],
        "{report}"
    );
    assert_eq!(
        rows[1],
        ["2", "4096", "20479", "8.0", "MiB", "EF00", "ESP"],
        "{report}"
    );
    assert_eq!(
        rows[2],
        ["3", "20480", "129023", "53.0", "MiB", "8304", "root", "ü"],
        "{report}"
    );
    assert_eq!(gpt::read(&mut file).unwrap(), sample());
    let entry = sgdisk("-i3", &path);
    assert!(
        entry.contains("Partition unique GUID: 03030303-0303-8303-8303-030303030303"),
        "{entry}"
    );
    assert!(
        entry.contains("Attribute flags: 0000000000000003"),
        "{entry}"
    );
}

#[test]
fn a_grown_disk_is_sound_and_keeps_its_boot_code() {
    let (_dir, path, mut file) = disk(&sample());
    let sectors = 200 * MIB + 77;
    file.set_len(sectors * SECTOR).unwrap();
    let grown = gpt::grow(&mut file, sectors * SECTOR).unwrap();
    assert_eq!(
        (grown.number, grown.first, grown.last_before),
        (3, 10 * MIB, 63 * MIB - 1)
    );
    assert_eq!(grown.last, 200 * MIB - 1);
    assert_sound(&path);
    let table = gpt::read(&mut file).unwrap();
    assert_eq!(table.sectors, sectors);
    assert_eq!(table.partitions[2].last, grown.last);
    assert_eq!(table.partitions[..2], sample().partitions[..2]);
    let mut code = [0; 440];
    File::open(&path).unwrap().read_exact(&mut code).unwrap();
    assert_eq!(code, [0xfa; 440]);
    let again = gpt::grow(&mut file, sectors * SECTOR).unwrap();
    assert_eq!(again.last_before, again.last);
}

#[test]
fn a_disk_as_long_as_its_table_keeps_its_last_partition() {
    let (_dir, path, mut file) = disk(&sample());
    let grown = gpt::grow(&mut file, 64 * MIB * SECTOR).unwrap();
    assert_eq!(grown.last, 63 * MIB - 1);
    assert_sound(&path);
}

#[test]
fn the_last_on_the_disk_grows_and_not_the_last_number() {
    let mut table = sample();
    table.partitions.swap(1, 2);
    let (_dir, path, mut file) = disk(&table);
    file.set_len(128 * MIB * SECTOR).unwrap();
    let grown = gpt::grow(&mut file, 128 * MIB * SECTOR).unwrap();
    assert_eq!((grown.number, grown.last), (2, 127 * MIB - 1));
    assert_sound(&path);
}

#[test]
fn a_smaller_disk_is_refused() {
    let (_dir, _path, mut file) = disk(&sample());
    let error = gpt::grow(&mut file, 63 * MIB * SECTOR).unwrap_err();
    assert!(matches!(error, Error::Unfit { .. }), "{error}");
    assert!(error.to_string().contains("129024 sectors"), "{error}");
}

#[test]
fn any_changed_bit_of_the_primary_table_is_found() {
    let (_dir, path, _) = disk(&sample());
    let mut head = vec![0; (gpt::HEAD_SECTORS * SECTOR) as usize];
    OpenOptions::new()
        .read(true)
        .open(path)
        .unwrap()
        .read_exact(&mut head)
        .unwrap();
    let (header, array) = (512..512 + 92, 1024..head.len());
    for at in header.chain(array.step_by(61)) {
        let mut changed = head.clone();
        changed[at] ^= 0x10;
        let error = gpt::read(&mut Cursor::new(changed)).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "byte {at}: {error}");
    }
    assert!(gpt::read(&mut Cursor::new(head)).is_ok());
    assert!(gpt::read(&mut Cursor::new(vec![0; 100])).is_err());
}

#[test]
fn impossible_tables_are_refused() {
    type Change = fn(&mut Table);
    let changes: [(&str, Change); 6] = [
        ("overlap", |t| t.partitions[1].first -= 1),
        ("backwards", |t| {
            t.partitions[2].last = t.partitions[2].first - 1
        }),
        ("past the end", |t| {
            t.partitions[2].last = t.last_usable() + 1
        }),
        ("in the array", |t| t.partitions[0].first = 33),
        ("name", |t| t.partitions[0].name = "n".repeat(37)),
        ("disk", |t| t.sectors = 0),
    ];
    for (name, change) in changes {
        let mut table = sample();
        change(&mut table);
        assert!(table.head(&[]).is_err(), "{name}");
    }
}

#[test]
fn the_bytes_are_pinned() {
    let (_dir, path, _) = disk(&sample());
    assert_eq!(
        judge::digest(&path),
        "60135ff941e32891f11c8f7fb631c5f55e2efa18638fedd8c2d39372c8dbc664"
    );
}
