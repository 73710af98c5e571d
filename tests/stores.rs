//! The RAM stores other than brd, in virtual machines: to a login prompt with the RAM that ram-check states, the root
//! written to, everything read, and off again.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use pipeline_tests::{Booted, Example, boot, scratch, with_store, with_words};
use ram_check::qemu::{Bus, Firmware, Machine, Outcome};

/// RAM for machines whose need is not the question.
const ROOMY: u64 = 2560;

fn started(name: &str, example: &Example, ram: u64) -> Booted {
    started_on(
        name,
        &Machine::new(&example.iso, Bus::Cd, Firmware::Bios, ram),
    )
}

fn started_on(name: &str, machine: &Machine) -> Booted {
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

fn goes_down_clean(system: Booted) {
    let log = system.power_off();
    for bad in [
        "Failed unmounting",
        "Failed to unmount",
        "Could not detach",
        "Failed to finalize",
        "EXT4-fs error",
        "BUG:",
        "Call Trace",
    ] {
        assert!(!log.contains(bad), "{bad:?} in the log of the machine");
    }
}

/// Everything that must hold with zram, in one boot.
fn zram(name: &str, example: &Example, ram: u64) {
    let mut system = started(name, example, ram);
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
    let measured = example.manifest["initrd"]["zram_bytes"].as_u64().unwrap();
    let used = in_use(&mut system);
    println!("{name}: zram takes {used} bytes, measured {measured}");
    assert!(used > measured * 9 / 10 && used < measured * 11 / 10 + (16 << 20));
    works(&mut system);
    // A file that is removed gives its RAM back.
    system.sure("dd if=/dev/urandom of=/root/noise bs=1M count=24 status=none && sync");
    let full = in_use(&mut system);
    system.sure("rm /root/noise && sync");
    let after = in_use(&mut system);
    assert!(after + (20 << 20) < full, "{full} bytes, then {after}");
    goes_down_clean(system);
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

#[test]
fn zram_with_dracut() {
    let vm = with_store("debian-vm", "zram", "dracut");
    zram("zram-dracut", &vm, vm.least_ram_mib());
}

#[test]
fn zram_without_dracut() {
    let vm = with_store("debian-vm", "zram", "native");
    zram("zram-native", &vm, vm.least_ram_mib());
}

/// Everything that must hold with tmpfs, in one boot.
fn tmpfs(name: &str, example: &Example, ram: u64) {
    let mut system = started(name, example, ram);
    assert_eq!(system.sure("findmnt -rno SOURCE,FSTYPE /"), "tmpfs tmpfs");
    let size = number(&system.sure("df -B1 --output=size / | tail -1"));
    assert!(size < ram << 20, "{size} bytes in a machine of {ram} MiB");
    assert!(number(&system.sure("df --output=iavail / | tail -1")) > 1000);
    assert_eq!(system.sure("stat -c '%a %u' /usr/bin/passwd"), "4755 0");
    assert_eq!(system.sure("stat -c '%a %F' /tmp"), "1777 directory");
    // The packages' own sums: nothing but what the description itself changed differs.
    let differs = system.ask("dpkg --verify").output;
    assert!(differs.lines().all(|l| l.contains(" c ")), "{differs}");
    works(&mut system);
    goes_down_clean(system);
}

#[test]
fn tmpfs_with_dracut() {
    let vm = with_store("debian-vm", "tmpfs", "dracut");
    tmpfs("tmpfs-dracut", &vm, vm.least_ram_mib());
}

#[test]
fn tmpfs_without_dracut() {
    let vm = with_store("debian-vm", "tmpfs", "native");
    tmpfs("tmpfs-native", &vm, ROOMY);
}

/// Everything that must hold with erofs, in one boot.
fn erofs(mut system: Booted, ram: u64) {
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
    as_packed(&mut system);
    changes(&mut system);
    capped(&mut system);
    works(&mut system);
    goes_down_clean(system);
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

#[test]
fn erofs_with_dracut() {
    let vm = with_store("debian-vm", "erofs", "dracut");
    let ram = vm.least_ram_mib();
    erofs(started("erofs-dracut", &vm, ram), ram);
}

/// From a stick, under UEFI; the kernel for virtual machines knows no USB.
#[test]
fn erofs_without_dracut() {
    let full = with_store("debian-ram", "erofs", "native");
    let machine = Machine::new(&full.iso, Bus::Usb, Firmware::Uefi, ROOMY);
    erofs(started_on("erofs-native", &machine), ROOMY);
}

/// The boot menu chooses among what the medium carries.
#[test]
fn the_boot_menu_has_what_the_medium_carries() {
    let scratch = scratch();
    let iso = scratch.path().join("words.iso");
    let all = with_store("debian-vm", "erofs", "native");
    with_words(&all.iso, &iso, "rd.ramforge.store=brd");
    let machine = |iso| Machine::new(iso, Bus::Cd, Firmware::Bios, ROOMY);
    let mut system = boot("erofs-menu-brd", &machine(&iso)).login();
    assert_eq!(system.sure("findmnt -no SOURCE /"), "/dev/ram1p3");
    drop(system);

    let without = with_store("debian-vm", "zram", "native");
    with_words(&without.iso, &iso, "rd.ramforge.store=erofs");
    let end = boot("zram-menu-erofs", &machine(&iso));
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
    let mut system = started("auto", &vm, vm.least_ram_mib());
    assert_eq!(system.sure("findmnt -no SOURCE /"), expected);
    goes_down_clean(system);
}
