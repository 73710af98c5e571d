//! An image made again from its lock.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::path::Path;
use std::process::Output;

use pipeline_tests::{ascii, command, example, root, run, scratch, store, text};

fn rebuild(store: &Path, manifest: &Path) -> Output {
    command(root().join("target/release/ramforge"))
        .env("RAMFORGE_STORE", store)
        .args(["rebuild", "--check"])
        .arg(manifest)
        .output()
        .unwrap()
}

#[test]
fn a_rebuild_from_the_lock_is_the_same() {
    let made = example("debian-vm");
    let output = rebuild(&store(), &made.dir.join("manifest.json"));
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        ascii(&output.stdout).starts_with("the same, byte for byte"),
        "{}",
        text(&output)
    );
}

/// A script that writes the time makes another image every time: the file is named, with the first byte that
/// differs, and what the file's bytes change from the disk to the medium.
#[test]
fn a_difference_is_explained_by_file_and_byte() {
    example("debian-vm");
    let scratch = scratch();
    let description = scratch.path().join("description");
    run(
        "cp",
        &[&"-r", &root().join("examples/debian-vm"), &description],
    );
    let script = description.join("config.sh");
    let body = std::fs::read_to_string(&script).unwrap()
        + "\necho always >/etc/built\ndate +%N >>/etc/built\n";
    std::fs::write(&script, body).unwrap();
    let out = scratch.path().join("out");
    let output = command(root().join("pipeline.sh"))
        .env("RAMFORGE_STORE", store())
        .arg("-o")
        .args([&out, &description])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let output = rebuild(&store(), &out.join("manifest.json"));
    let said = ascii(&output.stdout);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    let has = |begin: &str, part: &str| {
        said.lines()
            .any(|l| l.starts_with(begin) && l.contains(part))
    };
    assert!(
        has("root tree: etc/built: differs from byte ", ": was "),
        "{said}"
    );
    assert!(!has("root tree: ", "usr/"), "only one file differs: {said}");
    assert!(
        has(
            "disk image: differs from byte ",
            "(partition 3, the root file system, byte "
        ),
        "{said}"
    );
    assert!(
        has(
            "initrd, segment configuration: etc/ramforge/deploy.json: differs",
            "was"
        ),
        "{said}"
    );
    assert!(
        has("ISO: ramforge/map: differs from byte ", "of the ISO)"),
        "{said}"
    );
}
