//! The boot catalog (El Torito 1.0, chapter 2) and what the BIOS boot image is told of itself.

use super::{DESCRIPTORS, Image, Places, Plan};
use crate::error::{Error, Result};

/// Platform ids.
const PLATFORM_X86: u8 = 0x00;
const PLATFORM_EFI: u8 = 0xef;
/// Boot indicator: bootable.
const BOOTABLE: u8 = 0x88;
/// Header indicator: no further section follows.
const FINAL_SECTION: u8 = 0x91;
/// The unit of sector counts.
const VIRTUAL_SECTOR: usize = 512;
/// Sectors of the BIOS image that firmware loads: `cdboot.img`, which loads the rest.
const BIOS_LOAD: u16 = 4;
/// Where the boot info table lies in the BIOS image.
const INFO_TABLE: std::ops::Range<usize> = 8..64;
/// Where GRUB's `diskboot.img`, the second part of the BIOS image, keeps the sector (of 512 bytes)
/// that follows itself, for a start from a disk.
const GRUB_BLOCK_LIST: std::ops::Range<usize> = 2548..2556;

/// Refuses boot images that El Torito or the patches cannot express.
pub(super) fn check(image: &Image) -> Result<()> {
    if let Some(uefi) = &image.uefi {
        load_sectors(&uefi.bytes)?;
    }
    match &image.bios {
        Some(bios) if bios.bytes.len() < GRUB_BLOCK_LIST.end => Err(Error::unfit(
            "BIOS boot image",
            format!("{} bytes long", bios.bytes.len()),
            "a GRUB core image of format i386-pc-eltorito",
        )),
        _ => Ok(()),
    }
}

/// Boot catalog, El Torito 2.1 to 2.4.
pub(super) fn catalog(plan: &Plan<'_>, at: &Places) -> Result<Vec<u8>> {
    let bios = plan.bios().map(|n| entry(BIOS_LOAD, at.file(n)));
    let uefi = match (&plan.image.uefi, plan.uefi()) {
        (Some(image), Some(n)) => Some(entry(load_sectors(&image.bytes)?, at.file(n))),
        _ => None,
    };
    Ok(match (bios, uefi) {
        (Some(bios), Some(uefi)) => [
            validation_entry(PLATFORM_X86),
            bios,
            section_header(PLATFORM_EFI),
            uefi,
        ]
        .concat(),
        (Some(bios), None) => [validation_entry(PLATFORM_X86), bios].concat(),
        (None, Some(uefi)) => [validation_entry(PLATFORM_EFI), uefi].concat(),
        (None, None) => Vec::new(),
    })
}

/// Validation entry, figure 2.
fn validation_entry(platform: u8) -> [u8; 32] {
    let mut e = [0; 32];
    e[0] = 1; //                             0 header id
    e[1] = platform; //                      1 platform id
    e[30..].copy_from_slice(&[0x55, 0xaa]); // 30 key bytes
    let words = e.chunks(2).map(|w| u16::from_le_bytes([w[0], w[1]]));
    let checksum = words.fold(0u16, u16::wrapping_sub);
    e[28..30].copy_from_slice(&checksum.to_le_bytes()); // 28 checksum: all words add up to 0
    e
}

/// Initial/default entry, figure 3, and section entry, figure 5: no emulation.
fn entry(load_sectors: u16, sector: u32) -> [u8; 32] {
    let mut e = [0; 32];
    e[0] = BOOTABLE; //                      0 boot indicator
    e[1] = 0; //                             1 boot media type: no emulation
    //                                       2 load segment 0: the usual one; 4 system type; 5 unused
    e[6..8].copy_from_slice(&load_sectors.to_le_bytes()); // 6 sector count
    e[8..12].copy_from_slice(&sector.to_le_bytes()); //     8 load RBA
    e
}

/// Section header, figure 4, of the last section, which has one entry.
fn section_header(platform: u8) -> [u8; 32] {
    let mut h = [0; 32];
    h[0] = FINAL_SECTION; //                 0 header indicator
    h[1] = platform; //                      1 platform id
    h[2..4].copy_from_slice(&1u16.to_le_bytes()); // 2 number of section entries
    h
}

/// The sector count of a boot image that is loaded whole.
fn load_sectors(image: &[u8]) -> Result<u16> {
    let sectors = image.len().div_ceil(VIRTUAL_SECTOR);
    u16::try_from(sectors).map_err(|_| {
        let fact = format!("UEFI boot image {sectors} sectors of 512 bytes long");
        Error::unfit(
            "boot catalog",
            fact,
            format!("at most {}, which El Torito allows", u16::MAX),
        )
    })
}

/// The BIOS boot image that lies at `sector`, with its boot info table and GRUB's block list.
pub(super) fn patched(image: &[u8], sector: u32) -> Vec<u8> {
    let mut patched = image.to_vec();
    let next = u64::from(sector) * 4 + 5;
    patched[GRUB_BLOCK_LIST].copy_from_slice(&next.to_le_bytes());
    let table = boot_info_table(&patched, sector);
    patched[INFO_TABLE].copy_from_slice(&table);
    patched
}

/// Boot info table, as `mkisofs -boot-info-table` defined it.
fn boot_info_table(image: &[u8], sector: u32) -> [u8; 56] {
    let words = image[INFO_TABLE.end..].chunks(4).map(|word| {
        let mut padded = [0; 4];
        padded[..word.len()].copy_from_slice(word);
        u32::from_le_bytes(padded)
    });
    let checksum = words.fold(0u32, u32::wrapping_add);
    let mut t = [0; 56];
    t[..4].copy_from_slice(&DESCRIPTORS.to_le_bytes()); //               8 primary volume descriptor
    t[4..8].copy_from_slice(&sector.to_le_bytes()); //                  12 boot file's sector
    t[8..12].copy_from_slice(&(image.len() as u32).to_le_bytes()); //   16 boot file's length
    t[12..16].copy_from_slice(&checksum.to_le_bytes()); //              20 sum of words from 64 on
    t
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validation_entry_adds_up_to_zero() {
        let entry = validation_entry(PLATFORM_EFI);
        let words = entry.chunks(2).map(|w| u16::from_le_bytes([w[0], w[1]]));
        assert_eq!(words.fold(0u16, u16::wrapping_add), 0);
    }

    #[test]
    fn a_uefi_image_too_long_for_el_torito_is_refused() {
        assert_eq!(load_sectors(&vec![0; 65535 * 512]).unwrap(), 65535);
        let error = load_sectors(&vec![0; 65535 * 512 + 1])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("65536 sectors") && error.contains("65535"),
            "{error}"
        );
    }

    #[test]
    fn an_odd_tail_counts_in_the_checksum() {
        let mut image = vec![0; 2557];
        image[64] = 1;
        image[2556] = 2;
        let patched = patched(&image, 0);
        assert_eq!(patched[20..24], (1u32 + 2 + 5).to_le_bytes());
    }
}
