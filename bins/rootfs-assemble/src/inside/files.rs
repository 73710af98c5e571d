//! Putting single things into the tree with their owner, mode and time.

use std::fs::{self, File, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, lchown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

/// Owner, mode and time of the last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
}

/// Applies everything to an open file. A change of owner clears set-id bits, so the mode comes after it.
pub fn finish_file(file: &File, meta: Meta) -> io::Result<()> {
    if (meta.uid, meta.gid) != (0, 0) {
        std::os::unix::fs::fchown(file, Some(meta.uid), Some(meta.gid))?;
    }
    file.set_permissions(Permissions::from_mode(meta.mode))?;
    let seconds = Duration::from_secs(u64::try_from(meta.mtime).unwrap_or(0));
    file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + seconds))
}

/// Applies owner and mode to a directory.
pub fn finish_dir(path: &Path, meta: Meta) -> io::Result<()> {
    chown(path, Some(meta.uid), Some(meta.gid))?;
    fs::set_permissions(path, Permissions::from_mode(meta.mode))
}

/// Applies owner and time to a symbolic link.
pub fn finish_link(path: &Path, meta: Meta) -> io::Result<()> {
    lchown(path, Some(meta.uid), Some(meta.gid))?;
    set_mtime(path, meta.mtime)
}

/// Sets the time of the last change of whatever `path` is, without following it.
pub fn set_mtime(path: &Path, mtime: i64) -> io::Result<()> {
    let time = Timespec {
        tv_sec: mtime,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Creates a file that replaces whatever non-directory stands at `path`.
pub fn create(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            parents(path)?;
            options.open(path)
        }
        done => done,
    }
}

/// Creates a symbolic link that replaces whatever non-directory stands at `path`.
pub fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    replacing(path, || std::os::unix::fs::symlink(target, path))
}

/// Creates another name of `target`, replacing whatever non-directory stands at `path`.
pub fn hard_link(target: &Path, path: &Path) -> io::Result<()> {
    replacing(path, || fs::hard_link(target, path))
}

fn replacing(path: &Path, make: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match make() {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            make()
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            parents(path)?;
            make()
        }
        done => done,
    }
}

fn parents(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Writes a whole file, root's, with this mode.
pub fn write(path: impl AsRef<Path>, text: impl AsRef<[u8]>, mode: u32) -> stage::Result<()> {
    use stage::At;
    use std::io::Write;
    let path = path.as_ref();
    let mut file = create(path).at(path)?;
    file.write_all(text.as_ref()).at(path)?;
    file.set_permissions(Permissions::from_mode(mode)).at(path)
}

/// Removes a file; one that is not there is fine.
pub fn remove(path: impl AsRef<Path>) -> stage::Result<()> {
    use stage::At;
    match fs::remove_file(path.as_ref()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.at(path.as_ref()),
    }
}
