//! An exFAT file system with one file in its root directory. mkfs.exfat makes the file system, nothing in user space puts
//! a file into it, fsck.exfat judges what this made of it.
//!
//! Microsoft, *exFAT file system specification*, sections 3.1 (boot sector) and 7 (directory entries). *Not written:*
//! directories, a second file, FAT chains: the file lies in one run of clusters.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::media::put;
use crate::run;

/// Bytes of a directory entry.
const ENTRY: usize = 32;
/// Entry types: allocation bitmap (7.1), file (7.4), stream extension (7.6), file name (7.7).
const BITMAP: u8 = 0x81;
const FILE: u8 = 0x85;
const STREAM: u8 = 0xc0;
const NAME: u8 = 0xc1;
/// UTF-16 units of a name in an entry.
const UNITS: usize = 15;

/// Where things lie, in bytes (3.1).
struct Layout {
    heap: u64,
    cluster: u64,
    root: u64,
}

impl Layout {
    fn read(disk: &File) -> Self {
        let mut boot = [0; 512];
        disk.read_exact_at(&mut boot, 0).unwrap();
        let word = |at: usize| u64::from(u32::from_le_bytes(boot[at..at + 4].try_into().unwrap()));
        let sector = 1 << boot[108];
        Self {
            heap: word(88) * sector,
            cluster: sector << boot[109],
            root: word(96),
        }
    }

    /// Where a cluster lies; the first one is 2.
    fn at(&self, cluster: u64) -> u64 {
        self.heap + (cluster - 2) * self.cluster
    }
}

/// Makes the file system in `image` with the bytes of `content` as file `name`, of ASCII letters.
///
/// # Panics
/// Where a program of the host fails or finds fault with it.
pub fn exfat(image: &Path, name: &str, content: &Path) {
    let length = fs::metadata(content).unwrap().len();
    let size = (length + (32 << 20)).next_multiple_of(1 << 20);
    File::create(image).unwrap().set_len(size).unwrap();
    run("mkfs.exfat", &[&image]);
    let disk = OpenOptions::new().read(true).write(true).open(image);
    let disk = disk.unwrap();
    let layout = Layout::read(&disk);
    let mut root = vec![0; layout.cluster as usize];
    disk.read_exact_at(&mut root, layout.at(layout.root))
        .unwrap();
    let entries = || root.chunks(ENTRY);
    let bitmap = entries().find(|e| e[0] == BITMAP).unwrap();
    let first = take(&disk, &layout, bitmap, length.div_ceil(layout.cluster));
    let end = entries().position(|e| e[0] == 0).unwrap() * ENTRY;
    let set = file(name, first, length);
    let place = layout.at(layout.root) + end as u64;
    disk.write_all_at(&set, place).unwrap();
    put(content, image, layout.at(first));
    run("fsck.exfat", &[&"-n", &image]);
}

/// Marks `count` clusters behind all others as used; gives the first one.
fn take(disk: &File, layout: &Layout, bitmap: &[u8], count: u64) -> u64 {
    let at = layout.at(u32::from_le_bytes(bitmap[20..24].try_into().unwrap()).into());
    let length = u64::from_le_bytes(bitmap[24..32].try_into().unwrap());
    let mut bits = vec![0; length as usize];
    disk.read_exact_at(&mut bits, at).unwrap();
    let used = (0..length * 8).rfind(|bit| bits[*bit as usize / 8] >> (bit % 8) & 1 == 1);
    let first = used.unwrap() + 1;
    for bit in first..first + count {
        bits[bit as usize / 8] |= 1 << (bit % 8);
    }
    disk.write_all_at(&bits, at).unwrap();
    first + 2
}

/// The entries of a file.
fn file(name: &str, first: u64, length: u64) -> Vec<u8> {
    let units: Vec<u16> = name.encode_utf16().collect();
    let names = units.chunks(UNITS);
    let mut set = vec![0; ENTRY * (2 + names.len())];
    set[0] = FILE;
    set[1] = 1 + names.len() as u8; // SecondaryCount
    set[4] = 0x20; // FileAttributes: archive
    for time in [8, 12, 16] {
        let day = 1 << 21 | 1 << 16_u32; // 1 January 1980
        set[time..time + 4].copy_from_slice(&u32::to_le_bytes(day));
    }
    let stream = &mut set[ENTRY..2 * ENTRY];
    stream[0] = STREAM;
    stream[1] = 3; // GeneralSecondaryFlags: AllocationPossible, NoFatChain
    stream[3] = units.len() as u8; // NameLength
    let upper: Vec<u8> = name
        .to_ascii_uppercase()
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    stream[4..6].copy_from_slice(&sum(&upper).to_le_bytes()); // NameHash
    stream[8..16].copy_from_slice(&length.to_le_bytes()); // ValidDataLength
    stream[20..24].copy_from_slice(&(first as u32).to_le_bytes()); // FirstCluster
    stream[24..32].copy_from_slice(&length.to_le_bytes()); // DataLength
    for (part, entry) in names.zip(set[2 * ENTRY..].chunks_mut(ENTRY)) {
        entry[0] = NAME;
        for (unit, place) in part.iter().zip(entry[2..].chunks_mut(2)) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
    }
    // SetChecksum: over everything but itself (6.3.3).
    let counted: Vec<u8> = [&set[..2], &set[4..]].concat();
    let checksum = sum(&counted).to_le_bytes();
    set[2..4].copy_from_slice(&checksum);
    set
}

/// The sum of names and of sets of entries.
fn sum(bytes: &[u8]) -> u16 {
    let add = |sum: u16, byte: &u8| sum.rotate_right(1).wrapping_add(u16::from(*byte));
    bytes.iter().fold(0, add)
}
