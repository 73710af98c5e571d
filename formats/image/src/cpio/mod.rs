//! Segments of an initrd: cpio archives of the kind `newc`, one after the other, some compressed.
//!
//! The format is that of `cpio(5)` and of the kernel's `Documentation/driver-api/early-userspace/
//! buffer-format.rst`:
//!
//! ```text
//! initrd  := ( zero* segment )* zero*
//! segment := archive | gzip(archive+) | zstd(archive+) | xz(archive+)
//! archive := ( header name NUL pad4 content pad4 )* trailer
//! header  := "070701" and 13 numbers of 8 hexadecimal digits = 110 bytes
//! trailer := header with the name "TRAILER!!!"
//! ```
//!
//! An archive that is not compressed begins at a multiple of four bytes. Microcode comes first and
//! uncompressed (early cpio), which the kernel reads before it can decompress anything.
//!
//! Not written: hard links (the kernel would need the same inode number in both), sockets, checksums
//! (`070702`). Not read: archives compressed by lz4, lzo, bzip2 or the old lzma; they are named.

mod reader;
mod writer;

pub use reader::{Compression, Place, Segment, segments, walk};
pub use writer::{Meta, Writer};

/// `c_magic` of an archive without checksums.
const MAGIC: &[u8; 6] = b"070701";
/// `c_magic` of an archive with checksums.
const MAGIC_CHECKED: &[u8; 6] = b"070702";
/// Bytes of a header.
const HEADER: usize = 110;
/// The name that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";
/// Longest path with its NUL: the kernel's `PATH_MAX`.
const MAX_PATH: usize = 4096;
/// Everything begins at a multiple of this many bytes.
const ALIGNMENT: u64 = 4;

/// The part of a mode that says what an entry is.
pub const S_IFMT: u32 = 0o170_000;
/// A FIFO.
pub const S_IFIFO: u32 = 0o010_000;
/// A character device.
pub const S_IFCHR: u32 = 0o020_000;
/// A directory.
pub const S_IFDIR: u32 = 0o040_000;
/// A block device.
pub const S_IFBLK: u32 = 0o060_000;
/// A regular file.
pub const S_IFREG: u32 = 0o100_000;
/// A symbolic link, whose content is its target.
pub const S_IFLNK: u32 = 0o120_000;

/// One entry's header and path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Path, relative in every well-formed archive.
    pub path: Vec<u8>,
    /// `c_ino`.
    pub inode: u32,
    /// `c_mode`: type ([`S_IFMT`]) and permission.
    pub mode: u32,
    /// `c_uid`.
    pub uid: u32,
    /// `c_gid`.
    pub gid: u32,
    /// `c_nlink`.
    pub links: u32,
    /// `c_mtime`, seconds since 1970 UTC.
    pub mtime: u32,
    /// `c_filesize`: bytes of content.
    pub size: u32,
    /// `c_rdevmajor` and `c_rdevminor`.
    pub device: (u32, u32),
}

impl Entry {
    /// Header and name with their padding.
    fn encode(&self) -> Vec<u8> {
        let numbers = [
            self.inode,                 // c_ino
            self.mode,                  // c_mode
            self.uid,                   // c_uid
            self.gid,                   // c_gid
            self.links,                 // c_nlink
            self.mtime,                 // c_mtime
            self.size,                  // c_filesize
            0,                          // c_devmajor
            0,                          // c_devminor
            self.device.0,              // c_rdevmajor
            self.device.1,              // c_rdevminor
            self.path.len() as u32 + 1, // c_namesize
            0,                          // c_chksum
        ];
        let mut bytes = MAGIC.to_vec();
        for number in numbers {
            bytes.extend(format!("{number:08x}").bytes());
        }
        bytes.extend(&self.path);
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
        bytes
    }

    /// The fixed part of a header, and the length of the name with its NUL.
    fn decode(header: &[u8; HEADER]) -> Result<(Entry, usize), &'static str> {
        if header[..6] != *MAGIC && header[..6] != *MAGIC_CHECKED {
            return Err("no header begins where one should");
        }
        let mut numbers = [0; 13];
        for (number, digits) in numbers.iter_mut().zip(header[6..].chunks(8)) {
            *number = hexadecimal(digits).ok_or("a header's number is not hexadecimal")?;
        }
        let [
            inode,
            mode,
            uid,
            gid,
            links,
            mtime,
            size,
            _,
            _,
            major,
            minor,
            name,
            _,
        ] = numbers;
        let device = (major, minor);
        let entry = Entry {
            path: Vec::new(),
            inode,
            mode,
            uid,
            gid,
            links,
            mtime,
            size,
            device,
        };
        Ok((entry, name as usize))
    }

    /// Whether it ends an archive.
    fn is_trailer(&self) -> bool {
        self.path == TRAILER
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(number << 4 | value)
    })
}

/// Bytes missing up to the next multiple of [`ALIGNMENT`].
fn padding(len: u64) -> u64 {
    len.next_multiple_of(ALIGNMENT) - len
}
