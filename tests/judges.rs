//! Programs of other people read what the pipeline wrote.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use manifest::Object;
use pipeline_tests::{Example, command, example, root, run, scratch, store, with_store};
use serde_json::Value;
use store::Store;
use store::chunk_map::ChunkMap;

const EXAMPLES: [&str; 2] = ["debian-vm", "debian-ram"];

fn examples() -> impl Iterator<Item = Example> {
    EXAMPLES.iter().map(|name| example(name))
}

fn object(value: &Value) -> Object {
    serde_json::from_value(value.clone()).unwrap()
}

fn stored(value: &Value) -> PathBuf {
    Store::open(&store()).unwrap().object_path(&object(value))
}

/// The image stands behind the disk in the medium's map.
#[test]
fn fsck_reads_every_file_of_the_compressed_root() {
    let built = with_store("debian-vm", "erofs", "native");
    let erofs = &built.manifest["disk"]["erofs"];
    let number = |name: &str| erofs[name].as_u64().unwrap();
    let (offset, size) = (number("offset"), number("size"));
    let store = Store::open(&store()).unwrap();
    let map = ChunkMap::parse(&store.get(&object(&erofs["map"])).unwrap()).unwrap();
    assert_eq!(map.size, offset + size);
    let scratch = scratch();
    let path = scratch.path().join("root.erofs");
    let image = File::create(&path).unwrap();
    image.set_len(size).unwrap();
    for chunk in &map.chunks {
        if let Some(at) = (chunk.at * map.chunk_size).checked_sub(offset) {
            let plain = zstd::decode_all(&store.get(&chunk.frame).unwrap()[..]).unwrap();
            image.write_all_at(&plain, at).unwrap();
        }
    }
    run("fsck.erofs", &[&"--extract", &path]);
}

#[test]
fn xorriso_finds_both_boot_images_and_the_hybrid_system_area() {
    for built in examples() {
        let report = ["-report_el_torito", "plain", "-report_system_area", "plain"];
        let said = run(
            "xorriso",
            &[
                &"-indev", &built.iso, &report[0], &report[1], &report[2], &report[3],
            ],
        );
        let volid = built.manifest["media"]["volid"].as_str().unwrap();
        let line = |begin: &str, part: &str| {
            let found = said
                .lines()
                .any(|l| l.starts_with(begin) && l.contains(part));
            assert!(found, "no line {begin:?} with {part:?} in:\n{said}");
        };
        line("Volume id", &format!("'{volid}'"));
        line("El Torito boot img :   1  BIOS", "none");
        line("El Torito boot img :   2  UEFI", "none");
        line("System area summary:", "MBR");
        line("System area summary:", "GPT");
        assert!(
            !said.contains("FAILURE") && !said.contains("SORRY"),
            "{said}"
        );
    }
}

#[test]
fn xorriso_extracts_the_kernel_and_initrd_that_the_manifest_names() {
    for built in examples() {
        let dir = extract(&built.iso);
        let same = |file: &str, value: &Value| {
            let bytes = std::fs::read(dir.path().join(file)).unwrap();
            assert_eq!(Object::of(&bytes), object(value), "{file}");
        };
        same("boot/linux", &built.manifest["rootfs"]["kernel"]["image"]);
        same("boot/initrd", &built.manifest["initrd"]["image"]);
        same("ramforge/map", &built.manifest["disk"]["map"]);
        assert_eq!(
            built.manifest["initrd"]["deploy_id"],
            built.manifest["disk"]["map"]["blake3"]
        );
    }
}

/// The payload of the medium, read by zstd, is the `.raw` without its holes.
#[test]
fn zstd_reads_the_disk_image_out_of_the_payload() {
    for built in examples() {
        let dir = extract(&built.iso);
        let map =
            ChunkMap::parse(&std::fs::read(dir.path().join("ramforge/map")).unwrap()).unwrap();
        let raw = File::open(&built.raw).unwrap();
        assert_eq!(raw.metadata().unwrap().len(), map.size);
        let mut frames: Vec<_> = std::fs::read_dir(dir.path().join("ramforge"))
            .unwrap()
            .flatten()
            .map(|e| e.path())
            .collect();
        frames.retain(|p| p.to_string_lossy().contains("frames."));
        frames.sort();
        assert!(!frames.is_empty());
        let zstd = command("zstd")
            .arg("-dcq")
            .args(&frames)
            .stdout(Stdio::piped())
            .spawn();
        let mut zstd = zstd.unwrap();
        let mut plain = zstd.stdout.take().unwrap();
        let mut seen = HashSet::new();
        for chunk in map.chunks.iter().filter(|c| seen.insert(c.frame)) {
            let length = usize::try_from(map.chunk_len(chunk.at)).unwrap();
            let (mut from_iso, mut from_raw) = (vec![0; length], vec![0; length]);
            plain.read_exact(&mut from_iso).unwrap();
            raw.read_exact_at(&mut from_raw, chunk.at * map.chunk_size)
                .unwrap();
            assert!(from_iso == from_raw, "chunk {}", chunk.at);
        }
        assert_eq!(
            plain.read(&mut [0]).unwrap(),
            0,
            "nothing follows the last frame"
        );
        assert!(zstd.wait().unwrap().success());
    }
}

#[test]
fn sgdisk_has_no_complaint() {
    for built in examples() {
        for disk in [&built.raw, &built.iso] {
            let said = run("sgdisk", &[&"-v", disk]);
            assert!(
                said.contains("No problems found"),
                "{}:\n{said}",
                disk.display()
            );
        }
        let said = run("sgdisk", &[&"-p", &built.raw]);
        for code in ["EF02", "EF00"] {
            assert!(said.contains(code), "no partition {code}:\n{said}");
        }
    }
}

#[test]
fn e2fsck_has_no_complaint_about_the_root() {
    for built in examples() {
        let scratch = scratch();
        let root = carve(&built, "root", scratch.path());
        run("e2fsck", &[&"-fn", &root]);
        // What the system cannot do without lies where its package put it.
        let said = run("debugfs", &[&"-R", &"stat /usr/lib/systemd/systemd", &root]);
        assert!(said.contains("Type: regular"), "{said}");
        let said = run("debugfs", &[&"-R", &"stat /etc/shadow", &root]);
        assert!(
            said.contains("Mode:  0640") && said.contains("Group:    42"),
            "{said}"
        );
    }
}

#[test]
fn fsck_vfat_has_no_complaint_about_the_system_partitions() {
    for built in examples() {
        let scratch = scratch();
        run(
            "fsck.vfat",
            &[&"-n", &"-v", &carve(&built, "esp", scratch.path())],
        );
        let images = scratch.path().join("images");
        run(
            "xorriso",
            &[
                &"-osirrox",
                &"on",
                &"-indev",
                &built.iso,
                &"-extract_boot_images",
                &images,
            ],
        );
        let mut names: Vec<_> = std::fs::read_dir(&images)
            .unwrap()
            .flatten()
            .map(|e| e.path())
            .collect();
        names.retain(|p| p.to_string_lossy().contains("uefi"));
        assert!(!names.is_empty(), "no UEFI image in {}", images.display());
        for image in names {
            run("fsck.vfat", &[&"-n", &"-v", &image]);
            let said = run("mdir", &[&"-b", &"-/", &"-i", &image]);
            assert!(said.to_lowercase().contains("bootx64.efi"), "{said}");
        }
    }
}

/// Every segment of the initrd is an archive that cpio reads, and the chain is what dracut's own reader expects.
#[test]
fn cpio_reads_every_segment() {
    for built in examples() {
        let segments = built.manifest["initrd"]["segments"].as_array().unwrap();
        assert!(segments.len() >= 2, "{segments:?}");
        let names = |name: &str| {
            let segment = segments.iter().find(|s| s["name"] == name).unwrap();
            listing(&stored(&segment["object"]))
        };
        for (segment, end) in [
            ("deploy", "ram-deploy"),
            ("deploy", "/brd.ko"),
            ("configuration", "etc/ramforge/deploy.json"),
            ("configuration", "etc/ramforge/deploy.json.b3"),
        ] {
            let names = names(segment);
            assert!(
                names.iter().any(|n| n.contains(end)),
                "no {end} in {names:?}"
            );
        }
        let base = segments.iter().find(|s| s["name"] == "base").unwrap();
        let said = run("lsinitrd", &[&stored(&base["object"])]);
        assert!(
            said.contains("usr/lib/systemd/systemd") || said.contains("dracut"),
            "{said}"
        );
    }
}

/// What runs in every initramfs takes its RAM there: one static program below 3 MiB.
#[test]
fn ram_deploy_is_static_and_small() {
    let program = root().join("target/x86_64-unknown-linux-gnu/ramdeploy/ram-deploy");
    let headers = run("readelf", &[&"--program-headers", &"--wide", &program]);
    assert!(headers.contains("LOAD"), "{headers}");
    assert!(!headers.contains("INTERP"), "{headers}");
    let size = std::fs::metadata(&program).unwrap().len();
    assert!(size < 3 << 20, "{size} bytes");
}

/// `NAME|EPOCH|VERSION|RELEASE|ARCH|DISTURL|LICENSE`, a line per package of the lock.
#[test]
fn the_package_list_is_the_lock() {
    for built in examples() {
        let text = std::fs::read_to_string(&built.packages).unwrap();
        let listed: Vec<_> = text.lines().map(|l| l.split('|').next().unwrap()).collect();
        let lock = built.manifest["rootfs"]["packages"].as_array().unwrap();
        let locked: Vec<_> = lock.iter().map(|p| p["name"].as_str().unwrap()).collect();
        assert_eq!(listed.len(), locked.len());
        let (listed, locked): (HashSet<_>, HashSet<_>) =
            (listed.into_iter().collect(), locked.into_iter().collect());
        assert_eq!(listed, locked);
        assert!(
            lock.iter()
                .all(|p| p["sha256"].as_str().unwrap().len() == 64)
        );
    }
}

fn extract(iso: &Path) -> tempfile::TempDir {
    let dir = scratch();
    run(
        "xorriso",
        &[
            &"-osirrox",
            &"on",
            &"-indev",
            &iso,
            &"-extract",
            &"/",
            &dir.path(),
        ],
    );
    run("chmod", &[&"-R", &"u+w", &dir.path()]);
    dir
}

/// A partition of the `.raw` as a file of its own.
fn carve(built: &Example, role: &str, into: &Path) -> PathBuf {
    let (offset, size) = built.partition(role);
    let to = into.join(role);
    let arguments = [
        format!("if={}", built.raw.display()),
        format!("of={}", to.display()),
        format!("skip={offset}"),
        format!("count={size}"),
    ];
    let output = command("dd")
        .args(arguments)
        .args([
            "bs=1M",
            "iflag=skip_bytes,count_bytes",
            "conv=sparse",
            "status=none",
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", pipeline_tests::text(&output));
    // A hole at the end is no part of what dd writes.
    File::options()
        .write(true)
        .open(&to)
        .unwrap()
        .set_len(size)
        .unwrap();
    to
}

/// The names in a segment, as cpio lists them.
fn listing(segment: &Path) -> Vec<String> {
    let mut magic = [0; 6];
    File::open(segment).unwrap().read_exact(&mut magic).unwrap();
    let unpack: &[&str] = match magic {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => &["zstd", "-dcq"],
        [0x1f, 0x8b, ..] => &["gzip", "-dc"],
        [0xfd, b'7', b'z', ..] => &["xz", "-dc"],
        _ => &["cat"],
    };
    let mut unpack = command(unpack[0])
        .args(&unpack[1..])
        .stdin(File::open(segment).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = command("cpio")
        .args(["--list", "--quiet"])
        .stdin(unpack.stdout.take().unwrap())
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "cpio: {}",
        pipeline_tests::text(&output)
    );
    assert!(unpack.wait().unwrap().success());
    pipeline_tests::text(&output)
        .lines()
        .map(str::to_owned)
        .collect()
}
