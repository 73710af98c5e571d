//! The network boot set in virtual machines without any medium: from the firmware's own network boot to a login prompt.
//!
//! QEMU is the DHCP and TFTP server, nginx offers the set over HTTP at the host's loopback, 10.0.2.2 inside.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use pipeline_tests::{
    Booted, Example, Nginx, boot, command, example, native, run, scratch, with_store,
};
use ram_check::qemu::{Bus, Firmware, Machine, Outcome};
use serde_json::Value;

/// RAM for machines whose need is not the question.
const ROOMY: u64 = 1536;
/// How ram-deploy calls itself.
const AGENT: &str = "ram-deploy/";

/// Unpacks the boot set of `built` as a person does, and compares it with its sums.
fn unpack(built: &Example, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let tarball = only(&built.dir, ".install.tar.xz");
    run("tar", &[&"-xJf", &tarball, &"-C", &to]);
    let sums = command("sha256sum")
        .current_dir(to)
        .args(["--strict", "-c", "SHA256SUMS"])
        .output();
    let sums = pipeline_tests::text(&sums.unwrap());
    let named = built.manifest["media"]["network"]
        .as_array()
        .map_or(0, Vec::len)
        - 1;
    assert_eq!(
        sums.lines().filter(|line| line.ends_with(": OK")).count(),
        named,
        "{sums}"
    );
}

fn only(dir: &Path, suffix: &str) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().flatten().map(|e| e.path());
    let mut found = files.filter(|p| p.to_string_lossy().ends_with(suffix));
    found
        .next()
        .unwrap_or_else(|| panic!("no *{suffix} in {}", dir.display()))
}

/// A machine that boots `file` of the directory `root`, or a URL.
fn machine(root: &Path, file: &str, firmware: Firmware) -> Machine {
    let mut machine = Machine::new(root, Bus::Network, firmware, ROOMY);
    machine.bootfile = file.to_owned();
    machine
}

/// Names the servers in GRUB's menu, where its comment tells a person to.
fn name_servers(set: &Path, urls: &str) {
    let path = set.join("grub.cfg");
    let text = fs::read_to_string(&path).unwrap();
    let own = "set url=http://$net_default_server/$dir\n";
    assert!(text.contains(own), "{text}");
    fs::write(&path, text.replace(own, &format!("set url={urls}\n"))).unwrap();
}

/// What must hold in a system that came from the network.
fn runs_from_ram(mut system: Booted, root: &str) {
    assert_eq!(system.sure("findmnt -no SOURCE /"), root);
    let log = system.log();
    assert!(
        log.contains("the network is not needed any more"),
        "{}",
        system.tail()
    );
    // The server is needed no more: no connection is left, and the card is the system's own to set up.
    assert_eq!(system.ask("ss -Htan | grep -F 10.0.2.2:").output, "");
    system.sure("timeout 120 sh -c 'until ip -4 -o addr show scope global | grep -q 10.0.2.15; do sleep 1; done'");
    system.sure("sync; echo 3 >/proc/sys/vm/drop_caches");
    let errors = system.sure("find / -xdev -type f -exec cat {} + >/dev/null");
    assert_eq!(errors, "");
    let log = system.power_off();
    for bad in ["Failed unmounting", "EXT4-fs error", "BUG:", "Call Trace"] {
        assert!(!log.contains(bad), "{bad:?} in the log of the machine");
    }
}

/// Appends words to the kernel command line in iPXE's script.
fn add_words(set: &Path, words: &str) {
    let path = set.join("boot.ipxe");
    let text = fs::read_to_string(&path).unwrap();
    let kernel = text.lines().find(|line| line.starts_with("kernel "));
    let kernel = kernel.unwrap_or_else(|| panic!("{text}"));
    fs::write(&path, text.replace(kernel, &format!("{kernel} {words}"))).unwrap();
}

/// iPXE fetches its script, kernel and initrd over HTTP; the system is fetched from the place of the script. All of it,
/// though a medium in the machine has it: that is how it is asked for.
#[test]
fn ipxe_over_http_under_bios() {
    let built = example("debian-net");
    let root = scratch();
    unpack(&built, root.path());
    add_words(root.path(), "rd.ramforge.local=no");
    let nginx = Nginx::start(root.path());
    let script = format!("http://10.0.2.2:{}/boot.ipxe", nginx.port);
    let mut machine = machine(root.path(), &script, Firmware::Bios);
    machine.disks.push(built.iso.clone());
    let system = boot("net-ipxe-bios", &machine).login();
    assert_eq!(
        nginx.asked_by(AGENT),
        ["/ramforge/map", "/ramforge/frames.000"]
    );
    assert!(nginx.bytes_for(AGENT) >= payload(root.path()));
    assert!(
        !system.log().contains("looking for frames"),
        "{}",
        system.tail()
    );
    runs_from_ram(system, "/dev/ram1p3");
}

/// Bytes of a set's frames.
fn payload(set: &Path) -> u64 {
    fs::metadata(set.join("ramforge/frames.000")).unwrap().len()
}

/// What a medium of another build holds does not travel, the rest does; and the medium is free in the end. The root is a
/// tmpfs.
#[test]
fn frames_of_a_medium_at_hand_are_not_fetched() {
    let built = native("debian-net");
    let root = scratch();
    unpack(&built, root.path());
    add_words(root.path(), "rd.ramforge.store=tmpfs");
    let nginx = Nginx::start(root.path());
    let script = format!("http://10.0.2.2:{}/boot.ipxe", nginx.port);
    let mut machine = machine(root.path(), &script, Firmware::Bios);
    machine.disks.push(native("debian-vm").iso);
    let mut system = boot("net-local-frames", &machine).login();
    let asked = nginx.asked_by(AGENT);
    assert_eq!(asked[0], "/ramforge/map");
    let frames = &asked[1..];
    assert!(
        !frames.is_empty() && frames.iter().all(|path| path == "/ramforge/frames.000"),
        "{asked:?}"
    );
    let log = system.log();
    assert!(log.contains("looking for frames on media"));
    let (here, all) = at_hand(&log);
    let (fetched, requests) = (nginx.bytes_for(AGENT) >> 20, frames.len() as u64);
    println!("{fetched} MiB in {requests} requests, {here} of {all} MiB were here");
    assert!(here > all / 2 && here < all, "{here} of {all} MiB");
    // What is missing, and small gaps between that: nothing like the whole.
    assert!(fetched <= all - here / 2, "{fetched} MiB fetched");
    assert!(
        log.contains("the medium in vda is free"),
        "{}",
        system.tail()
    );
    // The kernel refuses it while anybody holds the disk or one of its partitions, in whatever namespace.
    system.sure("udevadm settle && blockdev --rereadpt /dev/vda");
    runs_from_ram(system, "tmpfs");
}

/// How many MiB of how many are on the disk of the machine, as the console says.
fn at_hand(log: &str) -> (u64, u64) {
    let line = log
        .lines()
        .find(|line| line.ends_with("MiB are here, in vda, and need not be fetched"));
    let words: Vec<&str> = line.unwrap_or_else(|| panic!("{log}")).split(' ').collect();
    (words[1].parse().unwrap(), words[3].parse().unwrap())
}

/// The EROFS image lies behind the disk's, and a server that sends only whole files sends both.
#[test]
fn a_server_without_ranges_is_enough() {
    let built = with_store("debian-net", "erofs", "native");
    let root = scratch();
    unpack(&built, root.path());
    let nginx = Nginx::without_ranges(root.path());
    let script = format!("http://10.0.2.2:{}/boot.ipxe", nginx.port);
    let machine = machine(root.path(), &script, Firmware::Bios);
    let system = boot("net-no-ranges", &machine).login();
    let log = system.log();
    assert!(log.contains("sends only whole files"), "{}", system.tail());
    assert_eq!(
        nginx.asked_by(AGENT).len(),
        2,
        "the map, and all frames once"
    );
    runs_from_ram(system, "overlay");
}

/// UEFI loads GRUB over TFTP, and GRUB the rest from the same directory, without dracut. The first of two servers
/// closes again and again, and sends wrong bytes. The root is EROFS.
#[test]
fn grub_over_tftp_under_uefi_with_a_bad_server() {
    let built = with_store("debian-net", "erofs", "native");
    let root = scratch();
    let set = root.path().join("images/new");
    unpack(&built, &set);
    let nginx = Nginx::start(root.path());
    let bad = bad_server(nginx.port);
    let url = |port| format!("http://10.0.2.2:{port}/images/new");
    name_servers(&set, &format!("{},{}", url(bad), url(nginx.port)));
    let file = "images/new/boot.efi";
    let system = boot("net-grub-uefi", &machine(root.path(), file, Firmware::Uefi)).login();
    let log = system.log();
    assert!(log.contains("too early; going on"), "{}", system.tail());
    assert!(
        log.contains(&format!(":{bad}/images/new/ sends wrong bytes")),
        "{}",
        system.tail()
    );
    runs_from_ram(system, "overlay");
}

/// A server behind which another one stands: what comes from there is cut after 8 MB, and from the second time on a byte
/// of it is wrong.
fn bad_server(behind: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (n, client) in listener.incoming().enumerate() {
            let client = client.unwrap();
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).unwrap();
            let (mut asks, mut asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut asks, &mut asked));
            std::thread::spawn(move || pass(server, client, n > 0));
        }
    });
    port
}

fn pass(mut from: TcpStream, mut to: TcpStream, wrong: bool) {
    let (mut passed, mut buffer) = (0, vec![0; 64 << 10]);
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if wrong && (passed..passed + n).contains(&1_000_000) {
            buffer[1_000_000 - passed] ^= 1;
        }
        passed += n;
        // The machine may close at any time.
        if to.write_all(&buffer[..n]).is_err() || passed > 8_000_000 {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// GRUB under BIOS, and a server whose files are not those of the build: nothing comes up.
#[test]
fn wrong_bytes_on_the_only_server_never_reach_login() {
    let built = native("debian-net");
    let root = scratch();
    unpack(&built, root.path());
    let nginx = Nginx::start(root.path());
    name_servers(root.path(), &format!("http://10.0.2.2:{}/", nginx.port));
    let frames = root.path().join("ramforge/frames.000");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(frames)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 5_000_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 5_000_000).unwrap();
    let end = boot(
        "net-grub-bios",
        &machine(root.path(), "boot.pxe", Firmware::Bios),
    );
    let Outcome::Refused(sentence) = &end.outcome else {
        panic!("{:?}: {}", end.outcome, end.tail());
    };
    let place = format!("http://10.0.2.2:{}/ramforge/frames.000 offset ", nginx.port);
    assert!(
        sentence.contains(&place) && sentence.contains("is damaged"),
        "{sentence}"
    );
    assert!(!end.log().contains("login:"), "{}", end.tail());
}

/// Every program that a server's person may use reads the set, and its menus name only files that are there.
#[test]
fn every_menu_names_files_of_the_set() {
    let built = example("debian-net");
    let root = scratch();
    unpack(&built, root.path());
    let words = built.manifest["media"]["kernelcmdline"].as_str().unwrap();
    for (menu, kernel, initrd) in [
        ("grub.cfg", "linux $dir/", "initrd $dir/"),
        ("boot.ipxe", "kernel ", "initrd "),
        ("pxelinux.cfg/default", "KERNEL ", "INITRD "),
    ] {
        let text = fs::read_to_string(root.path().join(menu)).unwrap();
        assert!(text.contains(words), "{menu}: {text}");
        for begin in [kernel, initrd] {
            let named = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix(begin));
            let named: Vec<&str> = named.map(|rest| rest.split(' ').next().unwrap()).collect();
            assert!(!named.is_empty(), "{menu}: no {begin:?}");
            named
                .iter()
                .for_each(|file| assert!(root.path().join(file).is_file(), "{menu}: {file}"));
        }
    }
    run("grub-script-check", &[&root.path().join("grub.cfg")]);
    run("xz", &[&"-t", &only(&built.dir, ".install.tar.xz")]);
    // The frames are those of the disk: what the ISO carries as well.
    let map: Value =
        serde_json::from_slice(&fs::read(root.path().join("ramforge/map")).unwrap()).unwrap();
    assert_eq!(map["size"], built.manifest["disk"]["size"]);
}
