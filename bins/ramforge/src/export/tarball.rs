//! The network boot set as one file with KIWI's name, `NAME.ARCH-VERSION.install.tar.xz`.
//!
//! ```text
//! xz := stream header · one block of LZMA2 chunks that hold the bytes as they are · index · footer
//! ```
//!
//! What is in it is compressed already, so to compress it again would cost minutes and gain nothing: the container holds
//! plain chunks, which every xz reads as fast as it copies (The .xz File Format 1.2.1).
//!
//! *Not written:* compression; sizes in the block header, several blocks.

use std::io::{self, BufWriter, Read, Write};

use manifest::{NetworkFile, Object};
use store::Store;

/// Magic bytes of header and footer (2.1.1.1, 2.1.2.4).
const HEADER_MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const FOOTER_MAGIC: [u8; 2] = *b"YZ";
/// Stream flags: the check is CRC32 (2.1.1.2).
const FLAGS: [u8; 2] = [0, 1];
/// Block header without its CRC32: length 12, one filter, LZMA2, one byte of properties: 64 KiB (3.1, 5.3.1).
const BLOCK_HEADER: [u8; 8] = [2, 0, 0x21, 1, 8, 0, 0, 0];
/// Control bytes of LZMA2: plain bytes, the first ones with a new dictionary; the end.
const FIRST_CHUNK: u8 = 1;
const CHUNK: u8 = 2;
const END: u8 = 0;
/// Most bytes of a plain chunk.
const CHUNK_SIZE: usize = 1 << 16;
/// Bytes of a CRC32.
const CHECK: u64 = 4;

/// Writes `files` as a tarball in an xz container. `epoch` is the time of all files.
///
/// # Errors
/// What the store or the system says.
pub(super) fn write(
    store: &Store,
    files: &[NetworkFile],
    epoch: u64,
    to: impl Write,
) -> io::Result<()> {
    let mut tar = tar::Builder::new(Stored::begin(BufWriter::new(to))?);
    for file in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_mtime(epoch);
        header.set_size(file.object.size);
        let parts = store.parts(&file.object).map_err(io::Error::other)?;
        tar.append_data(&mut header, &file.path, Parts::new(store, parts))?;
    }
    tar.into_inner()?.end()?.flush()
}

/// The bytes of objects, one after the other, each checked against its name.
struct Parts<'a> {
    store: &'a Store,
    parts: std::vec::IntoIter<Object>,
    current: io::Cursor<Vec<u8>>,
}

impl<'a> Parts<'a> {
    fn new(store: &'a Store, parts: Vec<Object>) -> Self {
        Self {
            store,
            parts: parts.into_iter(),
            current: io::Cursor::default(),
        }
    }
}

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.current.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            let Some(part) = self.parts.next() else {
                return Ok(0);
            };
            stage::interrupted().map_err(io::Error::other)?;
            let bytes = self.store.get(&part).map_err(io::Error::other)?;
            self.current = io::Cursor::new(bytes);
        }
    }
}

/// An xz container that is being written.
struct Stored<W> {
    to: W,
    chunk: Vec<u8>,
    /// Bytes of LZMA2 so far, and what they hold.
    packed: u64,
    plain: u64,
    check: crc32fast::Hasher,
}

impl<W: Write> Stored<W> {
    fn begin(mut to: W) -> io::Result<Self> {
        to.write_all(&HEADER_MAGIC)?;
        checked(&mut to, &FLAGS)?;
        checked(&mut to, &BLOCK_HEADER)?;
        Ok(Self {
            to,
            chunk: Vec::with_capacity(CHUNK_SIZE),
            packed: 0,
            plain: 0,
            check: crc32fast::Hasher::new(),
        })
    }

    fn chunk(&mut self) -> io::Result<()> {
        let Some(last) = self.chunk.len().checked_sub(1) else {
            return Ok(());
        };
        let control = match self.packed {
            0 => FIRST_CHUNK,
            _ => CHUNK,
        };
        let [high, low] = (last as u16).to_be_bytes();
        self.to.write_all(&[control, high, low])?;
        self.to.write_all(&self.chunk)?;
        self.check.update(&self.chunk);
        self.packed += 3 + self.chunk.len() as u64;
        self.plain += self.chunk.len() as u64;
        self.chunk.clear();
        Ok(())
    }

    /// Ends the block, and writes index and footer.
    fn end(mut self) -> io::Result<W> {
        self.chunk()?;
        self.to.write_all(&[END])?;
        self.packed += 1;
        let padding = self.packed.next_multiple_of(4) - self.packed;
        self.to.write_all(&[0; 3][..padding as usize])?;
        self.to.write_all(&self.check.finalize().to_le_bytes())?;
        // The index (4): one record with the block's length without padding, and that of what it holds.
        let block = BLOCK_HEADER.len() as u64 + CHECK + self.packed + CHECK;
        let mut index = vec![0, 1];
        number(&mut index, block);
        number(&mut index, self.plain);
        index.resize(index.len().next_multiple_of(4), 0);
        checked(&mut self.to, &index)?;
        // The footer (2.1.2): CRC32, length of the index in units of four bytes less one, flags.
        let words = ((index.len() as u64 + CHECK) / 4 - 1) as u32;
        let footer = [&words.to_le_bytes()[..], &FLAGS].concat();
        self.to.write_all(&crc32fast::hash(&footer).to_le_bytes())?;
        self.to.write_all(&footer)?;
        self.to.write_all(&FOOTER_MAGIC)?;
        Ok(self.to)
    }
}

impl<W: Write> Write for Stored<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK_SIZE - self.chunk.len();
        let taken = bytes.len().min(room);
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK_SIZE {
            self.chunk()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes bytes and their CRC32.
fn checked(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.write_all(&crc32fast::hash(bytes).to_le_bytes())
}

/// A number of variable length: seven bits a byte, the lowest first (1.2).
fn number(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// What the `xz` program reads in what is written here.
    fn unpacked(packed: &[u8]) -> Vec<u8> {
        let mut xz = Command::new("xz")
            .args(["-d", "-c"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = xz.stdin.take().unwrap();
        let packed = packed.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&packed));
        let output = xz.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success());
        output.stdout
    }

    #[test]
    fn xz_reads_it() {
        for length in [
            0,
            1,
            2,
            3,
            4,
            1000,
            CHUNK_SIZE,
            CHUNK_SIZE + 1,
            3 * CHUNK_SIZE - 1,
        ] {
            let bytes: Vec<u8> = (0..length).map(|n| (n * n / 7) as u8).collect();
            let mut stored = Stored::begin(Vec::new()).unwrap();
            stored.write_all(&bytes).unwrap();
            assert!(unpacked(&stored.end().unwrap()) == bytes, "{length}");
        }
    }

    #[test]
    fn tar_reads_files_of_several_objects() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let parts = [store.put(b"ab").unwrap(), store.put(b"cd").unwrap()];
        let whole = store.put_parts(&parts, &mut || Ok(())).unwrap();
        let file = |path: &str, object| NetworkFile {
            path: path.to_owned(),
            object,
        };
        let files = [file("ramforge/frames.000", whole), file("b", parts[0])];
        let mut packed = Vec::new();
        write(&store, &files, 7, &mut packed).unwrap();
        let mut tar = tar::Archive::new(io::Cursor::new(unpacked(&packed)));
        let read = tar.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let path = entry.path().unwrap().display().to_string();
            (path, entry.header().mtime().unwrap(), text)
        });
        let expected = [("ramforge/frames.000", 7, "abcd"), ("b", 7, "ab")];
        let expected = expected.map(|(path, time, text)| (path.into(), time, text.into()));
        assert_eq!(read.collect::<Vec<_>>(), expected);
    }
}
