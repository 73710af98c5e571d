//! A file system that holds the medium as a file: `iso-scan/filename=PATH` on the kernel command line, as GRUB's
//! `loopback` wants it from whoever boots an ISO file.
//!
//! *Not read:* other file systems than those below, RAID and LVM.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use crate::devices::{self, Device};
use crate::modules::Loader;

/// Where they are mounted, each below the name of its device: another one may be looked at meanwhile.
const MOUNT_POINTS: &str = "/run/ramforge/host";
/// What reading them may need, beside the module of ext4 that is always there. Where one is built in or not carried, the
/// mount tells.
const MODULES: [&str; 7] = [
    "vfat",
    "exfat",
    "isofs",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859_1",
    "nls_utf8",
];

/// A file system by its superblock: offset and bytes of its mark, the name for mount(2), options.
struct Kind {
    offset: u64,
    mark: &'static [u8],
    name: &'static str,
    /// Nothing is ever written: a journal is not replayed.
    options: Option<&'static std::ffi::CStr>,
}

const KINDS: [Kind; 5] = [
    kind(0x438, b"\x53\xef", "ext4", Some(c"noload")),
    kind(3, b"EXFAT   ", "exfat", None),
    kind(82, b"FAT32   ", "vfat", None),
    kind(54, b"FAT1", "vfat", None),
    kind(0x8001, b"CD001", "iso9660", Some(c"nojoliet")),
];

const fn kind(
    offset: u64,
    mark: &'static [u8],
    name: &'static str,
    options: Option<&'static std::ffi::CStr>,
) -> Kind {
    Kind {
        offset,
        mark,
        name,
        options,
    }
}

/// A mounted file system, unmounted when dropped.
#[derive(Debug)]
pub struct Host {
    root: PathBuf,
}

/// Loads what the file systems need.
pub fn prepare(loader: &mut Loader) {
    for name in MODULES {
        // Where it is missed the mount says so, with a better message.
        let _ = loader.load(name, "");
    }
}

impl Host {
    /// Mounts `device` read-only; `None` where it holds no file system that is known.
    ///
    /// # Errors
    /// What the system says.
    pub fn mount(device: &Device) -> io::Result<Option<Self>> {
        let Some(kind) = recognise(&device.open()?) else {
            return Ok(None);
        };
        let root = Path::new(MOUNT_POINTS).join(device.name.replace('!', "-"));
        std::fs::create_dir_all(&root)?;
        let flags =
            MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount(&device.node()?, &root, kind.name, flags, kind.options).map_err(
            |e| io::Error::new(e.kind(), format!("cannot be mounted as {}: {e}", kind.name)),
        )?;
        Ok(Some(Self { root }))
    }

    /// Opens a plain file of it; `None` where there is none.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(&self, path: &str) -> io::Result<Option<File>> {
        let path = self.root.join(path.trim_start_matches('/'));
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_file() => File::open(&path).map(Some),
            Ok(_) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Unmounts it.
    ///
    /// # Errors
    /// What the system says: EBUSY where something still uses it.
    pub fn end(self) -> io::Result<()> {
        let root = self.root.clone();
        std::mem::forget(self);
        unmount(&root)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It only goes out of scope where it holds nothing of use, or is gone: nobody waits for its end.
        if unmount(&self.root).is_err() {
            let _ = rustix::mount::unmount(&self.root, UnmountFlags::DETACH);
        }
    }
}

fn recognise(device: &File) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| {
        let mut found = vec![0; kind.mark.len()];
        device.read_exact_at(&mut found, kind.offset).is_ok() && found == kind.mark
    })
}

fn unmount(root: &Path) -> io::Result<()> {
    devices::once_free(|| Ok(rustix::mount::unmount(root, UnmountFlags::NOFOLLOW)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The file systems' own programs are the judges.
    #[test]
    fn file_systems_are_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let kind = || recognise(&File::open(&path).unwrap()).map(|kind| kind.name);
        let made = |program: &str, arguments: &[&str], bytes: u64| {
            let file = File::create(&path).unwrap();
            file.set_len(bytes).unwrap();
            let output = Command::new(program).args(arguments).arg(&path).output();
            let output = output.unwrap_or_else(|e| panic!("{program}: {e}"));
            assert!(output.status.success(), "{program}: {output:?}");
        };
        made("/sbin/mke2fs", &["-q", "-F", "-t", "ext4"], 8 << 20);
        assert_eq!(kind(), Some("ext4"));
        made("/sbin/mkfs.vfat", &["-F", "16"], 16 << 20);
        assert_eq!(kind(), Some("vfat"));
        made("/sbin/mkfs.vfat", &["-F", "32"], 64 << 20);
        assert_eq!(kind(), Some("vfat"));
        made("/sbin/mkfs.exfat", &[], 64 << 20);
        assert_eq!(kind(), Some("exfat"));
        crate::volume::tests::iso(&path, "X", &[("a", b"a")]);
        assert_eq!(kind(), Some("iso9660"));
        std::fs::write(&path, "short").unwrap();
        assert_eq!(kind(), None);
    }
}
