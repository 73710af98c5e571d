//! Block devices, found in sysfs: udev need not run, and may lag behind.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, makedev};

use crate::console::Console;

/// How often sysfs and /dev are looked at.
pub const POLL: Duration = Duration::from_millis(100);

/// How long something may be in use that nobody is meant to use.
const IN_USE: Duration = Duration::from_secs(5);

/// A block device or partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// Its name in sysfs: `sda1`.
    pub name: String,
}

/// A medium in a device: pulled out and plugged in again it is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inserted {
    device: Device,
    /// The kernel's number of it (`diskseq`, Linux 5.15).
    sequence: Option<String>,
}

impl Device {
    /// What is in it now.
    pub fn inserted(&self) -> Inserted {
        let disk = self.partition().and_then(|_| self.disk());
        let sequence = disk.as_ref().unwrap_or(self).attribute("diskseq");
        Inserted {
            device: self.clone(),
            sequence,
        }
    }

    /// The device with that name.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    /// An attribute in sysfs, trimmed.
    pub fn attribute(&self, attribute: &str) -> Option<String> {
        let path = self.sys().join(attribute);
        Some(fs::read_to_string(path).ok()?.trim().to_owned())
    }

    /// Its directory in sysfs.
    pub fn sys(&self) -> PathBuf {
        Path::new("/sys/class/block").join(&self.name)
    }

    /// Length in bytes, as sysfs tells it in sectors of 512.
    pub fn size(&self) -> u64 {
        let sectors: Option<u64> = self.attribute("size").and_then(|s| s.parse().ok());
        sectors.unwrap_or(0).saturating_mul(512)
    }

    /// The number of a partition.
    pub fn partition(&self) -> Option<u32> {
        self.attribute("partition")?.parse().ok()
    }

    /// The disk that a partition belongs to.
    pub fn disk(&self) -> Option<Self> {
        let real = fs::canonicalize(self.sys()).ok()?;
        Some(Self::named(real.parent()?.file_name()?.to_str()?))
    }

    /// The partition `number` of this disk.
    pub fn child(&self, number: u32) -> Option<Self> {
        all().into_iter().find(|device| {
            device.partition() == Some(number) && device.disk().as_ref() == Some(self)
        })
    }

    /// A device node: the one in /dev, or one made for the purpose.
    ///
    /// # Errors
    /// What the system says where sysfs does not know the device or the node cannot be made.
    pub fn node(&self) -> io::Result<PathBuf> {
        let path = Path::new("/dev").join(self.name.replace('!', "/"));
        if path.exists() {
            return Ok(path);
        }
        // Not below /run, which is mounted without device nodes.
        let path =
            Path::new("/dev").join(format!(".ramforge-node-{}", self.name.replace('!', "-")));
        self.make_own_node(&path)?;
        Ok(path)
    }

    /// Makes a node at `path`, where there is none.
    fn make_node(&self, path: &Path) -> io::Result<()> {
        let numbers = self.attribute("dev").ok_or(io::ErrorKind::NotFound)?;
        let (major, minor) = parse_numbers(&numbers).ok_or(io::ErrorKind::InvalidData)?;
        let mode = Mode::RUSR | Mode::WUSR;
        match rustix::fs::mknodat(
            rustix::fs::CWD,
            path,
            FileType::BlockDevice,
            mode,
            makedev(major, minor),
        ) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes a node at `path`, which is certainly its own: one that was left behind may be that of another device.
    fn make_own_node(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => self.make_node(path),
        }
    }

    /// Whether its medium can be taken out, as that of a card reader.
    pub fn is_removable(&self) -> bool {
        let disk = self.partition().and_then(|_| self.disk());
        let removable = disk.as_ref().unwrap_or(self).attribute("removable");
        removable.as_deref() == Some("1")
    }

    /// Whether there may be something in it. Without udev nobody opens a reader that was empty, and until then the kernel
    /// calls its card 0 bytes long.
    pub fn may_hold_something(&self) -> bool {
        !self.is_ram() && (self.size() != 0 || self.is_removable())
    }

    /// Whether it is a RAM disk, compressed or not.
    pub fn is_ram(&self) -> bool {
        self.name.starts_with("ram") || self.name.starts_with("zram")
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// What the system says: ENOMEDIUM for an empty drive.
    pub fn open(&self) -> io::Result<File> {
        File::open(self.node()?)
    }

    /// Opens it for reading and writing behind udev's back. udev watches the node in /dev: once a disk that was open
    /// for writing is closed, it has the partition table read again, every partition is gone for a moment, and systemd
    /// lets go of what waits for the root. Nobody watches the node this is opened by.
    ///
    /// # Errors
    /// What the system says.
    pub fn open_unwatched(&self, console: &Console) -> io::Result<File> {
        // Not below /run, which systemd mounts without device nodes.
        let path = Path::new("/dev").join(format!(".ramforge-{}", self.name.replace('!', "-")));
        let open = |path: &Path| fs::OpenOptions::new().read(true).write(true).open(path);
        if let Err(refused) = self.make_own_node(&path) {
            if refused.kind() == io::ErrorKind::NotFound {
                // The device is gone.
                return Err(refused);
            }
            // Where /dev takes no further node, being watched is better than not to be opened.
            let (name, place) = (&self.name, path.display());
            console.log(&format!(
                "{name}: {place}: {refused}; opened as udev sees it"
            ));
            return open(&self.node().map_err(|_| refused)?);
        }
        let opened = open(&path);
        fs::remove_file(&path)?;
        opened
    }

    /// Opens the drive, or switches a stick off.
    ///
    /// # Errors
    /// What the system says: ENOTTY where the device knows nothing of it.
    pub fn eject(&self) -> io::Result<()> {
        let disk = self.partition().and_then(|_| self.disk());
        let node = disk.as_ref().unwrap_or(self).node()?;
        // Not blocking: a drive that is open already has no medium to wait for.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(node)?;
        Ok(sys::block::eject(&file)?)
    }

    /// Waits until sysfs knows it and a node is there.
    ///
    /// # Errors
    /// The last refusal when `limit` has passed.
    pub fn wait(&self, limit: Duration) -> io::Result<PathBuf> {
        let end = Instant::now() + limit;
        loop {
            match self.node() {
                Err(e) if Instant::now() >= end => return Err(e),
                Err(_) => std::thread::sleep(POLL),
                Ok(path) => return Ok(path),
            }
        }
    }

    /// Asks udev to look at it (again).
    pub fn announce(&self) {
        // Where udev does not run nobody listens, and nothing is lost.
        let _ = fs::write(self.sys().join("uevent"), "change");
    }
}

/// Every block device and partition, disks before their partitions.
pub fn all() -> Vec<Device> {
    let Ok(entries) = fs::read_dir("/sys/class/block") else {
        return Vec::new();
    };
    let mut devices: Vec<Device> = entries
        .filter_map(|entry| Some(Device::named(entry.ok()?.file_name().to_str()?)))
        .collect();
    devices.sort();
    devices
}

/// Tries again for a while where the system says that something is in use: udev may be looking at it.
///
/// # Errors
/// What the system says in the end.
pub(crate) fn once_free(mut action: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let end = Instant::now() + IN_USE;
    loop {
        match action() {
            Err(e) if is_in_use(&e) && Instant::now() < end => std::thread::sleep(POLL),
            outcome => return outcome,
        }
    }
}

fn is_in_use(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(
        errno,
        Some(rustix::io::Errno::BUSY | rustix::io::Errno::AGAIN)
    )
}

fn parse_numbers(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_read() {
        assert_eq!(parse_numbers("259:3"), Some((259, 3)));
        assert_eq!(parse_numbers("259"), None);
    }

    #[test]
    fn what_is_in_use_is_tried_again() {
        let mut answers = vec![
            Ok(()),
            Err(rustix::io::Errno::AGAIN),
            Err(rustix::io::Errno::BUSY),
        ];
        let mut next = || Ok(answers.pop().unwrap()?);
        assert!(once_free(&mut next).is_ok());
        let refused = once_free(|| Err(rustix::io::Errno::NOENT.into()));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_foreign_node_is_never_taken_for_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node");
        let device = Device::named("no-such-device");
        // What cannot be removed is not what was asked for.
        fs::create_dir_all(path.join("full")).unwrap();
        let kind = |result: io::Result<()>| result.unwrap_err().kind();
        assert_ne!(kind(device.make_own_node(&path)), io::ErrorKind::NotFound);
        // What can is removed, and then the device is found to be gone.
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        assert_eq!(kind(device.make_own_node(&path)), io::ErrorKind::NotFound);
        assert!(!path.exists());
    }
}
