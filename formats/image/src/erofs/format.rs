//! The structures of EROFS (Linux, `fs/erofs/erofs_fs.h`), in disk order.

use super::Compression;
use crate::ext4::Kind;

/// Block size, and size of a logical cluster, in bytes.
pub(super) const BLOCK: usize = 4096;
/// Offset of the superblock in bytes.
pub(super) const SUPERBLOCK: usize = 1024;
/// Bytes of the superblock; the configuration of the compressor follows.
const SUPERBLOCK_SIZE: usize = 128;
const MAGIC: u32 = 0xe0f5_e1e2;
/// `EROFS_FEATURE_COMPAT_SB_CHKSUM`, `_MTIME`.
const COMPAT: u32 = 0x1 | 0x2;
/// `EROFS_FEATURE_INCOMPAT_ZERO_PADDING`: compressed bytes end where their blocks end. `_COMPR_CFGS`, which is also
/// `_BIG_PCLUSTER`. `_ZTAILPACKING`: the last ones may lie behind their inode.
const INCOMPAT: u32 = 0x1 | 0x2 | 0x10;
/// Where a superblock's `checksum` stands.
const CHECKSUM: usize = 4;
/// The largest distance of a match in LZ4.
const LZ4_MAX_DISTANCE: u16 = 65_535;
/// The least window of zstd, as a power of two: what `windowlog` counts from.
const ZSTD_LEAST_WINDOW: u32 = 10;

/// Inode numbers count from the beginning of the metadata in steps of this many bytes.
pub(super) const SLOT: usize = 32;
/// Bytes of an inode of the extended form.
pub(super) const INODE: usize = 64;

/// `EROFS_INODE_FLAT_PLAIN`: whole blocks.
pub(super) const FLAT_PLAIN: u16 = 0;
/// `EROFS_INODE_COMPRESSED_FULL`: compressed, eight bytes of index for each logical cluster.
pub(super) const COMPRESSED_FULL: u16 = 1;
/// `EROFS_INODE_FLAT_INLINE`: whole blocks, and the rest behind the inode.
pub(super) const FLAT_INLINE: u16 = 2;

/// Bytes of the header before the indexes.
pub(super) const MAP_HEADER: usize = 16;
/// Bytes of an index of a logical cluster.
pub(super) const INDEX: usize = 8;
/// `Z_EROFS_LCLUSTER_TYPE_PLAIN`: an extent begins that is not compressed.
pub(super) const PLAIN: u16 = 0;
/// `Z_EROFS_LCLUSTER_TYPE_HEAD1`: a compressed extent begins.
pub(super) const HEAD: u16 = 1;
/// `Z_EROFS_LCLUSTER_TYPE_NONHEAD`: an extent goes on.
pub(super) const NONHEAD: u16 = 2;
/// `Z_EROFS_LI_D0_CBLKCNT`: the number is not a distance but that of the extent's blocks.
pub(super) const BLOCK_COUNT: u16 = 1 << 11;
/// `Z_EROFS_ADVISE_BIG_PCLUSTER_1`: extents may take several blocks.
const ADVISE_BIG: u16 = 0x2;
/// `Z_EROFS_ADVISE_INLINE_PCLUSTER`: the last extent lies behind the indexes.
const ADVISE_INLINE: u16 = 0x8;

/// Bytes of a directory entry without its name.
pub(super) const DIRENT: usize = 12;

/// `e_name_index`: what stands before the name of an extended attribute.
const XATTR_PREFIXES: [(u8, &str); 5] = [
    (1, "user."),
    (2, "system.posix_acl_access"),
    (3, "system.posix_acl_default"),
    (4, "trusted."),
    (6, "security."),
];
/// Bytes of the header of an inode's extended attributes.
const XATTR_HEADER: usize = 12;

/// What of an image stands in its superblock.
pub(super) struct Superblock {
    pub(super) uuid: [u8; 16],
    pub(super) epoch: u64,
    pub(super) compression: Compression,
    pub(super) root_nid: u16,
    pub(super) inodes: u64,
    pub(super) blocks: u32,
    pub(super) metadata: u32,
    /// Blocks of the longest extent.
    pub(super) longest: u16,
    /// Bytes of the longest extent before it was compressed, as a power of two.
    pub(super) window: u32,
}

impl Superblock {
    /// The first block (`struct erofs_super_block`, then `z_erofs_lz4_cfgs` or `z_erofs_zstd_cfgs` after its length).
    pub(super) fn block(&self) -> Vec<u8> {
        let mut out = vec![0; SUPERBLOCK];
        put(&mut out, &MAGIC.to_le_bytes()); //                         magic
        put(&mut out, &[0; 4]); //                                      checksum
        put(&mut out, &COMPAT.to_le_bytes()); //                        feature_compat
        put(&mut out, &[12, 0]); //                                     blkszbits, sb_extslots
        put(&mut out, &self.root_nid.to_le_bytes()); //                 root_nid
        put(&mut out, &self.inodes.to_le_bytes()); //                   inos
        put(&mut out, &self.epoch.to_le_bytes()); //                    build_time
        put(&mut out, &[0; 4]); //                                      build_time_nsec
        put(&mut out, &self.blocks.to_le_bytes()); //                   blocks
        put(&mut out, &self.metadata.to_le_bytes()); //                 meta_blkaddr
        put(&mut out, &[0; 4]); //                                      xattr_blkaddr
        put(&mut out, &self.uuid); //                                   uuid
        put(&mut out, &[0; 16]); //                                     volume_name
        put(&mut out, &INCOMPAT.to_le_bytes()); //                      feature_incompat
        let algorithms = 1_u16 << self.compression.algorithm();
        put(&mut out, &algorithms.to_le_bytes()); //                    available_compr_algs
        out.resize(SUPERBLOCK + SUPERBLOCK_SIZE, 0);
        match self.compression {
            Compression::Lz4 => {
                put(&mut out, &14_u16.to_le_bytes());
                put(&mut out, &LZ4_MAX_DISTANCE.to_le_bytes()); //      max_distance
                put(&mut out, &self.longest.to_le_bytes()); //          max_pclusterblks
            }
            Compression::Zstd => {
                put(&mut out, &6_u16.to_le_bytes());
                let window = self.window - ZSTD_LEAST_WINDOW;
                put(&mut out, &[0, window as u8]); //                   format, windowlog
            }
        }
        out.resize(BLOCK, 0);
        // The kernel's CRC32C, which is not inverted at the end.
        let checksum = !crc32c::crc32c(&out[SUPERBLOCK..]);
        let at = SUPERBLOCK + CHECKSUM;
        out[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
        out
    }
}

/// An inode's fixed part.
pub(super) struct Inode {
    pub(super) layout: u16,
    /// Bytes of its extended attributes.
    pub(super) xattrs: usize,
    /// Type and permissions.
    pub(super) mode: u16,
    pub(super) size: u64,
    /// First block, number of compressed blocks, or device.
    pub(super) union: u32,
    pub(super) number: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: i64,
    pub(super) links: u32,
}

impl Inode {
    /// `struct erofs_inode_extended`.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(INODE);
        put(&mut out, &(self.layout << 1 | 1).to_le_bytes()); //        i_format
        let words = match self.xattrs {
            0 => 0,
            bytes => ((bytes - XATTR_HEADER) / 4 + 1) as u16,
        };
        put(&mut out, &words.to_le_bytes()); //                         i_xattr_icount
        put(&mut out, &self.mode.to_le_bytes()); //                     i_mode
        put(&mut out, &[0; 2]); //                                      i_nb
        put(&mut out, &self.size.to_le_bytes()); //                     i_size
        put(&mut out, &self.union.to_le_bytes()); //                    i_u
        put(&mut out, &self.number.to_le_bytes()); //                   i_ino
        put(&mut out, &self.uid.to_le_bytes()); //                      i_uid
        put(&mut out, &self.gid.to_le_bytes()); //                      i_gid
        put(&mut out, &self.mtime.to_le_bytes()); //                    i_mtime
        put(&mut out, &[0; 4]); //                                      i_mtime_nsec
        put(&mut out, &self.links.to_le_bytes()); //                    i_nlink
        out.resize(INODE, 0);
        out
    }
}

/// The header before the indexes of a compressed file (`struct z_erofs_map_header`, and eight bytes that pad it). `tail`
/// is the number of compressed bytes behind the indexes.
pub(super) fn map_header(compression: Compression, tail: usize) -> Vec<u8> {
    let advise = match tail {
        0 => ADVISE_BIG,
        _ => ADVISE_BIG | ADVISE_INLINE,
    };
    let mut out = Vec::new();
    put(&mut out, &[0; 2]); //                                          h_reserved1
    put(&mut out, &(tail as u16).to_le_bytes()); //                     h_idata_size
    put(&mut out, &advise.to_le_bytes()); //                            h_advise
    put(&mut out, &[compression.algorithm(), 0]); //                    h_algorithmtype, h_clusterbits
    out.resize(MAP_HEADER, 0);
    out
}

/// `struct z_erofs_lcluster_index` of a cluster in which an extent begins, at `offset` in it.
pub(super) fn head(kind: u16, offset: u16, block: u32) -> [u8; INDEX] {
    let mut out = [0; INDEX];
    out[..2].copy_from_slice(&kind.to_le_bytes()); //                   di_advise
    out[2..4].copy_from_slice(&offset.to_le_bytes()); //                di_clusterofs
    out[4..].copy_from_slice(&block.to_le_bytes()); //                  blkaddr
    out
}

/// The same of a cluster in which one goes on: the distance to where it began, or its number of blocks, and the
/// distance to where the next one begins.
pub(super) fn rest(before: u16, after: u16) -> [u8; INDEX] {
    let mut out = [0; INDEX];
    out[..2].copy_from_slice(&NONHEAD.to_le_bytes()); //                di_advise
    out[4..6].copy_from_slice(&before.to_le_bytes()); //                delta[0]
    out[6..].copy_from_slice(&after.to_le_bytes()); //                  delta[1]
    out
}

/// `struct erofs_dirent`.
pub(super) fn dirent(nid: u64, name: u16, kind: u8) -> [u8; DIRENT] {
    let mut out = [0; DIRENT];
    out[..8].copy_from_slice(&nid.to_le_bytes()); //                    nid
    out[8..10].copy_from_slice(&name.to_le_bytes()); //                 nameoff
    out[10] = kind; //                                                  file_type
    out
}

/// The extended attributes of an inode (`struct erofs_xattr_ibody_header`, `erofs_xattr_entry`); `None` where one of
/// them cannot be expressed.
pub(super) fn xattrs(all: &[(String, Vec<u8>)]) -> Option<Vec<u8>> {
    if all.is_empty() {
        return Some(Vec::new());
    }
    let mut out = vec![0; XATTR_HEADER];
    for (name, value) in all {
        let (index, rest) = xattr_name(name)?;
        put(&mut out, &[u8::try_from(rest.len()).ok()?, index]); //     e_name_len, e_name_index
        let length = u16::try_from(value.len()).ok()?;
        put(&mut out, &length.to_le_bytes()); //                        e_value_size
        put(&mut out, rest.as_bytes());
        put(&mut out, value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    // i_xattr_icount has 16 bits.
    (out.len() <= XATTR_HEADER + 4 * 0xfffe).then_some(out)
}

/// `e_name_index` and `e_name` of an extended attribute; `None` where its name cannot be expressed. Two of the prefixes are
/// names by themselves, and nothing may follow them.
fn xattr_name(name: &str) -> Option<(u8, &str)> {
    let found = |(index, prefix): &(u8, &str)| Some((*index, name.strip_prefix(prefix)?));
    let (index, rest) = XATTR_PREFIXES.iter().find_map(found)?;
    let is_whole = matches!(index, 2 | 3);
    (is_whole == rest.is_empty()).then_some((index, rest))
}

/// Type bits of a mode, and type in a directory entry (`linux/stat.h`, `linux/fs_types.h`).
pub(super) fn kind(kind: &Kind) -> (u16, u8) {
    match kind {
        Kind::File(_) | Kind::Hardlink(_) => (0o100_000, 1),
        Kind::Dir => (0o040_000, 2),
        Kind::Char(..) => (0o020_000, 3),
        Kind::Block(..) => (0o060_000, 4),
        Kind::Fifo => (0o010_000, 5),
        Kind::Symlink(_) => (0o120_000, 7),
    }
}

/// A device number as in `i_u` (`new_encode_dev`): 12 bits of the major number, 20 of the minor one; `None` for more.
pub(super) fn device(major: u32, minor: u32) -> Option<u32> {
    let fits = major < 1 << 12 && minor < 1 << 20;
    fits.then_some((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_attributes_have_a_prefix_or_are_one() {
        for (name, expected) in [
            ("user.a", Some((1, "a"))),
            ("system.posix_acl_access", Some((2, ""))),
            ("system.posix_acl_default", Some((3, ""))),
            ("security.capability", Some((6, "capability"))),
            ("system.posix_acl_accessX", None),
            ("system.posix_acl_default.a", None),
            ("user.", None),
            ("trusted.", None),
            ("system.other", None),
        ] {
            assert_eq!(xattr_name(name), expected, "{name}");
        }
    }

    #[test]
    fn device_numbers_have_32_bits() {
        assert_eq!(device(8, 300), Some(0x0010_082c));
        assert_eq!(device(4095, 0xf_ffff), Some(u32::MAX));
        assert_eq!((device(4096, 0), device(0, 1 << 20)), (None, None));
    }
}
