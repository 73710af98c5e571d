//! The RAM store `erofs`: the root compressed and read-only in RAM, and what is written to it in a tmpfs that is capped.
//!
//! ```text
//! /sysroot   overlay
//!              lower   EROFS   a file in a ramfs, which Linux 6.12 mounts as it is; before that the RAM disk of brd
//!              upper   tmpfs   capped by size and by inodes
//! ```
//!
//! What is mounted below the overlay is detached when that stands: it holds it itself, so nobody finds it, and nothing is
//! in the way of a shutdown. A loop device would be: systemd tries to take it apart in the end, and says that it cannot.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::config::{Config, Erofs as Image};
use crate::console::Console;
use crate::init::mount_new;
use crate::modules::Loader;
use crate::ram;
use crate::ramdisk::RamDisk;
use crate::root::SYSROOT;
use crate::stop::{Result, Stop};
use crate::target::Disk;

use super::{open_ram_disk, tmpfs};

/// Kernel modules; each may be built in.
const MODULES: [&str; 2] = ["erofs", "overlay"];
/// Where the file system is mounted that holds the image as a file.
const HOLD: &str = "/run/ramforge/image";
/// A socket, to see what the kernel says.
const PROBE: &str = "/run/ramforge/probe";
/// Where the image is mounted.
const LOWER: &str = "/run/ramforge/lower";
/// Where the tmpfs for what is written is mounted.
const UPPER: &str = "/run/ramforge/upper";
/// The first Linux that mounts a file as it is: not one in a tmpfs, but one in a ramfs.
const FILES_SINCE: (u32, u32) = (6, 12);
const SAFE: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// What the store shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erofs {
    /// The RAM disk that holds the image where it is no file. As much as its size may be written to the root, unless the
    /// machine has less to give.
    pub disk: RamDisk,
    image: Image,
}

impl Erofs {
    /// The store for the image that the medium carries.
    ///
    /// # Errors
    /// A sentence where it carries none.
    pub fn of(config: &Config, disk: RamDisk) -> Result<Self> {
        let image = config.erofs.clone().ok_or_else(|| {
            Stop::new(
                "rd.ramforge.store=erofs: this medium does not carry the root as EROFS",
                "leave it out in the boot menu, or build the image with it, or with auto, in kernelcmdline",
            )
        })?;
        Ok(Self { disk, image })
    }

    /// Makes room in RAM for the image and opens it for what it receives.
    ///
    /// # Errors
    /// A sentence.
    pub fn open(&self, loader: &mut Loader, console: &Console) -> Result<Disk> {
        for module in MODULES {
            if let Err(error) = loader.load(module, "") {
                console.log(&format!("module {module}: {error}"));
            }
        }
        // Now, while the medium is there and another store can be chosen.
        let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let has = |kind: &str| {
            let mut lines = known.lines();
            lines.any(|l| l.split_ascii_whitespace().last() == Some(kind))
        };
        if let Some(kind) = MODULES.iter().find(|kind| !has(kind)) {
            return Err(failed(kind, &Errno::NODEV.into()));
        }
        let disk = match takes_files() {
            false => open_ram_disk(&self.disk, self.image.size, loader)?,
            true => {
                let made = mount_new(Path::new("ramfs"), "ramfs", Path::new(HOLD), SAFE, "")
                    .and_then(|()| File::create(file())?.set_len(self.image.size))
                    .and_then(|()| Disk::file(&file()));
                made.map_err(|e| failed("a ramfs for the image", &e))?
            }
        };
        Ok(disk.only(self.image.range()))
    }

    /// Mounts the root: image, tmpfs and overlay.
    ///
    /// # Errors
    /// A sentence.
    pub fn settle(&self, config: &Config, console: &Console) -> Result<()> {
        let source = match fs::exists(file()).unwrap_or(false) {
            true => Ok(file()),
            false => self.disk.device().node(),
        };
        let source = source.map_err(|e| failed("the RAM disk", &e))?;
        let lower = Path::new(LOWER);
        let mounted = mount_new(&source, "erofs", lower, MountFlags::RDONLY, "");
        mounted.map_err(|e| failed(&source.display().to_string(), &e))?;
        console.log(&format!("the root is EROFS in {}", source.display()));
        let limit = ram::limit(config.reserve_bytes, config.initramfs_bytes);
        let options = self.options(limit, tmpfs::nodes());
        let upper = Path::new(UPPER);
        let tmpfs = Path::new("tmpfs");
        let mounted = mount_new(tmpfs, "tmpfs", upper, MountFlags::empty(), &options);
        mounted.map_err(|e| failed(&format!("a tmpfs with {options}"), &e))?;
        overlay(upper).map_err(|e| failed("the overlay", &e))?;
        let adapted = tmpfs::adapt_fstab(Path::new(SYSROOT), "overlay");
        adapted.map_err(|e| failed("the root's fstab", &e))?;
        detach();
        Ok(())
    }

    /// Gives back its RAM after a failure.
    pub fn remove(&self) {
        // Where nothing is mounted there is nothing to remove.
        let _ = rustix::mount::unmount(SYSROOT, UnmountFlags::DETACH);
        let in_ram_disk = !fs::exists(file()).unwrap_or(false);
        detach();
        if in_ram_disk {
            self.disk.remove();
        }
    }

    /// The options of the tmpfs for what is written: as large as the description's RAM disk, but not larger than what
    /// leaves the system its reserve. *Not counted:* what the overlay itself keeps of files in use, which the kernel drops
    /// when it needs the RAM.
    fn options(&self, limit: Option<u64>, nodes: usize) -> String {
        let free = tmpfs::free(self.disk.size_kib.saturating_mul(1024), limit);
        tmpfs::options(free, tmpfs::free_inodes(free), nodes)
    }
}

fn file() -> PathBuf {
    Path::new(HOLD).join("root.erofs")
}

/// Whether this kernel mounts a file as it is. A socket is none and cannot be opened: who would mount a file says so, and
/// all others that it is no block device, on the console too before [`FILES_SINCE`].
fn takes_files() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let may = version(&release).is_some_and(|version| version >= FILES_SINCE);
    may && probe().is_ok_and(|error| error == Errno::NXIO)
}

/// How a socket cannot be mounted.
fn probe() -> io::Result<Errno> {
    let socket = Path::new(PROBE);
    fs::create_dir_all(LOWER)?;
    // One that is left of an earlier try.
    let _ = fs::remove_file(socket);
    let _listener = UnixListener::bind(socket)?;
    let mounted = mount_new(socket, "erofs", Path::new(LOWER), MountFlags::RDONLY, "");
    fs::remove_file(socket)?;
    let error = mounted.err().and_then(|e| Errno::from_io_error(&e));
    error.ok_or_else(|| io::Error::other("a socket was mounted"))
}

/// The first two numbers of a kernel's release.
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Mounts the overlay of the image and the tmpfs.
fn overlay(upper: &Path) -> io::Result<()> {
    let (over, work) = (upper.join("upper"), upper.join("work"));
    fs::create_dir_all(&over)?;
    fs::create_dir_all(&work)?;
    dress(&over, Path::new(LOWER))?;
    // A file keeps its hard links when it is copied, a directory may be renamed, and what changes owner or mode alone
    // is not copied; files and directories are on one device, and stay what they are for tar and find.
    let options = format!(
        "lowerdir={LOWER},upperdir={},workdir={},index=on,redirect_dir=on,metacopy=on,xino=on",
        over.display(),
        work.display()
    );
    let (source, place) = (Path::new("overlay"), Path::new(SYSROOT));
    mount_new(source, "overlay", place, MountFlags::empty(), &options)
}

/// The root directory of an overlay looks like that of its upper layer.
fn dress(over: &Path, lower: &Path) -> io::Result<()> {
    let like = fs::metadata(lower)?;
    std::os::unix::fs::chown(over, Some(like.uid()), Some(like.gid()))?;
    fs::set_permissions(over, fs::Permissions::from_mode(like.mode() & 0o7777))?;
    copy_xattrs(lower, over)?;
    File::open(over)?.set_modified(like.modified()?)
}

/// Gives `to` the extended attributes of `from`; those of users where the file system has them.
fn copy_xattrs(from: &Path, to: &Path) -> io::Result<()> {
    let (mut names, mut value) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let length = rustix::fs::listxattr(from, &mut names[..])?;
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let name = CString::new(name)?;
        let length = rustix::fs::getxattr(from, &name, &mut value[..])?;
        match rustix::fs::setxattr(to, &name, &value[..length], XattrFlags::empty()) {
            // tmpfs has them since Linux 6.6.
            Err(Errno::OPNOTSUPP) if name.to_bytes().starts_with(b"user.") => {}
            set => set?,
        }
    }
    Ok(())
}

/// Detaches what lies below the overlay; the overlay, where it stands, holds it.
fn detach() {
    for place in [UPPER, LOWER, HOLD] {
        // What is not mounted needs nothing, and an empty directory that stays does no harm.
        let _ = rustix::mount::unmount(place, UnmountFlags::DETACH);
        let _ = fs::remove_dir(place);
    }
}

fn failed(what: &str, error: &io::Error) -> Stop {
    let way_out = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NODEV) => {
            "the kernel lacks erofs or overlay: set rd.ramforge.store=brd in the boot menu"
        }
        Some(Errno::NOMEM | Errno::NOSPC) => {
            "this is most often too little RAM: add RAM or build a smaller image"
        }
        _ => "set rd.ramforge.store=brd in the boot menu, or look at the kernel's log",
    };
    Stop::new(format!("the RAM store erofs: {what}: {error}"), way_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> RamDisk {
        RamDisk {
            number: 1,
            size_kib: 1 << 20,
        }
    }

    #[test]
    fn a_medium_without_it_is_told_so() {
        let mut config = crate::volume::tests::config(b"map");
        let refused = Erofs::of(&config, disk()).unwrap_err().to_string();
        assert!(refused.contains("this medium does not carry"), "{refused}");
        assert_eq!(config.map_size(), 0);
        let image = Image {
            offset: 4096,
            size: 8192,
            data_bytes: 8192,
        };
        config.erofs = Some(image.clone());
        assert_eq!(
            Erofs::of(&config, disk()).map(|erofs| erofs.image),
            Ok(image)
        );
        assert_eq!((config.map_size(), config.check()), (12_288, Ok(())));
        config.image_size = 8192;
        assert!(config.check().is_err());
    }

    #[test]
    fn what_is_written_is_capped() {
        let erofs = Erofs {
            disk: disk(),
            image: Image {
                offset: 0,
                size: 1 << 20,
                data_bytes: 1 << 20,
            },
        };
        assert_eq!(
            erofs.options(None, 1),
            "mode=755,size=1073741824,nr_inodes=66560"
        );
        assert_eq!(
            erofs.options(Some(100 << 20), 2),
            "mode=755,size=95682560,nr_inodes=6864,mpol=interleave"
        );
        assert_eq!(
            erofs.options(Some(1), 1),
            "mode=755,size=33554432,nr_inodes=3072"
        );
    }

    #[test]
    fn releases_have_versions() {
        assert_eq!(version("6.1.0-31-cloud-amd64\n"), Some((6, 1)));
        assert_eq!(version("6.12.3"), Some((6, 12)));
        assert!(version("6.2") < Some(FILES_SINCE) && version("7.0-rc1") > Some(FILES_SINCE));
        assert_eq!(version(""), None);
    }
}
