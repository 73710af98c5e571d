//! Section `disk`: the system's disk image.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::object::Object;

/// A GPT disk whose bytes are a chunk map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// The shape of this section.
    pub format: u64,
    /// Program and version that wrote it.
    pub by: String,
    /// Length of the image in bytes.
    pub size: u64,
    /// Bytes in 4096-byte pages that are not all zero: what a RAM store must hold.
    pub data_bytes: u64,
    /// Sum of the sizes of the distinct frames in bytes: what a medium must hold.
    pub frame_bytes: u64,
    /// The chunk map (see `store::chunk_map`).
    pub map: Object,
    /// The GPT's disk GUID, lower case.
    pub guid: String,
    /// Partitions in order of their number.
    pub partitions: Vec<Partition>,
    /// The root once more, compressed and read-only. Absent where the RAM store `erofs` cannot be chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erofs: Option<Erofs>,
}

/// The root as an EROFS image, behind the disk in a chunk map of both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Erofs {
    /// The chunk map of the disk and, behind it, this image: what a medium carries.
    pub map: Object,
    /// Where the image begins in that map, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Bytes in 4096-byte pages of it that are not all zero: what RAM must hold.
    pub data_bytes: u64,
    /// Sum of the sizes of the distinct frames of that map in bytes: what a medium must hold.
    pub frame_bytes: u64,
    /// What compresses it: `lz4` or `zstd`.
    pub compression: String,
}

/// One GPT partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Number, from 1.
    pub number: u64,
    /// What it is for.
    pub role: PartitionRole,
    /// Offset in the image in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
    /// Unique partition GUID, lower case.
    pub guid: String,
    /// Its file system; absent for the BIOS boot partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<FileSystem>,
}

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionRole {
    /// Holds GRUB's core image for BIOS.
    BiosBoot,
    /// The EFI system partition.
    Esp,
    /// The root file system.
    Root,
}

/// A file system in a partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSystem {
    /// `ext4` or `vfat`.
    pub kind: String,
    /// UUID as `blkid` prints it.
    pub uuid: String,
    /// Label.
    pub label: String,
}
