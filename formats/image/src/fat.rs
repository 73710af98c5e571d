//! The FAT16 file system of an EFI system partition (Microsoft's FAT specification, 2004).
//!
//! ```text
//! sector    structure
//! 0         boot sector with the BIOS parameter block
//! 1 ..      first FAT, second FAT: 16 bits a cluster
//! ..        root directory, 512 entries of 32 bytes
//! ..        clusters, from number 2; every file and directory lies in one piece
//! ```
//!
//! Names get long-name entries only where 8.3 upper case does not say them. All times are 1980-01-01,
//! the first that FAT knows, so that equal files give equal bytes.
//!
//! Not written: FAT12 and FAT32 (UEFI reads FAT16 as well, and 4 MiB to 2 GiB is every sensible ESP),
//! names outside ASCII, directories of more than 65,536 bytes.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// `BPB_BytsPerSec`.
const SECTOR: usize = 512;
/// `BPB_RootEntCnt`.
const ROOT_ENTRIES: usize = 512;
/// `BPB_RsvdSecCnt`: the boot sector alone.
const RESERVED: usize = 1;
/// Bytes of a directory entry.
const ENTRY: usize = 32;
/// Clusters of a FAT16 volume: fewer make FAT12, more make FAT32.
const CLUSTERS: std::ops::RangeInclusive<usize> = 4085..=65_524;
/// FAT entry: the last cluster of a chain.
const END_OF_CHAIN: u16 = 0xffff;
/// `DIR_WrtDate`: 1980-01-01.
const FIRST_DAY: u16 = (1 << 5) | 1;
const ATTR_DIRECTORY: u8 = 0x10;
const ATTR_VOLUME_ID: u8 = 0x08;
const ATTR_LONG_NAME: u8 = 0x0f;

/// A volume of `size` bytes with these files, by path with `/` between the names.
///
/// # Errors
/// Where the files do not fit, or a path is not one that this writer can hold.
pub fn volume(size: u64, label: &str, id: u32, files: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let geometry = Geometry::new(size)?;
    let mut root = Dir::default();
    for (path, content) in files {
        root.add(path, content)?;
    }
    let mut volume = Volume::new(geometry, label, id);
    let entries = volume.directory(&root, None)?;
    volume.root(&entries, label)?;
    Ok(volume.bytes)
}

/// Where things lie, in sectors.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    sectors: usize,
    per_cluster: usize,
    per_fat: usize,
    clusters: usize,
}

impl Geometry {
    fn new(size: u64) -> Result<Self> {
        let unfit = || Error::unfit("FAT volume", format!("{size} bytes"), "4 MiB to 2 GiB");
        let sectors = usize::try_from(size).map_err(|_| unfit())? / SECTOR;
        let fixed = RESERVED + ROOT_ENTRIES * ENTRY / SECTOR;
        let candidates = (0..7).map(|power| {
            let per_cluster = 1 << power;
            let upper = sectors.saturating_sub(fixed) / per_cluster;
            let per_fat = ((upper + 2) * 2).div_ceil(SECTOR);
            let clusters = sectors.saturating_sub(fixed + 2 * per_fat) / per_cluster;
            Self {
                sectors,
                per_cluster,
                per_fat,
                clusters,
            }
        });
        candidates
            .into_iter()
            .find(|g| CLUSTERS.contains(&g.clusters))
            .ok_or_else(unfit)
    }

    fn root(&self) -> usize {
        (RESERVED + 2 * self.per_fat) * SECTOR
    }

    /// Offset of a cluster in bytes.
    fn cluster(&self, number: usize) -> usize {
        self.root() + ROOT_ENTRIES * ENTRY + (number - 2) * self.cluster_size()
    }

    fn cluster_size(&self) -> usize {
        self.per_cluster * SECTOR
    }
}

/// A directory in memory.
#[derive(Debug, Default)]
struct Dir<'a> {
    entries: BTreeMap<String, Child<'a>>,
}

#[derive(Debug)]
enum Child<'a> {
    Dir(Dir<'a>),
    File(&'a [u8]),
}

impl<'a> Dir<'a> {
    fn add(&mut self, path: &str, content: &'a [u8]) -> Result<()> {
        let (name, rest) = path
            .split_once('/')
            .map_or((path, None), |(n, r)| (n, Some(r)));
        if name.is_empty() || name.len() > 255 || !name.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::unfit(
                format!("FAT volume: {path:?}"),
                "a name",
                "1 to 255 ASCII characters",
            ));
        }
        // FAT keeps the case of a name but does not tell names apart by it.
        let known = self.entries.keys().find(|k| k.eq_ignore_ascii_case(name));
        let name = known.cloned().unwrap_or_else(|| name.to_owned());
        let Some(rest) = rest else {
            return match self.entries.insert(name, Child::File(content)) {
                None => Ok(()),
                Some(_) => Err(Error::unfit(
                    format!("FAT volume: {path:?}"),
                    "is there already",
                    "each path once, whatever its case",
                )),
            };
        };
        let child = self.entries.entry(name);
        match child.or_insert_with(|| Child::Dir(Dir::default())) {
            Child::Dir(dir) => dir.add(rest, content),
            Child::File(_) => Err(Error::unfit(
                format!("FAT volume: {path:?}"),
                "a file is its parent",
                "a directory",
            )),
        }
    }
}

struct Volume {
    geometry: Geometry,
    bytes: Vec<u8>,
    next: usize,
}

impl Volume {
    fn new(geometry: Geometry, label: &str, id: u32) -> Self {
        let mut bytes = vec![0; geometry.sectors * SECTOR];
        let boot = boot_sector(&geometry, &padded(label), id);
        bytes[..boot.len()].copy_from_slice(&boot);
        let mut volume = Self {
            geometry,
            bytes,
            next: 2,
        };
        volume.link(0, 0xfff8);
        volume.link(1, END_OF_CHAIN);
        volume
    }

    /// Writes what is below `dir` and returns its entries; `own` is its first cluster and its parent's.
    fn directory(&mut self, dir: &Dir<'_>, own: Option<(u16, u16)>) -> Result<Vec<u8>> {
        let mut table = Vec::new();
        if let Some((cluster, parent)) = own {
            table.extend(entry(b".          ", ATTR_DIRECTORY, cluster, 0));
            table.extend(entry(b"..         ", ATTR_DIRECTORY, parent, 0));
        }
        for (n, (name, child)) in dir.entries.iter().enumerate() {
            let short = short_name(name, n);
            if !says(&short, name) {
                table.extend(long_name(name, &short));
            }
            match child {
                Child::File(content) => {
                    let first = if content.is_empty() {
                        0
                    } else {
                        self.allocate(content.len(), name)?
                    };
                    if first != 0 {
                        self.put(first, content);
                    }
                    table.extend(entry(&short, 0, first, content.len() as u32));
                }
                Child::Dir(dir) => {
                    let length = (2 + dir.entries.len() * 21) * ENTRY;
                    let first = self.allocate(length, name)?;
                    let parent = own.map_or(0, |(cluster, _)| cluster);
                    let inner = self.directory(dir, Some((first, parent)))?;
                    self.put(first, &inner);
                    table.extend(entry(&short, ATTR_DIRECTORY, first, 0));
                }
            }
        }
        Ok(table)
    }

    fn root(&mut self, entries: &[u8], label: &str) -> Result<()> {
        let mut table = entry(&padded(label), ATTR_VOLUME_ID, 0, 0);
        table.extend(entries);
        if table.len() > ROOT_ENTRIES * ENTRY {
            let fact = format!("{} entries in the root directory", table.len() / ENTRY);
            return Err(Error::unfit(
                "FAT volume",
                fact,
                format!("at most {ROOT_ENTRIES}"),
            ));
        }
        let begin = self.geometry.root();
        self.bytes[begin..begin + table.len()].copy_from_slice(&table);
        Ok(())
    }

    /// A chain of clusters in one piece.
    fn allocate(&mut self, length: usize, name: &str) -> Result<u16> {
        let count = length.div_ceil(self.geometry.cluster_size());
        let first = self.next;
        if first + count > self.geometry.clusters + 2 {
            let size = self.geometry.sectors * SECTOR;
            return Err(Error::unfit(
                format!("FAT volume of {size} bytes"),
                format!("{name} does not fit"),
                "a larger one",
            ));
        }
        for cluster in first..first + count - 1 {
            self.link(cluster, cluster as u16 + 1);
        }
        self.link(first + count - 1, END_OF_CHAIN);
        self.next += count;
        Ok(first as u16)
    }

    fn put(&mut self, first: u16, content: &[u8]) {
        let begin = self.geometry.cluster(first.into());
        self.bytes[begin..begin + content.len()].copy_from_slice(content);
    }

    /// Sets an entry of both FATs.
    fn link(&mut self, cluster: usize, next: u16) {
        for copy in 0..2 {
            let at = (RESERVED + copy * self.geometry.per_fat) * SECTOR + 2 * cluster;
            self.bytes[at..at + 2].copy_from_slice(&next.to_le_bytes());
        }
    }
}

/// Boot sector and BIOS parameter block, page 9 of the specification.
fn boot_sector(g: &Geometry, label: &[u8; 11], id: u32) -> Vec<u8> {
    let small = u16::try_from(g.sectors).unwrap_or(0);
    let mut b = Vec::with_capacity(SECTOR);
    b.extend([0xeb, 0x3c, 0x90]); //                         0 BS_jmpBoot
    b.extend(b"RAMFORGE"); //                                3 BS_OEMName
    b.extend((SECTOR as u16).to_le_bytes()); //             11 BPB_BytsPerSec
    b.push(g.per_cluster as u8); //                         13 BPB_SecPerClus
    b.extend((RESERVED as u16).to_le_bytes()); //           14 BPB_RsvdSecCnt
    b.push(2); //                                           16 BPB_NumFATs
    b.extend((ROOT_ENTRIES as u16).to_le_bytes()); //       17 BPB_RootEntCnt
    b.extend(small.to_le_bytes()); //                       19 BPB_TotSec16
    b.push(0xf8); //                                        21 BPB_Media
    b.extend((g.per_fat as u16).to_le_bytes()); //          22 BPB_FATSz16
    b.extend(63u16.to_le_bytes()); //                       24 BPB_SecPerTrk
    b.extend(255u16.to_le_bytes()); //                      26 BPB_NumHeads
    b.extend(0u32.to_le_bytes()); //                        28 BPB_HiddSec
    b.extend((if small == 0 { g.sectors as u32 } else { 0 }).to_le_bytes()); // 32 BPB_TotSec32
    b.push(0x80); //                                        36 BS_DrvNum
    b.push(0); //                                           37 BS_Reserved1
    b.push(0x29); //                                        38 BS_BootSig
    b.extend(id.to_le_bytes()); //                          39 BS_VolID
    b.extend(label); //                                     43 BS_VolLab
    b.extend(b"FAT16   "); //                               54 BS_FilSysType
    b.extend([0xf4, 0xeb, 0xfd]); //                        62 halt: there is nothing to boot
    b.resize(SECTOR - 2, 0);
    b.extend([0x55, 0xaa]); //                             510 signature
    b
}

/// Directory entry, page 23.
fn entry(name: &[u8; 11], attributes: u8, cluster: u16, size: u32) -> Vec<u8> {
    let mut e = Vec::with_capacity(ENTRY);
    e.extend(name); //                                       0 DIR_Name
    e.push(attributes); //                                  11 DIR_Attr
    e.extend([0, 0, 0, 0]); //                              12 DIR_NTRes, DIR_CrtTimeTenth, DIR_CrtTime
    e.extend(FIRST_DAY.to_le_bytes()); //                   16 DIR_CrtDate
    e.extend(FIRST_DAY.to_le_bytes()); //                   18 DIR_LstAccDate
    e.extend(0u16.to_le_bytes()); //                        20 DIR_FstClusHI
    e.extend(0u16.to_le_bytes()); //                        22 DIR_WrtTime
    e.extend(FIRST_DAY.to_le_bytes()); //                   24 DIR_WrtDate
    e.extend(cluster.to_le_bytes()); //                     26 DIR_FstClusLO
    e.extend(size.to_le_bytes()); //                        28 DIR_FileSize
    e
}

/// Long-name entries, page 28: the last part first.
fn long_name(name: &str, short: &[u8; 11]) -> Vec<u8> {
    let checksum = short
        .iter()
        .fold(0u8, |sum, b| sum.rotate_right(1).wrapping_add(*b));
    let mut units: Vec<u16> = name.encode_utf16().collect();
    if !units.len().is_multiple_of(13) {
        units.push(0);
        units.resize(units.len().next_multiple_of(13), 0xffff);
    }
    let parts = units.len() / 13;
    let mut table = Vec::new();
    for (n, part) in units.chunks(13).enumerate().rev() {
        let last = if n + 1 == parts { 0x40 } else { 0 };
        let text = |range: std::ops::Range<usize>| part[range].iter().flat_map(|u| u.to_le_bytes());
        table.push((n as u8 + 1) | last); //                   0 LDIR_Ord
        table.extend(text(0..5)); //                         1 LDIR_Name1
        table.extend([ATTR_LONG_NAME, 0, checksum]); //     11 LDIR_Attr, LDIR_Type, LDIR_Chksum
        table.extend(text(5..11)); //                       14 LDIR_Name2
        table.extend([0, 0]); //                            26 LDIR_FstClusLO
        table.extend(text(11..13)); //                      28 LDIR_Name3
    }
    table
}

/// The 8.3 name: the name itself in upper case, or `BASE~N` with the entry's number in its directory.
fn short_name(name: &str, number: usize) -> [u8; 11] {
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let fits = |part: &str, most| part.len() <= most && part.bytes().all(is_short);
    let clean = |part: &str| {
        part.bytes()
            .filter(|b| is_short(*b))
            .map(char::from)
            .collect::<String>()
    };
    let base = if fits(base, 8) && fits(extension, 3) && !base.is_empty() {
        base.to_owned()
    } else {
        let tail = format!("~{}", number + 1);
        let stem: String = clean(base).chars().take(8 - tail.len()).collect();
        stem + &tail
    };
    let mut short = [b' '; 11];
    for (to, from) in short.iter_mut().zip(base.bytes()) {
        *to = from.to_ascii_uppercase();
    }
    for (to, from) in short[8..].iter_mut().zip(clean(extension).bytes()) {
        *to = from.to_ascii_uppercase();
    }
    short
}

fn is_short(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"$%'-_@~`!(){}^#&".contains(&byte)
}

/// Whether the short name alone is the name.
fn says(short: &[u8; 11], name: &str) -> bool {
    let text = String::from_utf8_lossy(short);
    let (base, extension) = (text[..8].trim_end(), text[8..].trim_end());
    name == if extension.is_empty() {
        base.to_owned()
    } else {
        format!("{base}.{extension}")
    }
}

fn padded(label: &str) -> [u8; 11] {
    let mut name = [b' '; 11];
    for (to, from) in name.iter_mut().zip(label.bytes()) {
        *to = from.to_ascii_uppercase();
    }
    name
}
