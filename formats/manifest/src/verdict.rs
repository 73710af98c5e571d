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
    /// The answer in words, one sentence.
    pub sentence: String,
    /// What a yes does not say, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// RAM in MiB of the machine that was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_ram_mib: Option<u64>,
    /// RAM in MiB that was asked to be left to applications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_leave_mib: Option<u64>,
    /// The machines of a list that was asked about, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<MachineVerdict>,
    /// The need per RAM store; the first one is that of the description.
    pub stores: Vec<StoreNeed>,
    /// What the system itself takes, where it was asked for and a boot in QEMU has measured it; else the needs hold for a
    /// small system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_set: Option<WorkingSet>,
    /// The least machine that came up in QEMU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
    /// The proof from QEMU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// The verdict about a machine, with the RAM store the description asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineVerdict {
    /// Its name in the list.
    pub name: String,
    /// Its RAM in MiB.
    pub ram_mib: u64,
    /// RAM in MiB that was asked to be left to applications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave_mib: Option<u64>,
    /// MiB left to applications after login; absent where the system does not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_mib: Option<u64>,
    /// Whether everything that was asked holds.
    pub ok: bool,
    /// The answer in words, one sentence.
    pub sentence: String,
}

/// What one RAM store needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreNeed {
    /// `brd`, `zram`, `tmpfs` or `erofs`.
    pub store: String,
    /// Least RAM of a machine that reaches login, in MiB.
    pub least_ram_mib: u64,
    /// RAM of a machine that also keeps what its programs read, in MiB.
    pub recommended_ram_mib: u64,
    /// MiB in use after login on the machine with the least.
    pub steady_mib: u64,
    /// MiB left to applications after login on the machine that was asked about; absent where the system does not fit
    /// into it, or none was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_mib: Option<u64>,
    /// MiB in use on that machine at the highest moment of the boot.
    pub peak_mib: u64,
    /// The highest moment.
    pub peak_at: Moment,
    /// The terms of the sums.
    pub terms: Vec<Term>,
}

/// A moment of the boot at which RAM is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// The kernel unpacks the initrd.
    Unpack,
    /// The image has just been copied into RAM.
    Deploy,
    /// The login prompt.
    Login,
}

/// One summand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// Its name.
    pub name: String,
    /// Its size in KiB.
    pub kib: u64,
    /// The moments at which it counts.
    pub at: Vec<Moment>,
}

/// What a boot in QEMU showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// RAM of the machine in MiB.
    pub ram_mib: u64,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// What ran the guest's code: `tcg` or `kvm`, or the name in RAMFORGE_ACCEL.
    pub accelerator: String,
    /// What means that the system is up: `login`, `target:NAME`, `text:STRING` or `tcp:PORT`.
    pub up: String,
    /// `login`, or `up` by another sign; else what happened: `refused`, `panic`, `emergency`, `exit`, `timeout`.
    pub result: String,
    /// The figures read inside, where somebody logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// What the screen showed at the end, as a PPM picture; absent where the machine was off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screen: Option<Object>,
    /// The serial line's log.
    pub log: Object,
}

/// RAM as the system itself counts it, at the moment it was up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// `MemTotal` in MiB.
    pub total_mib: u64,
    /// `MemAvailable` in MiB.
    pub available_mib: u64,
    /// All that was read: /proc/meminfo, the statistics of RAM disks, df of the root; and again with the page cache dropped,
    /// where that could be done.
    pub figures: Object,
}

/// What the system itself takes at the moment it is up, as a boot in QEMU showed it. It is taken for every machine, firmware
/// and RAM store of the same root tree, kernel, kernel command line and initramfs, with the same sign and who looks inside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkingSet {
    /// KiB in use beside the kernel image, the RAM store, page descriptors, huge pages of the command line, and page cache
    /// that can be dropped.
    pub kib: u64,
    /// KiB of it that are mapped program files: page cache that is needed.
    pub mapped_kib: u64,
    /// KiB of it that were written to the root.
    pub written_kib: u64,
    /// RAM of that machine in MiB.
    pub ram_mib: u64,
    /// Its RAM store.
    pub store: String,
    /// What meant that the system was up.
    pub up: String,
    /// All that was read inside.
    pub figures: Object,
}

/// The least machine that comes up, as boots in QEMU showed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The RAM store.
    pub store: String,
    /// The least RAM with which it came up, in MiB; absent where it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_ram_mib: Option<u64>,
    /// The most RAM with which it did not, in MiB; 0 where it always did.
    pub too_little_mib: u64,
    /// The two are so many MiB apart.
    pub step_mib: u64,
    /// Every boot, in order of time.
    pub boots: Vec<Proof>,
}
