//! Growing the root to its disk: partition table, partition, ext4. The kernel grows the mounted file
//! system by itself; nothing of it is written here.
//!
//! The file system is mounted with the kernel's own defaults on purpose: with `noinit_itable` it would
//! write zeros over every new inode table at once, and on a RAM disk each zero costs RAM.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use image::gpt;
use image::guid::Guid;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::console::Console;
use crate::devices::{self, Device};
use crate::ext4::{self, Superblock};
use crate::stop::{Result, Stop};

const MOUNT_POINT: &str = "/run/ramforge/root";
const PATIENCE: Duration = Duration::from_secs(10);

/// Grows the root file system with that UUID in `disk`, where it is in the last partition and there is
/// room behind it. The kernel knows the partitions afterwards. Where another partition is the last one
/// nothing is changed.
///
/// # Errors
/// A sentence.
pub fn grow(disk: &Device, root_uuid: &str, console: &Console) -> Result<()> {
    let file = disk
        .open_unwatched(console)
        .map_err(|e| cannot(disk, "opening it", &e))?;
    let known = disk.child(1).is_some();
    let is_last = grow_table(file, disk.size(), root_uuid, known)
        .map_err(|e| cannot(disk, "growing its partition table", &e))?;
    if !is_last {
        console.say(&format!(
            "root not grown: it is not in the last partition of /dev/{}",
            disk.name
        ));
        return Ok(());
    }
    let (partition, superblock) = partition(disk, root_uuid)?;
    grow_file_system(&partition, &superblock, console)
}

/// Grows the root file system with that UUID, which begins at the device's first byte, to the whole device.
///
/// # Errors
/// A sentence.
pub fn grow_whole(device: &Device, root_uuid: &str, console: &Console) -> Result<()> {
    let found = device.open().and_then(|file| ext4::read(&file, 0));
    let superblock = found
        .map_err(|e| cannot(device, "reading its superblock", &e))?
        .filter(|superblock| superblock.uuid == root_uuid)
        .ok_or_else(|| absent(device, root_uuid))?;
    grow_file_system(device, &superblock, console)
}

/// Grows the ext4 of a device that is longer than it.
fn grow_file_system(device: &Device, superblock: &Superblock, console: &Console) -> Result<()> {
    let blocks = device.size() / superblock.block_size;
    if blocks <= superblock.blocks {
        return Ok(());
    }
    grow_mounted(device, blocks).map_err(|e| cannot(device, "growing its file system", &e))?;
    console.say(&format!(
        "root grown from {} to {} MiB",
        (superblock.blocks * superblock.block_size) >> 20,
        device.size() >> 20
    ));
    Ok(())
}

fn absent(device: &Device, uuid: &str) -> Stop {
    let fact = format!("/dev/{} holds no root file system {uuid}", device.name);
    Stop::new(fact, "build the image again")
}

fn cannot(device: &Device, action: &str, error: &io::Error) -> Stop {
    Stop::new(
        format!("/dev/{}: {action} failed: {error}", device.name),
        "switch the growing off with rd.ramforge.resize=0",
    )
}

/// Grows the table to the disk, which is `size` bytes long, and tells the kernel, which may have
/// `known` the partitions before. A table that fits already is not written again. `false`, and nothing
/// written, where the root is not in the last partition.
fn grow_table(mut file: File, size: u64, root_uuid: &str, known: bool) -> io::Result<bool> {
    let table = gpt::read(&mut file).map_err(io::Error::other)?;
    let is_last = root_is_last(&file, &table, root_uuid)?;
    if !is_last || table.sectors == size / gpt::SECTOR {
        if !known {
            reread(&file)?;
        }
        return Ok(is_last);
    }
    let grown = gpt::grow(&mut file, size).map_err(io::Error::other)?;
    file.sync_all()?;
    sys::block::flush_buffers(&file)?;
    let start = grown.first * gpt::SECTOR;
    let length = (grown.last + 1 - grown.first) * gpt::SECTOR;
    // Known partitions must stay: systemd drops the mount of a root that vanishes, even for a moment.
    if known {
        sys::block::resize_partition(&file, grown.number as u32, start, length)?;
    } else {
        reread(&file)?;
    }
    Ok(true)
}

/// Whether the partition that lies last on the disk holds the ext4 with that UUID.
fn root_is_last(disk: &File, table: &gpt::Table, uuid: &str) -> io::Result<bool> {
    let used = table.partitions.iter().filter(|p| p.kind != Guid::ZERO);
    let Some(last) = used.max_by_key(|p| p.last) else {
        return Ok(false);
    };
    let found = ext4::read(disk, last.first.saturating_mul(gpt::SECTOR))?;
    Ok(found.is_some_and(|superblock| superblock.uuid == uuid))
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
        let found = find_roots(uuid, |d| d.disk().as_ref() == Some(disk));
        if let Some(first) = found.into_iter().next() {
            return Ok(first);
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

/// All partitions that fit and whose ext4 has that UUID.
pub fn find_roots(uuid: &str, fits: impl Fn(&Device) -> bool) -> Vec<(Device, Superblock)> {
    let partitions = devices::all()
        .into_iter()
        .filter(|d| d.partition().is_some() && fits(d));
    partitions
        .filter_map(|device| {
            let superblock = device.open().and_then(|file| ext4::read(&file, 0)).ok()??;
            (superblock.uuid == uuid).then_some((device, superblock))
        })
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;
    use std::process::Command;

    const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";
    const SECTORS: u64 = 64 << 11;

    /// A disk whose partition 1 is an ext4 with [`UUID`]; it lies last where `last` says so.
    fn disk(last: bool) -> tempfile::NamedTempFile {
        let root = tempfile::NamedTempFile::new().unwrap();
        root.as_file().set_len(8 << 20).unwrap();
        let made = Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-U", UUID])
            .arg(root.path())
            .status()
            .expect("mke2fs (package e2fsprogs)");
        assert!(made.success());
        let partition = |kind, first: u64, mib: u64| gpt::Partition {
            kind,
            guid: kind,
            first: first << 11,
            last: ((first + mib) << 11) - 1,
            attributes: 0,
            name: String::new(),
        };
        let (root_at, other_at) = if last { (10, 1) } else { (1, 10) };
        let table = gpt::Table {
            guid: gpt::ESP,
            sectors: SECTORS,
            partitions: vec![
                partition(gpt::LINUX_DATA, root_at, 8),
                partition(gpt::ESP, other_at, 8),
            ],
        };
        let mut disk = tempfile::NamedTempFile::new().unwrap();
        disk.as_file().set_len(SECTORS * gpt::SECTOR).unwrap();
        gpt::write(disk.as_file_mut(), &table, &[]).unwrap();
        let bytes = std::fs::read(root.path()).unwrap();
        disk.as_file().write_all_at(&bytes, root_at << 20).unwrap();
        disk
    }

    #[test]
    fn only_the_root_is_grown() {
        for last in [true, false] {
            let mut disk = disk(last);
            let table = gpt::read(disk.as_file_mut()).unwrap();
            let is_last = |uuid| root_is_last(disk.as_file(), &table, uuid).unwrap();
            assert_eq!(is_last(UUID), last);
            assert!(!is_last("another"));
        }
    }

    #[test]
    fn a_table_whose_last_partition_is_another_is_not_written() {
        let disk = disk(false);
        disk.as_file().set_len(2 * SECTORS * gpt::SECTOR).unwrap();
        let before = std::fs::read(disk.path()).unwrap();
        let file = disk.reopen().unwrap();
        let grown = grow_table(file, 2 * SECTORS * gpt::SECTOR, UUID, true);
        assert!(!grown.unwrap());
        assert!(std::fs::read(disk.path()).unwrap() == before);
    }
}
