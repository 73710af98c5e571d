//! From the initramfs into the system (switch_root(8)): its root becomes the root, the initramfs is freed.
//!
//! pivot_root(2) does not work on the rootfs that the kernel unpacks an initramfs into: nothing can be mounted
//! below what everything stands on. So the new root is moved over the old one, whose files are removed before,
//! because nobody could reach them afterwards and they would hold their RAM.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::stop::{Result, Stop};

/// What moves into the new root.
const CARRIED: [&str; 4] = ["dev", "proc", "sys", "run"];
/// Where the kernel looks for init, in its order.
const INITS: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];
/// File systems that an initramfs is unpacked into (`linux/magic.h`).
const RAMFS_MAGIC: i64 = 0x8584_58f6;
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// The path of the init of the system in `root`, which must have the directories that move there.
///
/// # Errors
/// A sentence; nothing was changed.
pub fn find_init(root: &Path, init: Option<&str>) -> Result<String> {
    if let Some(name) = CARRIED.iter().find(|name| !root.join(name).is_dir()) {
        return Err(Stop::new(
            format!("the system has no directory /{name}"),
            "add it to the image: no init can work without",
        ));
    }
    let mut candidates = init.into_iter().chain(INITS);
    let found = candidates.find(|path| is_there(root, path));
    found.map(str::to_owned).ok_or_else(|| {
        Stop::new(
            format!("the system has no init: none of {}", INITS.join(", ")),
            "add systemd-sysv, or another init, to the image's packages",
        )
    })
}

/// Whether a path is there, as those see it for whom `root` is the root directory.
fn is_there(root: &Path, path: &str) -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(root, flags, Mode::empty()).and_then(|root| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
    });
    // Where the kernel cannot tell, as before 5.6, exec(2) will.
    !matches!(
        opened,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS)
    )
}

/// Makes `root` the root directory and becomes `init`, with the arguments that the kernel gave. Comes back only where
/// it cannot, with the sentence that tells.
pub fn switch_root(root: &Path, init: &str) -> Stop {
    if let Err(stop) = move_into(root) {
        return stop;
    }
    let arguments = std::env::args_os().skip(1);
    let error = Command::new(init).args(arguments).exec();
    failed(&format!("starting {init}"), &error)
}

fn move_into(root: &Path) -> Result<()> {
    for name in CARRIED {
        carry(name, root).map_err(|e| failed(&format!("moving /{name}"), &e))?;
    }
    empty(Path::new("/")).map_err(|e| failed("freeing the initramfs", &e))?;
    enter(root).map_err(|e| failed("entering the root", &e))
}

fn failed(action: &str, error: &io::Error) -> Stop {
    Stop::new(
        format!("{action} failed: {error}"),
        "boot with rd.kiwi.debug and look at the lines before",
    )
}

/// Moves a mount to its place in the new root.
fn carry(name: &str, root: &Path) -> io::Result<()> {
    let target = root.join(name);
    // A read-only root without the directory could not be used by its system either.
    Ok(rustix::mount::mount_move(
        Path::new("/").join(name),
        target,
    )?)
}

/// Removes everything in `dir` that is on the same file system, which must be the one of an initramfs.
fn empty(dir: &Path) -> io::Result<()> {
    let kind = rustix::fs::statfs(dir)?.f_type;
    if ![RAMFS_MAGIC, TMPFS_MAGIC].contains(&kind) {
        return Err(io::Error::other("the root is no initramfs"));
    }
    remove_below(dir, fs::symlink_metadata(dir)?.dev())
}

fn remove_below(dir: &Path, device: u64) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        if meta.dev() != device {
            continue;
        }
        if meta.is_dir() {
            remove_below(&path, device)?;
            // What something is mounted on stays.
            let _ = fs::remove_dir(&path);
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn enter(root: &Path) -> io::Result<()> {
    std::env::set_current_dir(root)?;
    rustix::mount::mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    std::env::set_current_dir("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_init_is_that_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let error = |init| find_init(root, init).unwrap_err().to_string();
        assert!(error(None).starts_with("the system has no directory /dev"));
        for name in CARRIED {
            fs::create_dir(root.join(name)).unwrap();
        }
        fs::create_dir_all(root.join("lib/systemd")).unwrap();
        fs::create_dir(root.join("sbin")).unwrap();
        // Whatever the host has there.
        std::os::unix::fs::symlink("/lib/systemd/ours", root.join("sbin/init")).unwrap();
        assert!(error(None).starts_with("the system has no init"));
        fs::write(root.join("lib/systemd/ours"), "").unwrap();
        assert_eq!(find_init(root, None).unwrap(), "/sbin/init");
        assert_eq!(find_init(root, Some("/nowhere")).unwrap(), "/sbin/init");
        let own = find_init(root, Some("/lib/systemd/ours"));
        assert_eq!(own.unwrap(), "/lib/systemd/ours");
    }

    #[test]
    fn only_an_initramfs_is_emptied() {
        // The directory of this crate lies on a disk, or on whatever the developer has: never emptied in a test.
        let error = empty(Path::new("/proc")).unwrap_err().to_string();
        assert_eq!(error, "the root is no initramfs");
    }

    #[test]
    fn everything_goes_but_other_file_systems() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/c"), "x").unwrap();
        std::os::unix::fs::symlink("/nowhere", dir.path().join("link")).unwrap();
        let device = fs::symlink_metadata(dir.path()).unwrap().dev();
        remove_below(dir.path(), device + 1).unwrap();
        assert!(dir.path().join("a/b/c").exists());
        remove_below(dir.path(), device).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
