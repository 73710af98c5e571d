//! Media that tests change: other words in the boot menu, damage, and disks that hold an ISO.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use image::iso9660;

use crate::{command, run, scratch, text};

/// The directories of an ISO lie in its first bytes.
const HEAD: u64 = 4 << 20;
/// Bytes in a MiB.
const MIB: u64 = 1 << 20;

/// A file of an ISO.
#[derive(Debug, Clone)]
pub struct Area {
    /// Its path.
    pub path: String,
    /// Its first byte in the ISO.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// The files of an ISO in the order of their bytes.
///
/// # Panics
/// Where it is none.
pub fn areas(iso: &Path) -> Vec<Area> {
    let mut head = Vec::new();
    let file = File::open(iso).unwrap();
    file.take(HEAD).read_to_end(&mut head).unwrap();
    let extents = iso9660::extents(&head).unwrap();
    let area = |e: iso9660::Extent| Area {
        path: e.path,
        offset: e.offset,
        len: e.len,
    };
    extents.into_iter().map(area).collect()
}

/// A sparse copy that may be written.
///
/// # Panics
/// Where it cannot be made.
pub fn sparse_copy(from: &Path, to: &Path) {
    run("cp", &[&"--sparse=always", &"--reflink=auto", &from, &to]);
    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Changes one bit of a file.
///
/// # Panics
/// Where it has no such byte.
pub fn flip(file: &Path, at: u64, bit: u32) {
    let file = OpenOptions::new().read(true).write(true).open(file);
    let file = file.unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}

/// A copy of an ISO whose first menu entry, then the only one, has more words on the kernel command line.
///
/// # Panics
/// Where the menu has no room for them.
pub fn with_words(iso: &Path, to: &Path, words: &str) {
    sparse_copy(iso, to);
    let all = areas(to);
    let menu = all.iter().find(|a| a.path == "boot/grub/grub.cfg").unwrap();
    let file = OpenOptions::new().read(true).write(true).open(to).unwrap();
    let mut bytes = vec![0; menu.len as usize];
    file.read_exact_at(&mut bytes, menu.offset).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (first, _) = text.split_once("\n}\n").unwrap();
    let mut text = first.replace(" $iso_words", &format!(" $iso_words {words}")) + "\n}\n";
    assert!(text.contains(words) && text.len() as u64 <= menu.len);
    text.extend(std::iter::repeat_n('\n', menu.len as usize - text.len()));
    file.write_all_at(text.as_bytes(), menu.offset).unwrap();
}

/// A disk for UEFI: an ESP with GRUB, whose first commands are `commands`, and one partition with the bytes of
/// `content`.
///
/// # Panics
/// Where a program of the host fails.
pub fn iso_disk(disk: &Path, commands: &str, content: &Path) {
    let scratch = scratch();
    let (config, grub) = (scratch.path().join("cfg"), scratch.path().join("grub"));
    fs::write(&config, commands).unwrap();
    let modules = "normal configfile linux part_gpt fat exfat ext2 iso9660 loopback search search_fs_file echo test serial terminal";
    let output = command("grub-mkimage")
        .args(["-O", "x86_64-efi", "-p", "/EFI/BOOT", "-c"])
        .arg(&config)
        .arg("-o")
        .arg(&grub)
        .args(modules.split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let size = fs::metadata(content).unwrap().len().next_multiple_of(MIB);
    let file = File::create(disk).unwrap();
    file.set_len(size + 36 * MIB).unwrap();
    let second = format!("--new=2:{}:+{}", 34 * MIB / 512, size / 512 - 1);
    run(
        "sgdisk",
        &[&"--new=1:2048:+32M", &"--typecode=1:ef00", &second, &disk],
    );
    let esp = scratch.path().join("esp");
    File::create(&esp).unwrap().set_len(32 * MIB).unwrap();
    run("mkfs.vfat", &[&"-F", &"16", &esp]);
    run("mmd", &[&"-i", &esp, &"::EFI", &"::EFI/BOOT"]);
    run("mcopy", &[&"-i", &esp, &grub, &"::EFI/BOOT/BOOTX64.EFI"]);
    put(&esp, disk, MIB);
    put(content, disk, 34 * MIB);
}

/// Writes the bytes of a file into another one, from the byte `at` on.
///
/// # Panics
/// Where it cannot be written.
pub(crate) fn put(file: &Path, into: &Path, at: u64) {
    run(
        "dd",
        &[
            &in_words("if=", file),
            &in_words("of=", into),
            &format!("seek={at}"),
            &"bs=1M",
            &"oflag=seek_bytes",
            &"conv=notrunc,sparse",
            &"status=none",
        ],
    );
}

fn in_words(before: &str, path: &Path) -> String {
    format!("{before}{}", path.display())
}
