//! Walks over all segments of an initrd, as the kernel does.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use super::{ALIGNMENT, Entry, HEADER, MAGIC, MAGIC_CHECKED, MAX_PATH, padding};
use crate::error::{Error, Result};

/// How a segment is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
    /// xz.
    Xz,
}

/// The beginning of each kind of segment that is read.
const MAGICS: [(&[u8], Compression); 5] = [
    (MAGIC, Compression::None),
    (MAGIC_CHECKED, Compression::None),
    (b"\x1f\x8b", Compression::Gzip),
    (b"\x28\xb5\x2f\xfd", Compression::Zstd),
    (b"\xfd7zXZ\0", Compression::Xz),
];

/// The beginning of each kind of segment that the kernel knows and this reader does not.
const UNREAD: [(&[u8], &str); 4] = [
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x89LZO\0", "lzo"),
    (b"BZh", "bzip2"),
    (b"\x5d\0\0", "lzma"),
];

/// Memory that decoding xz may take, in bytes: a dictionary of 64 MiB, the largest preset, and a bit.
const XZ_MEMORY: u64 = 128 << 20;

/// Bytes that tell one kind from another.
const MAGIC_LEN: usize = 6;

/// Where an entry was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Byte offset in the initrd at which the segment begins.
    pub offset: u64,
    /// How the segment is compressed.
    pub compression: Compression,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "initrd: segment at byte {}", self.offset)
    }
}

/// One segment's entries, without their content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins, and how it is compressed.
    pub place: Place,
    /// All but the trailer, in order.
    pub entries: Vec<Entry>,
}

/// Called for every entry but the trailers, with its content.
type Visit<'a> = &'a mut dyn FnMut(Place, &Entry, &mut dyn Read) -> Result<()>;

/// All segments of `initrd`, those without entries included.
///
/// # Errors
/// As [`walk`].
pub fn segments(initrd: impl BufRead) -> Result<Vec<Segment>> {
    let mut input = Input {
        inner: initrd,
        position: 0,
    };
    let mut segments = Vec::new();
    loop {
        let mut entries = Vec::new();
        let place = next_segment(&mut input, &mut |_, entry, _| {
            entries.push(entry.clone());
            Ok(())
        })?;
        let Some(place) = place else {
            return Ok(segments);
        };
        segments.push(Segment { place, entries });
    }
}

/// Calls `visit` for each entry of every segment of `initrd`, in the order in which the kernel unpacks
/// them. Content that `visit` does not read is skipped. Memory use does not grow with `initrd`.
///
/// # Errors
/// [`Error::Damaged`] for what is not a well-formed initrd, [`Error::Unfit`] for a compression that is
/// not read, [`Error::Io`], and what `visit` returns.
pub fn walk(initrd: impl BufRead, visit: Visit<'_>) -> Result<()> {
    let mut input = Input {
        inner: initrd,
        position: 0,
    };
    while next_segment(&mut input, visit)?.is_some() {}
    Ok(())
}

/// Visits the next segment; none is left where only zeros are.
fn next_segment<R: BufRead>(input: &mut Input<R>, visit: Visit<'_>) -> Result<Option<Place>> {
    if !skip_zeros(input).map_err(Error::io("initrd"))? {
        return Ok(None);
    }
    let mut place = Place {
        offset: input.position,
        compression: Compression::None,
    };
    let mut magic = [0; MAGIC_LEN];
    input
        .read_exact(&mut magic)
        .map_err(|error| broken(place, &error))?;
    place.compression = identify(place, &magic)?;
    let mut body = Cursor::new(magic).chain(input);
    match place.compression {
        Compression::None => archive(place, &mut body, visit)?,
        Compression::Gzip => archives(place, flate2::bufread::GzDecoder::new(body), visit)?,
        Compression::Zstd => {
            let decoder =
                zstd::Decoder::with_buffer(body).map_err(|error| broken(place, &error))?;
            archives(place, decoder.single_frame(), visit)?;
        }
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, 0)
                .map_err(|error| broken(place, &error.into()))?;
            archives(
                place,
                liblzma::bufread::XzDecoder::new_stream(body, stream),
                visit,
            )?;
        }
    }
    Ok(Some(place))
}

fn identify(place: Place, magic: &[u8]) -> Result<Compression> {
    if let Some((_, compression)) = MAGICS.iter().find(|(begin, _)| magic.starts_with(begin)) {
        if *compression == Compression::None && !place.offset.is_multiple_of(ALIGNMENT) {
            return Err(Error::damaged(
                place,
                "an archive not at a multiple of 4 bytes",
            ));
        }
        return Ok(*compression);
    }
    match UNREAD.iter().find(|(begin, _)| magic.starts_with(begin)) {
        Some((_, name)) => {
            let fact = format!("compressed by {name}");
            Err(Error::unfit(
                place,
                fact,
                "zstd, xz, gzip or no compression",
            ))
        }
        None => Err(Error::damaged(place, format!("begins with {magic:02x?}"))),
    }
}

/// All archives inside a compressed segment.
fn archives(place: Place, decoder: impl Read, visit: Visit<'_>) -> Result<()> {
    let mut input = BufReader::new(decoder);
    while skip_zeros(&mut input).map_err(|error| broken(place, &error))? {
        archive(place, &mut input, visit)?;
    }
    Ok(())
}

/// One archive, to the end of its trailer.
fn archive(place: Place, input: &mut dyn BufRead, visit: Visit<'_>) -> Result<()> {
    while let Some(entry) = next_entry(place, input)? {
        let size = u64::from(entry.size);
        let mut content = input.take(size);
        visit(place, &entry, &mut content)?;
        let left = content.limit();
        skip(place, input, left + padding(size))?;
    }
    Ok(())
}

/// The header and path of the next entry; none at the trailer.
fn next_entry(place: Place, input: &mut dyn BufRead) -> Result<Option<Entry>> {
    let mut header = [0; HEADER];
    input
        .read_exact(&mut header)
        .map_err(|error| broken(place, &error))?;
    let (mut entry, name_len) =
        Entry::decode(&header).map_err(|fact| Error::damaged(place, fact))?;
    if name_len == 0 || name_len > MAX_PATH {
        return Err(Error::damaged(place, format!("a path of {name_len} bytes")));
    }
    let mut name = vec![0; name_len];
    input
        .read_exact(&mut name)
        .map_err(|error| broken(place, &error))?;
    let end = name.iter().position(|byte| *byte == 0);
    name.truncate(end.ok_or_else(|| Error::damaged(place, "a path without NUL"))?);
    entry.path = name;
    if entry.is_trailer() {
        return Ok(None); // what pads it are zeros like those between segments
    }
    skip(place, input, padding((HEADER + name_len) as u64))?;
    Ok(Some(entry))
}

fn skip(place: Place, input: &mut dyn BufRead, len: u64) -> Result<()> {
    let skipped = io::copy(&mut input.take(len), &mut io::sink());
    match skipped.map_err(|error| broken(place, &error))? {
        all if all == len => Ok(()),
        _ => Err(broken(place, &io::ErrorKind::UnexpectedEof.into())),
    }
}

/// Skips zeros; false at the end of the input.
fn skip_zeros(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        let all = zeros == buffer.len();
        input.consume(zeros);
        if !all {
            return Ok(true);
        }
    }
}

/// A failure to read on: of the input's device, or of what the bytes should have been.
fn broken(place: Place, error: &io::Error) -> Error {
    match (error.raw_os_error(), error.kind()) {
        (Some(code), _) => Error::Io {
            what: place.to_string(),
            source: io::Error::from_raw_os_error(code),
        },
        (None, io::ErrorKind::UnexpectedEof) => Error::damaged(place, "it ends too early"),
        (None, _) => Error::damaged(place, error),
    }
}

/// Counts the bytes that were consumed.
struct Input<R> {
    inner: R,
    position: u64,
}

impl<R: BufRead> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.position += len as u64;
        Ok(len)
    }
}

impl<R: BufRead> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        self.position += len as u64;
        self.inner.consume(len);
    }
}
