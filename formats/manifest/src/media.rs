//! Section `media`: what a machine boots from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::object::Object;

/// The finished media.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Media {
    /// The shape of this section.
    pub format: u64,
    /// Program and version that wrote it.
    pub by: String,
    /// The hybrid ISO.
    pub iso: Object,
    /// Its volume id.
    pub volid: String,
    /// How it can be booted.
    pub boot: Vec<BootEntry>,
    /// The kernel command line of the preselected menu entry.
    pub kernelcmdline: String,
    /// The network boot set: the files that a server offers. Absent where none is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Vec<NetworkFile>>,
}

/// A file of the network boot set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkFile {
    /// Its path in the set, with slashes.
    pub path: String,
    /// Its bytes.
    pub object: Object,
}

/// One way into the medium.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BootEntry {
    /// `bios` or `uefi`.
    pub firmware: String,
    /// `cd` (El Torito) or `disk` (MBR or GPT).
    pub medium: String,
    /// Whether the loader is one that firmware with Secure Boot accepts.
    pub signed: bool,
}
