//! What a reader must know of ext4 (Linux, `Documentation/filesystems/ext4`), in disk order.

/// Offset of the superblock in bytes.
pub(super) const SUPERBLOCK: u64 = 1024;
/// `s_magic`.
pub(super) const MAGIC: u16 = 0xef53;
/// `EXT4_FEATURE_INCOMPAT_64BIT`: block numbers and group descriptors have high halves.
pub(super) const INCOMPAT_64BIT: u32 = 0x80;
/// What a reader of whole and clean file systems understands: filetype, extents, 64bit, flex_bg, csum_seed, largedir.
pub(super) const INCOMPAT_KNOWN: u32 = 0x2 | 0x40 | INCOMPAT_64BIT | 0x200 | 0x2000 | 0x4000;
/// `i_flags`: the inode has extents.
pub(super) const EXTENTS_FL: u32 = 0x8_0000;
/// `eh_magic` of an extent header.
pub(super) const EXTENT_MAGIC: u16 = 0xf30a;
/// Deepest extent tree.
pub(super) const MAX_DEPTH: u16 = 5;
/// Extents of more blocks are allocated and not written: they read as zeros.
pub(super) const WRITTEN: u16 = 32_768;
/// `h_magic` of extended attributes.
pub(super) const XATTR_MAGIC: u32 = 0xea02_0000;
/// Bytes of a header of extended attributes in a block of their own.
pub(super) const XATTR_HEADER: usize = 32;
/// Bytes of an inode before its extra fields.
pub(super) const GOOD_OLD_INODE: usize = 128;
/// `e_name_index`: what stands before the name.
pub(super) const XATTR_PREFIXES: [(u8, &str); 6] = [
    (1, "user."),
    (2, "system.posix_acl_access"),
    (3, "system.posix_acl_default"),
    (4, "trusted."),
    (6, "security."),
    (7, "system."),
];

/// Little-endian fields of a structure that may be too short.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    fn get<const N: usize>(self, at: usize) -> std::io::Result<[u8; N]> {
        let bytes = at.checked_add(N).and_then(|end| self.0.get(at..end));
        bytes
            .and_then(|b| b.try_into().ok())
            .ok_or_else(|| super::reader::damaged("a structure is cut"))
    }

    pub(super) fn u8(self, at: usize) -> std::io::Result<u8> {
        Ok(self.get::<1>(at)?[0])
    }

    pub(super) fn u16(self, at: usize) -> std::io::Result<u16> {
        self.get(at).map(u16::from_le_bytes)
    }

    pub(super) fn u32(self, at: usize) -> std::io::Result<u32> {
        self.get(at).map(u32::from_le_bytes)
    }

    /// A number whose low 32 and high 16 bits stand apart.
    pub(super) fn split(self, low: usize, high: usize) -> std::io::Result<u64> {
        Ok(u64::from(self.u32(low)?) | u64::from(self.u16(high)?) << 32)
    }

    pub(super) fn slice(self, at: usize, length: usize) -> std::io::Result<Vec<u8>> {
        let bytes = at.checked_add(length).and_then(|end| self.0.get(at..end));
        bytes
            .map(<[u8]>::to_vec)
            .ok_or_else(|| super::reader::damaged("a structure is cut"))
    }
}
