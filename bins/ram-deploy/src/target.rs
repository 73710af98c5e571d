//! Where chunks go: a block device written past the page cache, or a plain file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::deploy::Target;

/// An opened device or file.
#[derive(Debug)]
pub struct Disk {
    file: File,
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
        Ok(Self { file })
    }

    /// Opens a plain file.
    ///
    /// # Errors
    /// What the system says.
    pub fn file(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(Self { file })
    }

    /// The opened file.
    pub fn as_file(&self) -> &File {
        &self.file
    }
}

impl Target for Disk {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
