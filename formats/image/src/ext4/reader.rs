//! An ext4 file system read: no mount, no privilege.
//!
//! For whole, clean file systems such as this crate's writer makes. Everything is bounded by what is read, never by what
//! a number on the disk claims.
//!
//! *Not read:* the journal (a file system that needs it is refused), block maps of files without extents, inline data,
//! encryption, attribute values in inodes of their own, checksums (who hands the bytes in has verified them).

use std::io;

use super::acl;
use super::format::{
    EXTENT_MAGIC, EXTENTS_FL, Fields, GOOD_OLD_INODE, INCOMPAT_64BIT, INCOMPAT_KNOWN, MAGIC,
    MAX_DEPTH, SUPERBLOCK, WRITTEN, XATTR_HEADER, XATTR_MAGIC, XATTR_PREFIXES,
};

/// The inode of the root directory.
pub const ROOT: u32 = 2;
/// Longest symbolic link that lies in its inode, in bytes.
const FAST_LINK: u64 = 60;
/// Longest directory or symbolic link that is read, in bytes.
const LIMIT: u64 = 1 << 30;

/// Where a file system's bytes come from.
pub trait ReadAt {
    /// Fills `bytes` from `offset` of the file system.
    ///
    /// # Errors
    /// What the source says.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
}

/// An opened file system.
pub struct Reader<'a> {
    disk: &'a (dyn ReadAt + Sync),
    block_size: u64,
    inodes: u32,
    free_inodes: u32,
    inodes_per_group: u32,
    inode_size: u16,
    descriptor_size: u16,
    first_block: u64,
}

/// What an inode says.
#[derive(Debug, Clone)]
pub struct Inode {
    /// Type and permission bits (`st_mode`).
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Number of names.
    pub links: u16,
    /// Time of the last change of its content: seconds since 1970 UTC, and nanoseconds.
    pub mtime: (i64, u32),
    flags: u32,
    /// `i_block`.
    block: Vec<u8>,
    file_acl: u64,
    /// Everything behind the extra fields.
    tail: Vec<u8>,
}

/// A run of bytes of a file that lies in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Offset in the file in bytes.
    pub at: u64,
    /// Offset in the file system in bytes.
    pub from: u64,
    /// Length in bytes; it may go beyond the file's end.
    pub length: u64,
}

pub(super) fn damaged(fact: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("ext4: {fact}"))
}

impl<'a> Reader<'a> {
    /// Reads the superblock.
    ///
    /// # Errors
    /// `InvalidData` for what is no ext4, or one that this reader does not understand; what the source says.
    pub fn open(disk: &'a (dyn ReadAt + Sync)) -> io::Result<Self> {
        let mut bytes = [0; 1024];
        disk.read_at(SUPERBLOCK, &mut bytes)?;
        let fields = Fields(&bytes);
        if fields.u16(0x38)? != MAGIC {
            return Err(damaged("no superblock"));
        }
        let features = fields.u32(0x60)?; //                    s_feature_incompat
        if features & !INCOMPAT_KNOWN != 0 {
            let unknown = features & !INCOMPAT_KNOWN;
            return Err(damaged(&format!("features {unknown:#x} are not known")));
        }
        let log = fields.u32(0x18)?; //                         s_log_block_size
        let descriptor_size = match features & INCOMPAT_64BIT {
            0 => 32,
            _ => fields.u16(0xfe)?.max(64), //                  s_desc_size
        };
        let reader = Self {
            disk,
            block_size: 1024 << log.min(6),
            inodes: fields.u32(0x0)?, //                        s_inodes_count
            free_inodes: fields.u32(0x10)?, //                  s_free_inodes_count
            inodes_per_group: fields.u32(0x28)?, //             s_inodes_per_group
            inode_size: fields.u16(0x58)?, //                   s_inode_size
            descriptor_size,
            first_block: u64::from(fields.u32(0x14)?), //       s_first_data_block
        };
        if log > 6
            || reader.inodes_per_group == 0
            || usize::from(reader.inode_size) < GOOD_OLD_INODE
        {
            return Err(damaged("the superblock makes no sense"));
        }
        Ok(reader)
    }

    /// Inodes in use.
    pub fn used_inodes(&self) -> u32 {
        self.inodes.saturating_sub(self.free_inodes)
    }

    /// Reads an inode.
    ///
    /// # Errors
    /// `InvalidData` for a number that does not exist; what the source says.
    pub fn inode(&self, number: u32) -> io::Result<Inode> {
        if number == 0 || number > self.inodes {
            return Err(damaged(&format!("there is no inode {number}")));
        }
        let (group, index) = (
            u64::from((number - 1) / self.inodes_per_group),
            u64::from((number - 1) % self.inodes_per_group),
        );
        let mut descriptor = vec![0; usize::from(self.descriptor_size)];
        let table = (self.first_block + 1) * self.block_size;
        let at = table + group * u64::from(self.descriptor_size);
        self.disk.read_at(at, &mut descriptor)?;
        let mut table = u64::from(Fields(&descriptor).u32(0x8)?); //    bg_inode_table_lo
        if self.descriptor_size >= 64 {
            table |= u64::from(Fields(&descriptor).u32(0x28)?) << 32; // bg_inode_table_hi
        }
        let mut bytes = vec![0; usize::from(self.inode_size)];
        let at = table.saturating_mul(self.block_size) + index * u64::from(self.inode_size);
        self.disk.read_at(at, &mut bytes)?;
        parse_inode(&bytes)
    }

    /// The runs of a file's bytes in order; what lies between them is a hole.
    ///
    /// # Errors
    /// `InvalidData` for what has no extents; what the source says.
    pub fn extents(&self, inode: &Inode) -> io::Result<Vec<Extent>> {
        if inode.size == 0 {
            return Ok(Vec::new());
        }
        if inode.flags & EXTENTS_FL == 0 {
            return Err(damaged("a file has no extents"));
        }
        let mut extents = Vec::new();
        self.collect(&inode.block, MAX_DEPTH, &mut extents)?;
        let ordered = extents.windows(2).all(|p| p[0].at + p[0].length <= p[1].at);
        match ordered {
            true => Ok(extents),
            false => Err(damaged("the extents of a file overlap")),
        }
    }

    /// Walks an extent tree of at most `depth` levels below this node.
    fn collect(&self, node: &[u8], depth: u16, extents: &mut Vec<Extent>) -> io::Result<()> {
        let fields = Fields(node);
        if fields.u16(0)? != EXTENT_MAGIC {
            return Err(damaged("an extent tree has no header"));
        }
        let (entries, level) = (usize::from(fields.u16(2)?), fields.u16(6)?); // eh_entries, eh_depth
        if level > depth {
            return Err(damaged("an extent tree is too deep"));
        }
        for at in (1..=entries).map(|n| n * 12) {
            let logical = u64::from(fields.u32(at)?); //                          ee_block, ei_block
            if level > 0 {
                let child = fields.split(at + 4, at + 8)?; //                     ei_leaf_lo, ei_leaf_hi
                self.collect(&self.block(child)?, level - 1, extents)?;
                continue;
            }
            let length = fields.u16(at + 4)?; //                                  ee_len
            if length > WRITTEN {
                continue;
            }
            let high = u64::from(fields.u16(at + 6)?) << 32; //                   ee_start_hi
            let start = high | u64::from(fields.u32(at + 8)?); //                 ee_start_lo
            extents.push(Extent {
                at: logical * self.block_size,
                from: start.saturating_mul(self.block_size),
                length: u64::from(length) * self.block_size,
            });
        }
        Ok(())
    }

    fn block(&self, number: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.block_size as usize];
        let at = number.saturating_mul(self.block_size);
        self.disk.read_at(at, &mut bytes)?;
        Ok(bytes)
    }

    fn content(&self, inode: &Inode) -> io::Result<Vec<u8>> {
        if inode.size > LIMIT {
            return Err(damaged("a directory or symbolic link is too long"));
        }
        let mut bytes = vec![0; inode.size as usize];
        for extent in self.extents(inode)? {
            let end = (extent.at + extent.length).min(inode.size);
            if let Some(part) = bytes.get_mut(extent.at as usize..end as usize) {
                self.disk.read_at(extent.from, part)?;
            }
        }
        Ok(bytes)
    }

    /// The names in a directory and their inodes, without `.` and `..`.
    ///
    /// # Errors
    /// `InvalidData` for what is no directory; what the source says.
    pub fn entries(&self, directory: &Inode) -> io::Result<Vec<(Vec<u8>, u32)>> {
        let content = self.content(directory)?;
        let mut entries = Vec::new();
        // An index of names hides in entries without an inode, so that reading from front to back finds all.
        for block in content.chunks(self.block_size as usize) {
            let (fields, mut at) = (Fields(block), 0);
            while at + 8 <= block.len() {
                let inode = fields.u32(at)?;
                let length = usize::from(fields.u16(at + 4)?); //   rec_len
                if length < 8 {
                    return Err(damaged("a directory entry has no length"));
                }
                let name = fields.slice(at + 8, usize::from(fields.u8(at + 6)?))?;
                if inode != 0 && name != b"." && name != b".." {
                    if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
                        return Err(damaged("a directory entry has no name"));
                    }
                    entries.push((name, inode));
                }
                at += length;
            }
        }
        Ok(entries)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// As [`Reader::extents`].
    pub fn link(&self, inode: &Inode) -> io::Result<Vec<u8>> {
        if inode.flags & EXTENTS_FL == 0 && inode.size < FAST_LINK {
            return Fields(&inode.block).slice(0, inode.size as usize);
        }
        self.content(inode)
    }

    /// The extended attributes with their full names, as setxattr(2) takes them.
    ///
    /// # Errors
    /// `InvalidData` for what makes no sense; what the source says.
    pub fn xattrs(&self, inode: &Inode) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        if inode.tail.len() > 4 && Fields(&inode.tail).u32(0)? == XATTR_MAGIC {
            parse_xattrs(&inode.tail[4..], 0, &mut found)?;
        }
        if inode.file_acl != 0 {
            let block = self.block(inode.file_acl)?;
            if Fields(&block).u32(0)? != XATTR_MAGIC {
                return Err(damaged("a block of attributes has no header"));
            }
            parse_xattrs(&block, XATTR_HEADER, &mut found)?;
        }
        Ok(found)
    }
}

fn parse_inode(bytes: &[u8]) -> io::Result<Inode> {
    let fields = Fields(bytes);
    let extra = match bytes.len() > GOOD_OLD_INODE + 2 {
        true => usize::from(fields.u16(0x80)?), //                      i_extra_isize
        false => 0,
    };
    // i_mtime is signed; two bits of i_mtime_extra count turns of its 32 bits.
    let seconds = i64::from(fields.u32(0x10)?.cast_signed());
    let (epoch, nanoseconds) = match extra >= 12 {
        true => (fields.u32(0x88)? & 3, fields.u32(0x88)? >> 2), //     i_mtime_extra
        false => (0, 0),
    };
    let half = |low, high| {
        Ok::<u32, io::Error>(u32::from(fields.u16(low)?) | u32::from(fields.u16(high)?) << 16)
    };
    Ok(Inode {
        mode: fields.u16(0x0)?,
        uid: half(0x2, 0x78)?,
        gid: half(0x18, 0x7a)?,
        size: u64::from(fields.u32(0x4)?) | u64::from(fields.u32(0x6c)?) << 32,
        links: fields.u16(0x1a)?,
        mtime: (
            seconds + (i64::from(epoch) << 32),
            nanoseconds.min(999_999_999),
        ),
        flags: fields.u32(0x20)?,
        block: fields.slice(0x28, 60)?,
        file_acl: fields.split(0x68, 0x76)?,
        tail: bytes
            .get(GOOD_OLD_INODE + extra..)
            .unwrap_or_default()
            .to_vec(),
    })
}

/// Entries from byte `at` of `area`; the offsets of values count from its first byte.
fn parse_xattrs(area: &[u8], mut at: usize, found: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let fields = Fields(area);
    while at + 16 <= area.len() && fields.u32(at)? != 0 {
        let (name_length, index) = (usize::from(fields.u8(at)?), fields.u8(at + 1)?);
        let value = (
            fields.u16(at + 2)?,
            fields.u32(at + 4)?,
            fields.u32(at + 8)?,
        );
        let name = fields.slice(at + 16, name_length)?;
        let prefix = XATTR_PREFIXES.iter().find(|(i, _)| *i == index);
        let (Some((_, prefix)), Ok(name), 0) = (prefix, String::from_utf8(name), value.1) else {
            return Err(damaged("an attribute is of an unknown kind"));
        };
        let bytes = fields.slice(usize::from(value.0), value.2 as usize)?;
        let bytes = match index {
            2 | 3 => acl::from_disk(&bytes)?,
            _ => bytes,
        };
        found.push((format!("{prefix}{name}"), bytes));
        at += (16 + name_length).next_multiple_of(4);
    }
    Ok(())
}

/// Major and minor number of a device node.
pub fn device(inode: &Inode) -> (u32, u32) {
    let word = |n: usize| Fields(&inode.block).u32(4 * n).unwrap_or_default();
    match (word(0), word(1)) {
        (0, new) => (
            (new & 0xf_ff00) >> 8,
            (new & 0xff) | ((new >> 12) & 0xf_ff00),
        ),
        (old, _) => ((old >> 8) & 0xff, old & 0xff),
    }
}
