//! What a yes does not say: a root that may outgrow the machine.
//!
//! A brd has no limit: `ramdisk_size` is what its root may take, and every page that is written is taken from RAM. The other
//! RAM stores end at a limit of their own, with an error to whom writes.

use crate::choice::Choice;
use crate::model::Facts;

const KIB: u64 = 1 << 10;
const MIB_IN_KIB: u64 = 1 << 10;

/// The warning about a RAM disk that is larger than what the smallest of the machines has for it. Machines that are too small
/// for the system have their sentence.
pub(crate) fn outgrows(
    choice: &Choice,
    facts: &Facts,
    machines: impl Iterator<Item = u64>,
) -> Option<String> {
    let room = |ram_mib| {
        let may = choice.may_take(ram_mib);
        let brd = may.into_iter().find(|taken| taken.need.store == "brd")?;
        Some((ram_mib, brd.left_mib))
    };
    let (ram_mib, left_mib) = machines.filter_map(room).min()?;
    let image_kib = facts.image_bytes.div_ceil(KIB);
    let disk_kib = match facts.resize {
        true => facts.ramdisk_bytes / KIB,
        false => image_kib,
    };
    let room_kib = facts.data_bytes / KIB + left_mib * MIB_IN_KIB;
    if disk_kib <= room_kib {
        return None;
    }
    let (disk, room) = (disk_kib.div_ceil(MIB_IN_KIB), room_kib / MIB_IN_KIB);
    let smaller = match room_kib > image_kib {
        true => format!("set ramdisk_size={room_kib} or less, or "),
        false => "set ".to_owned(),
    };
    Some(format!(
        "the root may take {disk} MiB of RAM (brd, ramdisk_size={}), a machine with {ram_mib} MiB has room for {room}: files \
         that are written beyond that take the system down; {smaller}a RAM store that has a limit, as rd.ramforge.store=tmpfs",
        facts.ramdisk_bytes / KIB
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;

    const MIB: u64 = 1 << 20;

    fn warned(resize: bool, store: &str, machines: &[u64]) -> Option<String> {
        let facts = Facts {
            image_bytes: 500 * MIB,
            data_bytes: 400 * MIB,
            zram_bytes: 120 * MIB,
            erofs_bytes: None,
            entries: 10_000,
            ramdisk_bytes: 2000 * MIB,
            resize,
            reserved_bytes: 0,
            kernel_bytes: 40 * MIB,
            initrd_packed: 2 * MIB,
            initrd_unpacked: 6 * MIB,
            initramfs_is_system: false,
            initramfs_is_tmpfs: false,
        };
        let wanted = Some(store).filter(|store| *store != "auto");
        let choice = Choice {
            stores: model::needs(&facts, wanted),
            auto: wanted.is_none(),
        };
        let said = outgrows(&choice, &facts, machines.iter().copied());
        let brd = model::needs(&facts, Some("brd")).remove(0);
        let left = machines
            .iter()
            .filter_map(|ram| model::left_mib(&brd, *ram));
        let room = left.min().map_or(0, |left| 400 + left);
        said.map(|said| {
            said.replace(&format!(" {room}:"), " ROOM:")
                .replace(&format!("={} or less", room * 1024), "=ROOM or less")
        })
    }

    #[test]
    fn a_root_that_outgrows_the_smallest_machine_is_told_with_both_sizes() {
        assert_eq!(
            warned(true, "brd", &[4096, 64, 1024]).unwrap(),
            "the root may take 2000 MiB of RAM (brd, ramdisk_size=2048000), a machine with 1024 MiB has room for ROOM: files \
             that are written beyond that take the system down; set ramdisk_size=ROOM or less, or a RAM store that has a \
             limit, as rd.ramforge.store=tmpfs"
        );
        // Not even the image's own holes may be filled there.
        let tight = warned(true, "brd", &[624]).unwrap();
        assert!(tight.contains("; set a RAM store that has"), "{tight}");
    }

    #[test]
    fn what_cannot_outgrow_a_machine_is_no_warning() {
        assert_eq!(warned(true, "brd", &[4096]), None);
        assert_eq!(warned(false, "brd", &[1024]), None);
        assert_eq!(warned(true, "zram", &[1024]), None);
        assert_eq!(warned(true, "brd", &[]), None);
        assert_eq!(warned(true, "brd", &[64]), None);
        // auto takes tmpfs there, brd with less, and zram with less than that.
        assert_eq!(warned(true, "auto", &[1024, 300]), None);
        assert!(warned(true, "auto", &[608]).is_some());
    }
}
