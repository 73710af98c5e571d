//! Files unpacked from an ext4 file system: names, owners, modes, times, attributes, hard links, devices, holes.
//!
//! Directories and what has no content first, then files in the order in which their bytes lie, by several threads,
//! then the further names of files, and the times of directories last.
//!
//! *Not unpacked:* `lost+found`, sockets' listeners, and ext4's own flags (immutable, append-only).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use image::ext4::reader::{self, Extent, Inode, ReadAt, Reader};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use crate::pages;
use crate::stop::Stop;

/// Bytes that are copied at once.
const PIECE: u64 = 1 << 20;
const LOST: &[u8] = b"lost+found";

/// A file whose content is still to come: where that begins, its inode, its first name.
type Waiting = (u64, u32, PathBuf);

/// What is unpacked where.
pub struct Unpack<'a> {
    reader: Reader<'a>,
    disk: &'a (dyn ReadAt + Sync),
    root: &'a Path,
    /// Attributes of users that the file system of `root` does not take.
    refused: AtomicU64,
}

/// What the walk over the directories leaves to do.
#[derive(Default)]
struct Rest {
    directories: Vec<(PathBuf, u32)>,
    files: Vec<Waiting>,
    /// The first name of what has several, by inode.
    names: HashMap<u32, PathBuf>,
    /// First name and further name.
    links: Vec<(PathBuf, PathBuf)>,
}

impl<'a> Unpack<'a> {
    /// The file system in `disk`, to be unpacked below `root`, an empty directory.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn new(disk: &'a (dyn ReadAt + Sync), root: &'a Path) -> io::Result<Self> {
        Ok(Self {
            reader: Reader::open(disk)?,
            disk,
            root,
            refused: AtomicU64::new(0),
        })
    }

    /// Inodes that will be used.
    pub fn inodes(&self) -> u32 {
        self.reader.used_inodes()
    }

    /// Unpacks everything. `progress` is told the bytes that are done, from any thread. Gives the number of attributes
    /// of users that the file system below `root` does not take.
    ///
    /// # Errors
    /// The first failure, with the path.
    pub fn run(&self, workers: usize, progress: &(dyn Fn(u64) + Sync)) -> io::Result<u64> {
        let mut rest = Rest::default();
        rest.directories.push((PathBuf::new(), reader::ROOT));
        let mut next = 0;
        while let Some((path, number)) = rest.directories.get(next).cloned() {
            self.directory(&path, number, &mut rest)?;
            next += 1;
        }
        rest.files.sort();
        self.files(&rest.files, workers, progress)?;
        for (first, name) in &rest.links {
            let linked = fs::hard_link(self.root.join(first), self.root.join(name));
            linked.map_err(|e| at(name, e))?;
        }
        // Whatever is made in a directory changes its time.
        for (path, number) in rest.directories.iter().rev() {
            let dressed = self
                .reader
                .inode(*number)
                .and_then(|i| self.dress(path, &i));
            dressed.map_err(|e| at(path, e))?;
        }
        Ok(self.refused.load(Ordering::Relaxed))
    }

    fn directory(&self, path: &Path, number: u32, rest: &mut Rest) -> io::Result<()> {
        let directory = self.reader.inode(number);
        let entries = directory.and_then(|inode| self.reader.entries(&inode));
        for (name, number) in entries.map_err(|e| at(path, e))? {
            if number != reader::ROOT && !(path.as_os_str().is_empty() && name == LOST) {
                let path = path.join(OsStr::from_bytes(&name));
                let made = self.entry(&path, number, rest);
                made.map_err(|e| at(&path, e))?;
            }
        }
        Ok(())
    }

    /// Makes one name, or leaves it for later.
    fn entry(&self, path: &Path, number: u32, rest: &mut Rest) -> io::Result<()> {
        let inode = self.reader.inode(number)?;
        let kind = FileType::from_raw_mode(inode.mode.into());
        if kind == FileType::Directory {
            fs::create_dir(self.root.join(path))?;
            rest.directories.push((path.to_owned(), number));
            return Ok(());
        }
        if inode.links > 1 {
            if let Some(first) = rest.names.get(&number) {
                rest.links.push((first.clone(), path.to_owned()));
                return Ok(());
            }
            rest.names.insert(number, path.to_owned());
        }
        let target = self.root.join(path);
        match kind {
            FileType::RegularFile => {
                let extents = self.reader.extents(&inode)?;
                let first = extents.first().map_or(0, |extent| extent.from);
                rest.files.push((first, number, path.to_owned()));
                return Ok(());
            }
            FileType::Symlink => {
                let link = std::ffi::OsString::from_vec(self.reader.link(&inode)?);
                std::os::unix::fs::symlink(link, target)?;
            }
            FileType::Unknown => return Err(io::Error::other("it is of an unknown type")),
            _ => {
                let (major, minor) = match kind {
                    FileType::CharacterDevice | FileType::BlockDevice => reader::device(&inode),
                    _ => (0, 0),
                };
                let device = rustix::fs::makedev(major, minor);
                rustix::fs::mknodat(CWD, &target, kind, Mode::empty(), device)?;
            }
        }
        self.dress(path, &inode)
    }

    /// Writes the files by several threads, each the next one in the order of the disk.
    fn files(
        &self,
        files: &[Waiting],
        workers: usize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> io::Result<()> {
        let (next, done, stopped) = (
            AtomicUsize::new(0),
            AtomicU64::new(0),
            AtomicBool::new(false),
        );
        let first: Mutex<Option<io::Error>> = Mutex::new(None);
        let work = || {
            let mut buffer = vec![0; PIECE as usize];
            while !stopped.load(Ordering::Relaxed) {
                let Some((_, number, path)) = files.get(next.fetch_add(1, Ordering::Relaxed))
                else {
                    return;
                };
                let mut tell = |bytes| progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes);
                if let Err(e) = self.file(path, *number, &mut buffer, &mut tell) {
                    stopped.store(true, Ordering::Relaxed);
                    let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(at(path, e));
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..workers.max(1) {
                scope.spawn(work);
            }
        });
        let first = first.into_inner().unwrap_or_else(PoisonError::into_inner);
        first.map_or(Ok(()), Err)
    }

    fn file(
        &self,
        path: &Path,
        number: u32,
        buffer: &mut [u8],
        tell: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let inode = self.reader.inode(number)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.root.join(path))?;
        for extent in self.reader.extents(&inode)? {
            self.extent(&file, extent, inode.size, buffer, tell)?;
        }
        file.set_len(inode.size)?;
        drop(file);
        self.dress(path, &inode)
    }

    /// Copies the pages of an extent that are not zero, up to the file's end.
    fn extent(
        &self,
        file: &File,
        extent: Extent,
        size: u64,
        buffer: &mut [u8],
        tell: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let end = extent.length.min(size.saturating_sub(extent.at));
        let mut done = 0;
        while done < end {
            let piece = &mut buffer[..(end - done).min(PIECE) as usize];
            self.disk.read_at(extent.from + done, piece)?;
            for run in pages::runs(piece) {
                let offset = extent.at + done + run.start as u64;
                file.write_all_at(&piece[run], offset)?;
            }
            done += piece.len() as u64;
            tell(piece.len() as u64);
        }
        Ok(())
    }

    /// Owner, mode, attributes and times: in this order, because a new owner takes set-id bits and capabilities away.
    fn dress(&self, path: &Path, inode: &Inode) -> io::Result<()> {
        let target = self.root.join(path);
        let (uid, gid) = (Uid::from_raw(inode.uid), Gid::from_raw(inode.gid));
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(CWD, &target, Some(uid), Some(gid), nofollow)?;
        if FileType::from_raw_mode(inode.mode.into()) != FileType::Symlink {
            let mode = Mode::from_raw_mode(u32::from(inode.mode) & 0o7777);
            rustix::fs::chmodat(CWD, &target, mode, AtFlags::empty())?;
        }
        for (name, value) in self.reader.xattrs(inode)? {
            let set = rustix::fs::lsetxattr(&target, &*name, &value, XattrFlags::empty());
            match set {
                // tmpfs has them since Linux 6.6.
                Err(rustix::io::Errno::OPNOTSUPP) if name.starts_with("user.") => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                set => set.map_err(|e| io::Error::other(format!("attribute {name}: {e}")))?,
            }
        }
        let time = Timespec {
            tv_sec: inode.mtime.0,
            tv_nsec: inode.mtime.1.into(),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        Ok(rustix::fs::utimensat(CWD, &target, &times, nofollow)?)
    }
}

/// An error with the path; a sentence about the medium keeps its words alone.
fn at(path: &Path, error: io::Error) -> io::Error {
    if error.get_ref().is_some_and(|inner| inner.is::<Stop>()) {
        return error;
    }
    io::Error::new(error.kind(), format!("/{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
