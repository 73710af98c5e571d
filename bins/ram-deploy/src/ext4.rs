//! What growing must know of an ext4 superblock (Linux, `Documentation/filesystems/ext4/super.rst`).
//!
//! *Not here:* everything else. The kernel grows the file system.

use std::io;
use std::os::unix::fs::FileExt;

const OFFSET: u64 = 1024;
const MAGIC: u16 = 0xef53;
/// `INCOMPAT_64BIT`: the block count has a high half.
const INCOMPAT_64BIT: u32 = 0x80;

/// A superblock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Number of blocks.
    pub blocks: u64,
    /// Bytes in a block.
    pub block_size: u64,
    /// UUID as `blkid` prints it.
    pub uuid: String,
}

/// Reads the superblock of the file system that begins at byte `start` of `device`; `None` where there
/// is no ext4.
///
/// # Errors
/// What the system says.
pub fn read(device: &impl FileExt, start: u64) -> io::Result<Option<Superblock>> {
    let mut block = [0; 1024];
    match device.read_exact_at(&mut block, start.saturating_add(OFFSET)) {
        Ok(()) => Ok(parse(&block)),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}

fn parse(block: &[u8; 1024]) -> Option<Superblock> {
    let le16 = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
    let le32 = |at: usize| u32::from(le16(at)) | u32::from(le16(at + 2)) << 16;
    let log_block_size = le32(0x18); //                s_log_block_size
    if le16(0x38) != MAGIC || log_block_size > 6 {
        return None;
    }
    let mut blocks = u64::from(le32(0x4)); //          s_blocks_count_lo
    if le32(0x60) & INCOMPAT_64BIT != 0 {
        blocks |= u64::from(le32(0x150)) << 32; //     s_blocks_count_hi
    }
    Some(Superblock {
        blocks,
        block_size: 1024 << log_block_size,
        uuid: printed(&block[0x68..0x78]), //          s_uuid
    })
}

fn printed(uuid: &[u8]) -> String {
    let digits: String = uuid.iter().map(|b| format!("{b:02x}")).collect();
    let cut = |from, to| digits.get(from..to).unwrap_or_default();
    [cut(0, 8), cut(8, 12), cut(12, 16), cut(16, 20), cut(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_superblock_of_mke2fs_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(9 << 20).unwrap();
        let uuid = "01234567-89ab-cdef-0123-456789abcdef";
        let made = Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-b", "4096", "-U", uuid])
            .arg(file.path())
            .status()
            .expect("mke2fs (package e2fsprogs)");
        assert!(made.success());
        let found = read(file.as_file(), 0).unwrap().unwrap();
        assert_eq!((found.blocks, found.block_size), (9 << 8, 4096));
        assert_eq!(found.uuid, uuid);
    }

    #[test]
    fn other_bytes_are_no_ext4() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(read(file.as_file(), 0).unwrap(), None);
        file.as_file().set_len(4096).unwrap();
        assert_eq!(read(file.as_file(), 0).unwrap(), None);
    }
}
