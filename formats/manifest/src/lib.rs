//! The manifest: the one JSON object that travels on every pipe.
//!
//! ```text
//! {"ramforge":1,"plan":{…},"rootfs":{…},"disk":{…},"initrd":{…},"media":{…},"verdict":{…}}
//! ```
//!
//! A stage reads a manifest, adds one section and writes a manifest. Bytes never travel in it: an
//! [`Object`] names them in the store. The text is canonical (RFC 8785, integers only), so equal
//! manifests are equal lines.
//!
//! A section carries `format` (the version of its own shape) and `by` (the program that wrote it).
//! Unknown sections pass untouched; inside a known section an unknown field is refused.
//!
//! *Not here:* times, host names and paths of the build host. They belong to the journal.

mod canonical;
mod disk;
mod document;
mod error;
mod initrd;
mod key;
mod lock;
mod media;
mod object;
mod plan;
mod rootfs;
mod secret;
mod section;
mod verdict;

pub use canonical::{canonical_value, to_canonical};
pub use disk::{Disk, Erofs, FileSystem, Partition, PartitionRole};
pub use document::{FORMAT, Manifest};
pub use error::{Error, Result};
pub use initrd::{Initrd, Segment};
pub use key::{StageKey, package_key, part_key, stage_key, stage_key_of};
pub use lock::{InvalidLock, Lock, LockedPackage, Request};
pub use media::{BootEntry, Media, NetworkFile};
pub use object::{Digest, Object};
pub use plan::{
    Bootloader, DiskPlan, OemConfig, Origin, Override, Package, Packages, Plan, Profile, Ramdisk,
    Repository, Scripts, SigningKey, Size, SizeUnit, TypePlan, User,
};
pub use rootfs::{InstalledPackage, Kernel, Rootfs};
pub use secret::without_credentials;
pub use section::{Section, schemas};
pub use verdict::{
    MachineVerdict, Measured, Memory, Moment, Proof, StoreNeed, Term, Verdict, WorkingSet,
};
