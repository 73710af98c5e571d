//! What the stages tell `ram-deploy`: `/etc/ramforge/deploy.json`, `grow.json` and `modules.json`, canonical JSON.
//!
//! *Not here:* what the kernel command line changes of it; see [`crate::cmdline`].

use std::ops::Range;

use manifest::{Digest, Object};
use serde::{Deserialize, Serialize};

use crate::pages;
use crate::stop::{Result, Stop};

/// The version of the files' shape. Changelog. 1: the first. 2: `grow` in `grow.json`.
/// 3: `root_offset`, `root_size` and `zram_bytes` in `deploy.json`. 4: `entries` there. 5: `ask`,
/// `read_back` and `public_key`. 6: `erofs`.
pub const FORMAT: u64 = 6;
const ONE_RELEASE: &str = "use the initramfs and the program of one release";
/// Where the configuration of a deployment lies, without the leading slash.
pub const DEPLOY_FILE: &str = "etc/ramforge/deploy.json";
/// Where its sum lies, in the form of `b3sum`, without the leading slash. An initramfs is not verified as a medium is: what a
/// wrong bit makes of a size must not be believed.
pub const SUM_FILE: &str = "etc/ramforge/deploy.json.b3";
/// Where the list of modules lies, without the leading slash.
pub const MODULES_FILE: &str = "etc/ramforge/modules.json";
/// Where the configuration for growing a disk's own root lies, without the leading slash.
pub const GROW_FILE: &str = "etc/ramforge/grow.json";
/// Directory of the carried modules, without the leading slash.
pub const MODULES_DIR: &str = "usr/lib/ramforge/modules";
/// The chunk map on the medium, from its root.
pub const MAP_ON_MEDIUM: &str = "ramforge/map";

/// The payload file number `n` on the medium, from its root.
pub fn frames_on_medium(n: usize) -> String {
    format!("ramforge/frames.{n:03}")
}

/// `deploy.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The version of this shape.
    pub format: u64,
    /// Volume id of the medium.
    pub volume_id: String,
    /// The chunk map that the medium must carry.
    pub map: Object,
    /// Length of the disk image in bytes.
    pub image_size: u64,
    /// Bytes in 4096-byte pages of the image that are not all zero.
    pub data_bytes: u64,
    /// Where the root partition begins in the image, in bytes.
    pub root_offset: u64,
    /// Length of the root partition in bytes.
    pub root_size: u64,
    /// Bytes that the root partition takes in a zram, as measured when the image was made.
    pub zram_bytes: u64,
    /// Files, directories and other entries of the root.
    pub entries: u64,
    /// UUID of the root file system, as `blkid` prints it.
    pub root_uuid: String,
    /// Where the image goes.
    pub store: RamStore,
    /// The root once more, compressed and read-only; absent where the medium does not carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erofs: Option<Erofs>,
    /// Whether the root grows to the RAM disk (`oem-resize`).
    pub resize: bool,
    /// Whether a person is asked before anything is written (`oem-unattended` is false).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ask: bool,
    /// Whether what was written is read back (`oem-skip-verify` is false).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_back: bool,
    /// The Ed25519 key, 32 bytes, that the map must be signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Digest>,
    /// RAM in bytes that the running system needs beside the image; [`crate::ram::reserve`] may raise it.
    pub reserve_bytes: u64,
    /// RAM in bytes that the unpacked initramfs holds, free again after switch_root.
    pub initramfs_bytes: u64,
}

/// An EROFS image of the root, behind the disk image in the chunk map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erofs {
    /// Where it begins in the chunk map, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Bytes in 4096-byte pages of it that are not all zero.
    pub data_bytes: u64,
}

impl Erofs {
    /// The bytes of the chunk map that are the image.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.size)
    }
}

/// Where the image goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RamStore {
    /// A RAM disk of the kernel's brd driver.
    Brd {
        /// The device: `/dev/ramN`.
        device: String,
        /// Its size in KiB; absent: just large enough for the image.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size_kib: Option<u64>,
    },
}

/// `grow.json`: in the initramfs of a disk that the image was written to by hand. Where `ram-deploy` is `/init` there, it
/// also says which root is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrowConfig {
    /// The version of this shape.
    pub format: u64,
    /// UUID of the root file system, as `blkid` prints it.
    pub root_uuid: String,
    /// Whether the root grows to the disk.
    pub grow: bool,
}

/// `modules.json`: every module after those it depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleList {
    /// The version of this shape.
    pub format: u64,
    /// The modules, in an order in which they can be loaded.
    pub modules: Vec<Module>,
}

/// One kernel module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// Its file in the initramfs, without the leading slash, not compressed.
    pub path: String,
    /// Names of the modules that must be loaded before, if they are in the list.
    pub needs: Vec<String>,
    /// When it is loaded.
    pub when: When,
    /// Patterns of device ids (`modules.alias`) for [`When::Device`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

/// When a module is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Only when something asks for it by name.
    Asked,
    /// When a device with one of its aliases is there.
    Device,
    /// At once.
    Always,
}

/// Reads the configuration of a deployment, and compares it with its sum.
///
/// # Errors
/// As [`read`], and where the sum is another one.
pub fn deployment() -> Result<Config> {
    let read = |path: &str| std::fs::read(path).map_err(|e| again(path, &e));
    let (path, sum) = (format!("/{DEPLOY_FILE}"), format!("/{SUM_FILE}"));
    verified(&path, &read(&path)?, &read(&sum)?)
}

fn verified(path: &str, text: &[u8], expected: &[u8]) -> Result<Config> {
    if sum(text).as_bytes() != expected {
        return Err(Stop::new(
            format!("{path} is not what its sum says"),
            "the initramfs is damaged: write the ISO to the medium again and compare its checksum",
        ));
    }
    let config: Config = parse(path, text)?;
    config.check()?;
    Ok(config)
}

/// The content of [`SUM_FILE`].
pub fn sum(text: &[u8]) -> String {
    format!("{}  deploy.json\n", Digest::of(text))
}

/// Reads a file of the initramfs that `initrd-inject` wrote.
///
/// # Errors
/// A sentence with the path; also where the file's `format` is not [`FORMAT`].
pub fn read<T: serde::de::DeserializeOwned>(path: &str) -> Result<T> {
    let path = format!("/{path}");
    let text = std::fs::read(&path).map_err(|e| again(&path, &e))?;
    parse(&path, &text)
}

fn parse<T: serde::de::DeserializeOwned>(path: &str, text: &[u8]) -> Result<T> {
    /// What every version of every file has.
    #[derive(Deserialize)]
    struct Version {
        format: u64,
    }
    let version: Version = serde_json::from_slice(text).map_err(|e| again(path, &e))?;
    if version.format != FORMAT {
        return Err(Stop::new(
            format!(
                "{path} has format {}, this ram-deploy reads {FORMAT}",
                version.format
            ),
            ONE_RELEASE,
        ));
    }
    serde_json::from_slice(text).map_err(|e| again(path, &e))
}

fn again(path: &str, error: &dyn std::fmt::Display) -> Stop {
    Stop::new(
        format!("{path}: {error}"),
        "build the initramfs again with initrd-inject",
    )
}

impl Config {
    /// The id that ties an initramfs to its medium.
    pub fn deploy_id(&self) -> Digest {
        self.map.blake3
    }

    /// The bytes of the image that are the root partition.
    pub fn root(&self) -> Range<u64> {
        self.root_offset..self.root_offset.saturating_add(self.root_size)
    }

    /// Length in bytes of what the chunk map describes: the disk image, and what stands behind it.
    pub fn map_size(&self) -> u64 {
        let end = self.erofs.as_ref().map(|erofs| erofs.range().end);
        end.unwrap_or(self.image_size)
    }

    /// Checks what the types do not say.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self) -> Result<()> {
        if !self.image_size.is_multiple_of(512) {
            let fact = format!(
                "the image is {} bytes long, which are no whole sectors",
                self.image_size
            );
            return Err(Stop::new(fact, ONE_RELEASE));
        }
        // It is written by whole pages also where it alone is written.
        if !pages::is_whole(self.root_offset) || self.root().end > self.image_size {
            let fact = format!(
                "the root lies at byte {} of an image of {} bytes; expected whole pages inside it",
                self.root_offset, self.image_size
            );
            return Err(Stop::new(fact, ONE_RELEASE));
        }
        if let Some(erofs) = &self.erofs
            && (!pages::is_whole(erofs.offset)
                || !pages::is_whole(erofs.size)
                || erofs.offset < self.image_size
                || erofs.offset.checked_add(erofs.size).is_none())
        {
            let fact = format!(
                "the EROFS image of {} bytes lies at byte {}; expected whole pages behind the {} bytes of the disk image",
                erofs.size, erofs.offset, self.image_size
            );
            return Err(Stop::new(fact, ONE_RELEASE));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_bit_is_not_believed() {
        let text = br#"{"format":6,"root_size":650117120}"#;
        let mut sum = sum(text).into_bytes();
        let error = |text: &[u8], sum: &[u8]| verified("/d", text, sum).unwrap_err().to_string();
        // The sum is right, and what is missing is told.
        assert!(error(text, &sum).contains("missing field"));
        let wrong = br#"{"format":6,"root_size":650107120}"#;
        assert!(error(wrong, &sum).starts_with("/d is not what its sum says; the initramfs"));
        sum[3] ^= 1;
        assert!(error(text, &sum).starts_with("/d is not what its sum says"));
        assert!(error(text, b"").starts_with("/d is not what its sum says"));
    }

    #[test]
    fn another_format_is_told_before_anything_else() {
        let text = br#"{"format":9,"something":"new"}"#;
        let modules = parse::<ModuleList>("/m", text).unwrap_err().to_string();
        assert!(modules.starts_with("/m has format 9, this"), "{modules}");
        assert!(parse::<GrowConfig>("/g", text).is_err());
        let grow =
            parse::<GrowConfig>("/g", br#"{"format":6,"grow":true,"root_uuid":"u"}"#).unwrap();
        assert_eq!(grow.root_uuid, "u");
    }
}
