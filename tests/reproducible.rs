//! The same bytes from another machine: another path, user, umask, language, time zone, number of processors, day,
//! kernel and file system.
//!
//! One build is that of the fault tests, on this machine. The other runs in a virtual machine, as an ordinary user,
//! in a tmpfs, on one processor, years later. The packages are the same, and so are GRUB's modules, which the key of
//! a medium names.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::fs;
use std::path::{Path, PathBuf};

use pipeline_tests::{
    Booted, Small, ascii, boot, command, root, run, scratch, small, store, succeed,
};
use ram_check::qemu::{Bus, Firmware, Machine};

/// RAM of the machine that builds: the system, the tree and the store lie in it.
const RAM_MIB: u64 = 6144;
/// What a build needs, by packages.
const PACKAGES: [&str; 5] = ["apt", "gpgv", "uidmap", "grub-common", "ca-certificates"];
/// What a build takes from the host beside programs of packages: shaped by their versions, so of one version here.
const OF_THE_HOST: [&str; 3] = [
    "usr/lib/grub/i386-pc",
    "usr/lib/grub/x86_64-efi",
    "usr/bin/grub-mkimage",
];
/// From the checkout.
const OF_THE_PROJECT: [&str; 9] = [
    "pipeline.sh",
    "tests/faults/description",
    "target/x86_64-unknown-linux-gnu/ramdeploy/ram-deploy",
    "target/release/desc-parse",
    "target/release/rootfs-assemble",
    "target/release/raw-image",
    "target/release/initrd-inject",
    "target/release/iso-pack",
    "target/release/ram-check",
];

#[test]
fn another_machine_user_day_and_file_system_make_the_same_bytes() {
    let small = small();
    let scratch = scratch();
    let mut machine = Machine::new(&system(scratch.path()), Bus::Cd, Firmware::Bios, RAM_MIB);
    machine.cpus = 1;
    machine.disks = vec![cargo(&small, scratch.path())];
    machine.clock = Some("2031-02-28T23:59:30".to_owned());
    let mut system = boot("reproducible", &machine).login();
    prepare(&mut system, &small);
    let build = format!(
        "umask 077; export LC_ALL=tr_TR.UTF-8 LANG=tr_TR.UTF-8 TZ=Pacific/Kiritimati RAMFORGE_STORE=$PWD/s; \
         export RAW_IMAGE=\"--level 1\"; ./pipeline.sh -o out --set-repo {} tests/faults/description",
        small.repository()
    );
    let other = "setpriv --reuid other --regid other --clear-groups";
    system.sure(&format!("cd /mnt/here && {other} sh -c '{build}'"));
    assert_eq!(
        system.sure("stat -f -c %T /mnt; nproc; date +%Y"),
        "tmpfs\n1\n2031"
    );
    let theirs = system.sure("cd /mnt/here/out && sha256sum -- * | sort");
    // Who builds may keep it for himself: an image holds /etc/shadow.
    let modes = system.sure("cd /mnt/here/out && stat -c %a -- * | sort -u");
    assert_eq!(modes.trim(), "600");
    system.power_off();
    let mut sums = command("sh");
    sums.args(["-c", "sha256sum -- * | sort"])
        .current_dir(small.out());
    let ours = ascii(&sums.output().unwrap().stdout);
    assert_eq!(theirs.lines().count(), 5, "{theirs}");
    assert_eq!(theirs.trim(), ours.trim());
}

/// A medium with a system in which an image can be built.
fn system(dir: &Path) -> PathBuf {
    let out = dir.join("system");
    let mut build = command(root().join("pipeline.sh"));
    build.env("RAMFORGE_STORE", store());
    build.env("INITRD_INJECT", "--base native");
    build.arg("-o").arg(&out);
    for package in PACKAGES {
        build.args(["--add-package", package]);
    }
    build.arg(root().join("examples/debian-vm"));
    succeed(&mut build, "the system that builds");
    let mut files = fs::read_dir(&out).unwrap().map(|e| e.unwrap().path());
    let is_iso = |path: &PathBuf| path.extension().is_some_and(|e| e == "iso");
    files.find(is_iso).unwrap()
}

/// Everything that the other machine needs, as a tar archive: `here/` is the checkout, `root/` goes to `/`.
fn cargo(small: &Small, dir: &Path) -> PathBuf {
    let (load, archive) = (dir.join("load"), dir.join("load.tar"));
    let repository = small.packages();
    let repository = repository.strip_prefix("/").unwrap();
    let place = |base: &Path, name: &Path, below: &str| {
        let to = load.join(below).join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        run("cp", &[&"-rL", &base.join(name), &to]);
    };
    for name in OF_THE_PROJECT.iter().chain(&["target/release/ramforge"]) {
        place(root(), name.as_ref(), "here");
    }
    for name in OF_THE_HOST.iter().map(Path::new).chain([repository]) {
        place(Path::new("/"), name, "root");
    }
    run("tar", &[&"-C", &load, &"-cf", &archive, &"here", &"root"]);
    archive
}

/// Unpacks what came along, for a user who was not there before.
fn prepare(system: &mut Booted, small: &Small) {
    system.sure("mount -t tmpfs -o size=4g none /mnt && cd /mnt && tar -xpf /dev/vda root");
    system.sure("cp -r /mnt/root/. / && rm -r /mnt/root");
    for dir in small.packages().ancestors() {
        system.sure(&format!("chmod a+rx {}", dir.display()));
    }
    // A checkout with another umask.
    let unpack = "tar --no-same-permissions --no-same-owner -xf /dev/vda here";
    system.sure(&format!("cd /mnt && umask 077 && {unpack}"));
    system.sure("useradd --uid 4321 other");
    system.sure("usermod --add-subuids 300000-365535 --add-subgids 300000-365535 other");
    system.sure("chown -R other: /mnt/here");
}
