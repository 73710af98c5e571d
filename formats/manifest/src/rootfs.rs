//! Section `rootfs`: the root tree and what it was made from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::object::Object;

/// The assembled root file system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rootfs {
    /// The shape of this section.
    pub format: u64,
    /// Program and version that wrote it.
    pub by: String,
    /// The tree: a listing of every path (see `store::tree`).
    pub tree: Object,
    /// Sum of the sizes of all files in bytes, hard links counted once.
    pub bytes: u64,
    /// Number of entries in the tree.
    pub entries: u64,
    /// Every installed package, in the order of name and architecture.
    pub packages: Vec<InstalledPackage>,
    /// The lock with everything that is needed to make the tree again (see [`crate::Lock`]); absent: the
    /// stage that wrote this section knows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Object>,
    /// The text of `NAME.ARCH-VERSION.packages`.
    pub packages_file: Object,
    /// The kernel that boots.
    pub kernel: Kernel,
    /// The base initramfs that was made with the tree; absent: the tree has no
    /// dracut, and `initrd-inject` refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initramfs: Option<Object>,
    /// Time stamp for everything the later stages write, seconds since 1970 UTC.
    pub source_date_epoch: u64,
}

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstalledPackage {
    /// Package name.
    pub name: String,
    /// Full version with epoch and revision.
    pub version: String,
    /// Architecture in the distribution's spelling: `amd64`, `all`.
    pub architecture: String,
    /// SHA-256 of the package file, 64 hexadecimal digits, as the signed metadata has it.
    pub sha256: String,
    /// Where it came from: the repository's alias and the file's path in it, `alias:pool/…/x.deb`.
    pub source: String,
}

/// The kernel of the image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Release, as `uname -r` prints it.
    pub release: String,
    /// The bootable image.
    pub image: Object,
    /// Its path in the tree, without the leading slash.
    pub path: String,
    /// The directory of its modules in the tree, without the leading slash.
    pub modules: String,
}
