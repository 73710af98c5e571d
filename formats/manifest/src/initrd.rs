//! Section `initrd`: the chain of segments that the boot loader hands to the kernel.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::object::Object;

/// The initrd of the installation medium.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Initrd {
    /// The shape of this section.
    pub format: u64,
    /// Program and version that wrote it.
    pub by: String,
    /// The bytes that the boot loader loads: all segments, each padded to four bytes.
    pub image: Object,
    /// The segments in order: the base, the deployment segment, its configuration.
    pub segments: Vec<Segment>,
    /// Unpacked size of all segments in bytes.
    pub unpacked_bytes: u64,
    /// Bytes that the root takes in a zram, measured on its pages.
    pub zram_bytes: u64,
    /// Kernel modules that the deployment segment brings, in load order.
    pub modules: Vec<String>,
    /// The id that ties this initrd to its medium: the chunk map's digest.
    pub deploy_id: crate::object::Digest,
    /// The 32 bytes of the Ed25519 key with which the chunk map must be signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<crate::object::Digest>,
}

/// One cpio segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// What it is: `base`, `deploy` or `configuration`.
    pub name: String,
    /// Its bytes, without padding.
    pub object: Object,
}
