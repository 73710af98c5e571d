//! The image on a disk in virtual machines, and boots that end with a sentence. From a medium into RAM: `stores.rs`.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use pipeline_tests::{
    Booted, boot, command, example, root, run, scratch, slot, store, text, without_dracut,
};
use ram_check::qemu::{Bus, Firmware, Machine, Outcome};

/// RAM for machines whose need is not the question.
const ROOMY: u64 = 2560;

/// Reads every file of the root once, with nothing left in the page cache to help.
fn everything_can_be_read(system: &mut Booted) {
    system.sure("sync; echo 3 >/proc/sys/vm/drop_caches");
    let errors = system.sure("find / -xdev -type f -exec cat {} + >/dev/null");
    assert_eq!(errors, "");
    let kernel = system.ask("dmesg | grep -E 'I/O error|EXT4-fs error|Buffer I/O'");
    assert_eq!(kernel.output, "", "messages of the kernel");
}

fn goes_down_clean(log: &str) {
    for bad in [
        "Failed unmounting",
        "Failed to unmount",
        "EXT4-fs error",
        "BUG:",
        "Call Trace",
    ] {
        assert!(!log.contains(bad), "{bad:?} in the log of the machine");
    }
}

/// Written by hand to a larger disk, the image boots there, grows once, and keeps what is written.
#[test]
fn a_larger_disk_under_bios_then_uefi() {
    let vm = example("debian-vm");
    let scratch = scratch();
    let disk = scratch.path().join("disk");
    copy(&vm.raw, &disk);
    let size = std::fs::metadata(&vm.raw).unwrap().len() + (1 << 30);
    OpenOptions::new()
        .write(true)
        .open(&disk)
        .unwrap()
        .set_len(size)
        .unwrap();
    let mut machine = Machine::new(&disk, Bus::Disk, Firmware::Bios, 1024);
    machine.writable = true;

    let mut first = boot("disk-bios", &machine).login();
    assert!(first.sure("findmnt -no SOURCE /").starts_with("/dev/vda"));
    let grown = first.sure("df -B1 --output=size / | tail -1");
    let (_, before) = vm.partition("root");
    let grown: u64 = grown.trim().parse().unwrap();
    assert!(
        grown > before + (800 << 20),
        "root has {grown} bytes, had {before}"
    );
    first.sure("echo kept >/root/kept; sync");
    goes_down_clean(&first.power_off());

    // Another firmware and another controller: nothing of the first boot may be tied to them.
    (machine.firmware, machine.bus) = (Firmware::Uefi, Bus::Nvme);
    let mut second = boot("disk-uefi", &machine).login();
    assert!(
        second
            .sure("findmnt -no SOURCE /")
            .starts_with("/dev/nvme0n1")
    );
    assert_eq!(second.sure("cat /root/kept"), "kept");
    let again: u64 = second
        .sure("df -B1 --output=size / | tail -1")
        .trim()
        .parse()
        .unwrap();
    assert_eq!(again, grown);
    everything_can_be_read(&mut second);
    goes_down_clean(&second.power_off());
    run("sgdisk", &[&"-v", &disk]);
}

/// The disk of a system without dracut: ram-deploy finds the root, grows and mounts it.
#[test]
fn a_larger_disk_without_dracut() {
    let vm = without_dracut("debian-vm");
    let scratch = scratch();
    let disk = scratch.path().join("disk");
    copy(&vm.raw, &disk);
    let size = std::fs::metadata(&vm.raw).unwrap().len() + (1 << 30);
    let file = OpenOptions::new().write(true).open(&disk).unwrap();
    file.set_len(size).unwrap();
    let mut machine = Machine::new(&disk, Bus::Nvme, Firmware::Uefi, 1024);
    machine.writable = true;
    let mut system = boot("disk-native", &machine).login();
    let source = system.sure("findmnt -no SOURCE /");
    assert!(source.starts_with("/dev/nvme0n1"), "{source}");
    let grown = system.sure("df -B1 --output=size / | tail -1");
    let (_, before) = vm.partition("root");
    assert!(grown.trim().parse::<u64>().unwrap() > before + (800 << 20));
    everything_can_be_read(&mut system);
    goes_down_clean(&system.power_off());
}

#[test]
fn too_little_ram_is_one_sentence() {
    let vm = example("debian-vm");
    let machine = Machine::new(&vm.iso, Bus::Cd, Firmware::Bios, vm.least_ram_mib() * 3 / 4);
    let end = boot("too-little-ram", &machine);
    let Outcome::Refused(sentence) = &end.outcome else {
        panic!("{:?}: {}", end.outcome, end.tail());
    };
    assert!(
        sentence.starts_with("too little RAM: ")
            && sentence.contains("; set rd.ramforge.store=zram in the boot menu, which needs")
            && sentence.contains("add at least"),
        "{sentence}"
    );
    assert!(!end.log().contains("login:"), "{}", end.tail());
}

/// What ram-check states is measured to be enough, and no more than 64 MiB too much, up to a target of systemd; who logs in
/// finds no less left than it says.
#[test]
fn the_least_ram_is_what_is_stated_and_little_less() {
    let vm = example("debian-vm");
    let _slot = slot();
    let scratch = scratch();
    let login = scratch.path().join("login");
    std::fs::write(&login, "root:linux\n").unwrap();
    let output = command(root().join("target/release/ram-check"))
        .env("RAMFORGE_STORE", store())
        .args(["--least", "--up", "target:multi-user", "--login"])
        .arg(&login)
        .arg("--manifest")
        .arg(vm.dir.join("manifest.json"))
        .output()
        .unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let manifest: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let measured = &manifest["verdict"]["measured"];
    let least = measured["least_ram_mib"].as_u64().unwrap();
    println!("stated {}, measured {least}", vm.least_ram_mib());
    assert!(least + 64 >= vm.least_ram_mib(), "{said}");
    let boots = measured["boots"].as_array().unwrap();
    let up: Vec<_> = boots.iter().filter(|b| b["result"] == "up").collect();
    let (stated, first) = (vm.least_ram_mib(), up[0]);
    let need = &manifest["verdict"]["stores"][0];
    let left =
        first["ram_mib"].as_u64().unwrap().min(stated) - need["steady_mib"].as_u64().unwrap();
    let available = first["memory"]["available_mib"].as_u64().unwrap();
    assert!(
        available >= left,
        "{available} MiB available, {left} MiB stated"
    );
    let refused = boots.iter().filter(|b| b["result"] == "refused").count();
    assert_eq!(
        up.len() + refused,
        boots.len(),
        "a sentence or a system: {measured}"
    );
}

#[test]
fn one_wrong_byte_never_reaches_login() {
    let vm = example("debian-vm");
    let scratch = scratch();
    let iso = scratch.path().join("damaged.iso");
    copy(&vm.iso, &iso);
    let (offset, size) = payload(&iso);
    flip(&iso, offset + size / 2);
    let end = boot(
        "wrong-byte",
        &Machine::new(&iso, Bus::Cd, Firmware::Bios, ROOMY),
    );
    let Outcome::Refused(sentence) = &end.outcome else {
        panic!("{:?}: {}", end.outcome, end.tail());
    };
    assert!(
        sentence.contains("chunk") && sentence.contains("frames.000"),
        "{sentence}"
    );
    assert!(!end.log().contains("login:"), "{}", end.tail());
}

/// Offset and length of the first payload file in the ISO, as xorriso finds them.
fn payload(iso: &Path) -> (u64, u64) {
    let find = [
        "-find",
        "/ramforge",
        "-name",
        "frames.000",
        "-exec",
        "report_lba",
        "--",
    ];
    let output = command("xorriso")
        .arg("-indev")
        .arg(iso)
        .args(find)
        .output()
        .unwrap();
    let text = pipeline_tests::text(&output);
    let line = text
        .lines()
        .find(|l| l.starts_with("File data lba:"))
        .unwrap_or_else(|| panic!("{text}"));
    let fields: Vec<&str> = line.split([':', ',']).map(str::trim).collect();
    (
        fields[2].parse::<u64>().unwrap() * 2048,
        fields[4].parse().unwrap(),
    )
}

fn flip(file: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// A sparse copy that may be written.
fn copy(from: &Path, to: &Path) {
    run("cp", &[&"--sparse=always", &"--reflink=auto", &from, &to]);
    let mut permissions = File::open(to).unwrap().metadata().unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    std::fs::set_permissions(to, permissions).unwrap();
}
