//! Growing the root to its disk: partition table, partition, ext4. The kernel grows the mounted file
//! system by itself; nothing of it is written here.
//!
//! The file system is mounted with the kernel's own defaults on purpose: with `noinit_itable` it would
//! write zeros over every new inode table at once, and on a RAM disk each zero costs RAM.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::gpt;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::console::Console;
use crate::devices::{self, Device};
use crate::ext4::{self, Superblock};
use crate::stop::{Result, Stop};

const MOUNT_POINT: &str = "/run/ramforge/root";
const PATIENCE: Duration = Duration::from_secs(10);

/// Grows the root file system with that UUID, in the last partition of `disk`, where there is room. The
/// kernel knows the partitions afterwards.
///
/// # Errors
/// A sentence.
pub fn grow(disk: &Device, root_uuid: &str, console: &Console) -> Result<()> {
    let path = disk.node().map_err(|e| cannot(disk, "opening it", &e))?;
    let known = disk.child(1).is_some();
    grow_table(&path, disk.size(), known)
        .map_err(|e| cannot(disk, "growing its partition table", &e))?;
    let (partition, superblock) = partition(disk, root_uuid)?;
    let blocks = partition.size() / superblock.block_size;
    if blocks <= superblock.blocks {
        return Ok(());
    }
    grow_mounted(&partition, blocks)
        .map_err(|e| cannot(&partition, "growing its file system", &e))?;
    console.say(&format!(
        "root grown from {} to {} MiB",
        (superblock.blocks * superblock.block_size) >> 20,
        partition.size() >> 20
    ));
    Ok(())
}

fn cannot(device: &Device, action: &str, error: &io::Error) -> Stop {
    Stop::new(
        format!("/dev/{}: {action} failed: {error}", device.name),
        "switch the growing off with rd.ramforge.resize=0",
    )
}

/// Grows the table to the disk, which is `size` bytes long, and tells the kernel, which may have
/// `known` the partitions before. A table that fits already is not written again.
fn grow_table(path: &Path, size: u64, known: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let table = gpt::read(&mut file).map_err(io::Error::other)?;
    if table.sectors == size / gpt::SECTOR {
        return if known { Ok(()) } else { reread(&file) };
    }
    let grown = gpt::grow(&mut file, size).map_err(io::Error::other)?;
    file.sync_all()?;
    sys::block::flush_buffers(&file)?;
    let start = grown.first * gpt::SECTOR;
    let length = (grown.last + 1 - grown.first) * gpt::SECTOR;
    // Known partitions must stay: systemd drops the mount of a root that vanishes, even for a moment.
    if known {
        Ok(sys::block::resize_partition(
            &file,
            grown.number as u32,
            start,
            length,
        )?)
    } else {
        reread(&file)
    }
}

/// Has the kernel read the partition table again.
///
/// # Errors
/// What the system says.
pub fn reread(disk: &File) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        match sys::block::reread_partitions(disk) {
            // udev opens partitions for a moment whenever they appear.
            Err(Errno::BUSY) if Instant::now() < end => std::thread::sleep(devices::POLL),
            outcome => return Ok(outcome?),
        }
    }
}

/// The partition of `disk` with that file system, as soon as it is there.
///
/// # Errors
/// A sentence when it does not appear.
pub fn partition(disk: &Device, uuid: &str) -> Result<(Device, Superblock)> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = find_root(uuid, |d| d.disk().as_ref() == Some(disk)) {
            return Ok(found);
        }
        if Instant::now() >= end {
            return Err(Stop::new(
                format!(
                    "/dev/{} has no partition with the root file system {uuid}",
                    disk.name
                ),
                "build the image again",
            ));
        }
        std::thread::sleep(devices::POLL);
    }
}

/// The partition that fits and whose ext4 has that UUID.
pub fn find_root(uuid: &str, fits: impl Fn(&Device) -> bool) -> Option<(Device, Superblock)> {
    let partitions = devices::all()
        .into_iter()
        .filter(|d| d.partition().is_some() && fits(d));
    for device in partitions {
        let found = device.open().and_then(|file| ext4::read(&file));
        if let Ok(Some(superblock)) = found
            && superblock.uuid == uuid
        {
            return Some((device, superblock));
        }
    }
    None
}

fn grow_mounted(partition: &Device, blocks: u64) -> io::Result<()> {
    let root = PathBuf::from(MOUNT_POINT);
    std::fs::create_dir_all(&root)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount(partition.node()?, &root, "ext4", flags, None)?;
    let grown = File::open(&root).and_then(|dir| {
        sys::block::resize_ext4(&dir, blocks)?;
        Ok(rustix::fs::syncfs(&dir)?)
    });
    rustix::mount::unmount(&root, UnmountFlags::NOFOLLOW)?;
    grown
}
