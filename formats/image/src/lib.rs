//! On-disk structures: written and read without privilege and without any other program.
//!
//! | module | what it writes | the stranger that reads it in the tests |
//! |---|---|---|
//! | [`iso9660`] | a hybrid ISO: ISO 9660, Rock Ridge, El Torito, MBR and GPT | `xorriso`, `sgdisk -v` |
//! | [`gpt`] | a GUID partition table, and grows one | `sgdisk -v` |
//! | [`ext4`] | an ext4 file system from a list of nodes | `e2fsck -fn`, `resize2fs`, `debugfs` |
//! | [`erofs`] | a compressed read-only file system from the same nodes | `fsck.erofs`, Linux |
//! | [`cpio`] | segments of an initrd, and walks over all of them | `cpio -t`, `cpio -i` |
//! | [`fat`] | the FAT file system of an EFI system partition | `fsck.vfat -n`, `mdir` |
//!
//! Every writer is a function of its arguments: no clock, no random number, no environment.

pub mod cpio;
pub mod erofs;
pub mod error;
pub mod ext4;
pub mod fat;
pub mod gpt;
pub mod guid;
pub mod iso9660;

pub use error::{Error, Result};
pub use guid::Guid;
