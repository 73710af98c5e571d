//! What every section of the manifest has in common.

use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Disk, Initrd, Media, Plan, Rootfs, Verdict};

/// One section: the contribution of one stage.
pub trait Section: Serialize + DeserializeOwned + JsonSchema {
    /// The section's key in the manifest.
    const NAME: &'static str;
    /// The program that writes the section.
    const STAGE: &'static str;
    /// The version of the section's shape. Its changelog stands at the implementation.
    const FORMAT: u64;
}

macro_rules! sections {
    ($($section:ty, $name:literal, $stage:literal, $format:literal;)*) => {
        $(impl Section for $section {
            const NAME: &'static str = $name;
            const STAGE: &'static str = $stage;
            const FORMAT: u64 = $format;
        })*

        /// Name, writing stage and newest known format of every section, in the order of the stages.
        pub(crate) const KNOWN: &[(&str, &str, u64)] = &[$(($name, $stage, $format)),*];

        /// The JSON Schema of every section, by name, in the order of the stages.
        pub fn schemas() -> Vec<(&'static str, Schema)> {
            vec![$(($name, schemars::schema_for!($section))),*]
        }

        /// Reads `value` as the section `name`, only to see whether it may be read so.
        pub(crate) fn check(name: &str, value: &serde_json::Value) -> Option<serde_json::Error> {
            match name {
                $($name => serde_json::from_value::<$section>(value.clone()).err(),)*
                _ => None,
            }
        }
    };
}

// Format changelog. 1: the first shape of each. rootfs 2: `lock`. plan 2: `carried`. plan 3: `imageonly`.
// initrd 2: `zram_bytes`. initrd 3: `public_key`. media 2: `network`. disk 2: `erofs`.
// verdict 2: `left_mib`, `asked_leave_mib`. verdict 3: `machines`.
// verdict 4: `measured`; `up`, `memory` and `screen` of a proof.
// verdict 5: `recommended_ram_mib`, `warnings`; `accelerator` of a proof.
// verdict 6: `working_set`.
sections! {
    Plan,    "plan",    "desc-parse",      3;
    Rootfs,  "rootfs",  "rootfs-assemble", 2;
    Disk,    "disk",    "raw-image",       2;
    Initrd,  "initrd",  "initrd-inject",   3;
    Media,   "media",   "iso-pack",        2;
    Verdict, "verdict", "ram-check",       6;
}
