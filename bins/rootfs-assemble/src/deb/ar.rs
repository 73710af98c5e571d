//! The ar archive of a package: common variant, short names only, as deb(5) prescribes.
//!
//! ```text
//! "!<arch>\n"  { header (60 bytes)  content  [ "\n" if its length is odd ] }*
//! ```

use std::io::{self, Read, Seek, SeekFrom, Write};

/// The magic number of an archive.
const MAGIC: &[u8; 8] = b"!<arch>\n";
/// Length of a member's header.
const HEADER: usize = 60;
/// The last two bytes of a header.
const HEADER_END: &[u8; 2] = b"`\n";

/// Reads members one after the other. [`Read`] gives the content of the current one.
pub struct Reader<R> {
    inner: R,
    /// Bytes of the current member not yet read.
    left: u64,
    /// Whether a padding byte follows the current member.
    padded: bool,
}

impl<R: Read> Reader<R> {
    /// Checks the magic number.
    pub fn new(mut inner: R) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        inner.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(super::invalid("no ar archive"));
        }
        Ok(Self {
            inner,
            left: 0,
            padded: false,
        })
    }

    /// Goes to the next member and gives its name; `None` at the end.
    pub fn next_member(&mut self) -> io::Result<Option<String>> {
        io::copy(&mut self.inner.by_ref().take(self.left), &mut io::sink())?;
        if self.padded {
            self.inner.read_exact(&mut [0])?;
        }
        let mut header = Vec::with_capacity(HEADER);
        self.inner
            .by_ref()
            .take(HEADER as u64)
            .read_to_end(&mut header)?;
        if header.is_empty() {
            return Ok(None);
        }
        if header.len() < HEADER || &header[58..] != HEADER_END {
            return Err(super::invalid("a damaged ar header"));
        }
        let text = |field: &[u8]| String::from_utf8_lossy(field).trim().to_owned();
        self.left = text(&header[48..58])
            .parse()
            .map_err(|_| super::invalid("a damaged size in an ar header"))?;
        self.padded = self.left % 2 == 1;
        Ok(Some(text(&header[..16]).trim_end_matches('/').to_owned()))
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.inner.read(&mut buffer[..room])?;
        if n == 0 && room > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// Begins an archive.
pub fn write_magic(out: &mut impl Write) -> io::Result<()> {
    out.write_all(MAGIC)
}

/// Writes a member.
pub fn write_member(out: &mut impl Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    out.write_all(header(name, bytes.len() as u64).as_bytes())?;
    out.write_all(bytes)?;
    out.write_all(&b"\n"[..bytes.len() % 2])
}

/// Begins a member whose length is known when it has been written; gives the place of its header.
pub fn begin_member(out: &mut (impl Write + Seek), name: &str) -> io::Result<u64> {
    let begin = out.stream_position()?;
    out.write_all(header(name, 0).as_bytes())?;
    Ok(begin)
}

/// Ends the member that began at `begin`.
pub fn end_member(out: &mut (impl Write + Seek), name: &str, begin: u64) -> io::Result<()> {
    let size = out.stream_position()? - begin - HEADER as u64;
    if size % 2 == 1 {
        out.write_all(b"\n")?;
    }
    out.seek(SeekFrom::Start(begin))?;
    out.write_all(header(name, size).as_bytes())?;
    out.seek(SeekFrom::End(0)).map(|_| ())
}

fn header(name: &str, size: u64) -> String {
    // name, time, user, group, mode, size, end
    format!(
        "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n",
        0, 0, 0, "100644"
    )
}
