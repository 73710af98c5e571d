//! Where the layout goes: nowhere, to be measured, or to a sink.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{Part, SECTOR};
use crate::error::{Error, Result};

/// Bytes copied between two reports of progress.
const SLICE: u64 = 16 << 20;

/// Takes an image from its first byte to its last.
pub trait Sink {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// Whatever keeps it from taking them.
    fn bytes(&mut self, bytes: &[u8]) -> Result<()>;

    /// Takes the next bytes, which lie in another file.
    ///
    /// # Errors
    /// Whatever keeps it from taking them.
    fn part(&mut self, part: &Part) -> Result<()>;
}

/// A sequential output in whole sectors.
pub(super) struct Out<'a> {
    sink: Option<&'a mut dyn Sink>,
    position: u64,
}

impl<'a> Out<'a> {
    /// Only counts.
    pub(super) fn measure() -> Self {
        Out {
            sink: None,
            position: 0,
        }
    }

    /// Gives everything to `sink`.
    pub(super) fn write(sink: &'a mut dyn Sink) -> Self {
        Out {
            sink: Some(sink),
            position: 0,
        }
    }

    /// The sector that comes next.
    pub(super) fn sector(&self) -> Result<u32> {
        u32::try_from(self.position / SECTOR).map_err(|_| {
            let fact = format!("{} bytes long", self.position);
            Error::unfit("ISO image", fact, "less than 8 TiB")
        })
    }

    /// Writes `bytes` and fills the last sector with zeros.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes(bytes)?;
        self.fill(SECTOR)
    }

    /// Writes zeros up to a multiple of `sectors`.
    pub(super) fn align(&mut self, sectors: u64) -> Result<()> {
        self.fill(sectors * SECTOR)
    }

    /// Writes the parts one after the other and fills the last sector with zeros.
    pub(super) fn copy(&mut self, parts: &[Part]) -> Result<()> {
        for part in parts {
            self.position += part.len;
            if let Some(sink) = &mut self.sink {
                sink.part(part)?;
            }
        }
        self.fill(SECTOR)
    }

    fn fill(&mut self, unit: u64) -> Result<()> {
        let missing = self.position.next_multiple_of(unit) - self.position;
        self.bytes(&vec![0; missing as usize])
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.position += bytes.len() as u64;
        match &mut self.sink {
            Some(sink) if !bytes.is_empty() => sink.bytes(bytes),
            _ => Ok(()),
        }
    }
}

/// An image as a file.
pub(super) struct FileSink<'a> {
    pub(super) file: &'a File,
    /// Told the number of bytes written so far.
    pub(super) progress: &'a mut dyn FnMut(u64) -> io::Result<()>,
    pub(super) position: u64,
}

impl FileSink<'_> {
    fn advance(&mut self, bytes: u64) -> Result<()> {
        self.position += bytes;
        (self.progress)(self.position).map_err(Error::io("writing the ISO image"))
    }
}

impl Sink for FileSink<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(Error::io("writing the ISO image"))?;
        self.advance(bytes.len() as u64)
    }

    /// Copied inside the kernel where it can (`std::io::copy` between two files).
    fn part(&mut self, part: &Part) -> Result<()> {
        let name = part.path.display();
        let mut from = File::open(&part.path).map_err(Error::io(&name))?;
        from.seek(SeekFrom::Start(part.offset))
            .map_err(Error::io(&name))?;
        let mut left = part.len;
        while left > 0 {
            let copied = io::copy(&mut (&from).take(left.min(SLICE)), &mut self.file)
                .map_err(Error::io(format_args!("copying {name}")))?;
            if copied == 0 {
                let fact = format!(
                    "{left} of {} bytes from {} on are missing",
                    part.len, part.offset
                );
                return Err(Error::damaged(name, fact));
            }
            left -= copied;
            self.advance(copied)?;
        }
        Ok(())
    }
}
