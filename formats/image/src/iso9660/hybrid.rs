//! The system area and the end of the image, seen as a disk of 512-byte sectors.
//!
//! The MBR holds GRUB's boot code and two records: the protective one, and an empty one that is
//! marked active, because some BIOSes start no disk without an active record and some UEFI
//! firmware takes no protective record that is.

use super::{Hybrid, Places, Plan, SECTOR};
use crate::error::{Error, Result};
use crate::gpt::{self, Partition, Table};

/// Bytes of the system area.
const SYSTEM_AREA: usize = 16 * SECTOR as usize;
/// 512-byte sectors in a sector of the ISO.
const PER_SECTOR: u64 = SECTOR / gpt::SECTOR;
/// Where `boot_hybrid.img` keeps the 512-byte sector of GRUB's `diskboot.img`.
const GRUB_KERNEL_SECTOR: std::ops::Range<usize> = 0x1b0..0x1b8;
/// The second partition record of an MBR.
const SECOND_RECORD: std::ops::Range<usize> = 462..478;

/// System area, ECMA-119 6.2.1: free for the MBR and the primary GPT.
pub(super) fn system_area(plan: &Plan<'_>, at: &Places) -> Result<Vec<u8>> {
    let mut area = match &plan.image.hybrid {
        Some(hybrid) if at.end > 0 => {
            let mut area = table(plan, at, hybrid).head(&mbr_code(plan, at, hybrid)?)?;
            area[SECOND_RECORD].copy_from_slice(&gpt::mbr_record(0x80, 0x00, 0, 1));
            area
        }
        _ => Vec::new(), // the first pass knows no places yet, and only the length matters to it
    };
    area.resize(SYSTEM_AREA, 0);
    Ok(area)
}

/// The backup GPT, aligned to the end of its last sector.
pub(super) fn backup(plan: &Plan<'_>, at: &Places) -> Result<Vec<u8>> {
    let Some(hybrid) = &plan.image.hybrid else {
        return Ok(Vec::new());
    };
    let size = (gpt::TAIL_SECTORS * gpt::SECTOR).next_multiple_of(SECTOR) as usize;
    let tail = if at.end > 0 {
        table(plan, at, hybrid).tail()?
    } else {
        Vec::new()
    };
    let mut area = vec![0; size - tail.len()];
    area.extend(tail);
    Ok(area)
}

fn mbr_code(plan: &Plan<'_>, at: &Places, hybrid: &Hybrid) -> Result<Vec<u8>> {
    let mut code = hybrid.mbr_code.clone();
    let Some(bios) = plan.bios() else {
        return Ok(code);
    };
    if code.len() < gpt::BOOT_CODE {
        return Err(Error::unfit(
            "MBR boot code",
            format!("{} bytes long", code.len()),
            format!("GRUB's boot_hybrid.img, at least {} bytes", gpt::BOOT_CODE),
        ));
    }
    let diskboot = u64::from(at.file(bios)) * PER_SECTOR + 4;
    code[GRUB_KERNEL_SECTOR].copy_from_slice(&diskboot.to_le_bytes());
    Ok(code)
}

fn table(plan: &Plan<'_>, at: &Places, hybrid: &Hybrid) -> Table {
    let sectors = u64::from(at.end) * PER_SECTOR;
    let mut table = Table {
        guid: hybrid.disk,
        sectors,
        partitions: Vec::new(),
    };
    let esp = plan.uefi().map(|number| {
        let first = u64::from(at.file(number)) * PER_SECTOR;
        let len = plan.files[number].len.div_ceil(gpt::SECTOR).max(1);
        partition(
            gpt::ESP,
            hybrid.esp,
            first,
            first + len - 1,
            "EFI boot image",
        )
    });
    let end = esp
        .as_ref()
        .map_or(table.last_usable() + 1, |esp| esp.first);
    let start = (SYSTEM_AREA as u64) / gpt::SECTOR;
    let iso = partition(gpt::BASIC_DATA, hybrid.iso, start, end - 1, "ISO9660");
    table.partitions.push(iso);
    table.partitions.extend(esp);
    table
}

fn partition(kind: crate::Guid, guid: crate::Guid, first: u64, last: u64, name: &str) -> Partition {
    Partition {
        kind,
        guid,
        first,
        last,
        attributes: 0,
        name: name.to_owned(),
    }
}
