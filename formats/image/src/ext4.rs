//! An ext4 file system from a list of nodes, streamed: no directory, no privilege, no clock.
//!
//! The structures are written by the crate `mkext4`, pinned to one version because its bytes are ours.
//! Blocks are 4096 bytes, inodes 256; every block of the image is emitted exactly once. Data blocks
//! follow the order of the nodes, so a caller that puts what changes often at the end keeps the rest of
//! the image as it was. The data begins on a whole MiB: the journal takes the room that directories leave before
//! it, so that one more directory moves no data.
//!
//! Not written: `64bit` and `resize_inode`; Linux grows the mounted file system all the same
//! (`EXT4_IOC_RESIZE_FS`) and converts it to `meta_bg`, which kernels before 6.9, and stable ones before
//! March 2024, got wrong beyond 16 GiB. Names that are not UTF-8, sockets, sub-second times, holes.

mod acl;
mod format;
pub mod reader;

use std::collections::HashMap;
use std::io::{self, Read};

pub use mkext4::RegionSink;
use mkext4::{FsBuilder, InodeCount, InodeHandle, Layout, Meta, Options, ROOT, SpecialKind};

use crate::error::{Error, Result};

/// Block size in bytes.
pub const BLOCK: u64 = 4096;
/// Sizes are searched in steps of this many bytes.
pub const STEP: u64 = 1 << 20;
/// Blocks in a block group.
const GROUP: u64 = 32_768;
/// Inodes in a block group, unless the nodes need more: one for each 16 KiB, as `mke2fs` has it.
const INODES_PER_GROUP: u64 = 8192;
/// The steps in which a block group has more of them.
const INODE_STEP: u64 = 2048;
/// Inodes that belong to the file system itself.
const OWN_INODES: u64 = 11;
/// Blocks of the journal: 4 MiB, the least that Linux takes. What is written to the journal of a root
/// in RAM stays in RAM for good.
const JOURNAL: u32 = 1024;
/// Data begins on a multiple of this many blocks.
const DATA_STEP: u64 = 256;
/// The smallest file system with such a journal, in bytes.
const LEAST: u64 = 16 << 20;
/// Largest file system that is tried, in bytes: below 2^32 blocks.
const LIMIT: u64 = 1 << 43;

/// What a file system is beside its nodes.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// UUID in the printed order.
    pub uuid: [u8; 16],
    /// Volume label, at most 16 bytes.
    pub label: String,
    /// Time of the superblock and of `lost+found`, seconds since 1970 UTC.
    pub epoch: i64,
}

/// One path. Parents stand before their children, a file before its hard links.
#[derive(Debug, Clone)]
pub struct Node {
    /// Relative path without a leading slash; "" is the root directory.
    pub path: String,
    /// What stands there.
    pub kind: Kind,
    /// Permission, set-id and sticky bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970 UTC.
    pub mtime: i64,
    /// Extended attributes with their full names.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of that many bytes.
    File(u64),
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink(String),
    /// Another name of the file at that path.
    Hardlink(String),
    /// A character device: major, minor.
    Char(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// About the size that [`least_size`] finds, for a single layout instead of several: for those who add some room.
///
/// # Errors
/// As [`least_size`].
pub fn rough_size(parameters: &Parameters, nodes: &[Node]) -> Result<u64> {
    let (_, used) = fitting(parameters, nodes)?;
    Ok(used.next_multiple_of(STEP).max(LEAST))
}

/// The least size in bytes, a multiple of [`STEP`], that holds the nodes and leaves nothing free.
///
/// # Errors
/// Where a node cannot be expressed, or nothing below 8 TiB is large enough.
pub fn least_size(parameters: &Parameters, nodes: &[Node]) -> Result<u64> {
    let (mut size, mut used) = fitting(parameters, nodes)?;
    // A smaller file system needs fewer blocks for itself, so what was used is approached from above.
    loop {
        let mut tight = used.next_multiple_of(STEP).max(LEAST);
        let fitting = loop {
            if tight >= size {
                return Ok(size);
            }
            match self::used(parameters, nodes, tight)? {
                Some(used) => break used,
                None => tight += STEP,
            }
        };
        (size, used) = (tight, fitting);
    }
}

/// A size that is large enough, and the bytes in use in it.
fn fitting(parameters: &Parameters, nodes: &[Node]) -> Result<(u64, u64)> {
    let data: u64 = nodes.iter().map(blocks).sum();
    let mut size = (data * BLOCK * 9 / 8).next_multiple_of(STEP) + LEAST;
    loop {
        match used(parameters, nodes, size)? {
            Some(used) => return Ok((size, used)),
            None if size < LIMIT => size = (size * 2).min(LIMIT),
            // Large enough by far, so the reason is another one: let the crate name it.
            None => {
                return Err(sealed(declare(parameters, nodes, LIMIT, JOURNAL)?.builder)
                    .map_or_else(
                        |error| error,
                        |_| Error::unfit("ext4", "these nodes", "less than 8 TiB"),
                    ));
            }
        }
    }
}

/// Bytes in use in a file system of `size` bytes, or none where the nodes do not fit.
fn used(parameters: &Parameters, nodes: &[Node], size: u64) -> Result<Option<u64>> {
    let Ok(layout) = declare(parameters, nodes, size, JOURNAL)?.builder.seal() else {
        return Ok(None);
    };
    let mut superblock = Superblock { free: 0 };
    layout
        .writer(&mut superblock)
        .map_err(foreign("file system"))?;
    Ok(Some(size - superblock.free * BLOCK))
}

/// Keeps nothing of an image but one number of its superblock.
struct Superblock {
    /// `s_free_blocks_count_lo`.
    free: u64,
}

impl RegionSink for Superblock {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let (0, Some([a, b, c, d])) = (offset, bytes.get(1024 + 0x0c..1024 + 0x10)) {
            self.free = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
        }
        Ok(())
    }

    fn zeros(&mut self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
}

fn blocks(node: &Node) -> u64 {
    match &node.kind {
        Kind::File(size) => size.div_ceil(BLOCK),
        Kind::Dir => 1,
        _ => 0,
    }
}

/// Writes a file system of `size` bytes. `content` opens the file that is the node of that index.
///
/// # Errors
/// As [`lay_out`] and [`Laid::write`].
pub fn write(
    parameters: &Parameters,
    nodes: &[Node],
    size: u64,
    sink: &mut dyn RegionSink,
    content: &mut dyn FnMut(usize) -> io::Result<Box<dyn Read>>,
) -> Result<()> {
    lay_out(parameters, nodes, size)?.write(sink, content)
}

/// Gives every block of a file system of `size` bytes its place.
///
/// # Errors
/// Where a node cannot be expressed, or the nodes do not fit.
pub fn lay_out<'a>(parameters: &Parameters, nodes: &'a [Node], size: u64) -> Result<Laid<'a>> {
    let (layout, files) = aligned(parameters, nodes, size)?;
    Ok(Laid {
        nodes,
        layout,
        files,
    })
}

/// A file system that is laid out and not written yet.
pub struct Laid<'a> {
    nodes: &'a [Node],
    layout: Layout,
    files: Files,
}

/// Where a part of a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// In the image, in bytes: a multiple of [`BLOCK`].
    pub offset: u64,
    /// In bytes. Behind the end of a file its last block is zero.
    pub length: u64,
}

impl Laid<'_> {
    /// Every file that has content: the index of its node, and where it lies, in its own order.
    pub fn places(&self) -> impl Iterator<Item = (usize, Vec<Stretch>)> {
        self.files.iter().map(|(index, handle)| {
            let extents = self.layout.extents(*handle).into_iter();
            let stretch = |(offset, length)| Stretch { offset, length };
            (*index, extents.map(stretch).collect())
        })
    }

    /// Writes it. `content` opens the file that is the node of that index.
    ///
    /// # Errors
    /// Where `content` or `sink` fails.
    pub fn write(
        self,
        sink: &mut dyn RegionSink,
        content: &mut dyn FnMut(usize) -> io::Result<Box<dyn Read>>,
    ) -> Result<()> {
        let mut writer = self.layout.writer(sink).map_err(foreign("file system"))?;
        for (index, handle) in self.files {
            let path = &self.nodes[index].path;
            let mut reader = content(index).map_err(Error::io(path))?;
            writer.fill(handle, &mut reader).map_err(foreign(path))?;
        }
        writer.finish().map(drop).map_err(foreign("file system"))
    }
}

/// Node index and handle of every file that has content, in order.
type Files = Vec<(usize, InodeHandle)>;

/// The layout whose data begins on a step; where the nodes do not fit so, the tightest one.
fn aligned(parameters: &Parameters, nodes: &[Node], size: u64) -> Result<(Layout, Files)> {
    let Declared { builder, files } = declare(parameters, nodes, size, JOURNAL)?;
    let layout = sealed(builder)?;
    let first = files
        .first()
        .and_then(|(_, handle)| layout.extents(*handle).first().copied());
    let begin = first.map_or(0, |(offset, _)| offset / BLOCK);
    let room = begin.next_multiple_of(DATA_STEP) - begin;
    let journal = JOURNAL + u32::try_from(room).unwrap_or(0);
    // Two layouts of a large tree at once would be the most that a build holds in memory.
    drop((layout, files));
    let padded = declare(parameters, nodes, size, journal)?;
    if let Ok(layout) = padded.builder.seal() {
        return Ok((layout, padded.files));
    }
    let Declared { builder, files } = declare(parameters, nodes, size, JOURNAL)?;
    Ok((sealed(builder)?, files))
}

/// A name space that is declared and not yet laid out.
struct Declared {
    builder: FsBuilder,
    files: Files,
}

fn declare(parameters: &Parameters, nodes: &[Node], size: u64, journal: u32) -> Result<Declared> {
    let mut options = Options::new(size, parameters.uuid, parameters.epoch);
    options.label = Some(parameters.label.clone());
    // Nobody but root writes here before the first boot; a reserve would only make it larger.
    options.reserved_percent = 0;
    options.journal_blocks = Some(journal);
    options.inodes = InodeCount::Exact(inodes(nodes, size));
    let builder = FsBuilder::new(options).map_err(foreign("file system"))?;
    let mut tree = Tree {
        builder,
        handles: HashMap::from([(String::new(), ROOT)]),
    };
    let mut files = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let handle = tree.add(node)?;
        if matches!(node.kind, Kind::File(size) if size > 0) {
            files.push((index, handle));
        }
    }
    Ok(Declared {
        builder: tree.builder,
        files,
    })
}

/// How many inodes a file system of `size` bytes has. Steps are large, because another number of inodes
/// moves every block of data behind them.
fn inodes(nodes: &[Node], size: u64) -> u32 {
    let groups = size.div_ceil(GROUP * BLOCK).max(1);
    let needed = nodes
        .iter()
        .filter(|n| !matches!(n.kind, Kind::Hardlink(_)))
        .count() as u64;
    // An eighth stays free, so that a running system can make files even before it grows.
    let each = (OWN_INODES + needed + needed / 8)
        .div_ceil(groups)
        .next_multiple_of(INODE_STEP);
    let total = groups * each.max(INODES_PER_GROUP);
    u32::try_from(total).unwrap_or(u32::MAX)
}

struct Tree {
    builder: FsBuilder,
    handles: HashMap<String, InodeHandle>,
}

impl Tree {
    fn add(&mut self, node: &Node) -> Result<InodeHandle> {
        let meta = Meta::new(node.mode, node.uid, node.gid, (node.mtime, 0));
        if node.path.is_empty() {
            self.builder.set_meta(ROOT, meta).map_err(foreign("/"))?;
            self.attributes(ROOT, node)?;
            return Ok(ROOT);
        }
        // `lost+found` is the file system's own; a tree that brings one changes nothing.
        if node.path == "lost+found" && node.kind == Kind::Dir {
            return Ok(ROOT);
        }
        let (parent, name) = node.path.rsplit_once('/').unwrap_or(("", &node.path));
        let parent = self.handle(node, parent)?;
        if let Kind::Hardlink(to) = &node.kind {
            let to = self.handle(node, to)?;
            let linked = self.builder.hardlink(parent, name, to);
            return linked.map(|()| to).map_err(foreign(&node.path));
        }
        let made = self.make(parent, name, node, meta);
        let handle = made.map_err(foreign(&node.path))?;
        self.attributes(handle, node)?;
        self.handles.insert(node.path.clone(), handle);
        Ok(handle)
    }

    /// Declares anything but a hard link.
    fn make(
        &mut self,
        parent: InodeHandle,
        name: &str,
        node: &Node,
        meta: Meta,
    ) -> mkext4::Result<InodeHandle> {
        let special = match node.kind {
            Kind::Char(major, minor) => SpecialKind::Char { major, minor },
            Kind::Block(major, minor) => SpecialKind::Block { major, minor },
            _ => SpecialKind::Fifo,
        };
        match &node.kind {
            Kind::Dir => self.builder.mkdir(parent, name, meta),
            Kind::File(size) => self.builder.file(parent, name, meta, *size),
            Kind::Symlink(target) => self.builder.symlink(parent, name, target, meta),
            _ => self.builder.mknod(parent, name, meta, special),
        }
    }

    fn handle(&self, node: &Node, path: &str) -> Result<InodeHandle> {
        self.handles.get(path).copied().ok_or_else(|| {
            Error::unfit(
                &node.path,
                format!("{path:?} is not in the list yet"),
                "it before this one",
            )
        })
    }

    fn attributes(&mut self, handle: InodeHandle, node: &Node) -> Result<()> {
        for (name, value) in &node.xattrs {
            let value = match acl::is_acl(name) {
                true => acl::to_disk(value).map_err(|e| {
                    let fact = format!("{name}: {e}");
                    Error::unfit(
                        &node.path,
                        fact,
                        "a list of version 2, as getxattr gives it",
                    )
                })?,
                false => value.clone(),
            };
            self.builder
                .set_xattr(handle, name, &value)
                .map_err(foreign(&node.path))?;
        }
        Ok(())
    }
}

fn sealed(builder: FsBuilder) -> Result<Layout> {
    builder.seal().map_err(foreign("file system"))
}

/// Attaches the path at hand to an error of the crate underneath.
fn foreign(what: &str) -> impl FnOnce(mkext4::Error) -> Error {
    let what = format!("ext4: {what}");
    move |error| match error {
        mkext4::Error::Io(source) => Error::Io { what, source },
        mkext4::Error::Corrupt { what: part, why } => {
            Error::damaged(what, format!("{part}: {why}"))
        }
        mkext4::Error::Unsupported(fact) => Error::unfit(what, fact, "what this writer knows"),
        other => Error::unfit(what, other, "a node that ext4 can hold"),
    }
}
