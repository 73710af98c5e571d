//! What the need of the RAM stores means for a machine: whether the system fits into it, and what is left.
//!
//! A machine that is too small is one sentence, with the figures and the way out: the RAM store that fits where there is
//! one, else the least machine that would do.

use manifest::{MachineVerdict, StoreNeed};

use crate::choice::{Choice, Taken};
use crate::model::{self, Facts};
use crate::options::Options;

/// How many machines a sentence names.
const NAMED: usize = 8;

/// A machine that is asked about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) ram_mib: u64,
    /// What must be left to applications.
    pub(crate) leave_mib: Option<u64>,
}

/// The answer.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) ok: bool,
    /// The same in words, one sentence.
    pub(crate) sentence: String,
}

impl Judgement {
    fn yes(sentence: String) -> Self {
        Self { ok: true, sentence }
    }

    fn no(sentence: String) -> Self {
        Self {
            ok: false,
            sentence,
        }
    }
}

/// What no machine can mend: a RAM disk that is smaller than the image.
pub(crate) fn ramdisk(facts: &Facts) -> Option<Judgement> {
    let (disk, image) = (facts.ramdisk_bytes / 1024, facts.image_bytes.div_ceil(1024));
    (facts.ramdisk_bytes < facts.image_bytes).then(|| {
        Judgement::no(format!(
            "the RAM disk of {disk} KiB cannot hold the image of {image} KiB: set ramdisk_size={image} or more"
        ))
    })
}

/// The need itself, where no machine is asked about.
pub(crate) fn need(need: &StoreNeed) -> Judgement {
    Judgement::yes(format!(
        "needs a machine with {} MiB of RAM ({})",
        need.least_ram_mib, need.store
    ))
}

/// Whether the system fits into a machine and leaves enough.
pub(crate) fn machine(choice: &Choice, asked: Asked) -> Judgement {
    let Asked { ram_mib, leave_mib } = asked;
    let (first, least) = (&choice.first().store, choice.first().least_ram_mib);
    let Some(taken) = choice.taken(ram_mib) else {
        let lacking = least.saturating_sub(ram_mib);
        return Judgement::no(format!(
            "does not fit into {ram_mib} MiB of RAM: {first} needs {least} MiB, {lacking} more; {}",
            way_out(choice, first, asked)
        ));
    };
    let (left, store) = (taken.left_mib, by(choice, &taken));
    match leave_mib {
        Some(leave) if left < leave => Judgement::no(format!(
            "leaves {left} MiB of {ram_mib} MiB of RAM to applications ({store}), {leave} MiB are asked for; {}",
            way_out(choice, &taken.need.store, asked)
        )),
        _ => Judgement::yes(format!(
            "fits into {ram_mib} MiB of RAM ({store}): the least is {least} MiB, {left} MiB are left for applications"
        )),
    }
}

/// The store that is taken, and by whom where that is not the description.
fn by(choice: &Choice, taken: &Taken) -> String {
    let store = &taken.need.store;
    match (choice.auto, taken.surely) {
        (false, _) => store.clone(),
        (true, true) => format!("auto takes {store}"),
        (true, false) => format!("auto may take {store}"),
    }
}

/// The verdict about each machine of a list; one that says nothing of it must leave what `--leave` says.
pub(crate) fn machines(choice: &Choice, options: &Options) -> Vec<MachineVerdict> {
    let listed = options.machines.iter().flat_map(|list| &list.0);
    let judged = listed.map(|listed| {
        let (ram_mib, leave_mib) = (listed.ram_mib, listed.leave_mib.or(options.leave));
        let judgement = machine(choice, Asked { ram_mib, leave_mib });
        MachineVerdict {
            name: listed.name.clone(),
            ram_mib,
            leave_mib,
            left_mib: choice.taken(ram_mib).map(|taken| taken.left_mib),
            ok: judgement.ok,
            sentence: judgement.sentence,
        }
    });
    judged.collect()
}

/// Whether all machines of a list do.
pub(crate) fn all(need: &StoreNeed, machines: &[MachineVerdict]) -> Judgement {
    let (least, store, all) = (need.least_ram_mib, &need.store, machines.len());
    let small: Vec<_> = machines.iter().filter(|m| !m.ok).collect();
    if small.is_empty() {
        return Judgement::yes(format!(
            "needs a machine with {least} MiB of RAM ({store}): all {all} of the list do"
        ));
    }
    let name = |m: &&MachineVerdict| format!("{} ({} MiB)", m.name, m.ram_mib);
    let mut names: Vec<_> = small.iter().take(NAMED).map(name).collect();
    if small.len() > NAMED {
        names.push(format!("{} more", small.len() - NAMED));
    }
    Judgement::no(format!(
        "needs a machine with {least} MiB of RAM ({store}): {} of {all} of the list are too small: {}",
        small.len(),
        names.join(", ")
    ))
}

/// The first store beside the one that is taken that holds what is asked for, else the machine that does.
fn way_out(choice: &Choice, taken: &str, asked: Asked) -> String {
    let leave = asked.leave_mib.unwrap_or(0);
    let mut others = choice.stores.iter().filter(|need| need.store != taken);
    let fitting = others.find_map(|other| {
        let left = model::left_mib(other, asked.ram_mib)?;
        (left >= leave).then_some((other, left))
    });
    match (fitting, asked.leave_mib) {
        (Some((other, left)), Some(_)) => {
            format!("rd.ramforge.store={} leaves {left} MiB", other.store)
        }
        (Some((other, _)), None) => format!(
            "rd.ramforge.store={} needs {} MiB",
            other.store, other.least_ram_mib
        ),
        (None, _) => nothing_fits(&choice.stores, leave),
    }
}

/// The least machine that any store does with.
fn nothing_fits(stores: &[StoreNeed], leave_mib: u64) -> String {
    let ram = |store: &StoreNeed| (model::least_leaving(store, leave_mib), store.store.clone());
    // Of several the first, which a sentence has just named.
    let least = stores.iter().map(ram).min_by_key(|(ram, _)| *ram);
    let (ram, store) = least.unwrap_or_default();
    let left = match leave_mib {
        0 => String::new(),
        mib => format!(" to leave {mib} MiB"),
    };
    format!("no RAM store does with that, {store} needs a machine with {ram} MiB{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn facts() -> Facts {
        Facts {
            image_bytes: 500 * MIB,
            data_bytes: 300 * MIB,
            zram_bytes: 120 * MIB,
            erofs_bytes: None,
            entries: 10_000,
            ramdisk_bytes: 600 * MIB,
            resize: false,
            reserved_bytes: 0,
            huge_pages_bytes: 0,
            kernel_bytes: 40 * MIB,
            initrd_packed: 30 * MIB,
            initrd_unpacked: 90 * MIB,
            initramfs_is_system: true,
            initramfs_is_tmpfs: true,
            reserve_bytes: ram_deploy::ram::RESERVE_BYTES,
            measured: None,
        }
    }

    fn judged(ram_mib: u64, leave_mib: Option<u64>) -> (bool, String) {
        by_store(Some("brd"), ram_mib, leave_mib)
    }

    fn by_store(wanted: Option<&str>, ram_mib: u64, leave_mib: Option<u64>) -> (bool, String) {
        let stores = model::needs(&facts(), wanted);
        let auto = wanted.is_none();
        let judgement = machine(&Choice::new(stores, auto), Asked { ram_mib, leave_mib });
        (judgement.ok, judgement.sentence)
    }

    fn brd() -> StoreNeed {
        model::needs(&facts(), Some("brd")).remove(0)
    }

    #[test]
    fn a_machine_is_large_enough_or_not_by_one_mebibyte() {
        let least = brd().least_ram_mib;
        let zram = model::needs(&facts(), Some("zram"))[0].least_ram_mib;
        assert!(judged(least, None).0);
        let (ok, sentence) = judged(least - 1, None);
        assert!(!ok);
        assert_eq!(
            sentence,
            format!(
                "does not fit into {} MiB of RAM: brd needs {least} MiB, 1 more; rd.ramforge.store=zram needs {zram} MiB",
                least - 1
            )
        );
        let (_, sentence) = judged(64, None);
        let end = format!("no RAM store does with that, zram needs a machine with {zram} MiB");
        assert!(sentence.ends_with(&end), "{sentence}");
    }

    #[test]
    fn enough_is_left_or_not_by_one_mebibyte() {
        let left = model::left_mib(&brd(), 1024).unwrap();
        let (ok, sentence) = judged(1024, Some(left));
        let end = format!("{left} MiB are left for applications");
        assert!(ok && sentence.ends_with(&end), "{sentence}");
        let (ok, sentence) = judged(1024, Some(left + 1));
        let begin = format!("leaves {left} MiB of 1024 MiB of RAM to applications (brd), ");
        assert!(!ok && sentence.starts_with(&begin), "{sentence}");
        assert!(
            sentence.contains("; rd.ramforge.store=zram leaves "),
            "{sentence}"
        );
    }

    #[test]
    fn auto_leaves_what_the_store_leaves_that_is_taken() {
        let left = |store| model::left_mib(&model::needs(&facts(), Some(store))[0], 1024).unwrap();
        let (tmpfs, zram) = (left("tmpfs"), left("zram"));
        let (ok, sentence) = by_store(None, 1024, Some(tmpfs + 1));
        let begin =
            format!("leaves {tmpfs} MiB of 1024 MiB of RAM to applications (auto takes tmpfs), ");
        let end = format!("; rd.ramforge.store=zram leaves {zram} MiB");
        assert!(
            !ok && sentence.starts_with(&begin) && sentence.ends_with(&end),
            "{sentence}"
        );
        let (ok, sentence) = by_store(None, 1024, Some(tmpfs));
        assert!(
            ok && sentence.contains("(auto takes tmpfs): the least is "),
            "{sentence}"
        );
    }

    #[test]
    fn of_stores_with_the_same_need_the_first_is_named() {
        let zram = model::needs(&facts(), Some("zram")).remove(0);
        let mut erofs = zram.clone();
        erofs.store = "erofs".to_owned();
        let named = nothing_fits(&[zram, erofs], 0);
        assert!(named.contains(", zram needs a machine with "), "{named}");
    }

    #[test]
    fn the_machine_that_is_named_leaves_enough() {
        let (ok, sentence) = judged(1024, Some(4000));
        assert!(!ok);
        let named = sentence.rsplit(" with ").next().unwrap();
        let named: u64 = named.split(' ').next().unwrap().parse().unwrap();
        let zram = &model::needs(&facts(), Some("zram"))[0];
        assert!(model::left_mib(zram, named) >= Some(4000), "{sentence}");
        assert!(model::left_mib(zram, named - 16) < Some(4000), "{sentence}");
    }

    #[test]
    fn a_list_names_the_machines_that_are_too_small() {
        let verdict = |name: &str, ok| MachineVerdict {
            name: name.to_owned(),
            ram_mib: 256,
            leave_mib: None,
            left_mib: None,
            ok,
            sentence: String::new(),
        };
        let judged = all(&brd(), &[verdict("a", true), verdict("b", false)]);
        let end = ": 1 of 2 of the list are too small: b (256 MiB)";
        assert!(!judged.ok && judged.sentence.ends_with(end), "{judged:?}");
        assert!(all(&brd(), &[verdict("a", true)]).ok);
        let many: Vec<_> = (0..20).map(|n| verdict(&n.to_string(), false)).collect();
        let sentence = all(&brd(), &many).sentence;
        assert!(sentence.ends_with("7 (256 MiB), 12 more"), "{sentence}");
    }

    #[test]
    fn a_ram_disk_smaller_than_the_image_is_told_with_the_way_out() {
        let mut facts = facts();
        facts.ramdisk_bytes = facts.image_bytes - 1024;
        let sentence = ramdisk(&facts).unwrap().sentence;
        assert!(
            sentence.ends_with("set ramdisk_size=512000 or more"),
            "{sentence}"
        );
        facts.ramdisk_bytes += 1024;
        assert!(ramdisk(&facts).is_none());
    }
}
