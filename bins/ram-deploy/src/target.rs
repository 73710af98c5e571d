//! Where chunks go: a block device written past the page cache, or a plain file.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::deploy::Target;

/// An opened device or file, and the part of the image that it receives.
#[derive(Debug)]
pub struct Disk {
    file: File,
    window: Range<u64>,
}

impl Disk {
    /// Opens a block device for this program alone, past the page cache: buffered writes would hold
    /// every byte of a RAM disk twice until they are written back.
    ///
    /// # Errors
    /// What the system says: EBUSY where the device is mounted.
    pub fn device(path: &Path) -> io::Result<Self> {
        let flags = rustix::fs::OFlags::DIRECT | rustix::fs::OFlags::EXCL;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)?;
        Ok(Self {
            file,
            window: 0..u64::MAX,
        })
    }

    /// Opens a plain file.
    ///
    /// # Errors
    /// What the system says.
    pub fn file(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self {
            file,
            window: 0..u64::MAX,
        })
    }

    /// Takes the bytes of `window` alone: its first byte lies at the beginning of the device.
    #[must_use]
    pub fn only(mut self, window: Range<u64>) -> Self {
        self.window = window;
        self
    }

    /// Whether all of these bytes of the image are here.
    pub fn holds(&self, offset: u64, length: u64) -> bool {
        offset >= self.window.start && offset.saturating_add(length) <= self.window.end
    }

    /// Reads bytes of the image that it holds.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file
            .read_exact_at(bytes, offset.saturating_sub(self.window.start))
    }

    /// The opened file.
    pub fn as_file(&self) -> &File {
        &self.file
    }
}

impl Target for Disk {
    fn wants(&self, offset: u64, length: u64) -> bool {
        offset < self.window.end && offset.saturating_add(length) > self.window.start
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        let (start, end) = (offset.max(self.window.start), end.min(self.window.end));
        if start >= end {
            return Ok(());
        }
        let part = &bytes[(start - offset) as usize..(end - offset) as usize];
        self.file.write_all_at(part, start - self.window.start)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_its_own_bytes_wherever_chunks_begin() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let disk = Disk::file(file.path()).unwrap().only(3..7);
        for (n, chunk) in [b"ab", b"cd", b"ef", b"gh", b"ij"].iter().enumerate() {
            let offset = 2 * n as u64;
            assert_eq!(disk.wants(offset, 2), (1..4).contains(&n));
            disk.write(offset, *chunk).unwrap();
        }
        assert_eq!(std::fs::read(file.path()).unwrap(), b"defg");
        let mut bytes = [0; 2];
        disk.read(4, &mut bytes).unwrap();
        assert_eq!(&bytes, b"ef");
        assert!(disk.holds(3, 4) && !disk.holds(2, 4) && !disk.holds(4, 4));
        Disk::file(file.path()).unwrap().write(1, b"xy").unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), b"dxyg");
    }
}
