//! The reader against e2fsprogs: what mke2fs made of a directory, and what this crate's own writer makes.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use image::ext4::reader::{ROOT, ReadAt, Reader};

struct Disk(File);

impl ReadAt for Disk {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("{program} (package e2fsprogs): {e}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
}

/// Content of every file, by name, in the root directory.
fn files(reader: &Reader, disk: &Disk) -> BTreeMap<String, Vec<u8>> {
    let root = reader.inode(ROOT).unwrap();
    let mut files = BTreeMap::new();
    for (name, number) in reader.entries(&root).unwrap() {
        let inode = reader.inode(number).unwrap();
        if inode.mode & 0o170_000 != 0o100_000 {
            continue;
        }
        let mut bytes = vec![0; inode.size as usize];
        for extent in reader.extents(&inode).unwrap() {
            let end = (extent.at + extent.length).min(inode.size) as usize;
            disk.read_at(extent.from, &mut bytes[extent.at as usize..end])
                .unwrap();
        }
        files.insert(String::from_utf8(name).unwrap(), bytes);
    }
    files
}

fn made(features: &str, block: &str) {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    for n in 0..700u32 {
        fs::write(
            tree.join(format!("file-{n:03}")),
            n.to_le_bytes().repeat(n as usize),
        )
        .unwrap();
    }
    // Holes: more runs than fit into the inode.
    let sparse = File::create(tree.join("sparse")).unwrap();
    for n in 0..400u64 {
        sparse
            .write_all_at(&[n as u8 | 1; 5000], n * 40_960)
            .unwrap();
    }
    let long = "x/".repeat(200);
    std::os::unix::fs::symlink("short", tree.join("link")).unwrap();
    std::os::unix::fs::symlink(&long, tree.join("long")).unwrap();
    fs::hard_link(tree.join("file-001"), tree.join("name-001")).unwrap();
    let path = dir.path().join("disk");
    let arguments = ["-q", "-t", "ext4", "-O", features, "-b", block, "-d"];
    let place = [tree.to_str().unwrap(), path.to_str().unwrap(), "64M"];
    run("/sbin/mke2fs", &[&arguments[..], &place].concat());

    let disk = Disk(File::open(&path).unwrap());
    let reader = Reader::open(&disk).unwrap();
    for (name, bytes) in files(&reader, &disk) {
        assert!(fs::read(tree.join(&name)).unwrap() == bytes, "{name}");
    }
    let root = reader.inode(ROOT).unwrap();
    let entries: BTreeMap<_, _> = reader.entries(&root).unwrap().into_iter().collect();
    assert_eq!(entries.len(), 705, "with lost+found");
    let inode = |name: &str| reader.inode(entries[name.as_bytes()]).unwrap();
    assert_eq!(reader.link(&inode("link")).unwrap(), b"short");
    assert_eq!(reader.link(&inode("long")).unwrap(), long.as_bytes());
    assert_eq!(entries[&b"file-001"[..]], entries[&b"name-001"[..]]);
    assert_eq!(inode("file-001").links, 2);
    let modified = fs::metadata(tree.join("file-003"))
        .unwrap()
        .modified()
        .unwrap();
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(inode("file-003").mtime.0, since.as_secs() as i64);
}

#[test]
fn what_mke2fs_makes_is_read() {
    made("64bit,metadata_csum", "4096");
    made("^64bit,^metadata_csum", "1024");
}

#[test]
fn devices_and_attributes_are_those_that_debugfs_sets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let file = path.to_str().unwrap();
    run("/sbin/mke2fs", &["-q", "-t", "ext4", file, "16M"]);
    let value = "v".repeat(900);
    fs::write(dir.path().join("value"), &value).unwrap();
    let value_file = dir.path().join("value");
    for order in [
        "mknod old c 5 1".to_owned(),
        "mknod new b 259 60000".to_owned(),
        "mknod pipe p".to_owned(),
        "set_inode_field old uid 70000".to_owned(),
        "ea_set old trusted.small x".to_owned(),
        format!("ea_set -f {} old trusted.large", value_file.display()),
    ] {
        run("/sbin/debugfs", &["-w", "-R", &order, file]);
    }
    let disk = Disk(File::open(&path).unwrap());
    let reader = Reader::open(&disk).unwrap();
    let root = reader.inode(ROOT).unwrap();
    let entries: BTreeMap<_, _> = reader.entries(&root).unwrap().into_iter().collect();
    let inode = |name: &str| reader.inode(entries[name.as_bytes()]).unwrap();
    let old = inode("old");
    assert_eq!(image::ext4::reader::device(&old), (5, 1));
    assert_eq!(image::ext4::reader::device(&inode("new")), (259, 60000));
    assert_eq!((old.mode & 0o170_000, old.uid), (0o020_000, 70000));
    assert_eq!(inode("pipe").mode & 0o170_000, 0o010_000);
    let xattrs: BTreeMap<_, _> = reader.xattrs(&old).unwrap().into_iter().collect();
    assert_eq!(xattrs["trusted.small"], b"x");
    assert!(xattrs["trusted.large"] == value.as_bytes());
}

#[test]
fn other_bytes_are_no_file_system() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    let disk = Disk(File::open(Path::new(file.path())).unwrap());
    let error = Reader::open(&disk).err().unwrap();
    assert_eq!(error.to_string(), "ext4: no superblock");
}

/// Whatever byte of the structures is wrong, the reader ends, and does not panic.
#[test]
fn damage_ends_in_an_error_or_in_other_files() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    for n in 0..40 {
        fs::write(tree.join(format!("f{n}")), "x".repeat(n)).unwrap();
    }
    let path = dir.path().join("disk");
    let place = ["-d", tree.to_str().unwrap(), path.to_str().unwrap(), "4M"];
    run(
        "/sbin/mke2fs",
        &[&["-q", "-t", "ext4", "-O", "^has_journal"][..], &place].concat(),
    );
    let bytes = fs::read(&path).unwrap();
    let used: Vec<usize> = (0..bytes.len()).filter(|n| bytes[*n] != 0).collect();
    struct Memory(Vec<u8>);
    impl ReadAt for Memory {
        fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
            let from = self.0.get(offset as usize..).unwrap_or_default();
            let from = from.get(..to.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            to.copy_from_slice(from);
            Ok(())
        }
    }
    for at in used.iter().step_by(used.len() / 2000 + 1) {
        let mut bytes = bytes.clone();
        bytes[*at] ^= 1 << (at % 8);
        let disk = Memory(bytes);
        let Ok(reader) = Reader::open(&disk) else {
            continue;
        };
        let Ok(root) = reader.inode(ROOT) else {
            continue;
        };
        for (_, number) in reader.entries(&root).unwrap_or_default() {
            if let Ok(inode) = reader.inode(number) {
                let _ = (
                    reader.extents(&inode),
                    reader.xattrs(&inode),
                    reader.link(&inode),
                );
            }
        }
    }
}
