//! ext4 images before their judges: e2fsck, debugfs and resize2fs.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::io::Read;
use std::path::Path;
use std::process::Command;

use image::ext4::{Kind, Node, Parameters, least_size, rough_size, write};

const EPOCH: i64 = 1_700_000_000;

fn parameters() -> Parameters {
    Parameters {
        uuid: [0x42; 16],
        label: "ROOT".into(),
        epoch: EPOCH,
    }
}

fn node(path: &str, kind: Kind) -> Node {
    let mode = if kind == Kind::Dir { 0o755 } else { 0o644 };
    Node {
        path: path.into(),
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime: EPOCH,
        xattrs: Vec::new(),
    }
}

fn tree() -> Vec<Node> {
    let mut nodes = vec![
        node("", Kind::Dir),
        node("bin", Kind::Dir),
        node("bin/ping", Kind::File(5000)),
        node("bin/ping4", Kind::Hardlink("bin/ping".into())),
        node("bin/sh", Kind::Symlink("dash".into())),
        node("dev", Kind::Dir),
        node("dev/null", Kind::Char(1, 3)),
        node("dev/sda", Kind::Block(8, 0)),
        node("pipe", Kind::Fifo),
        node("many", Kind::Dir),
    ];
    nodes[2].xattrs.push((
        "security.capability".into(),
        vec![1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ));
    nodes[2].uid = 1000;
    nodes[2].mode = 0o4755;
    nodes.extend((0..3000).map(|n| node(&format!("many/file-{n:04}"), Kind::File(n))));
    nodes
}

fn image(path: &Path, nodes: &[Node]) -> u64 {
    let size = least_size(&parameters(), nodes).unwrap();
    let rough = rough_size(&parameters(), nodes).unwrap();
    assert!(rough.abs_diff(size) <= 4 << 20, "{rough} {size}");
    image_of(path, nodes, size);
    size
}

fn image_of(path: &Path, nodes: &[Node], size: u64) {
    let mut sink = mkext4::sink::FileSink::create(path, size).unwrap();
    let mut content = |index: usize| {
        let Kind::File(size) = nodes[index].kind else {
            panic!("node {index} is no file")
        };
        Ok(Box::new(std::io::repeat(index as u8 | 1).take(size)) as Box<dyn Read>)
    };
    write(&parameters(), nodes, size, &mut sink, &mut content).unwrap();
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("{program} (package e2fsprogs): {e}"));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text.into_owned()
}

#[test]
fn the_judges_find_what_was_declared() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.ext4");
    image(&path, &tree());
    let file = path.to_str().unwrap();
    run("/sbin/e2fsck", &["-fn", file]);
    let stat = run("/sbin/debugfs", &["-R", "stat /bin/ping", file]);
    assert!(
        stat.contains("Mode:  04755") && stat.contains("User:  1000"),
        "{stat}"
    );
    assert!(
        stat.contains("Links: 2") && stat.contains("security.capability"),
        "{stat}"
    );
    let device = run("/sbin/debugfs", &["-R", "stat /dev/null", file]);
    assert!(
        device.contains("character special") && device.contains("01:03"),
        "{device}"
    );
}

#[test]
fn the_file_system_grows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.ext4");
    let size = image(&path, &tree());
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(size * 8).unwrap();
    run("/sbin/resize2fs", &[path.to_str().unwrap()]);
    run("/sbin/e2fsck", &["-fn", path.to_str().unwrap()]);
}

#[test]
fn the_least_size_is_the_least() {
    let nodes = tree();
    let size = least_size(&parameters(), &nodes).unwrap();
    let mut sink = mkext4::sink::VecSink::default();
    let mut none = |_: usize| Ok(Box::new(std::io::empty()) as Box<dyn Read>);
    assert!(
        write(
            &parameters(),
            &nodes,
            size - image::ext4::STEP,
            &mut sink,
            &mut none
        )
        .is_err()
    );
}

#[test]
fn equal_nodes_give_equal_bytes_and_an_orphan_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    image(&a, &tree());
    image(&b, &tree());
    assert!(std::fs::read(a).unwrap() == std::fs::read(b).unwrap());
    let orphan = [node("", Kind::Dir), node("no/file", Kind::File(1))];
    let error = least_size(&parameters(), &orphan).unwrap_err().to_string();
    assert!(error.contains("no/file"), "{error}");
}

#[test]
fn what_is_added_at_the_end_moves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (before, after) = (dir.path().join("before"), dir.path().join("after"));
    let size = image(&before, &tree());
    let mut nodes = tree();
    nodes.push(node("new", Kind::File(100_000)));
    assert!(image(&after, &nodes) >= size);
    let (before, after) = (
        std::fs::read(before).unwrap(),
        std::fs::read(after).unwrap(),
    );
    let pages = before.chunks(4096).zip(after.chunks(4096));
    let changed = pages.filter(|(a, b)| a != b).count();
    // Superblock, group descriptors, bitmaps, an inode, the root directory, and the file's 25 blocks.
    assert!(changed <= 40, "{changed} blocks changed");
}

#[test]
fn another_directory_moves_no_data() {
    let dir = tempfile::tempdir().unwrap();
    let (before, after) = (dir.path().join("before"), dir.path().join("after"));
    // With room to spare: what fits only just is laid out without a gap.
    let size = least_size(&parameters(), &tree()).unwrap() + (8 << 20);
    image_of(&before, &tree(), size);
    let mut nodes = tree();
    nodes.push(node("new", Kind::Dir));
    nodes.push(node("new/file", Kind::File(100_000)));
    image_of(&after, &nodes, size);
    let extents = |path: &Path| {
        let command = "blocks /many/file-0001";
        run("/sbin/debugfs", &["-R", command, path.to_str().unwrap()])
    };
    assert_eq!(extents(&before), extents(&after));
    run("/sbin/e2fsck", &["-fn", after.to_str().unwrap()]);
}

#[test]
fn many_small_files_do_not_run_out_of_inodes() {
    let mut nodes = vec![node("", Kind::Dir)];
    nodes.extend((0..20_000).map(|n| node(&format!("file-{n}"), Kind::File(0))));
    assert_eq!(least_size(&parameters(), &nodes).unwrap() >> 20, 16);
}

/// A change of these bytes is a change of the version of the stage that writes them.
#[test]
fn the_bytes_are_pinned() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.ext4");
    image(&path, &tree());
    let digest = blake3::hash(&std::fs::read(path).unwrap()).to_hex();
    assert_eq!(
        digest.as_str(),
        "055bd68b20f452360d3c42e7d7a552c828dc99316f55bef3342947fe24cd5c28"
    );
}
