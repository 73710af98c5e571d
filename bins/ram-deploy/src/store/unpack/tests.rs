use super::*;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

struct Disk(File);

impl ReadAt for Disk {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }
}

/// Type and mode, owner, group, size, links, time, content.
type Fact = (u32, u32, u32, u64, u64, i64, Vec<u8>);

/// What must be the same of every entry below `root`.
fn facts(root: &Path) -> BTreeMap<PathBuf, Fact> {
    let mut facts = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = match meta.file_type() {
                kind if kind.is_file() => fs::read(&path).unwrap(),
                kind if kind.is_symlink() => {
                    fs::read_link(&path).unwrap().into_os_string().into_vec()
                }
                _ => Vec::new(),
            };
            let size = if meta.is_dir() { 0 } else { meta.size() };
            let links = if meta.is_dir() { 0 } else { meta.nlink() };
            let fact = (
                meta.mode(),
                meta.uid(),
                meta.gid(),
                size,
                links,
                meta.mtime(),
                content,
            );
            facts.insert(path.strip_prefix(root).unwrap().to_owned(), fact);
            if meta.is_dir() {
                waiting.push(path);
            }
        }
    }
    facts.remove(Path::new("lost+found"));
    facts
}

#[test]
fn a_tree_comes_back_as_mke2fs_took_it() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, out) = (dir.path().join("tree"), dir.path().join("out"));
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::create_dir(&out).unwrap();
    for n in 0..300u32 {
        fs::write(
            tree.join(format!("a/{n}")),
            n.to_le_bytes().repeat(n as usize * 7),
        )
        .unwrap();
    }
    let sparse = File::create(tree.join("a/b/sparse")).unwrap();
    sparse.write_all_at(b"end", 9 << 20).unwrap();
    sparse.set_len(10 << 20).unwrap();
    fs::hard_link(tree.join("a/7"), tree.join("a/b/seven")).unwrap();
    std::os::unix::fs::symlink("../7", tree.join("a/b/link")).unwrap();
    rustix::fs::mknodat(CWD, tree.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    rustix::fs::chmodat(
        CWD,
        tree.join("a/9"),
        Mode::from_raw_mode(0o4711),
        AtFlags::empty(),
    )
    .unwrap();
    let old = Timestamps {
        last_access: Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        },
        last_modification: Timespec {
            tv_sec: 1_000_000,
            tv_nsec: 5,
        },
    };
    for path in ["a/9", "a/b/link", "a/b", "a"] {
        rustix::fs::utimensat(CWD, tree.join(path), &old, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    let disk = dir.path().join("disk");
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .args([&tree, &disk])
        .arg("64M")
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .status()
        .expect("mke2fs (package e2fsprogs)");
    assert!(made.success());

    let disk = Disk(File::open(disk).unwrap());
    let unpack = Unpack::new(&disk, &out).unwrap();
    assert!(unpack.inodes() > 300);
    let done = AtomicU64::new(0);
    let tell = |bytes| {
        done.fetch_max(bytes, Ordering::Relaxed);
    };
    assert_eq!(unpack.run(3, &tell).unwrap(), 0);
    let (expected, found) = (facts(&tree), facts(&out));
    assert!(expected.keys().eq(found.keys()));
    for (path, fact) in &expected {
        assert!(found[path] == *fact, "{}", path.display());
    }
    assert!(fs::metadata(out.join("a/b/sparse")).unwrap().blocks() < 64);
    assert!(done.into_inner() > 1 << 20);
}
