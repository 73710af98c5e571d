//! Where the layout goes: nowhere, to be measured, or to a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{Part, SECTOR};
use crate::error::{Error, Result};

/// Bytes copied between two reports of progress.
const SLICE: u64 = 16 << 20;

/// Told the number of bytes written so far.
type Progress<'a> = &'a mut dyn FnMut(u64) -> io::Result<()>;

/// A sequential output in whole sectors.
pub(super) struct Out<'a> {
    target: Option<(&'a File, Progress<'a>)>,
    position: u64,
}

impl<'a> Out<'a> {
    /// Only counts.
    pub(super) fn measure() -> Self {
        Out {
            target: None,
            position: 0,
        }
    }

    /// Writes to `file`.
    pub(super) fn write(file: &'a File, progress: Progress<'a>) -> Self {
        Out {
            target: Some((file, progress)),
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
    pub(super) fn put(&mut self, what: &str, bytes: &[u8]) -> Result<()> {
        self.bytes(what, bytes)?;
        self.fill(SECTOR)
    }

    /// Writes zeros up to a multiple of `sectors`.
    pub(super) fn align(&mut self, sectors: u64) -> Result<()> {
        self.fill(sectors * SECTOR)
    }

    /// Copies the parts one after the other and fills the last sector with zeros.
    pub(super) fn copy(&mut self, what: &str, parts: &[Part]) -> Result<()> {
        for part in parts {
            match &mut self.target {
                None => self.position += part.len,
                Some((file, progress)) => {
                    copy_part(what, part, file, &mut self.position, progress)?;
                }
            }
        }
        self.fill(SECTOR)
    }

    fn fill(&mut self, unit: u64) -> Result<()> {
        let missing = self.position.next_multiple_of(unit) - self.position;
        self.bytes("padding", &vec![0; missing as usize])
    }

    fn bytes(&mut self, what: &str, bytes: &[u8]) -> Result<()> {
        self.position += bytes.len() as u64;
        match &mut self.target {
            None => Ok(()),
            Some((file, progress)) => file
                .write_all(bytes)
                .and_then(|()| progress(self.position))
                .map_err(Error::io(format_args!("writing {what} to the ISO image"))),
        }
    }
}

/// Copies one part inside the kernel where it can (`std::io::copy` between two files).
fn copy_part(
    what: &str,
    part: &Part,
    mut to: &File,
    position: &mut u64,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let name = part.path.display();
    let mut from = File::open(&part.path).map_err(Error::io(&name))?;
    from.seek(SeekFrom::Start(part.offset))
        .map_err(Error::io(&name))?;
    let mut left = part.len;
    while left > 0 {
        let copied = io::copy(&mut (&from).take(left.min(SLICE)), &mut to)
            .map_err(Error::io(format_args!("copying {name} to {what}")))?;
        if copied == 0 {
            let fact = format!(
                "{left} of {} bytes from {} on are missing",
                part.len, part.offset
            );
            return Err(Error::damaged(name, fact));
        }
        left -= copied;
        *position += copied;
        progress(*position).map_err(Error::io(format_args!("writing {what}")))?;
    }
    Ok(())
}
