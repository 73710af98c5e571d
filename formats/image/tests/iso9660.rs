//! xorriso and sgdisk read what `iso9660` wrote.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod judge;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use image::Guid;
use image::iso9660::{self, BootImage, Content, Hybrid, Image, Part};
use tempfile::TempDir;

const EPOCH: i64 = 1_704_164_645; // 2024-01-02 03:04:05 UTC

fn guid(n: u8) -> Guid {
    Guid::from_digest([n; 16])
}

fn bytes(path: &str, bytes: &[u8]) -> iso9660::File {
    iso9660::File {
        path: path.to_owned(),
        content: Content::Bytes(bytes.to_vec()),
    }
}

fn noise(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

/// All ways to give a content, odd lengths, a directory of several sectors, colliding names.
fn sample(dir: &Path) -> Image {
    let (one, two) = (dir.join("one"), dir.join("two"));
    fs::write(&one, noise(10_000)).unwrap();
    fs::write(&two, noise(3_000)).unwrap();
    let part = |path: &PathBuf, offset, len| Part {
        path: path.clone(),
        offset,
        len,
    };
    let parts = Content::Parts(vec![part(&one, 100, 5_001), part(&two, 0, 3_000)]);
    let mut files = vec![
        bytes("boot/grub/grub.cfg", b"set timeout=1\n"),
        bytes("boot/vmlinuz-6.1.0-18-amd64", &noise(70_001)),
        bytes("empty", b""),
        bytes("a+b.txt", b"plus"),
        bytes("a-b.txt", b"minus"),
        bytes("two/three/four/five/six/seven/eight", b"deep"),
        bytes(&format!("{}/{}", "d".repeat(144), "f".repeat(144)), b"long"),
        bytes("Grüße.TXT", b"letters"),
        iso9660::File {
            path: "payload/frames.0".into(),
            content: parts,
        },
    ];
    files
        .extend((0..100).map(|n| bytes(&format!("many/a file with a rather long name {n}"), &[n])));
    Image {
        volume_id: "INSTALL".into(),
        epoch: EPOCH,
        files,
        bios: Some(BootImage {
            path: "boot/grub/eltorito.img".into(),
            bytes: noise(30_001),
        }),
        uefi: Some(BootImage {
            path: "boot/grub/efi.img".into(),
            bytes: noise(65_536),
        }),
        hybrid: Some(Hybrid {
            mbr_code: noise(512),
            disk: guid(1),
            iso: guid(2),
            esp: guid(3),
        }),
    }
}

fn write(image: &Image, path: &Path) -> iso9660::Summary {
    let file = File::create(path).unwrap();
    let summary = iso9660::write(&file, image, &mut |_| Ok(())).unwrap();
    assert_eq!(file.metadata().unwrap().len(), summary.size);
    summary
}

fn written() -> (TempDir, PathBuf, Image, iso9660::Summary) {
    let dir = tempfile::tempdir().unwrap();
    let image = sample(dir.path());
    let path = dir.path().join("image.iso");
    let summary = write(&image, &path);
    (dir, path, image, summary)
}

fn xorriso(path: &Path, args: &[&str]) -> String {
    let path = path.to_str().unwrap();
    let mut all = vec![
        "-abort_on",
        "WARNING",
        "-return_with",
        "WARNING",
        "32",
        "-indev",
        path,
    ];
    all.extend(args);
    judge::ok("xorriso", &all)
}

#[test]
fn xorriso_extracts_the_same_bytes() {
    let (dir, path, image, _) = written();
    let target = dir.path().join("extracted");
    xorriso(
        &path,
        &["-osirrox", "on", "-extract", "/", target.to_str().unwrap()],
    );
    for file in &image.files {
        let expected = match &file.content {
            Content::Bytes(bytes) => bytes.clone(),
            Content::Parts(_) => [&noise(10_000)[100..5_101], &noise(3_000)].concat(),
        };
        assert!(
            fs::read(target.join(&file.path)).unwrap() == expected,
            "{}",
            file.path
        );
    }
    let efi = fs::read(target.join("boot/grub/efi.img")).unwrap();
    assert!(efi == noise(65_536));
    let count = judge::ok("find", &[target.to_str().unwrap(), "-type", "f"])
        .lines()
        .count();
    assert_eq!(count, image.files.len() + 2);
}

#[test]
fn xorriso_sees_the_boot_images() {
    let (_dir, path, ..) = written();
    let report = xorriso(&path, &["-report_el_torito", "plain"]);
    let lines: Vec<Vec<&str>> = report
        .lines()
        .filter(|line| line.starts_with("El Torito"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let text = |n: usize| lines[n].join(" ");
    assert!(text(0).starts_with("El Torito catalog : "), "{report}");
    assert_eq!(
        text(2),
        "El Torito boot img : 1 BIOS y none 0x0000 0x00 4 41",
        "{report}"
    );
    assert_eq!(
        text(3),
        "El Torito boot img : 2 UEFI y none 0x0000 0x00 128 202",
        "{report}"
    );
    assert_eq!(
        text(4),
        "El Torito img path : 1 /boot/grub/eltorito.img",
        "{report}"
    );
    assert_eq!(
        text(5),
        "El Torito img opts : 1 boot-info-table grub2-boot-info",
        "{report}"
    );
    assert_eq!(
        text(6),
        "El Torito img path : 2 /boot/grub/efi.img",
        "{report}"
    );
}

#[test]
fn xorriso_sees_the_disk() {
    let (_dir, path, ..) = written();
    let report = xorriso(&path, &["-report_system_area", "plain"]);
    let has = |words: &str| {
        let found = report
            .lines()
            .any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") == words);
        assert!(found, "{words:?} not in\n{report}");
    };
    has("System area summary: MBR protective-msdos-label grub2-mbr cyl-align-off GPT");
    has(&format!(
        "GPT disk GUID : {}",
        guid(1).0.map(|b| format!("{b:02x}")).concat()
    ));
    has("GPT partition name : 1 490053004f003900360036003000");
}

#[test]
fn sgdisk_finds_no_fault() {
    let (_dir, path, ..) = written();
    let report = judge::ok("sgdisk", &["-v", path.to_str().unwrap()]);
    assert!(report.contains("No problems found"), "{report}");
}

#[test]
fn the_summary_tells_where_files_lie() {
    let (_dir, path, image, summary) = written();
    let whole = fs::read(path).unwrap();
    for (file, offset) in image.files.iter().zip(&summary.files) {
        if let Content::Bytes(bytes) = &file.content {
            let at = *offset as usize;
            assert!(whole[at..at + bytes.len()] == bytes[..], "{}", file.path);
        }
    }
}

/// Media written before must stay reproducible: a change of these bytes is a change of the version
/// of the stage that writes them.
/// The writer's summary is the judge of the reader, and xorriso of both.
#[test]
fn the_reader_finds_every_file_where_it_lies() {
    let (_dir, path, image, summary) = written();
    let bytes = fs::read(&path).unwrap();
    let extents = iso9660::extents(&bytes[..700_000]).unwrap();
    for (file, offset) in image.files.iter().zip(&summary.files) {
        let (path, len) = (file.path.clone(), file.content.len());
        let (offset, found) = (*offset, extents.iter().find(|e| e.path == path));
        assert_eq!(found, Some(&iso9660::Extent { path, offset, len }));
    }
    assert_eq!(extents.len(), image.files.len() + 2, "and the boot images");
    for wrong in [&bytes[..40_000], &[0; 40_000], b""] {
        assert!(iso9660::extents(wrong).is_err());
    }
}

/// The same files, one directory at a time and without the rest of the image.
#[test]
fn a_directory_is_listed_alone() {
    let (_dir, path, ..) = written();
    let bytes = fs::read(&path).unwrap();
    let all = iso9660::extents(&bytes[..700_000]).unwrap();
    let read = |offset: u64, buffer: &mut [u8]| {
        let found = bytes.get(offset as usize..offset as usize + buffer.len());
        buffer.copy_from_slice(found.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    };
    for directory in ["", "boot/grub", "payload", "two/three/four/five/six/seven"] {
        let mut found = iso9660::list(&read, directory).unwrap().unwrap();
        found.sort_by(|a, b| (a.offset, &a.path).cmp(&(b.offset, &b.path)));
        let parent = |path: &str| path.rsplit_once('/').map_or("", |(d, _)| d).to_owned();
        let here = all.iter().filter(|e| parent(&e.path) == directory);
        let here: Vec<_> = here.cloned().collect();
        assert!(found == here && !here.is_empty(), "{directory}: {found:?}");
    }
    assert_eq!(iso9660::list(&read, "boot/nothing").unwrap(), None);
    assert_eq!(iso9660::list(&read, "empty").unwrap(), None, "a file");
    let short = |_: u64, _: &mut [u8]| Err(std::io::ErrorKind::UnexpectedEof.into());
    assert!(iso9660::list(&short, "boot").is_err());
    let zeros = |_: u64, buffer: &mut [u8]| {
        buffer.fill(0);
        Ok(())
    };
    assert!(iso9660::list(&zeros, "boot").is_err());
}

#[test]
fn the_bytes_are_pinned() {
    let (_dir, path, ..) = written();
    assert_eq!(
        judge::digest(&path),
        "a62081c3f542261691940c11eb185f559ed97c6787095ea169c5c081c2c9f28d"
    );
}

#[test]
fn images_without_parts_are_whole_too() {
    let dir = tempfile::tempdir().unwrap();
    let full = sample(dir.path());
    let variants = [
        (
            "no-bios",
            Image {
                bios: None,
                ..full.clone()
            },
        ),
        (
            "no-uefi",
            Image {
                uefi: None,
                ..full.clone()
            },
        ),
        (
            "no-hybrid",
            Image {
                hybrid: None,
                ..full.clone()
            },
        ),
        (
            "no-boot",
            Image {
                bios: None,
                uefi: None,
                hybrid: None,
                ..full.clone()
            },
        ),
        (
            "no-files",
            Image {
                files: Vec::new(),
                ..full
            },
        ),
    ];
    for (name, image) in variants {
        let path = dir.path().join(name);
        write(&image, &path);
        xorriso(&path, &["-find", "/", "-exec", "report_lba"]);
        if image.hybrid.is_some() {
            let report = judge::ok("sgdisk", &["-v", path.to_str().unwrap()]);
            assert!(report.contains("No problems found"), "{name}: {report}");
        }
    }
}

fn refusal(change: impl FnOnce(&mut Image)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut image = sample(dir.path());
    change(&mut image);
    let file = File::create(dir.path().join("image.iso")).unwrap();
    iso9660::write(&file, &image, &mut |_| Ok(()))
        .unwrap_err()
        .to_string()
}

#[test]
fn what_cannot_be_written_is_refused() {
    let huge = Part {
        path: "/dev/zero".into(),
        offset: 0,
        len: 1 << 32,
    };
    let file = iso9660::File {
        path: "huge".into(),
        content: Content::Parts(vec![huge]),
    };
    let error = refusal(|image| image.files.push(file));
    assert!(
        error.contains("huge: 4294967296 bytes long") && error.contains("4 GiB"),
        "{error}"
    );
    let error = refusal(|image| image.hybrid.as_mut().unwrap().mbr_code.clear());
    assert!(error.contains("boot_hybrid.img"), "{error}");
    let error = refusal(|image| image.bios.as_mut().unwrap().bytes.truncate(512));
    assert!(error.contains("i386-pc-eltorito"), "{error}");
}

#[test]
fn a_source_that_is_short_or_missing_is_named() {
    let short = |image: &mut Image| {
        if let Content::Parts(parts) = &mut image.files[8].content {
            parts[0].offset = 6_000;
        }
    };
    let error = refusal(short);
    assert!(
        error.contains("/one: damaged: 1001 of 5001 bytes from 6000 on are missing"),
        "{error}"
    );
    let missing = Part {
        path: "/nonexistent/frame".into(),
        offset: 0,
        len: 1,
    };
    let file = iso9660::File {
        path: "frame".into(),
        content: Content::Parts(vec![missing]),
    };
    let error = refusal(|image| image.files.push(file));
    assert!(error.starts_with("/nonexistent/frame: "), "{error}");
}

#[test]
fn progress_can_stop_the_writing() {
    let dir = tempfile::tempdir().unwrap();
    let image = sample(dir.path());
    let file = File::create(dir.path().join("image.iso")).unwrap();
    let mut stop = |written| match written {
        0..100_000 => Ok(()),
        _ => Err(std::io::ErrorKind::Interrupted.into()),
    };
    assert!(iso9660::write(&file, &image, &mut stop).is_err());
    assert!(file.metadata().unwrap().len() < 300_000);
}
