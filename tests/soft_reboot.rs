//! A soft-reboot in every RAM store: systemd starts the system's programs anew, the root stays. With Debian 13, whose
//! systemd knows it; its kernel mounts EROFS from a file, and unpacks zstd.
//!
//! One medium serves all: it carries the root as EROFS beside the disk image, and the boot menu chooses.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use pipeline_tests::{Booted, Example, boot, debian_13, scratch, with_words};
use ram_check::qemu::{Bus, Firmware, Machine};

const RAM: u64 = 2048;
/// What config.sh makes.
const LINKS: &str = "3060";

#[test]
fn brd_stays() {
    let mut system = booted("brd");
    goes_through(&mut system, "/dev/ram1p3 ext4", 1);
    system.goes_down_clean();
}

#[test]
fn zram_stays() {
    let mut system = booted("zram");
    goes_through(&mut system, "/dev/zram1 ext4", 1);
    system.goes_down_clean();
}

#[test]
fn tmpfs_stays() {
    let mut system = booted("tmpfs");
    links(&mut system);
    goes_through(&mut system, "tmpfs tmpfs", 1);
    system.goes_down_clean();
}

#[test]
fn erofs_stays() {
    let mut system = booted("erofs");
    links(&mut system);
    no_block_device(&mut system);
    goes_through(&mut system, "overlay overlay", 2);
    links(&mut system);
    no_block_device(&mut system);
    system.goes_down_clean();
}

fn booted(store: &str) -> Booted {
    let built = debian_13();
    assert_eq!(compression(&built), "zstd");
    let scratch = scratch();
    let iso = scratch.path().join("words.iso");
    with_words(&built.iso, &iso, &format!("rd.ramforge.store={store}"));
    let machine = Machine::new(&iso, Bus::Cd, Firmware::Bios, RAM);
    let mut system = boot(&format!("soft-reboot-{store}"), &machine).login();
    system.remove_medium();
    system
}

fn compression(built: &Example) -> &str {
    built.manifest["disk"]["erofs"]["compression"]
        .as_str()
        .unwrap()
}

/// The image is a file in RAM: no RAM disk, no loop device.
fn no_block_device(system: &mut Booted) {
    let log = system.sure("dmesg | grep 'ramforge: the root is EROFS in '");
    assert!(log.ends_with("/run/ramforge/image/root.erofs"), "{log}");
    assert_eq!(
        system.sure("ls /sys/block | grep -E 'ram|loop' || true"),
        ""
    );
}

/// Every name is a link of one file.
fn links(system: &mut Booted) {
    let names = "find /usr/lib/linked -type f -links";
    assert_eq!(system.sure(&format!("{names} {LINKS} | wc -l")), LINKS);
    let files = system.sure("find /usr/lib/linked -type f -printf '%i\\n' | uniq | wc -l");
    assert_eq!(files, "1");
    system.sure("echo more >>/usr/lib/linked/50/60 && grep -q more /usr/lib/linked/0/1");
}

/// Soft-reboots; before and after each of them the root is `root`, and what was written to it is there.
fn goes_through(system: &mut Booted, root: &str, times: u32) {
    runs(system, root);
    for n in 1..=times {
        system.sure(&format!("echo {n} >>/root/kept"));
        let said = system.again("systemctl soft-reboot");
        assert!(!said.contains("Linux version"), "the kernel stays: {said}");
        runs(system, root);
        let kept = system.sure("cat /root/kept");
        assert_eq!(kept.lines().count() as u32, n, "{kept}");
        assert_eq!(
            system.sure("systemctl show -P SoftRebootsCount"),
            n.to_string()
        );
    }
}

fn runs(system: &mut Booted, root: &str) {
    let state = system.ask("systemctl is-system-running --wait").output;
    let failed = system.sure("systemctl --failed --no-legend --plain");
    assert_eq!((state.as_str(), failed.as_str()), ("running", ""));
    assert_eq!(system.sure("findmnt -rno SOURCE,FSTYPE /"), root);
    assert!(system.sure("findmnt -no OPTIONS /").starts_with("rw"));
}
