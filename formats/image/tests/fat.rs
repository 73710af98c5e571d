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
