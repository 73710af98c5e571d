//! A compressed read-only file system (EROFS) from a list of nodes, streamed: no directory, no privilege, no clock.
//!
//! ```text
//! 0       superblock, at byte 1024, with the compressor's configuration
//! 1 …     blocks: compressed pieces of files, what does not shrink, directories
//! m …     metadata: each inode, its extended attributes, and behind them
//!           a short file, link or directory as it is, or
//!           an index of eight bytes for each 4 KiB, and the last compressed bytes where they are few
//! ```
//!
//! Files are cut into pieces of 128 KiB (`lz4`) or 256 KiB (`zstd`); each is compressed alone and takes whole blocks. Pieces begin where a block of
//! the file begins, so that every page is unpacked from one piece. What is needed to mount it came with Linux 5.19
//! (`lz4`), 6.10 (`zstd`).
//!
//! Not written: inodes of the compact form, compact indexes, shared extended attributes, fragments, deduplicated
//! extents, sub-second times, a volume name, names that are not UTF-8.

mod directory;
mod extents;
mod format;
mod place;

use std::collections::HashMap;
use std::io::{self, Read};

use crate::error::{Error, Result};
use crate::ext4::{Kind, Node, RegionSink};

use self::directory::{Entry, Names};
use self::extents::{Content, Files, INLINE};
use self::format::{
    BLOCK, COMPRESSED_FULL, FLAT_INLINE, FLAT_PLAIN, INDEX, INODE, Inode, MAP_HEADER, SLOT,
    Superblock,
};
use self::place::Places;

/// What compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// LZ4, which every kernel with compressed EROFS has.
    Lz4,
    /// Zstandard, `CONFIG_EROFS_FS_ZIP_ZSTD`.
    Zstd,
}

impl Compression {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// `Z_EROFS_COMPRESSION_*`.
    fn algorithm(self) -> u8 {
        match self {
            Self::Lz4 => 0,
            Self::Zstd => 3,
        }
    }

    /// Bytes of a file that are compressed together, as a power of two: what is read of it costs at most so much unpacking.
    /// Half as much makes a root 2.5 % larger with zstd; LZ4 finds nothing beyond 64 KiB anyway.
    fn piece_log(self) -> u32 {
        match self {
            Self::Lz4 => 17,
            Self::Zstd => 18,
        }
    }

    /// The same in bytes.
    fn piece(self) -> usize {
        1 << self.piece_log()
    }

    /// The compressor's own version: another one may give other bytes.
    pub fn version(self) -> u64 {
        match self {
            Self::Lz4 => u64::from(lz4::version().unsigned_abs()),
            Self::Zstd => u64::from(zstd::zstd_safe::version_number()),
        }
    }
}

/// What a file system is beside its nodes.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// UUID in the printed order.
    pub uuid: [u8; 16],
    /// Time of the superblock, seconds since 1970 UTC.
    pub epoch: u64,
    /// What compresses.
    pub compression: Compression,
}

/// An upper bound of the size in bytes of a file system of these nodes.
pub fn most_size(nodes: &[Node]) -> u64 {
    let node = |node: &Node| {
        let content = match &node.kind {
            Kind::File(size) => size.next_multiple_of(BLOCK as u64) + size / 512,
            Kind::Symlink(target) => target.len() as u64,
            _ => 0,
        };
        let xattrs: usize = node.xattrs.iter().map(|(n, v)| n.len() + v.len() + 8).sum();
        // The inode, its name in a directory, and what placing it may leave free.
        content + (xattrs + node.path.len()) as u64 + 2 * BLOCK as u64
    };
    nodes.iter().map(node).sum::<u64>() + 4 * BLOCK as u64
}

/// Whether the nodes can be expressed, without their contents.
///
/// # Errors
/// [`Error::Unfit`], as [`write`].
pub fn check(nodes: &[Node]) -> Result<()> {
    Names::of(nodes)?;
    for node in nodes {
        format::xattrs(&node.xattrs).ok_or_else(|| unknown_xattr(node))?;
        device(node)?;
    }
    Ok(())
}

/// Writes a file system and gives its length in bytes. `content` opens the file that is the node of that index. Bytes
/// arrive in any order, each at most once; those that do not are zero.
///
/// # Errors
/// [`Error::Unfit`] where a node cannot be expressed; [`Error::Io`] where `content` or `sink` fails.
pub fn write(
    parameters: &Parameters,
    nodes: &[Node],
    sink: &mut dyn RegionSink,
    content: &mut dyn FnMut(usize) -> io::Result<Box<dyn Read>>,
) -> Result<u64> {
    let names = Names::of(nodes)?;
    let mut out = Out { sink, next: 1 };
    let bodies = bodies(parameters.compression, nodes, &names, &mut out, content)?;
    let (places, length) = place(&bodies);
    let root_nid = nid(places.first().copied().flatten()) as u16;
    let mut metadata = vec![0; length.next_multiple_of(BLOCK)];
    let mut inodes = 0;
    for (index, body) in bodies.into_iter().enumerate() {
        let Some(at) = places[index] else { continue };
        let body = body.with_names(names.entries(index), &places, &mut out)?;
        inodes += 1;
        let links = names.links(index);
        let inode = body.inode(parameters.compression, &nodes[index], inodes, links);
        metadata[at..at + inode.len()].copy_from_slice(&inode);
    }
    let first = out.next;
    out.at(first, &metadata)?;
    let blocks = u64::from(first) + (metadata.len() / BLOCK) as u64;
    let superblock = Superblock {
        uuid: parameters.uuid,
        epoch: parameters.epoch,
        compression: parameters.compression,
        root_nid,
        inodes: inodes.into(),
        blocks: u32::try_from(blocks).map_err(|_| too_large())?,
        metadata: first,
        longest: (parameters.compression.piece() / BLOCK) as u16,
        window: parameters.compression.piece_log(),
    };
    out.at(0, &superblock.block())?;
    Ok(blocks * BLOCK as u64)
}

/// Puts the blocks of all nodes out; directories keep theirs for later.
fn bodies(
    compression: Compression,
    nodes: &[Node],
    names: &Names,
    out: &mut Out<'_>,
    content: &mut dyn FnMut(usize) -> io::Result<Box<dyn Read>>,
) -> Result<Vec<Body>> {
    // Blocks of a file stand in one row, so nothing else is put out meanwhile.
    let mut files = files(compression, nodes, out, content)?;
    let mut bodies = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let xattrs = format::xattrs(&node.xattrs).ok_or_else(|| unknown_xattr(node))?;
        let data = match files.remove(&index) {
            Some(content) => Data::File(content),
            None => data(node, xattrs.len(), names.entries(index), out)?,
        };
        bodies.push(Body { xattrs, data });
    }
    Ok(bodies)
}

/// Puts blocks out, each behind the one before.
struct Out<'a> {
    sink: &'a mut dyn RegionSink,
    /// The next free block.
    next: u32,
}

impl Out<'_> {
    /// Takes `length` bytes of blocks; the number of the first.
    fn take(&mut self, length: usize) -> io::Result<u32> {
        let first = self.next;
        let count = u32::try_from(length.div_ceil(BLOCK)).ok();
        let next = count.and_then(|count| first.checked_add(count));
        self.next = next.ok_or_else(|| io::Error::other(too_large()))?;
        Ok(first)
    }

    fn at(&mut self, block: u32, bytes: &[u8]) -> Result<()> {
        let done = self.sink.data(u64::from(block) * BLOCK as u64, bytes);
        done.map_err(Error::io("erofs"))
    }

    fn blocks(&mut self, bytes: &[u8]) -> io::Result<u32> {
        let first = self.take(bytes.len())?;
        self.sink.data(u64::from(first) * BLOCK as u64, bytes)?;
        Ok(first)
    }
}

/// What an inode consists of.
struct Body {
    xattrs: Vec<u8>,
    data: Data,
}

/// What it says of its content.
enum Data {
    /// Another name of a file: it has no inode.
    Name,
    Device(u32),
    /// A directory whose numbers of inodes are not known yet: its first block, and its length.
    Directory {
        first: u32,
        size: usize,
    },
    /// The first block, the length, and what lies behind the inode.
    Flat(u32, usize, Vec<u8>),
    /// A file.
    File(Content),
}

/// Puts the blocks of all files out.
fn files(
    compression: Compression,
    nodes: &[Node],
    out: &mut Out<'_>,
    content: &mut dyn FnMut(usize) -> io::Result<Box<dyn Read>>,
) -> Result<HashMap<usize, Content>> {
    let mut files = Files::new(compression);
    let mut blocks = |bytes: &[u8]| out.blocks(bytes);
    for (index, node) in nodes.iter().enumerate() {
        if let Kind::File(size) = node.kind {
            let read = content(index);
            let added = read.and_then(|read| files.add(index, size, read, &mut blocks));
            added.map_err(Error::io(&node.path))?;
        }
    }
    let done = files.finish(&mut blocks).map_err(Error::io("erofs"))?;
    Ok(done.into_iter().collect())
}

/// Puts the blocks of a node out that is no file and has `xattrs` bytes of extended attributes.
fn data(node: &Node, xattrs: usize, entries: &[Entry], out: &mut Out<'_>) -> Result<Data> {
    Ok(match &node.kind {
        Kind::Hardlink(_) | Kind::File(_) => Data::Name,
        Kind::Char(..) | Kind::Block(..) | Kind::Fifo => Data::Device(device(node)?),
        Kind::Symlink(target) if INODE + xattrs + target.len() <= BLOCK => {
            Data::Flat(0, target.len(), target.clone().into_bytes())
        }
        Kind::Symlink(target) => {
            let mut bytes = target.clone().into_bytes();
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
            let first = out.blocks(&bytes).map_err(Error::io(&node.path))?;
            Data::Flat(first, target.len(), Vec::new())
        }
        Kind::Dir => {
            let size = directory::size(entries);
            let first = out.take(in_blocks(size)).map_err(Error::io(&node.path))?;
            Data::Directory { first, size }
        }
    })
}

/// The number of a device; 0 for what is none.
fn device(node: &Node) -> Result<u32> {
    let (Kind::Char(major, minor) | Kind::Block(major, minor)) = &node.kind else {
        return Ok(0);
    };
    format::device(*major, *minor).ok_or_else(|| {
        Error::unfit(
            &node.path,
            format!("device {major}:{minor}"),
            "a major number below 4096, a minor one below 1048576",
        )
    })
}

/// Bytes of a directory of `size` bytes that lie in blocks; the rest lies behind its inode, where there is room.
fn in_blocks(size: usize) -> usize {
    match size % BLOCK {
        rest if rest <= INLINE => size - rest,
        _ => size,
    }
}

/// The places of the inodes in the metadata, and its length. The root's is the first: its number has 16 bits.
fn place(bodies: &[Body]) -> (Vec<Option<usize>>, usize) {
    // Inode number 0 means that there is none.
    let mut free = Places::new(2 * SLOT);
    let place = |body: &Body| {
        let (fixed, inline) = body.lengths()?;
        Some(match body.data {
            // Linux before 6.12 reads a link only where it lies in one block with its whole inode. Directories become
            // flat later.
            Data::Flat(..) if inline > 0 => free.take(0, fixed + inline),
            _ => free.take(fixed, inline),
        })
    };
    let places = bodies.iter().map(place).collect();
    (places, free.end())
}

fn nid(place: Option<usize>) -> u64 {
    (place.unwrap_or_default() / SLOT) as u64
}

impl Body {
    /// A directory gets its bytes, when all inodes have their places.
    fn with_names(
        mut self,
        entries: &[Entry],
        places: &[Option<usize>],
        out: &mut Out<'_>,
    ) -> Result<Self> {
        if let Data::Directory { first, size } = self.data {
            let bytes = directory::bytes(entries, |node| nid(places[node]));
            let (whole, rest) = bytes.split_at(in_blocks(size));
            out.at(first, whole)?;
            self.data = Data::Flat(first, bytes.len(), rest.to_vec());
        }
        Ok(self)
    }

    /// Bytes of the inode with what belongs to it, and of what must lie in one block behind that.
    fn lengths(&self) -> Option<(usize, usize)> {
        let fixed = INODE + self.xattrs.len();
        Some(match &self.data {
            Data::Name => return None,
            Data::Device(_) => (fixed, 0),
            Data::Directory { size, .. } => (fixed, size - in_blocks(*size)),
            Data::Flat(_, _, rest) | Data::File(Content::Inline(rest)) => (fixed, rest.len()),
            Data::File(Content::Blocks(_)) => (fixed, 0),
            Data::File(Content::Compressed { indexes, tail, .. }) => {
                let header = fixed.next_multiple_of(INDEX) + MAP_HEADER;
                (header + indexes.len(), tail.len())
            }
        })
    }

    /// The inode and what lies behind it.
    fn inode(&self, compression: Compression, node: &Node, number: u32, links: u32) -> Vec<u8> {
        let (layout, size, union) = match &self.data {
            Data::Name => (FLAT_PLAIN, 0, 0),
            Data::Device(device) => (FLAT_PLAIN, 0, *device),
            Data::Directory { first, size } => (FLAT_PLAIN, *size as u64, *first),
            Data::Flat(first, size, rest) => (flat(rest), *size as u64, *first),
            Data::File(content) => {
                let (layout, union) = match content {
                    Content::Inline(bytes) => (flat(bytes), 0),
                    Content::Blocks(first) => (FLAT_PLAIN, *first),
                    Content::Compressed { blocks, .. } => (COMPRESSED_FULL, *blocks),
                };
                (layout, file_size(node), union)
            }
        };
        let inode = Inode {
            layout,
            xattrs: self.xattrs.len(),
            mode: format::kind(&node.kind).0 | node.mode,
            size,
            union,
            number,
            uid: node.uid,
            gid: node.gid,
            mtime: node.mtime,
            links,
        };
        let mut out = inode.bytes();
        out.extend(&self.xattrs);
        match &self.data {
            Data::Flat(_, _, rest) | Data::File(Content::Inline(rest)) => out.extend(rest),
            Data::File(Content::Compressed { indexes, tail, .. }) => {
                out.resize(out.len().next_multiple_of(INDEX), 0);
                out.extend(format::map_header(compression, tail.len()));
                out.extend(indexes);
                out.extend(tail);
            }
            _ => (),
        }
        out
    }
}

fn flat(rest: &[u8]) -> u16 {
    match rest.is_empty() {
        true => FLAT_PLAIN,
        false => FLAT_INLINE,
    }
}

fn file_size(node: &Node) -> u64 {
    match node.kind {
        Kind::File(size) => size,
        _ => 0,
    }
}

fn too_large() -> Error {
    Error::unfit("erofs", "these files compressed", "less than 16 TiB")
}

fn unknown_xattr(node: &Node) -> Error {
    let names: Vec<&str> = node.xattrs.iter().map(|(name, _)| name.as_str()).collect();
    Error::unfit(
        &node.path,
        format!("extended attributes {}", names.join(", ")),
        "user.*, trusted.*, security.* or access control lists, of at most 64 KiB each and 256 KiB in all",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_lies_in_one_block_with_its_inode() {
        let links = (0..2000_usize).map(|n| {
            let (xattrs, length) = (n % 7 * 12, 1 + n * 37 % 300);
            Body {
                xattrs: vec![0; xattrs],
                data: Data::Flat(0, length, vec![b'x'; length]),
            }
        });
        let bodies: Vec<Body> = links.collect();
        let (places, _) = place(&bodies);
        for (body, at) in bodies.iter().zip(places) {
            let (fixed, inline) = body.lengths().unwrap();
            assert!(at.unwrap() % BLOCK + fixed + inline <= BLOCK, "{at:?}");
        }
    }
}
