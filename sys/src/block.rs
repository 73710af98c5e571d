//! Ioctls of block devices (`linux/fs.h`, `linux/blkpg.h`) and the one that grows a mounted ext4.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::AsFd;

use rustix::io::Result;
use rustix::ioctl::{Getter, NoArg, Opcode, Setter, ioctl, opcode};

/// `BLKRRPART`: read the partition table again.
const BLKRRPART: Opcode = opcode::none(0x12, 95);
/// `BLKFLSBUF`: write back and drop the buffers.
const BLKFLSBUF: Opcode = opcode::none(0x12, 97);
/// `BLKPG`: change one partition; the argument is a [`Request`].
const BLKPG: Opcode = opcode::none(0x12, 105);
/// `BLKGETSIZE64`: length in bytes. Its number carries the size of a `size_t`.
const BLKGETSIZE64: Opcode = opcode::read::<usize>(0x12, 114);
/// `CDROMEJECT` (`linux/cdrom.h`), which SCSI disks know too.
const CDROMEJECT: Opcode = opcode::none(0x53, 0x09);
/// `EXT4_IOC_RESIZE_FS`: grow to a number of blocks.
const EXT4_RESIZE: Opcode = opcode::write::<u64>(b'f', 16);
/// `BLKPG_RESIZE_PARTITION`.
const RESIZE: i32 = 3;

/// `struct blkpg_partition`.
#[repr(C)]
struct Partition {
    start: i64,
    length: i64,
    number: i32,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct Request {
    op: i32,
    flags: i32,
    length: i32,
    data: *mut c_void,
}

/// Length of a block device in bytes.
///
/// # Errors
/// What the system says: ENOTTY where `device` is no block device.
pub fn size(device: impl AsFd) -> Result<u64> {
    // SAFETY: the kernel writes one 64-bit number, the getter's buffer.
    unsafe { ioctl(device, Getter::<BLKGETSIZE64, u64>::new()) }
}

/// Writes back and drops what the kernel caches of a block device.
///
/// # Errors
/// What the system says: EACCES without CAP_SYS_ADMIN, EIO.
pub fn flush_buffers(device: impl AsFd) -> Result<()> {
    // SAFETY: the request has no argument.
    unsafe { ioctl(device, NoArg::<BLKFLSBUF>::new()) }
}

/// Opens a drive's tray, or stops a SCSI or USB disk.
///
/// # Errors
/// What the system says: ENOTTY where the device knows nothing of it, EBUSY or EIO where its door is locked.
pub fn eject(device: impl AsFd) -> Result<()> {
    // SAFETY: the request has no argument.
    unsafe { ioctl(device, NoArg::<CDROMEJECT>::new()) }
}

/// Has the kernel read a device's partition table again.
///
/// # Errors
/// What the system says: EBUSY while a partition is open.
pub fn reread_partitions(device: impl AsFd) -> Result<()> {
    // SAFETY: the request has no argument.
    unsafe { ioctl(device, NoArg::<BLKRRPART>::new()) }
}

/// Tells the kernel the new length of a partition that may be in use. `number` counts from 1,
/// `start` and `length` are bytes.
///
/// # Errors
/// What the system says: ENXIO without such a partition, EBUSY where another one is in the way,
/// EINVAL for numbers that the interface cannot carry.
pub fn resize_partition(device: impl AsFd, number: u32, start: u64, length: u64) -> Result<()> {
    let signed = |n: u64| i64::try_from(n).map_err(|_| rustix::io::Errno::INVAL);
    let mut partition = Partition {
        start: signed(start)?,
        length: signed(length)?,
        number: i32::try_from(number).map_err(|_| rustix::io::Errno::INVAL)?,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let request = Request {
        op: RESIZE,
        flags: 0,
        length: size_of::<Partition>() as i32,
        data: (&raw mut partition).cast(),
    };
    // SAFETY: the request and the partition it points to outlive the call, and the kernel reads
    // exactly these structures.
    unsafe { ioctl(device, Setter::<BLKPG, Request>::new(request)) }
}

/// Grows the mounted ext4 that `mount_point` belongs to, to `blocks` of its blocks.
///
/// # Errors
/// What the system says: EPERM, EINVAL where the device is shorter, ENOTTY for another file system.
pub fn resize_ext4(mount_point: impl AsFd, blocks: u64) -> Result<()> {
    // SAFETY: the kernel reads one 64-bit number.
    unsafe { ioctl(mount_point, Setter::<EXT4_RESIZE, u64>::new(blocks)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn a_file_is_no_block_device() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(size(&file), Err(Errno::NOTTY));
        assert_eq!(reread_partitions(&file), Err(Errno::NOTTY));
        assert_eq!(eject(&file), Err(Errno::NOTTY));
        assert_eq!(resize_partition(&file, 1, 0, u64::MAX), Err(Errno::INVAL));
    }

    #[test]
    fn request_numbers_are_those_of_linux() {
        assert_eq!(BLKRRPART, 0x125f);
        assert_eq!(BLKFLSBUF, 0x1261);
        assert_eq!(BLKPG, 0x1269);
        assert_eq!(CDROMEJECT, 0x5309);
        assert_eq!(BLKGETSIZE64, 0x8008_1272);
        assert_eq!(EXT4_RESIZE, 0x4008_6610);
        assert_eq!(size_of::<Partition>(), 152);
    }
}
