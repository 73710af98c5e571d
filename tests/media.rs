//! Media that come late, go away, are files or partitions, are damaged, or are not the only ones: each in a virtual
//! machine.
//!
//! Without dracut, so that what is seen is ram-deploy. debian-vm has Debian's cloud kernel, which knows no USB.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::path::Path;

use pipeline_tests::{
    Booted, Running, areas, boot, example, exfat, flip, iso_disk, native, run, scratch,
    signing_keys, sparse_copy, start, strict, with_words,
};
use ram_check::qemu::{Board, Bus, Firmware, Machine, Outcome};
use tempfile::TempDir;

/// RAM for machines whose need is not the question.
const ROOMY: u64 = 2560;

fn stick(iso: &Path) -> Machine {
    let mut machine = Machine::new(iso, Bus::Usb, Firmware::Bios, ROOMY);
    machine.board = Board::Q35;
    machine
}

/// The system runs from RAM, holds nothing of the medium, and every file can be read.
fn runs_from_ram(mut system: Booted) {
    let source = system.sure("findmnt -no SOURCE /");
    assert!(source.starts_with("/dev/ram1"), "/ is on {source:?}");
    let log = system.log();
    assert!(log.contains("may be removed now"), "{}", system.tail());
    let held = system.ask("grep -E 'iso9660|/run/ramforge' /proc/mounts");
    assert_eq!(held.output, "");
    system.sure("sync; echo 3 >/proc/sys/vm/drop_caches");
    let errors = system.sure("find / -xdev -type f -exec cat {} + >/dev/null");
    assert_eq!(errors, "");
    system.power_off();
}

/// Pulled out while its frames are read, the stick is waited for; it comes back under another name.
#[test]
fn a_stick_pulled_out_in_the_middle_may_return() {
    let full = native("debian-ram");
    let mut machine = start("stick-returns", &stick(&full.iso));
    machine.wait_for(r"ramforge: +\d+ % of \d+ MiB");
    machine.remove_medium();
    machine.wait_for("ramforge: the medium in sda was pulled out or fails; plug it in again");
    machine.plug("again", &full.iso);
    let log = machine.wait_for(r"ramforge: the medium is back in sd\w");
    assert!(!log.contains("STOPPED"), "{log}");
    runs_from_ram(machine.up().login());
}

/// The same with a disc, which comes back in the drive that it was taken out of.
#[test]
fn a_disc_taken_out_in_the_middle_may_return() {
    let vm = native("debian-vm");
    let machine = Machine::new(&vm.iso, Bus::Cd, Firmware::Bios, ROOMY);
    let mut machine = start("disc-returns", &machine);
    machine.wait_for(r"ramforge: +\d+ % of \d+ MiB");
    machine.remove_medium();
    machine.wait_for("ramforge: the medium in sr0 was pulled out or fails; plug it in again");
    machine.wait_for(r"ramforge: +\d+ % of \d+ MiB, nothing done for \d+ s");
    machine.insert(&vm.iso);
    let log = machine.wait_for("ramforge: the medium is back in sr0");
    assert!(!log.contains("STOPPED"), "{log}");
    runs_from_ram(machine.up().login());
}

/// The same with a card, whose reader stays: without udev nobody but ram-deploy looks whether it holds one again.
#[test]
fn a_card_taken_out_of_its_reader_may_return() {
    let full = native("debian-ram");
    let machine = Machine::new(&full.iso, Bus::Reader, Firmware::Bios, ROOMY);
    let mut machine = start("card-returns", &machine);
    machine.wait_for(r"ramforge: +\d+ % of \d+ MiB");
    machine.remove_medium();
    machine.wait_for("ramforge: the medium in sda was pulled out or fails; plug it in again");
    let scratch = scratch();
    let card = scratch.path().join("card");
    sparse_copy(&full.iso, &card);
    machine.insert(&card);
    let log = machine.wait_for("ramforge: the medium is back in sda");
    assert!(!log.contains("STOPPED"), "{log}");
    runs_from_ram(machine.up().login());
}

/// The CD that was booted is gone before it is looked for, a stick of another build has the same volume id: the right
/// stick, when it comes, is taken.
#[test]
fn a_late_stick_is_the_right_one_among_two() {
    let (full, other) = (native("debian-ram"), native("debian-vm"));
    let scratch = scratch();
    let iso = scratch.path().join("patient.iso");
    with_words(&full.iso, &iso, "rd.ramforge.wait=600");
    let mut machine = Machine::new(&iso, Bus::Cd, Firmware::Bios, ROOMY);
    machine.usb = true;
    let mut machine = start("late-stick", &machine);
    machine.wait_for("Linux version");
    machine.remove_medium();
    machine.plug("other", &other.iso);
    machine.wait_for("ramforge: waiting for the medium with volume id");
    machine.plug("right", &full.iso);
    let log = machine.wait_for(r"ramforge: copying \d+ MiB from sd\w");
    assert!(!log.contains("STOPPED"), "{log}");
    runs_from_ram(machine.up().login());
}

/// A damaged stick stops with a sentence and a question; another stick, and `r`, bring the system up.
#[test]
fn another_medium_and_another_try() {
    let full = native("debian-ram");
    let scratch = scratch();
    let iso = scratch.path().join("damaged.iso");
    sparse_copy(&full.iso, &iso);
    damage_frames(&iso);
    let mut machine = start("another-try", &stick(&iso));
    let log = machine.wait_for(r"ramforge: nothing was started; type r to try again.*\n");
    assert!(log.contains("STOPPED: chunk "), "{log}");
    machine.remove_medium();
    machine.plug("whole", &full.iso);
    machine.type_line("r");
    machine.wait_for("ramforge: trying again");
    runs_from_ram(machine.up_after_all().login());
}

/// Of two equal media the first is damaged, and stays where it is: the other one is read instead.
#[test]
fn a_damaged_medium_beside_an_equal_one() {
    let full = native("debian-ram");
    let scratch = scratch();
    let iso = scratch.path().join("damaged.iso");
    sparse_copy(&full.iso, &iso);
    damage_frames(&iso);
    let mut machine = start("equal-media", &stick(&iso));
    machine.plug("whole", &full.iso);
    let log =
        machine.wait_for("warning: the medium in sda is damaged; the one in sdb is the same.*\n");
    assert!(!log.contains("STOPPED"), "{log}");
    let mut system = machine.up().login();
    // The kernel refuses it while anybody holds the stick.
    system.sure("udevadm settle && blockdev --rereadpt /dev/sda");
    runs_from_ram(system);
}

/// The same of two ISO files, each on a disk of its own: the file system of the damaged one is free as well.
#[test]
fn a_damaged_file_beside_an_equal_one() {
    let vm = native("debian-vm");
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name);
    let iso = path("damaged.iso");
    sparse_copy(&vm.iso, &iso);
    damage_frames(&iso);
    ext4_with(&iso, &path("ext4"));
    ext4_with(&vm.iso, &path("other"));
    iso_disk(
        &path("disk"),
        &loopback("/images/system.iso"),
        &path("ext4"),
    );
    let mut machine = Machine::new(&path("disk"), Bus::Disk, Firmware::Uefi, ROOMY);
    machine.disks.push(path("other"));
    let system = boot("equal-files", &machine).login();
    let told =
        "the medium in vda2 (/images/system.iso) is damaged; the one in vdb (/images/system.iso)";
    assert!(system.log().contains(told), "{}", system.tail());
    runs_from_ram(system);
}

/// Changes a bit of the payload.
fn damage_frames(iso: &Path) {
    let all = areas(iso);
    let frames = all.iter().find(|a| a.path == "ramforge/frames.000");
    let frames = frames.unwrap();
    flip(iso, frames.offset + frames.len / 2, 3);
}

/// Without a shell being allowed `s` is nothing, and `p` switches the machine off.
#[test]
fn a_choice_switches_the_machine_off() {
    let scratch = scratch();
    let mut machine = too_small(&scratch, "choice-off", "");
    let log = machine.wait_for(r"ramforge: nothing was started; type .*\n");
    assert!(log.contains("STOPPED: too little RAM"), "{log}");
    machine.type_line("s");
    let (log, end) = machine.end(Some("p"));
    assert!(log.contains("reboot: Power down"), "{log}");
    assert_eq!(end, "guest-shutdown");
}

/// Whoever stands before the machine answers with a USB keyboard, which needs drivers of its own.
#[test]
fn a_usb_keyboard_answers() {
    let full = native("debian-ram");
    let ram = full.least_ram_mib() * 3 / 4;
    let mut machine = Machine::new(&full.iso, Bus::Cd, Firmware::Bios, ram);
    machine.usb_keyboard = true;
    let mut machine = start("keyboard-off", &machine);
    machine.wait_for(r"ramforge: nothing was started; type .*\n");
    // Its drivers come one after the other: controller, hub, keyboard.
    machine.wait_for(r"hid-generic .* Keyboard .*\n");
    // What is pressed before the kernel has asked the keyboard for the first time is lost.
    machine.press_until(&["p", "ret"], "reboot: Power down");
}

#[test]
fn a_machine_restarts_by_itself_after_a_failure() {
    let scratch = scratch();
    let machine = too_small(&scratch, "on-error-reboot", "rd.ramforge.on-error=reboot");
    let (log, end) = machine.end(None);
    nobody_was_asked(&log, "the machine restarts in 15 s", "too little RAM");
    assert!(log.contains("reboot: Restarting system"), "{log}");
    assert_eq!(end, "guest-reset");
}

#[test]
fn a_machine_switches_itself_off_after_a_failure() {
    let scratch = scratch();
    let machine = too_small(
        &scratch,
        "on-error-poweroff",
        "rd.ramforge.on-error=poweroff",
    );
    let (log, end) = machine.end(None);
    nobody_was_asked(
        &log,
        "the machine is switched off in 15 s",
        "too little RAM",
    );
    assert!(log.contains("reboot: Power down"), "{log}");
    assert_eq!(end, "guest-shutdown");
}

/// Under dracut ram-deploy is a service. Killed, as the kernel kills for lack of memory, it leaves no shell to anybody.
#[test]
fn a_killed_service_is_a_failure_too() {
    let vm = example("debian-vm");
    let scratch = scratch();
    let iso = scratch.path().join("killed.iso");
    let words = "sysrq_always_enabled rd.ramforge.on-error=poweroff";
    with_words(&vm.iso, &iso, words);
    let machine = Machine::new(&iso, Bus::Cd, Firmware::Bios, ROOMY);
    let mut machine = start("killed", &machine);
    machine.wait_for(r"ramforge: +\d+ % of \d+ MiB");
    // SIGKILL for everything but systemd.
    machine.press(&["alt-sysrq-i"]);
    machine.wait_for("ramforge: STOPPED: ram-deploy did not end its work: killed KILL");
    let (log, end) = machine.end(None);
    nobody_was_asked(
        &log,
        "the machine is switched off in 15 s",
        "ram-deploy did not end",
    );
    for shell in ["Press Enter for maintenance", "Entering emergency mode"] {
        assert!(!log.contains(shell), "{log}");
    }
    assert_eq!(end, "guest-shutdown");
}

/// A machine with less RAM than is needed, with more words in its boot menu.
fn too_small(scratch: &TempDir, name: &str, words: &str) -> Running {
    let vm = native("debian-vm");
    let iso = scratch.path().join("words.iso");
    with_words(&vm.iso, &iso, words);
    let ram = vm.least_ram_mib() * 3 / 4;
    start(name, &Machine::new(&iso, Bus::Cd, Firmware::Bios, ram))
}

fn nobody_was_asked(log: &str, said: &str, why: &str) {
    assert!(log.contains(&format!("STOPPED: {why}")), "{log}");
    assert!(
        log.contains(said) && !log.contains("nothing was started"),
        "{log}"
    );
}

/// The menu of the ISO as a file: GRUB's loop device, and its path for ram-deploy. The file's ext4 is free afterwards.
#[test]
fn an_iso_file_on_ext4() {
    let vm = native("debian-vm");
    let scratch = scratch();
    let ext4 = scratch.path().join("ext4");
    ext4_with(&vm.iso, &ext4);
    boots_from_file("ext4", &ext4, "/images/system.iso", Bus::Disk);
}

/// An ext4 with the file /images/system.iso.
fn ext4_with(iso: &Path, ext4: &Path) {
    let files = scratch();
    let images = files.path().join("images");
    std::fs::create_dir(&images).unwrap();
    sparse_copy(iso, &images.join("system.iso"));
    let blocks = std::fs::metadata(iso).unwrap().len() / 4096 * 9 / 8 + 8192;
    let (files, blocks) = (files.path(), blocks.to_string());
    let mke2fs: [&dyn AsRef<std::ffi::OsStr>; 9] = [
        &"-q", &"-t", &"ext4", &"-b", &"4096", &"-d", &files, &ext4, &blocks,
    ];
    run("mke2fs", &mke2fs);
}

/// The same on a FAT, which needs modules that are loaded for it alone.
#[test]
fn an_iso_file_on_fat() {
    let vm = native("debian-vm");
    let scratch = scratch();
    let fat = scratch.path().join("fat");
    let size = std::fs::metadata(&vm.iso).unwrap().len() + (64 << 20);
    std::fs::File::create(&fat).unwrap().set_len(size).unwrap();
    run("mkfs.vfat", &[&"-F", &"32", &fat]);
    run("mmd", &[&"-i", &fat, &"::images"]);
    run("mcopy", &[&"-i", &fat, &vm.iso, &"::images/system.iso"]);
    boots_from_file("fat", &fat, "/images/system.iso", Bus::Nvme);
}

/// And on an exFAT, as large sticks have it; the kernel for virtual machines knows none.
#[test]
fn an_iso_file_on_exfat() {
    let full = native("debian-ram");
    let scratch = scratch();
    let image = scratch.path().join("exfat");
    exfat(&image, "system.iso", &full.iso);
    boots_from_file("exfat", &image, "/system.iso", Bus::Disk);
}

/// An ISO that holds the ISO, beside others perhaps: its own volume id is another one.
#[test]
fn an_iso_file_on_iso_9660() {
    let vm = native("debian-vm");
    let scratch = scratch();
    let files = scratch.path().join("files");
    std::fs::create_dir_all(files.join("images")).unwrap();
    sparse_copy(&vm.iso, &files.join("images/system.iso"));
    let outer = scratch.path().join("outer");
    run(
        "xorriso",
        &[
            &"-as",
            &"mkisofs",
            &"-quiet",
            &"-R",
            &"-V",
            &"COLLECTION",
            &"-o",
            &outer,
            &files,
        ],
    );
    boots_from_file("iso9660", &outer, "/images/system.iso", Bus::Disk);
}

/// A disk boots the ISO file of that path in a file system, and what it lies on is free afterwards.
fn boots_from_file(name: &str, file_system: &Path, path: &str, bus: Bus) {
    let scratch = scratch();
    let disk = scratch.path().join("disk");
    iso_disk(&disk, &loopback(path), file_system);
    let machine = Machine::new(&disk, bus, Firmware::Uefi, ROOMY);
    let mut system = boot(&format!("iso-file-{name}"), &machine).login();
    let device = if bus == Bus::Nvme {
        "nvme0n1p2"
    } else {
        "vda2"
    };
    let said = format!("MiB from {device} ({path}) to");
    assert!(system.log().contains(&said), "{}", system.tail());
    system.remove_medium();
    runs_from_ram(system);
}

/// What GRUB does who boots an ISO file.
fn loopback(path: &str) -> String {
    format!(
        "\
search --no-floppy --file --set=root {path}
set iso_path={path}
export iso_path
loopback loop $iso_path
set root=(loop)
configfile /boot/grub/loopback.cfg
"
    )
}

/// A card in a reader, which the BIOS boots; it holds the ISO's bytes and nothing behind them.
#[test]
fn an_sd_card() {
    let full = native("debian-ram");
    let scratch = scratch();
    let card = scratch.path().join("card");
    sparse_copy(&full.iso, &card);
    let file = std::fs::OpenOptions::new().write(true).open(&card).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length.next_power_of_two()).unwrap();
    let machine = Machine::new(&card, Bus::Sd, Firmware::Bios, ROOMY);
    let mut system = boot("sd-card", &machine).login();
    assert!(
        system.log().contains("MiB from mmcblk0 to"),
        "{}",
        system.tail()
    );
    system.remove_medium();
    runs_from_ram(system);
}

/// The ISO's bytes in a partition are a medium like any other.
#[test]
fn a_partition() {
    let vm = native("debian-vm");
    let scratch = scratch();
    let disk = scratch.path().join("disk");
    let commands = "set root=(hd0,gpt2)\nconfigfile /boot/grub/grub.cfg\n";
    iso_disk(&disk, commands, &vm.iso);
    let machine = Machine::new(&disk, Bus::Disk, Firmware::Uefi, ROOMY);
    let system = boot("partition", &machine).login();
    assert!(
        system.log().contains("MiB from vda2 to"),
        "{}",
        system.tail()
    );
    runs_from_ram(system);
}

/// A signed medium asks before it writes and reads back what it wrote; with another signature it is nothing.
#[test]
fn a_strict_medium() {
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name);
    let (private, public) = signing_keys();
    let vm = strict("native", Some((&private, &public)));
    judge_signature(&vm.iso, &public, scratch.path());

    let iso = path("other.iso");
    sparse_copy(&vm.iso, &iso);
    let all = areas(&iso);
    let signature = all.iter().find(|a| a.path == "ramforge/map.sig").unwrap();
    flip(&iso, signature.offset + 40, 0);
    let machine = |iso: &Path| Machine::new(iso, Bus::Cd, Firmware::Bios, ROOMY);
    let end = boot("strict-unsigned", &machine(&iso));
    let Outcome::Refused(sentence) = &end.outcome else {
        panic!("{:?}: {}", end.outcome, end.tail());
    };
    assert!(
        sentence.contains("is not signed with the key"),
        "{sentence}"
    );
    drop(end);

    asks_and_reads_back(start("strict", &machine(&vm.iso)));
}

/// The same question under dracut, where systemd owns the console.
#[test]
fn a_medium_that_asks_under_dracut() {
    let vm = strict("dracut", None);
    let machine = Machine::new(&vm.iso, Bus::Cd, Firmware::Bios, ROOMY);
    asks_and_reads_back(start("strict-dracut", &machine));
}

fn asks_and_reads_back(mut machine: Running) {
    let log = machine.wait_for("ramforge: type y to go on.*\n");
    assert!(!log.contains("copying"), "{log}");
    machine.type_line("y");
    machine.wait_for(r"ramforge: \d+ MiB read back and compared");
    runs_from_ram(machine.up().login());
}

/// OpenSSL finds the signature right, and so it can be made with it too.
fn judge_signature(iso: &Path, public: &Path, scratch: &Path) {
    for name in ["map", "map.sig"] {
        run(
            "xorriso",
            &[
                &"-osirrox",
                &"on",
                &"-indev",
                &iso,
                &"-extract",
                &format!("/ramforge/{name}"),
                &scratch.join(name),
            ],
        );
    }
    run(
        "openssl",
        &[
            &"pkeyutl",
            &"-verify",
            &"-pubin",
            &"-inkey",
            &public,
            &"-rawin",
            &"-in",
            &scratch.join("map"),
            &"-sigfile",
            &scratch.join("map.sig"),
        ],
    );
}

#[test]
fn a_disc_is_ejected_when_asked() {
    let vm = native("debian-vm");
    let scratch = scratch();
    let iso = scratch.path().join("eject.iso");
    with_words(&vm.iso, &iso, "rd.ramforge.eject");
    let machine = Machine::new(&iso, Bus::Cd, Firmware::Bios, ROOMY);
    let mut system = boot("eject", &machine).login();
    assert_eq!(system.outcome, Outcome::Login);
    assert!(system.tray_is_open(), "{}", system.tail());
    runs_from_ram(system);
}
