//! FAT volumes before their judges: fsck.vfat and mtools.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::process::Command;

fn files() -> Vec<(String, Vec<u8>)> {
    vec![
        ("EFI/BOOT/BOOTX64.EFI".into(), vec![0x4d; 700_000]),
        ("EFI/BOOT/grubx64.efi".into(), b"grub".to_vec()),
        ("EFI/debian/grub.cfg".into(), b"configfile".to_vec()),
    ]
}

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("{program} (packages dosfstools, mtools): {e}"));
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stdout)
    );
    output.stdout
}

#[test]
fn the_judges_read_every_size_of_volume() {
    let dir = tempfile::tempdir().unwrap();
    for mib in [4, 20, 64, 300] {
        let path = dir.path().join(format!("{mib}.img"));
        let bytes = image::fat::volume(mib << 20, "EFI", 0x1234_5678, &files()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let file = path.to_str().unwrap();
        run("/sbin/fsck.vfat", &["-n", file]);
        assert_eq!(
            run("mtype", &["-i", file, "::EFI/debian/grub.cfg"]),
            b"configfile"
        );
        assert_eq!(
            run("mtype", &["-i", file, "::efi/boot/bootx64.efi"]).len(),
            700_000
        );
    }
}

#[test]
fn equal_files_give_equal_bytes_and_too_many_are_named() {
    let volume = || image::fat::volume(4 << 20, "EFI", 1, &files()).unwrap();
    assert!(volume() == volume());
    let error =
        image::fat::volume(4 << 20, "EFI", 1, &[("A".into(), vec![1; 5 << 20])]).unwrap_err();
    assert!(error.to_string().contains("A"), "{error}");
}

#[test]
fn names_are_told_apart_without_their_case() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("esp.img");
    let mut files = files();
    files.push(("efi/boot/MMX64.EFI".into(), b"mm".to_vec()));
    std::fs::write(
        &path,
        image::fat::volume(4 << 20, "EFI", 1, &files).unwrap(),
    )
    .unwrap();
    let file = path.to_str().unwrap();
    run("/sbin/fsck.vfat", &["-n", file]);
    assert_eq!(run("mtype", &["-i", file, "::EFI/BOOT/MMX64.EFI"]), b"mm");
    files.push(("EFI/boot/bootx64.efi".into(), Vec::new()));
    let error = image::fat::volume(4 << 20, "EFI", 1, &files).unwrap_err();
    assert!(error.to_string().contains("is there already"), "{error}");
}

/// A change of these bytes is a change of the version of the stages that write them.
#[test]
fn the_bytes_are_pinned() {
    let bytes = image::fat::volume(4 << 20, "EFI", 0x1234_5678, &files()).unwrap();
    assert_eq!(
        blake3::hash(&bytes).to_hex().as_str(),
        "9d846115981ce17c269e322495a240c45a4c1a648d3a919e1a57c85159e614b6"
    );
}
