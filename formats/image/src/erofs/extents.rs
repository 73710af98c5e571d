//! Contents of files: cut into pieces, each compressed alone into whole blocks.

use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Compression;
use super::format::{self, BLOCK, BLOCK_COUNT, HEAD, PLAIN};

/// Most bytes behind an inode: with any place of it inside a slot they fit into a block.
pub(super) const INLINE: usize = BLOCK - format::SLOT;
/// Pieces that are compressed at a time: bounds the memory.
const BATCH: usize = 64;
/// The level of LZ4's compressor: beyond it a root shrinks by a third of a percent, in five times the time.
const LZ4_LEVEL: i32 = 9;
/// The level of zstd: level 12 takes half the time and 5 % more RAM, level 19 twice the time for 1 % less.
const ZSTD_LEVEL: i32 = 15;

/// A piece of a file.
enum Piece {
    /// It does not shrink.
    Plain(Vec<u8>),
    /// Compressed, for blocks; the length before.
    Compressed(Vec<u8>, usize),
    /// Compressed, the last of its file, for the place behind the inode; the length before.
    Tail(Vec<u8>, usize),
}

/// A piece that waits to be compressed.
struct Job {
    plain: Vec<u8>,
    /// Where the file ends with it: the file, and its size.
    ends: Option<(usize, u64)>,
}

/// What a file's inode says of its content.
#[derive(Debug, PartialEq)]
pub(super) enum Content {
    /// Behind the inode, as it is.
    Inline(Vec<u8>),
    /// Whole blocks from this one on.
    Blocks(u32),
    /// Compressed: the indexes of its clusters, the number of its blocks, and what lies behind the indexes.
    Compressed {
        indexes: Vec<u8>,
        blocks: u32,
        tail: Vec<u8>,
    },
}

/// Takes blocks: the number of the first one of what it is given, whose length is a multiple of the block's.
pub(super) type Blocks<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<u32>;

/// Writes one file after the other; several are compressed at a time.
pub(super) struct Files {
    compression: Compression,
    waiting: Vec<Job>,
    /// The file whose pieces come out now.
    file: File,
    /// What became of which file.
    done: Vec<(usize, Content)>,
}

impl Files {
    pub(super) fn new(compression: Compression) -> Self {
        Self {
            compression,
            waiting: Vec::new(),
            file: File::default(),
            done: Vec::new(),
        }
    }

    /// Reads the file `index` of `size` bytes, and puts blocks out when enough has come together.
    ///
    /// # Errors
    /// Those of `read` and `blocks`; `UnexpectedEof` where the file is shorter.
    pub(super) fn add(
        &mut self,
        index: usize,
        size: u64,
        mut read: Box<dyn Read>,
        blocks: Blocks<'_>,
    ) -> io::Result<()> {
        let piece = self.compression.piece() as u64;
        let mut left = size;
        loop {
            let mut plain = vec![0; left.min(piece) as usize];
            read.read_exact(&mut plain)?;
            left -= plain.len() as u64;
            let ends = (left == 0).then_some((index, size));
            self.waiting.push(Job { plain, ends });
            if self.waiting.len() == BATCH {
                self.flush(blocks)?;
            }
            if left == 0 {
                return Ok(());
            }
        }
    }

    /// Puts the rest out, and says what became of which file.
    ///
    /// # Errors
    /// Those of `blocks`.
    pub(super) fn finish(mut self, blocks: Blocks<'_>) -> io::Result<Vec<(usize, Content)>> {
        self.flush(blocks)?;
        Ok(self.done)
    }

    fn flush(&mut self, blocks: Blocks<'_>) -> io::Result<()> {
        let jobs = std::mem::take(&mut self.waiting);
        let pieces = compress_all(self.compression, &jobs)?;
        for (job, pieces) in jobs.into_iter().zip(pieces) {
            for piece in pieces {
                self.file.add(piece, blocks)?;
            }
            if let Some((index, size)) = job.ends {
                let content = match std::mem::take(&mut self.file) {
                    file if size <= INLINE as u64 && !file.is_compressed => {
                        Content::Inline(job.plain)
                    }
                    file => file.finish(),
                };
                self.done.push((index, content));
            }
        }
        Ok(())
    }
}

/// The pieces of a file so far.
#[derive(Default)]
struct File {
    indexes: Vec<u8>,
    blocks: u32,
    tail: Vec<u8>,
    /// The first block, where nothing is compressed yet.
    plain: Option<u32>,
    is_compressed: bool,
}

impl File {
    fn add(&mut self, piece: Piece, blocks: Blocks<'_>) -> io::Result<()> {
        match piece {
            Piece::Plain(bytes) => self.plain(bytes, blocks)?,
            Piece::Tail(bytes, length) => {
                self.is_compressed = true;
                self.extent(0, 1, length);
                self.tail = bytes;
            }
            Piece::Compressed(bytes, length) => {
                self.is_compressed = true;
                // The compressed bytes end where the blocks end.
                let whole = bytes.len().next_multiple_of(BLOCK);
                let mut padded = vec![0; whole - bytes.len()];
                padded.extend_from_slice(&bytes);
                let count = (whole / BLOCK) as u16;
                let first = blocks(&padded)?;
                self.blocks += u32::from(count);
                self.extent(first, count, length);
            }
        }
        Ok(())
    }

    /// Every block of what does not shrink is an extent of its own.
    fn plain(&mut self, mut bytes: Vec<u8>, blocks: Blocks<'_>) -> io::Result<()> {
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        let first = blocks(&bytes)?;
        self.plain.get_or_insert(first);
        for n in 0..(bytes.len() / BLOCK) as u32 {
            self.indexes.extend(format::head(PLAIN, 0, first + n));
            self.blocks += 1;
        }
        Ok(())
    }

    /// A compressed extent of `count` blocks that holds `length` bytes. Where it ends inside a cluster the file ends:
    /// an index without an extent says so.
    fn extent(&mut self, first: u32, count: u16, length: usize) {
        let clusters = (length / BLOCK) as u16;
        self.indexes.extend(format::head(HEAD, 0, first));
        for n in 1..clusters {
            let before = match n {
                1 => BLOCK_COUNT | count,
                n => n,
            };
            self.indexes.extend(format::rest(before, clusters - n));
        }
        let end = (length % BLOCK) as u16;
        if clusters > 0 && end > 0 {
            self.indexes.extend(format::head(PLAIN, end, 0));
        }
    }

    fn finish(self) -> Content {
        match self.plain {
            _ if self.is_compressed => Content::Compressed {
                indexes: self.indexes,
                blocks: self.blocks,
                tail: self.tail,
            },
            // Nobody else takes blocks meanwhile, so they lie in one row.
            Some(first) => Content::Blocks(first),
            None => Content::Inline(Vec::new()),
        }
    }
}

/// Compresses the pieces on all processors.
fn compress_all(compression: Compression, jobs: &[Job]) -> io::Result<Vec<Vec<Piece>>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut packer = Packer::new(compression)?;
        let mut done = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(n) else {
                return io::Result::Ok(done);
            };
            done.push((n, compress(&mut packer, job)?));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for worker in workers {
            let lost = |_| Err(io::Error::other("a compressing thread was lost"));
            all.extend(worker.join().unwrap_or_else(lost)?);
        }
        io::Result::Ok(all)
    })?;
    all.sort_by_key(|(n, _)| *n);
    Ok(all.into_iter().map(|(_, pieces)| pieces).collect())
}

/// Compresses one piece, where that saves a block or keeps a file behind its inode. A whole file that stays there as it is
/// has no pieces.
fn compress(packer: &mut Packer, job: &Job) -> io::Result<Vec<Piece>> {
    let plain = &job.plain;
    if plain.is_empty() {
        return Ok(Vec::new());
    }
    let bytes = packer.pack(plain)?;
    if job.ends.is_some() && bytes.len() <= INLINE && pays(&bytes, plain) {
        return Ok(vec![Piece::Tail(bytes, plain.len())]);
    }
    if job.ends.is_some_and(|(_, size)| size <= INLINE as u64) {
        return Ok(Vec::new());
    }
    if bytes.len().div_ceil(BLOCK) >= plain.len().div_ceil(BLOCK) {
        return Ok(vec![Piece::Plain(plain.clone())]);
    }
    if job.ends.is_some()
        && let Some(parts) = split(packer, plain, bytes.len())?
    {
        return Ok(parts);
    }
    Ok(vec![Piece::Compressed(bytes, plain.len())])
}

/// Whether a piece that fits behind its inode is worth its indexes.
fn pays(bytes: &[u8], plain: &[u8]) -> bool {
    let indexes = format::MAP_HEADER + plain.len().div_ceil(BLOCK) * format::INDEX;
    bytes.len() + indexes < plain.len()
}

/// The last piece of a file as one that fills its blocks, and a rest behind the inode: of the last block of what took
/// `whole` bytes half would be empty on average. `None` where that is no gain.
fn split(packer: &mut Packer, plain: &[u8], whole: usize) -> io::Result<Option<Vec<Piece>>> {
    let room = whole / BLOCK * BLOCK;
    let clusters = plain.len() * (room / BLOCK) / whole;
    // An estimate: what comes first may shrink less than what follows.
    for clusters in (clusters.saturating_sub(2)..=clusters).rev() {
        let (first, rest) = plain.split_at(clusters * BLOCK);
        if clusters <= room / BLOCK || rest.is_empty() {
            return Ok(None);
        }
        let head = packer.pack(first)?;
        if head.len() > room {
            continue;
        }
        let tail = packer.pack(rest)?;
        let before = whole.next_multiple_of(BLOCK) - room;
        let fits = tail.len() <= INLINE && tail.len() < before && pays(&tail, rest);
        let parts = || {
            vec![
                Piece::Compressed(head, first.len()),
                Piece::Tail(tail, rest.len()),
            ]
        };
        return Ok(fits.then(parts));
    }
    Ok(None)
}

/// What compresses, with its memory.
enum Packer {
    Lz4,
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Packer {
    fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::Lz4 => Self::Lz4,
            Compression::Zstd => Self::Zstd(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
        })
    }

    fn pack(&mut self, plain: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Lz4 => {
                let mode = lz4::block::CompressionMode::HIGHCOMPRESSION(LZ4_LEVEL);
                lz4::block::compress(plain, Some(mode), false)
            }
            Self::Zstd(zstd) => zstd.compress(plain),
        }
    }
}
