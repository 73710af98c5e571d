//! Where things lie on the disk.
//!
//! ```text
//! 0        protective MBR with GRUB's boot sector, GPT
//! 1 MiB    BIOS boot partition: GRUB's core image
//! 2 MiB    EFI system partition
//! …        root, ext4
//! −1 MiB   backup GPT
//! ```
//!
//! Everything begins on a multiple of 1 MiB, which is also the size of a chunk.

use image::Guid;
use image::gpt;
use manifest::{DiskPlan, Size};
use stage::{Error, Result};

/// Alignment of partitions in bytes.
pub(crate) const ALIGN: u64 = 1 << 20;
/// Offset and length of the BIOS boot partition in bytes.
pub(crate) const BIOS_BOOT: (u64, u64) = (ALIGN, ALIGN);
/// Offset of the ESP in bytes.
pub(crate) const ESP_OFFSET: u64 = 2 * ALIGN;
/// Number of the root partition, from 1: the last, so that it can grow.
pub(crate) const ROOT_NUMBER: u64 = 3;
/// Room behind the root partition for the backup GPT, in bytes.
const TAIL: u64 = ALIGN;
/// Largest disk in bytes: what ext4 with 4096-byte blocks and 32-bit block numbers can fill.
const LIMIT: u64 = 1 << 43;

/// The sizes of a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) size: u64,
    pub(crate) esp: u64,
    pub(crate) root_offset: u64,
    pub(crate) root: u64,
}

impl Layout {
    /// The layout for a root file system that needs at least `least_root` bytes.
    ///
    /// `<size>` is the size of the whole disk; an additive one is added to the least size.
    pub(crate) fn new(plan: &DiskPlan, least_root: u64) -> Result<Self> {
        let esp = plan.efi_mib.clamp(1, LIMIT / ALIGN) * ALIGN;
        let root_offset = ESP_OFFSET + esp;
        let least = root_offset + least_root.next_multiple_of(ALIGN) + TAIL;
        let size = match &plan.size {
            None => least,
            Some(size) if size.additive => least.saturating_add(whole(size)),
            Some(size) => fixed(size, least)?,
        };
        if size > LIMIT {
            return Err(Error::refused(format!(
                "the disk would have {} MiB; this release makes disks of at most {} MiB",
                size / ALIGN,
                LIMIT / ALIGN
            )));
        }
        Ok(Self {
            size,
            esp,
            root_offset,
            root: size - TAIL - root_offset,
        })
    }

    /// The partition table.
    pub(crate) fn table(&self, ids: &Ids) -> gpt::Table {
        let partition = |kind, guid, offset: u64, length: u64, name: &str| gpt::Partition {
            kind,
            guid,
            first: offset / gpt::SECTOR,
            last: (offset + length) / gpt::SECTOR - 1,
            attributes: 0,
            name: name.to_owned(),
        };
        gpt::Table {
            guid: ids.disk,
            sectors: self.size / gpt::SECTOR,
            partitions: vec![
                partition(
                    gpt::BIOS_BOOT,
                    ids.bios_boot,
                    BIOS_BOOT.0,
                    BIOS_BOOT.1,
                    "bios",
                ),
                partition(gpt::ESP, ids.esp, ESP_OFFSET, self.esp, "esp"),
                partition(
                    gpt::LINUX_ROOT_X86_64,
                    ids.root,
                    self.root_offset,
                    self.root,
                    "root",
                ),
            ],
        }
    }
}

/// The size rounded up to whole steps, in bytes; saturates.
fn whole(size: &Size) -> u64 {
    size.bytes().div_ceil(ALIGN).saturating_mul(ALIGN)
}

fn fixed(size: &Size, least: u64) -> Result<u64> {
    let bytes = size.bytes() / ALIGN * ALIGN;
    if bytes >= least {
        return Ok(bytes);
    }
    let mib = |n: u64| n.div_ceil(ALIGN);
    Err(Error::refused(format!(
        "<size> asks for a disk of {} MiB, the system needs {} MiB",
        mib(size.bytes()),
        mib(least)
    ))
    .advice(format!(
        "raise <size> to {} MiB, leave it out, or give it additive=\"true\"",
        mib(least)
    )))
}

/// The disk's identities. They follow from the image's name, version and architecture, so that they
/// stay the same when a file changes, and with them most of the file system's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) disk: Guid,
    pub(crate) bios_boot: Guid,
    pub(crate) esp: Guid,
    pub(crate) root: Guid,
    /// UUID of the root file system.
    pub(crate) root_fs: Guid,
    /// UUID of the same root as EROFS.
    pub(crate) erofs: Guid,
    /// Volume id of the ESP.
    pub(crate) esp_fs: u32,
}

impl Ids {
    pub(crate) fn new(name: &str, version: &str, arch: &str) -> Self {
        let seed = |what: &str| {
            let text = [name, version, arch, what].join("\0");
            blake3::derive_key("ramforge 2026 disk identities", text.as_bytes())
        };
        let guid = |what: &str| {
            let mut half = [0; 16];
            half.copy_from_slice(&seed(what)[..16]);
            Guid::from_digest(half)
        };
        let [a, b, c, d, ..] = seed("esp file system");
        Self {
            disk: guid("disk"),
            bios_boot: guid("bios boot"),
            esp: guid("esp"),
            root: guid("root"),
            root_fs: guid("root file system"),
            erofs: guid("erofs"),
            esp_fs: u32::from_le_bytes([a, b, c, d]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::SizeUnit;

    fn plan(size: Option<(u64, SizeUnit, bool)>) -> DiskPlan {
        let size = size.map(|(value, unit, additive)| Size {
            value,
            unit,
            additive,
        });
        DiskPlan {
            size,
            root_label: "ROOT".into(),
            efi_mib: 20,
            resize: true,
        }
    }

    #[test]
    fn size_is_the_disk_s_and_additive_size_is_added() {
        let least = Layout::new(&plan(None), 100 * ALIGN + 1).unwrap();
        assert_eq!((least.root, least.size), (101 * ALIGN, 124 * ALIGN));
        let more = Layout::new(&plan(Some((512, SizeUnit::M, true))), 100 * ALIGN).unwrap();
        assert_eq!(more.root, 612 * ALIGN);
        let fixed = Layout::new(&plan(Some((1, SizeUnit::G, false))), 100 * ALIGN).unwrap();
        assert_eq!(fixed.size, 1 << 30);
    }

    #[test]
    fn a_size_that_is_too_small_is_refused_with_both_figures() {
        let error = Layout::new(&plan(Some((50, SizeUnit::M, false))), 100 * ALIGN).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("50 MiB") && text.contains("123 MiB"),
            "{text}"
        );
    }

    #[test]
    fn an_absurd_size_is_refused_and_does_not_wrap() {
        let huge = Some((u64::MAX, SizeUnit::M, true));
        assert!(Layout::new(&plan(huge), ALIGN).is_err());
    }

    #[test]
    fn the_table_is_valid_and_identities_differ() {
        let layout = Layout::new(&plan(None), 10 * ALIGN).unwrap();
        let ids = Ids::new("a", "1", "x86_64");
        assert!(layout.table(&ids).head(&[]).is_ok());
        assert_ne!(ids, Ids::new("a", "2", "x86_64"));
        assert_ne!(ids.root, ids.root_fs);
    }
}
