//! EROFS images before their judges: `fsck.erofs`, which unpacks them too, and `dump.erofs`.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod judge;

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use image::erofs::{Compression, Parameters, check, most_size, write};
use image::ext4::{Kind, Node, RegionSink};

const EPOCH: u64 = 1_700_000_000;

fn node(path: &str, kind: Kind) -> Node {
    let mode = if kind == Kind::Dir { 0o755 } else { 0o644 };
    Node {
        path: path.into(),
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime: 1_600_000_000,
        xattrs: Vec::new(),
    }
}

/// Lengths at which something changes: what lies behind an inode, blocks, pieces.
const LENGTHS: [u64; 22] = [
    0, 1, 100, 3000, 4063, 4064, 4065, 4095, 4096, 4097, 5000, 8191, 8192, 8193, 12_000, 65_536,
    131_071, 131_072, 131_073, 140_000, 400_000, 5_000_000,
];

/// What a file holds: nothing but noise, words, zeros, or noise and then words.
const CONTENTS: [&str; 4] = ["noise", "words", "zeros", "mixed"];

fn content(kind: &str, length: u64) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ length;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let length = length as usize;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        let is_noise = kind == "noise" || kind == "mixed" && out.len() / 100_000 % 2 == 0;
        match (kind, is_noise) {
            ("zeros", _) => out.push(0),
            (_, true) => out.extend(random().to_le_bytes()),
            _ => out.extend(format!("word {} ", random() % 1000).bytes()),
        }
    }
    out.truncate(length);
    out
}

fn tree() -> Vec<Node> {
    let mut nodes = vec![
        node("", Kind::Dir),
        node("bin", Kind::Dir),
        node("bin/ping", Kind::File(5000)),
        node("bin/ping4", Kind::Hardlink("bin/ping".into())),
        node("bin/sh", Kind::Symlink("dash".into())),
        node("bin/long", Kind::Symlink("x/".repeat(2040))),
        node("dev", Kind::Dir),
        node("dev/null", Kind::Char(1, 3)),
        node("dev/sda", Kind::Block(8, 300)),
        node("pipe", Kind::Fifo),
        node("empty", Kind::Dir),
        node("many", Kind::Dir),
        node("data", Kind::Dir),
    ];
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    nodes[2].xattrs = vec![
        ("security.capability".into(), capability.to_vec()),
        ("user.note".into(), b"kept".to_vec()),
    ];
    (nodes[2].uid, nodes[2].gid, nodes[2].mode) = (100_000, 70_000, 0o4755);
    for kind in CONTENTS {
        let file = |length| node(&format!("data/{kind}-{length}"), Kind::File(length));
        nodes.extend(LENGTHS.map(file));
    }
    nodes.extend((0..2000).map(|n| node(&format!("many/file-{n:04}"), Kind::File(n))));
    nodes
}

/// Without the many.
fn small() -> Vec<Node> {
    let mut nodes = tree();
    nodes.retain(|node| !node.path.starts_with("many/"));
    nodes
}

fn content_of(node: &Node) -> Vec<u8> {
    let Kind::File(length) = node.kind else {
        panic!("{} is no file", node.path)
    };
    let name = node.path.rsplit('/').next().unwrap();
    content(name.split('-').next().unwrap(), length)
}

/// A sparse file.
struct Sparse(File);

impl RegionSink for Sparse {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn zeros(&mut self, _: u64, _: u64) -> std::io::Result<()> {
        Ok(())
    }
}

fn image(path: &Path, nodes: &[Node], compression: Compression) -> u64 {
    let parameters = Parameters {
        uuid: [0x42; 16],
        epoch: EPOCH,
        compression,
    };
    let mut sink = Sparse(File::create(path).unwrap());
    let mut open = |index: usize| {
        let content = Cursor::new(content_of(&nodes[index]));
        Ok(Box::new(content) as Box<dyn Read>)
    };
    let length = write(&parameters, nodes, &mut sink, &mut open).unwrap();
    sink.0.set_len(length).unwrap();
    assert!(length <= most_size(nodes), "{length}");
    length
}

fn extracted(dir: &Path, image: &Path) -> PathBuf {
    let out = dir.join("out");
    let extract = format!("--extract={}", out.display());
    judge::ok(
        "fsck.erofs",
        &["--no-preserve", &extract, image.to_str().unwrap()],
    );
    out
}

#[test]
fn the_judge_reads_what_was_declared() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.erofs");
    let nodes = tree();
    let length = image(&path, &nodes, Compression::Lz4);
    let lengths = nodes.iter().filter_map(|n| match n.kind {
        Kind::File(length) => Some(length),
        _ => None,
    });
    let plain: u64 = lengths.sum();
    assert!(length < plain * 2 / 3, "{length} of {plain}");
    let out = extracted(dir.path(), &path);
    for node in nodes.iter().filter(|n| matches!(n.kind, Kind::File(_))) {
        let read = fs::read(out.join(&node.path)).unwrap();
        assert!(read == content_of(node), "{}", node.path);
    }
    let link = fs::read_link(out.join("bin/long")).unwrap();
    assert_eq!(link.as_os_str().len(), 4080);
    let text = judge::ok("dump.erofs", &["--path=/bin/ping", path.to_str().unwrap()]);
    for fact in ["Links: 2", "Uid: 100000", "Gid: 70000", "Xattr size: 60"] {
        assert!(text.contains(fact), "{fact}: {text}");
    }
}

#[test]
fn equal_nodes_give_equal_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let digest = |name: &str| {
        let path = dir.path().join(name);
        image(&path, &small(), Compression::Lz4);
        judge::digest(&path)
    };
    assert_eq!(digest("a"), digest("b"));
    // What Linux 6.18 has mounted and read.
    assert_eq!(
        digest("a"),
        "ea9432d3bf4132f9965f8bc72314f59119a5bfaaf31df0e62149c6ea691eb02b"
    );
}

/// The digest was pinned when Linux 6.18 had mounted and read it.
#[test]
fn with_zstd_it_is_smaller() {
    let dir = tempfile::tempdir().unwrap();
    let [zstd, lz4] = ["zstd", "lz4"].map(|name| dir.path().join(name));
    let smaller = image(&zstd, &small(), Compression::Zstd);
    let larger = image(&lz4, &small(), Compression::Lz4);
    assert!(smaller < larger, "{smaller} against {larger} bytes");
    assert_eq!(
        judge::digest(&zstd),
        "080997e7c0a332a0ce19125fad6b4cbeb3ae9ceaad127344fdf517daf8978cdb"
    );
}

/// Two judges read it together, as erofs-utils before 1.8 know no zstd: `dump.erofs` says where the pieces of a file lie,
/// which it does once they are called LZ4, and `zstd` unpacks them.
#[test]
fn the_judges_read_what_zstd_has_packed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.erofs");
    let nodes = small();
    image(&path, &nodes, Compression::Zstd);
    let mut pieces = 0;
    for node in nodes.iter().filter(|n| n.path.starts_with("data/")) {
        let plain = content_of(node);
        let Some(extents) = extents(&path, &node.path) else {
            continue;
        };
        let bytes = fs::read(&path).unwrap();
        let mut read = Vec::new();
        for [logical, length, physical, packed] in extents {
            assert_eq!(logical, read.len(), "{}", node.path);
            read.extend(unpacked(&bytes[physical..physical + packed], length));
            pieces += 1;
        }
        assert!(read == plain, "{}", node.path);
    }
    assert!(pieces > 100, "{pieces}");
}

/// Where the extents of a compressed file lie: offset and length in the file, offset and length in the image.
fn extents(image: &Path, path: &str) -> Option<Vec<[usize; 4]>> {
    let (path, file) = (format!("--path=/{path}"), image.to_str().unwrap());
    let said = judge::ok("dump.erofs", &[&path, file]);
    if !said.contains("Layout: 1 ") {
        return None;
    }
    let (_, nid) = said.split_once("NID: ").unwrap();
    let nid: u64 = nid.split(' ').next().unwrap().parse().unwrap();
    let said = judge::ok("dump.erofs", &["-s", file]);
    let line = said.lines().find(|l| l.contains("metadata start block"));
    let first = line.unwrap().split_whitespace().last().unwrap();
    let first: u64 = first.parse().unwrap();
    // The algorithm stands in the seventh byte behind an inode without attributes; 0 is LZ4.
    let algorithm = first * 4096 + nid * 32 + 64 + 6;
    let image = File::options().write(true).open(image).unwrap();
    image.write_all_at(&[0], algorithm).unwrap();
    let said = judge::ok("dump.erofs", &["-e", &path, file]);
    let number = |line: &str| {
        let words = line.split(|c: char| !c.is_ascii_digit());
        let words: Vec<usize> = words.filter_map(|w| w.parse().ok()).collect();
        [words[1], words[3], words[4], words[6]]
    };
    let lines = said.lines().filter(|l| l.contains("..") && l.contains('|'));
    Some(lines.map(number).collect())
}

/// What a piece holds: a zstd frame that ends where the piece ends, or the bytes as they are.
fn unpacked(piece: &[u8], length: usize) -> Vec<u8> {
    let begin = piece.iter().position(|b| *b != 0).unwrap_or(0);
    if !piece[begin..].starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return piece[..length].to_vec();
    }
    let packed = tempfile::NamedTempFile::new().unwrap();
    fs::write(packed.path(), &piece[begin..]).unwrap();
    let said = judge::run("zstd", &["-dc", packed.path().to_str().unwrap()]);
    assert!(said.status.success() && said.stdout.len() == length);
    said.stdout
}

#[test]
fn what_cannot_be_expressed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let parameters = Parameters {
        uuid: [0; 16],
        epoch: 0,
        compression: Compression::Lz4,
    };
    let refused = |nodes: &[Node]| {
        let mut sink = Sparse(File::create(dir.path().join("x")).unwrap());
        let mut open = |_| Ok(Box::new(std::io::empty()) as Box<dyn Read>);
        write(&parameters, nodes, &mut sink, &mut open)
            .unwrap_err()
            .to_string()
    };
    let root = || node("", Kind::Dir);
    assert!(refused(&[node("a", Kind::Dir)]).contains("no root"));
    assert!(refused(&[root(), node("a/b", Kind::Dir)]).starts_with("a/b: a is no node"));
    let device = [root(), node("d", Kind::Char(4096, 0))];
    assert!(refused(&device).starts_with("d: device 4096:0; expected a major number below"));
    assert!(check(&device).is_err() && check(&small()).is_ok());
    let mut odd = node("f", Kind::Dir);
    odd.xattrs.push(("system.odd".into(), Vec::new()));
    assert!(refused(&[root(), odd]).starts_with("f: extended attributes system.odd"));
    let mut long = node("f", Kind::Dir);
    long.xattrs.push(("user.long".into(), vec![0; 1 << 16]));
    assert!(check(&[root(), long]).is_err());
    // A file that is shorter than was declared.
    assert!(refused(&[root(), node("f", Kind::File(5))]).starts_with("f: "));
}
