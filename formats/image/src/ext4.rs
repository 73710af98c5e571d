//! An ext4 file system from a list of nodes, streamed: no directory, no privilege, no clock.
//!
//! The structures are written by the crate `mkext4`, pinned to one version because its bytes are ours.
//! Blocks are 4096 bytes, inodes 256; every block of the image is emitted exactly once. Data blocks
//! follow the order of the nodes, so a caller that puts what changes often at the end keeps the rest of
//! the image as it was.
//!
//! Not written: `64bit` and `resize_inode` (Linux grows the mounted file system all the same, by
//! `EXT4_IOC_RESIZE_FS`, converting to `meta_bg` beyond 16 GiB), names that are not UTF-8, sockets,
//! sub-second times.

use std::collections::HashMap;
use std::io::{self, Read};

pub use mkext4::RegionSink;
use mkext4::{FsBuilder, InodeHandle, Layout, Meta, Options, ROOT, SpecialKind};

use crate::error::{Error, Result};

/// Block size in bytes.
pub const BLOCK: u64 = 4096;
/// Sizes are searched in steps of this many bytes.
pub const STEP: u64 = 1 << 20;
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

/// The least size in bytes, a multiple of [`STEP`], that holds the nodes.
///
/// # Errors
/// Where a node cannot be expressed, or nothing below 8 TiB is large enough.
pub fn least_size(parameters: &Parameters, nodes: &[Node]) -> Result<u64> {
    let fits = |size| declare(parameters, nodes, size).map(|d| d.builder.seal().is_ok());
    let data: u64 = nodes.iter().map(blocks).sum();
    let mut low = (data * BLOCK).next_multiple_of(STEP).max(8 * STEP);
    let mut high = low + low / 8 + 16 * STEP;
    while !fits(high)? {
        low = high;
        high *= 2;
        if high > LIMIT {
            // Large enough by far, so the reason is another one: let the crate name it.
            sealed(declare(parameters, nodes, LIMIT)?.builder)?;
        }
    }
    while high - low > STEP {
        let middle = (low + (high - low) / 2).next_multiple_of(STEP);
        if fits(middle)? {
            high = middle
        } else {
            low = middle
        }
    }
    Ok(high)
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
/// Where a node cannot be expressed, the nodes do not fit, or `content` or `sink` fails.
pub fn write(
    parameters: &Parameters,
    nodes: &[Node],
    size: u64,
    sink: &mut dyn RegionSink,
    content: &mut dyn FnMut(usize) -> io::Result<Box<dyn Read>>,
) -> Result<()> {
    let Declared { builder, files } = declare(parameters, nodes, size)?;
    let layout = sealed(builder)?;
    let mut writer = layout.writer(sink).map_err(foreign("file system"))?;
    for (index, handle) in files {
        let path = &nodes[index].path;
        let mut reader = content(index).map_err(Error::io(path))?;
        writer.fill(handle, &mut reader).map_err(foreign(path))?;
    }
    writer.finish().map(drop).map_err(foreign("file system"))
}

/// A name space that is declared and not yet laid out.
struct Declared {
    builder: FsBuilder,
    /// Node index and handle of every file that has content, in order.
    files: Vec<(usize, InodeHandle)>,
}

fn declare(parameters: &Parameters, nodes: &[Node], size: u64) -> Result<Declared> {
    let mut options = Options::new(size, parameters.uuid, parameters.epoch);
    options.label = Some(parameters.label.clone());
    // Nobody but root writes here before the first boot; a reserve would only make it larger.
    options.reserved_percent = 0;
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
        let (parent, name) = node.path.rsplit_once('/').unwrap_or(("", &node.path));
        let parent = self.handle(node, parent)?;
        if let Kind::Hardlink(to) = &node.kind {
            let to = self.handle(node, to)?;
            self.builder
                .hardlink(parent, name, to)
                .map_err(foreign(&node.path))?;
            return Ok(to);
        }
        let b = &mut self.builder;
        let handle = match &node.kind {
            // `lost+found` is the file system's own; a tree that brings one changes nothing.
            Kind::Dir if node.path == "lost+found" => return Ok(ROOT),
            Kind::Dir => b.mkdir(parent, name, meta),
            Kind::File(size) => b.file(parent, name, meta, *size),
            Kind::Symlink(target) => b.symlink(parent, name, target, meta),
            Kind::Char(major, minor) => b.mknod(
                parent,
                name,
                meta,
                SpecialKind::Char {
                    major: *major,
                    minor: *minor,
                },
            ),
            Kind::Block(major, minor) => b.mknod(
                parent,
                name,
                meta,
                SpecialKind::Block {
                    major: *major,
                    minor: *minor,
                },
            ),
            Kind::Fifo | Kind::Hardlink(_) => b.mknod(parent, name, meta, SpecialKind::Fifo),
        };
        let handle = handle.map_err(foreign(&node.path))?;
        self.attributes(handle, node)?;
        self.handles.insert(node.path.clone(), handle);
        Ok(handle)
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
            self.builder
                .set_xattr(handle, name, value)
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
