//! The RAM stores in virtual machines: four stores, from CD and stick, under BIOS and UEFI, with and without dracut, so
//! that every pair of these is booted. To a login prompt, the medium taken away, the root written to, everything read, and
//! off again.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::path::Path;

use pipeline_tests::{Booted, Example, boot, example, native, scratch, with_store, with_words};
use ram_check::qemu::{Board, Bus, Firmware, Machine, Outcome};

/// RAM for machines whose need is not the question.
const ROOMY: u64 = 2560;

/// What is combined, and its values.
const FACTORS: [&[&str]; 4] = [
    &["brd", "zram", "tmpfs", "erofs"],
    &["cd", "usb"],
    &["bios", "uefi"],
    &["dracut", "native"],
];

/// How much RAM a machine has.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ram {
    /// As ram-check states.
    Least,
    Roomy,
}
use Ram::{Least, Roomy};

/// The machines: the name of each test is one value of every factor.
macro_rules! cells {
    ($($name:ident: $ram:ident,)*) => {
        const CELLS: &[(&str, Ram)] = &[$((stringify!($name), $ram)),*];
        $(#[test]
        fn $name() {
            cell(stringify!($name), $ram);
        })*
    };
}

cells! {
    brd_cd_bios_dracut: Least,
    brd_cd_bios_native: Least,
    brd_cd_uefi_dracut: Roomy,
    brd_usb_bios_dracut: Roomy,
    brd_usb_uefi_native: Least,
    zram_cd_bios_dracut: Least,
    zram_usb_uefi_native: Least,
    tmpfs_cd_bios_dracut: Least,
    tmpfs_usb_uefi_native: Least,
    erofs_cd_bios_dracut: Least,
    erofs_usb_uefi_native: Least,
}

#[test]
fn every_pair_of_values_is_in_a_cell() {
    let cells: Vec<Vec<&str>> = CELLS.iter().map(|(name, _)| values(name)).collect();
    for (first, second) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        for one in FACTORS[first] {
            for other in FACTORS[second] {
                let has = |cell: &Vec<&str>| cell[first] == *one && cell[second] == *other;
                assert!(cells.iter().any(has), "{one} with {other} is never booted");
            }
        }
    }
    for store in FACTORS[0] {
        let tight = |(name, ram): &(&str, Ram)| values(name)[0] == *store && *ram == Least;
        assert!(CELLS.iter().any(tight), "{store} with the least RAM");
    }
}

/// Store, bus, firmware and base in the name of a cell.
fn values(cell: &str) -> Vec<&str> {
    let values: Vec<&str> = cell.split('_').collect();
    assert_eq!(values.len(), FACTORS.len(), "{cell}");
    for (value, of) in values.iter().zip(FACTORS) {
        assert!(of.contains(value), "{value} in {cell} is none of {of:?}");
    }
    values
}

/// Everything that must hold of a cell, in one boot.
fn cell(name: &str, ram: Ram) {
    let [store, bus, firmware, base] = values(name)[..] else {
        unreachable!()
    };
    let scratch = scratch();
    let (built, words) = medium(store, bus, base);
    let mut iso = built.iso.clone();
    if let Some(words) = words {
        iso = scratch.path().join("words.iso");
        with_words(&built.iso, &iso, &words);
    }
    let ram = match ram {
        Least => built.least_ram_with(store),
        Roomy => ROOMY,
    };
    let mut system = started(name, &machine(&iso, bus, firmware, ram));
    match store {
        "brd" => brd(&mut system),
        "zram" => zram(&mut system, &built),
        "tmpfs" => tmpfs(&mut system, ram),
        _ => erofs(&mut system, ram),
    }
    works(&mut system);
    if store == "zram" {
        removed_files_are_free(&mut system);
    }
    system.goes_down_clean();
}

fn machine(iso: &Path, bus: &str, firmware: &str, ram: u64) -> Machine {
    let bus = if bus == "cd" { Bus::Cd } else { Bus::Usb };
    let firmware = if firmware == "uefi" {
        Firmware::Uefi
    } else {
        Firmware::Bios
    };
    let mut machine = Machine::new(iso, bus, firmware, ram);
    // Not with a CD: the kernel of debian-vm does not know this board's SATA.
    if (bus, firmware) == (Bus::Usb, Firmware::Uefi) {
        machine.board = Board::Q35;
    }
    machine
}

/// What is booted for a store, and the words that choose it in the boot menu. With dracut the description names it. The
/// kernel of debian-vm knows no USB.
fn medium(store: &str, bus: &str, base: &str) -> (Example, Option<String>) {
    let name = if bus == "cd" {
        "debian-vm"
    } else {
        "debian-ram"
    };
    match (store, base) {
        ("brd", "dracut") => (example(name), None),
        ("brd", _) => (native(name), None),
        ("zram" | "tmpfs", "native") => (native(name), Some(format!("rd.ramforge.store={store}"))),
        _ => (with_store(name, store, base), None),
    }
}

fn started(name: &str, machine: &Machine) -> Booted {
    let mut system = boot(name, machine).login();
    let log = system.log();
    assert!(log.contains("may be removed now"), "{}", system.tail());
    system.remove_medium();
    // Nothing of the medium is left, and nothing failed: an fstab that names the disk's root does no harm.
    assert_eq!(system.ask("grep -c iso9660 /proc/mounts").output, "0");
    let state = system.ask("systemctl is-system-running --wait").output;
    let failed = system.sure("systemctl --failed --no-legend --plain");
    assert_eq!((state.as_str(), failed.as_str()), ("running", ""));
    system
}

/// The root is there once, can be written to, and every file of it can be read.
fn works(system: &mut Booted) {
    assert_eq!(system.sure("findmnt -rno TARGET / | wc -l"), "1");
    assert!(system.sure("findmnt -no OPTIONS /").starts_with("rw"));
    system.sure("echo kept >/root/kept && sync && grep -q kept /root/kept");
    // A directory with an access control list, as somebody else sees it.
    system.sure("setpriv --reuid 65534 --regid 65534 --clear-groups ls /var/log/journal");
    system.sure("echo 3 >/proc/sys/vm/drop_caches");
    let errors = system.sure("find / -xdev -type f -exec cat {} + >/dev/null");
    assert_eq!(errors, "");
    let kernel = system.ask("dmesg | grep -E 'I/O error|EXT4-fs error|Buffer I/O|zram: .*rror'");
    assert_eq!(kernel.output, "", "messages of the kernel");
}

/// The disk image in the kernel's RAM disk.
fn brd(system: &mut Booted) {
    let source = system.sure("findmnt -rno SOURCE,FSTYPE /");
    assert_eq!(source, "/dev/ram1p3 ext4");
    // As large as the description's RAM disk.
    let sectors = number(&system.sure("cat /sys/block/ram1/size"));
    assert_eq!(sectors * 512, 2_048_000 << 10);
}

fn zram(system: &mut Booted, built: &Example) {
    assert_eq!(
        system.sure("findmnt -rno SOURCE,FSTYPE /"),
        "/dev/zram1 ext4"
    );
    // As large as the description's RAM disk, less what the file system itself takes.
    let size: u64 = number(&system.sure("df -B1 --output=size / | tail -1"));
    assert!(size > 1_800_000_000, "{size}");
    let algorithm = system.sure("cat /sys/block/zram1/comp_algorithm");
    assert!(algorithm.contains("[zstd]"), "{algorithm}");
    // What was measured at build time is what it takes: bytes in use, without what was written since.
    let measured = built.manifest["initrd"]["zram_bytes"].as_u64().unwrap();
    let used = in_use(system);
    println!("zram takes {used} bytes, measured {measured}");
    assert!(used > measured * 9 / 10 && used < measured * 11 / 10 + (16 << 20));
}

fn removed_files_are_free(system: &mut Booted) {
    system.sure("dd if=/dev/urandom of=/root/noise bs=1M count=24 status=none && sync");
    let full = in_use(system);
    system.sure("rm /root/noise && sync");
    let after = in_use(system);
    assert!(after + (20 << 20) < full, "{full} bytes, then {after}");
}

/// Bytes of RAM that the zram takes (`mem_used_total`).
fn in_use(system: &mut Booted) -> u64 {
    number(&system.sure("awk '{ print $3 }' /sys/block/zram1/mm_stat"))
}

fn number(text: &str) -> u64 {
    text.trim()
        .parse()
        .unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

fn tmpfs(system: &mut Booted, ram: u64) {
    assert_eq!(system.sure("findmnt -rno SOURCE,FSTYPE /"), "tmpfs tmpfs");
    let size = number(&system.sure("df -B1 --output=size / | tail -1"));
    assert!(size < ram << 20, "{size} bytes in a machine of {ram} MiB");
    assert!(number(&system.sure("df --output=iavail / | tail -1")) > 1000);
    assert_eq!(system.sure("stat -c '%a %u' /usr/bin/passwd"), "4755 0");
    assert_eq!(system.sure("stat -c '%a %F' /tmp"), "1777 directory");
    // The packages' own sums: nothing but what the description itself changed differs.
    let differs = system.ask("dpkg --verify").output;
    assert!(differs.lines().all(|l| l.contains(" c ")), "{differs}");
}

fn erofs(system: &mut Booted, ram: u64) {
    assert_eq!(
        system.sure("findmnt -rno SOURCE,FSTYPE /"),
        "overlay overlay"
    );
    // What the overlay stands on is its own: nothing of it is to be found, or in the way of a shutdown.
    let below = system.sure("awk '$2 ~ /ramforge/ || $3 == \"erofs\"' /proc/mounts");
    assert_eq!(below, "");
    let size = number(&system.sure("df -B1 --output=size / | tail -1"));
    assert!(size < ram << 20, "{size} bytes in a machine of {ram} MiB");
    assert!(number(&system.sure("df --output=iavail / | tail -1")) > 1000);
    system.sure("mount -o remount /");
    as_packed(system);
    changes(system);
    capped(system);
}

/// Owners, modes, capabilities, hard links and contents are those of the packages.
fn as_packed(system: &mut Booted) {
    assert_eq!(system.sure("stat -c '%a %u' /usr/bin/passwd"), "4755 0");
    assert_eq!(system.sure("stat -c '%a %F' /tmp"), "1777 directory");
    assert_eq!(system.sure("stat -c '%a %u %g' /"), "755 0 0");
    assert_eq!(system.sure("stat -c %h /usr/bin/perl"), "2");
    // Every link leads somewhere, as each lies in its block; files and directories are on one device.
    system.sure("find / -xdev -type l -exec readlink {} + >/dev/null");
    system.sure("[ $(stat -c %d /) = $(stat -c %d /usr/bin/perl) ]");
    system.sure("tar --one-file-system -cf - -C / etc/passwd | tar -t | grep -q passwd");
    let differs = system.ask("dpkg --verify").output;
    assert!(differs.lines().all(|l| l.contains(" c ")), "{differs}");
}

/// What is written goes to the right file: through every name of it, under another directory, without its attributes
/// lost.
fn changes(system: &mut Booted) {
    system.sure("chmod 750 /usr/bin/perl && [ $(stat -c %a /usr/bin/perl5.*.*) = 750 ]");
    system.sure("echo '#' >>/usr/bin/perl && cmp /usr/bin/perl /usr/bin/perl5.*.*");
    system.sure("mv /usr/share/doc /usr/share/documents && ls /usr/share/documents/zstd/copyright");
    system.sure("rm -r /usr/share/documents && [ ! -e /usr/share/documents ]");
}

/// Who writes more than there is room for is told so, and the machine lives.
fn capped(system: &mut Booted) {
    let full = system
        .ask("dd if=/dev/zero of=/root/full bs=1M status=none")
        .output;
    assert!(full.contains("No space left on device"), "{full}");
    system.sure("rm /root/full");
    // xargs ends at the first status of 255.
    let inodes = "mkdir /root/many && cd /root/many && \
        seq 1000000 | xargs -n 200 sh -c 'touch \"$@\" || exit 255' sh 2>&1 | head -3";
    let full = system.ask(inodes).output;
    assert!(full.contains("No space left on device"), "{full}");
    system.sure("rm -r /root/many");
    assert_eq!(system.ask("dmesg | grep -ci 'out of memory'").output, "0");
}

/// The boot menu chooses among what the medium carries.
#[test]
fn the_boot_menu_has_what_the_medium_carries() {
    let scratch = scratch();
    let iso = scratch.path().join("words.iso");
    with_words(&native("debian-vm").iso, &iso, "rd.ramforge.store=erofs");
    let machine = Machine::new(&iso, Bus::Cd, Firmware::Bios, ROOMY);
    let end = boot("menu-erofs", &machine);
    let Outcome::Refused(sentence) = &end.outcome else {
        panic!("{:?}: {}", end.outcome, end.tail());
    };
    assert!(
        sentence.starts_with(
            "rd.ramforge.store=erofs: this medium does not carry the root as EROFS; leave it out"
        ),
        "{sentence}"
    );
}

/// With as little RAM as ram-check states for the store that needs the least, that one is taken.
#[test]
fn auto_takes_what_fits() {
    let vm = with_store("debian-vm", "auto", "dracut");
    let expected = match vm.manifest["verdict"]["stores"][0]["store"].as_str() {
        Some("zram") => "/dev/zram1",
        Some("erofs") => "overlay",
        other => panic!("{other:?} needs the least"),
    };
    let machine = Machine::new(&vm.iso, Bus::Cd, Firmware::Bios, vm.least_ram_mib());
    let mut system = started("auto", &machine);
    assert_eq!(system.sure("findmnt -no SOURCE /"), expected);
    system.goes_down_clean();
}

/// Without dracut the initramfs takes less, whatever else decides on the least RAM.
#[test]
fn without_dracut_the_initramfs_takes_less() {
    let (dracut, native) = (example("debian-vm"), native("debian-vm"));
    let kib = |built: &Example, name: &str| -> u64 {
        let terms = &built.store("brd")["terms"];
        let of_name = terms
            .as_array()
            .unwrap()
            .iter()
            .filter(|t| t["name"] == name);
        of_name.map(|t| t["kib"].as_u64().unwrap()).sum()
    };
    for name in [
        "initrd, packed (the boot loader's copy)",
        "initrd, unpacked",
        "processes of the initramfs",
    ] {
        let (less, more) = (kib(&native, name), kib(&dracut, name));
        assert!(
            less < more,
            "{name}: {less} KiB without dracut, {more} with it"
        );
    }
    assert!(native.least_ram_mib() <= dracut.least_ram_mib());
}
