//! Writes one uncompressed archive.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use super::{
    Entry, MAX_PATH, S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, TRAILER, padding,
};
use crate::error::{Error, Result};

/// Permission of the directories that [`Writer`] adds by itself.
const PARENT_MODE: u32 = 0o755;

/// Owner and permission of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Permission, set-id and sticky bits (`07777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Meta {
    /// Owned by root.
    pub fn root(mode: u32) -> Meta {
        Meta {
            mode,
            uid: 0,
            gid: 0,
        }
    }
}

/// An archive being written. Inode numbers count from 1, and every entry has the same time, so equal
/// calls give equal bytes.
///
/// Directories that a path needs and that were not written before are added, owned by root, with
/// permission 0755. In an initrd such a directory replaces owner and permission of an earlier one of
/// the same path: write those that differ first.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    mtime: u32,
    entries: u32,
    directories: BTreeSet<String>,
}

impl<W: Write> Writer<W> {
    /// Begins an archive at a multiple of four bytes of the initrd. `mtime` is in seconds since 1970
    /// UTC.
    pub fn new(out: W, mtime: u32) -> Writer<W> {
        Writer {
            out,
            mtime,
            entries: 0,
            directories: BTreeSet::new(),
        }
    }

    /// Writes a directory, unless it was written before.
    ///
    /// # Errors
    /// [`Error::Unfit`] for a path that is not relative and plain, [`Error::Io`].
    pub fn directory(&mut self, path: &str, meta: Meta) -> Result<()> {
        if self.directories.contains(path) {
            return Ok(());
        }
        self.header(path, S_IFDIR, meta, 0, (0, 0))?;
        self.directories.insert(path.to_owned());
        Ok(())
    }

    /// Writes a file whose bytes are in memory.
    ///
    /// # Errors
    /// As [`Writer::directory`], and [`Error::Unfit`] for 4 GiB and more.
    pub fn file(&mut self, path: &str, meta: Meta, content: &[u8]) -> Result<()> {
        self.file_from(path, meta, content.len() as u64, &mut &content[..])
    }

    /// Writes a file of `len` bytes that `content` yields.
    ///
    /// # Errors
    /// As [`Writer::file`], and [`Error::Damaged`] when `content` is shorter than `len`.
    pub fn file_from(
        &mut self,
        path: &str,
        meta: Meta,
        len: u64,
        content: &mut dyn Read,
    ) -> Result<()> {
        self.header(path, S_IFREG, meta, len, (0, 0))?;
        let copied = io::copy(&mut content.take(len), &mut self.out).map_err(Error::io(path))?;
        if copied < len {
            return Err(Error::damaged(
                path,
                format!("{copied} bytes of {len} are there"),
            ));
        }
        self.pad(path, len)
    }

    /// Writes a symbolic link.
    ///
    /// # Errors
    /// As [`Writer::directory`].
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        let len = target.len() as u64;
        self.header(path, S_IFLNK, Meta::root(0o777), len, (0, 0))?;
        self.out
            .write_all(target.as_bytes())
            .map_err(Error::io(path))?;
        self.pad(path, len)
    }

    /// Writes a character device with its major and minor number.
    ///
    /// # Errors
    /// As [`Writer::directory`].
    pub fn character_device(&mut self, path: &str, meta: Meta, device: (u32, u32)) -> Result<()> {
        self.header(path, S_IFCHR, meta, 0, device)
    }

    /// Writes a block device with its major and minor number.
    ///
    /// # Errors
    /// As [`Writer::directory`].
    pub fn block_device(&mut self, path: &str, meta: Meta, device: (u32, u32)) -> Result<()> {
        self.header(path, S_IFBLK, meta, 0, device)
    }

    /// Writes the trailer and returns the output, at a multiple of four bytes from the beginning.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<W> {
        let trailer = Entry {
            path: TRAILER.to_vec(),
            links: 1,
            ..Entry::default()
        };
        self.out
            .write_all(&trailer.encode())
            .and_then(|()| self.out.flush())
            .map_err(Error::io("cpio trailer"))?;
        Ok(self.out)
    }

    fn header(
        &mut self,
        path: &str,
        kind: u32,
        meta: Meta,
        len: u64,
        device: (u32, u32),
    ) -> Result<()> {
        check(path)?;
        self.parents(path)?;
        let size = u32::try_from(len).map_err(|_| {
            Error::unfit(
                path,
                format!("{len} bytes long"),
                "less than 4 GiB in a cpio archive",
            )
        })?;
        self.entries += 1;
        let entry = Entry {
            path: path.as_bytes().to_vec(),
            inode: self.entries,
            mode: kind | meta.mode & !S_IFMT,
            uid: meta.uid,
            gid: meta.gid,
            links: if kind == S_IFDIR { 2 } else { 1 },
            mtime: self.mtime,
            size,
            device,
        };
        self.out.write_all(&entry.encode()).map_err(Error::io(path))
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        match path.rsplit_once('/') {
            Some((parent, _)) => self.directory(parent, Meta::root(PARENT_MODE)),
            None => Ok(()),
        }
    }

    fn pad(&mut self, path: &str, len: u64) -> Result<()> {
        let zeros = &[0; 4][..padding(len) as usize];
        self.out.write_all(zeros).map_err(Error::io(path))
    }
}

fn check(path: &str) -> Result<()> {
    let plain = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !plain || path.contains('\0') || path.as_bytes() == TRAILER {
        let expected = "a relative path without empty, \".\" or \"..\" components";
        return Err(Error::unfit(
            "cpio archive",
            format!("path {path:?}"),
            expected,
        ));
    }
    if path.len() >= MAX_PATH {
        let fact = format!("path of {} bytes", path.len());
        return Err(Error::unfit(
            "cpio archive",
            fact,
            format!("less than {MAX_PATH}"),
        ));
    }
    Ok(())
}
