//! Section `verdict`: how much RAM it takes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::object::Object;

/// The RAM arithmetic and, where asked for, its proof.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// The shape of this section.
    pub format: u64,
    /// Program and version that wrote it.
    pub by: String,
    /// Whether everything that was asked holds.
    pub ok: bool,
    /// Least RAM of a machine that reaches login, in MiB, with the RAM store the description asks for.
    pub least_ram_mib: u64,
    /// The same in words, one sentence.
    pub sentence: String,
    /// The need per RAM store.
    pub stores: Vec<StoreNeed>,
    /// The proof from QEMU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// What one RAM store needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreNeed {
    /// `brd`, `zram`, `tmpfs` or `erofs`.
    pub store: String,
    /// MiB in use after login.
    pub steady_mib: u64,
    /// MiB at the highest point of the boot.
    pub peak_mib: u64,
    /// The terms of the sum, in KiB.
    pub terms: Vec<Term>,
}

/// One summand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// Its name.
    pub name: String,
    /// Its size in KiB.
    pub kib: u64,
    /// Whether it counts at the peak.
    pub peak: bool,
    /// Whether it counts after login.
    pub steady: bool,
}

/// What a boot in QEMU showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// RAM of the machine in MiB.
    pub ram_mib: u64,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// `login`, or what happened instead.
    pub result: String,
    /// The serial line's log.
    pub log: Object,
}
