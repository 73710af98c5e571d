//! A GUID partition table (UEFI 2.10, chapter 5), written and grown.
//!
//! ```text
//! LBA (512 bytes)   structure
//! 0                 protective MBR                       5.2.3
//! 1                 primary GPT header                   5.3.2
//! 2 ..= 33          partition entry array, 128 entries   5.3.3
//! 34 ..             usable
//! last-32 ..= last-1  backup of the partition entry array
//! last              backup GPT header
//! ```
//!
//! Not written: logical sectors other than 512 bytes (an image is made before its device is
//! known), more or fewer than 128 entries (what every firmware expects), hybrid MBR partitions.

use std::io::{Read, Seek, SeekFrom, Write};

use crate::error::{Error, Result};
use crate::guid::Guid;

/// Bytes in a logical sector.
pub const SECTOR: u64 = 512;
/// `NumberOfPartitionEntries`.
pub const ENTRIES: usize = 128;
/// `SizeOfPartitionEntry` in bytes.
pub const ENTRY_SIZE: usize = 128;
/// Sectors of the partition entry array.
pub const ARRAY_SECTORS: u64 = (ENTRIES * ENTRY_SIZE) as u64 / SECTOR;
/// Sectors at the front of a disk: protective MBR, header, array.
pub const HEAD_SECTORS: u64 = 2 + ARRAY_SECTORS;
/// Sectors at the end of a disk: array, header.
pub const TAIL_SECTORS: u64 = ARRAY_SECTORS + 1;
/// Bytes of `BootCode` in the MBR.
pub const BOOT_CODE: usize = 440;
/// Sectors to which the end of a grown partition is rounded down: 1 MiB.
pub const ALIGNMENT: u64 = 2048;

/// Partition type: EFI system partition.
pub const ESP: Guid =
    Guid::from_printed(*b"\xc1\x2a\x73\x28\xf8\x1f\x11\xd2\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b");
/// Partition type: BIOS boot partition, which holds GRUB's core image.
pub const BIOS_BOOT: Guid =
    Guid::from_printed(*b"\x21\x68\x61\x48\x64\x49\x6e\x6f\x74\x4e\x65\x65\x64\x45\x46\x49");
/// Partition type: Linux file system data.
pub const LINUX_DATA: Guid =
    Guid::from_printed(*b"\x0f\xc6\x3d\xaf\x84\x83\x47\x72\x8e\x79\x3d\x69\xd8\x47\x7d\xe4");
/// Partition type: root file system of an x86-64 system (Discoverable Partitions).
pub const LINUX_ROOT_X86_64: Guid =
    Guid::from_printed(*b"\x4f\x68\xbc\xe3\xe8\xcd\x4d\xb1\x96\xe7\xfb\xca\xf9\x84\xb7\x09");
/// Partition type: basic data, the customary type of the ISO in a hybrid image.
pub const BASIC_DATA: Guid =
    Guid::from_printed(*b"\xeb\xd0\xa0\xa2\xb9\xe5\x44\x33\x87\xc0\x68\xb6\xb7\x26\x99\xc7");

const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const HEADER_SIZE: usize = 92;
const PRIMARY_LBA: u64 = 1;
const ARRAY_LBA: u64 = 2;

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// `PartitionTypeGUID`, such as [`ESP`].
    pub kind: Guid,
    /// `UniquePartitionGUID`.
    pub guid: Guid,
    /// `StartingLBA`, in sectors.
    pub first: u64,
    /// `EndingLBA`, in sectors: the last one that belongs to it.
    pub last: u64,
    /// `Attributes`.
    pub attributes: u64,
    /// `PartitionName`, at most 36 UTF-16 code units.
    pub name: String,
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// `DiskGUID`.
    pub guid: Guid,
    /// Length of the disk in sectors.
    pub sectors: u64,
    /// Partitions in order of their number, from 1; a hole in the numbers has [`Guid::ZERO`] as kind.
    pub partitions: Vec<Partition>,
}

/// What [`grow`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grown {
    /// Number, from 1, of the partition that lies last on the disk.
    pub number: usize,
    /// Its first sector.
    pub first: u64,
    /// Its last sector before.
    pub last_before: u64,
    /// Its last sector now.
    pub last: u64,
}

impl Table {
    /// `FirstUsableLBA`.
    pub fn first_usable(&self) -> u64 {
        HEAD_SECTORS
    }

    /// `LastUsableLBA`.
    pub fn last_usable(&self) -> u64 {
        self.sectors.saturating_sub(TAIL_SECTORS + 1)
    }

    /// The first [`HEAD_SECTORS`] of the disk: protective MBR, header, array. The MBR carries the
    /// first [`BOOT_CODE`] bytes of `boot_code`, which may be empty.
    ///
    /// # Errors
    /// Refuses a table whose partitions overlap, are too many or lie outside the usable sectors.
    pub fn head(&self, boot_code: &[u8]) -> Result<Vec<u8>> {
        self.check()?;
        let array = self.array()?;
        let mut head = protective_mbr(self.sectors).to_vec();
        let code = &boot_code[..boot_code.len().min(BOOT_CODE)];
        head[..code.len()].copy_from_slice(code);
        head.extend(self.header(PRIMARY_LBA, self.sectors - 1, ARRAY_LBA, &array));
        head.extend(array);
        Ok(head)
    }

    /// The last [`TAIL_SECTORS`] of the disk: array, backup header.
    ///
    /// # Errors
    /// As [`Table::head`].
    pub fn tail(&self) -> Result<Vec<u8>> {
        self.check()?;
        let mut tail = self.array()?;
        let last = self.sectors - 1;
        let header = self.header(last, PRIMARY_LBA, last - ARRAY_SECTORS, &tail);
        tail.extend(header);
        Ok(tail)
    }

    /// GPT header, table 5-5, padded to a sector.
    fn header(&self, my_lba: u64, alternate: u64, array_lba: u64, array: &[u8]) -> Vec<u8> {
        let mut h = Vec::with_capacity(SECTOR as usize);
        h.extend(SIGNATURE); //                                   0 Signature
        h.extend(REVISION.to_le_bytes()); //                      8 Revision
        h.extend((HEADER_SIZE as u32).to_le_bytes()); //         12 HeaderSize
        h.extend(0u32.to_le_bytes()); //                         16 HeaderCRC32, below
        h.extend(0u32.to_le_bytes()); //                         20 Reserved
        h.extend(my_lba.to_le_bytes()); //                       24 MyLBA
        h.extend(alternate.to_le_bytes()); //                    32 AlternateLBA
        h.extend(self.first_usable().to_le_bytes()); //          40 FirstUsableLBA
        h.extend(self.last_usable().to_le_bytes()); //           48 LastUsableLBA
        h.extend(self.guid.0); //                                56 DiskGUID
        h.extend(array_lba.to_le_bytes()); //                    72 PartitionEntryLBA
        h.extend((ENTRIES as u32).to_le_bytes()); //             80 NumberOfPartitionEntries
        h.extend((ENTRY_SIZE as u32).to_le_bytes()); //          84 SizeOfPartitionEntry
        h.extend(crc32fast::hash(array).to_le_bytes()); //       88 PartitionEntryArrayCRC32
        let crc = crc32fast::hash(&h);
        h[16..20].copy_from_slice(&crc.to_le_bytes());
        h.resize(SECTOR as usize, 0);
        h
    }

    /// Partition entry array, table 5-6.
    fn array(&self) -> Result<Vec<u8>> {
        let mut array = Vec::with_capacity(ENTRIES * ENTRY_SIZE);
        for partition in &self.partitions {
            array.extend(entry(partition)?);
        }
        array.resize(ENTRIES * ENTRY_SIZE, 0);
        Ok(array)
    }

    fn check(&self) -> Result<()> {
        let what = "partition table";
        if self.sectors < HEAD_SECTORS + TAIL_SECTORS {
            let least = format!("at least {}", HEAD_SECTORS + TAIL_SECTORS);
            return Err(Error::unfit(
                what,
                format!("a disk of {} sectors", self.sectors),
                least,
            ));
        }
        if self.partitions.len() > ENTRIES {
            let fact = format!("{} partitions", self.partitions.len());
            return Err(Error::unfit(what, fact, format!("at most {ENTRIES}")));
        }
        let mut used: Vec<&Partition> = self.used().map(|(_, p)| p).collect();
        used.sort_by_key(|p| p.first);
        let mut free = self.first_usable();
        for p in used {
            if p.first < free || p.last < p.first || p.last > self.last_usable() {
                return Err(Error::unfit(
                    what,
                    format!("{:?} lies on sectors {} to {}", p.name, p.first, p.last),
                    format!("a range within {free} to {}", self.last_usable()),
                ));
            }
            free = p.last + 1;
        }
        Ok(())
    }

    /// Partitions with their number from 1, without the holes.
    fn used(&self) -> impl Iterator<Item = (usize, &Partition)> {
        (1..)
            .zip(&self.partitions)
            .filter(|(_, p)| p.kind != Guid::ZERO)
    }
}

/// Protective MBR, tables 5-3 and 5-4, with one partition over the whole disk.
pub fn protective_mbr(sectors: u64) -> [u8; SECTOR as usize] {
    let mut mbr = [0; SECTOR as usize];
    let size = u32::try_from(sectors.saturating_sub(1)).unwrap_or(u32::MAX);
    mbr[446..462].copy_from_slice(&mbr_record(0x00, 0xee, 1, size));
    mbr[510..].copy_from_slice(&[0x55, 0xaa]); // Signature
    mbr
}

/// Partition record of an MBR, table 5-1. Cylinders, heads and sectors are given as out of range.
pub(crate) fn mbr_record(boot: u8, os_type: u8, first: u32, size: u32) -> [u8; 16] {
    let mut r = [0; 16];
    r[0] = boot; //                                        0 BootIndicator
    r[1..4].copy_from_slice(&[0x00, 0x02, 0x00]); //       1 StartingCHS
    r[4] = os_type; //                                     4 OSType
    r[5..8].copy_from_slice(&[0xff, 0xff, 0xff]); //       5 EndingCHS
    r[8..12].copy_from_slice(&first.to_le_bytes()); //     8 StartingLBA
    r[12..].copy_from_slice(&size.to_le_bytes()); //      12 SizeInLBA
    r
}

/// Partition entry, table 5-6.
fn entry(p: &Partition) -> Result<Vec<u8>> {
    let name: Vec<u16> = p.name.encode_utf16().collect();
    if name.len() > 36 {
        let fact = format!("{:?} is {} UTF-16 units long", p.name, name.len());
        return Err(Error::unfit("partition name", fact, "at most 36"));
    }
    let mut e = Vec::with_capacity(ENTRY_SIZE);
    e.extend(p.kind.0); //                               0 PartitionTypeGUID
    e.extend(p.guid.0); //                              16 UniquePartitionGUID
    e.extend(p.first.to_le_bytes()); //                 32 StartingLBA
    e.extend(p.last.to_le_bytes()); //                  40 EndingLBA
    e.extend(p.attributes.to_le_bytes()); //            48 Attributes
    e.extend(name.iter().flat_map(|u| u.to_le_bytes())); // 56 PartitionName
    e.resize(ENTRY_SIZE, 0);
    Ok(e)
}

/// Writes all of `table` and the MBR's boot code to `disk`, which is at least `table.sectors` long.
///
/// # Errors
/// As [`Table::head`], and when writing fails.
pub fn write<D: Write + Seek>(disk: &mut D, table: &Table, boot_code: &[u8]) -> Result<()> {
    // The backup first: a crash in between leaves one whole copy, the old or the new.
    let (head, tail) = (table.head(boot_code)?, table.tail()?);
    put(disk, (table.sectors - TAIL_SECTORS) * SECTOR, &tail)?;
    put(disk, 0, &head)
}

fn put<D: Write + Seek>(disk: &mut D, at: u64, bytes: &[u8]) -> Result<()> {
    disk.seek(SeekFrom::Start(at))
        .and_then(|_| disk.write_all(bytes))
        .and_then(|()| disk.flush())
        .map_err(Error::io("partition table"))
}

/// Reads the primary table and checks both of its checksums.
///
/// # Errors
/// [`Error::Damaged`] when a signature, a checksum or a size is wrong.
pub fn read<D: Read + Seek>(disk: &mut D) -> Result<Table> {
    parse(&read_head(disk)?)
}

fn read_head<D: Read + Seek>(disk: &mut D) -> Result<Vec<u8>> {
    let mut head = vec![0; (HEAD_SECTORS * SECTOR) as usize];
    disk.seek(SeekFrom::Start(0))
        .and_then(|_| disk.read_exact(&mut head))
        .map_err(Error::io("partition table"))?;
    Ok(head)
}

fn parse(head: &[u8]) -> Result<Table> {
    let damaged = |fact: &str| Error::damaged("partition table", fact);
    let (h, array) = head[SECTOR as usize..].split_at(SECTOR as usize);
    if &h[..8] != SIGNATURE {
        return Err(damaged("sector 1 does not begin with EFI PART"));
    }
    let mut summed = h[..HEADER_SIZE].to_vec();
    summed[16..20].fill(0);
    if le32(h, 12) as usize != HEADER_SIZE || le32(h, 16) != crc32fast::hash(&summed) {
        return Err(damaged("the header's checksum is wrong"));
    }
    let shape = (le64(h, 72), le32(h, 80) as usize, le32(h, 84) as usize);
    if shape != (ARRAY_LBA, ENTRIES, ENTRY_SIZE) {
        return Err(damaged("not 128 entries of 128 bytes from sector 2"));
    }
    if le32(h, 88) != crc32fast::hash(array) {
        return Err(damaged(
            "the checksum of the partition entry array is wrong",
        ));
    }
    let mut partitions: Vec<Partition> = array.chunks(ENTRY_SIZE).map(parse_entry).collect();
    while partitions.last().is_some_and(|p| p.kind == Guid::ZERO) {
        partitions.pop();
    }
    let sectors = le64(h, 32)
        .checked_add(1)
        .ok_or_else(|| damaged("AlternateLBA is 2^64-1"))?;
    let guid = guid_at(h, 56);
    Ok(Table {
        guid,
        sectors,
        partitions,
    })
}

fn parse_entry(e: &[u8]) -> Partition {
    let name: Vec<u16> = e[56..]
        .chunks(2)
        .map(|u| u16::from_le_bytes([u[0], u[1]]))
        .collect();
    let end = name.iter().position(|u| *u == 0).unwrap_or(name.len());
    Partition {
        kind: guid_at(e, 0),
        guid: guid_at(e, 16),
        first: le64(e, 32),
        last: le64(e, 40),
        attributes: le64(e, 48),
        name: String::from_utf16_lossy(&name[..end]),
    }
}

fn guid_at(bytes: &[u8], at: usize) -> Guid {
    let mut guid = [0; 16];
    guid.copy_from_slice(&bytes[at..at + 16]);
    Guid(guid)
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    let mut b = [0; 4];
    b.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(b)
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at + 4)) << 32
}

/// Fits the table of an image to the larger `disk` it was written to: moves the backup to the end
/// and enlarges the partition that lies last. The MBR's boot code stays. `size` is the disk's length in bytes.
///
/// A disk that is no larger, or larger by less than [`ALIGNMENT`], keeps its last partition.
///
/// # Errors
/// [`Error::Damaged`] as [`read`]; [`Error::Unfit`] when the disk is smaller than its table says
/// or has no partition; [`Error::Io`].
pub fn grow<D: Read + Write + Seek>(disk: &mut D, size: u64) -> Result<Grown> {
    let head = read_head(disk)?;
    let mut table = parse(&head)?;
    let sectors = size / SECTOR;
    if sectors < table.sectors {
        return Err(Error::unfit(
            "disk",
            format!("{sectors} sectors long"),
            format!(
                "at least the {} sectors of its partition table",
                table.sectors
            ),
        ));
    }
    table.sectors = sectors;
    let end = (table.last_usable() + 1) / ALIGNMENT * ALIGNMENT;
    let last = table
        .used()
        .max_by_key(|(_, p)| p.last)
        .map(|(number, _)| number);
    let Some(number) = last else {
        return Err(Error::unfit(
            "partition table",
            "no partition",
            "one to enlarge",
        ));
    };
    let partition = &mut table.partitions[number - 1];
    let last_before = partition.last;
    partition.last = last_before.max(end.saturating_sub(1));
    let (first, last) = (partition.first, partition.last);
    write(disk, &table, &head)?;
    Ok(Grown {
        number,
        first,
        last_before,
        last,
    })
}
