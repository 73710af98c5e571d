//! The stage written in shell, in the place of ours.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use journal::Event;
use pipeline_tests::{command, events, example, root, scratch, store, text};
use serde_json::Value;

#[test]
fn a_stage_in_shell_takes_the_place_of_ours() {
    let ours = example("debian-vm");
    let scratch = scratch();
    let out = scratch.path().join("out");
    let swapped = root().join("examples/swap-a-stage");
    let path = format!("{}:{}", swapped.display(), std::env::var("PATH").unwrap());
    let description = root().join("examples/debian-vm");
    let output = command(root().join("pipeline.sh"))
        .env("RAMFORGE_STORE", store())
        .env("PATH", path)
        .arg("-o")
        .arg(&out)
        .arg(&description)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));

    // Its section went through every later stage untouched, and the disk is the one of our own stage.
    let manifest: Value =
        serde_json::from_str(&std::fs::read_to_string(out.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["disk"], ours.manifest["disk"]);
    assert_eq!(manifest["media"], ours.manifest["media"]);
    assert!((1..=1000).contains(&manifest["usage"]["used_permille"].as_u64().unwrap()));

    // The bytes that it put into the store are there, and the journal has its word.
    let digest = manifest["usage"]["report"]["blake3"].as_str().unwrap();
    let report = run_ramforge(&["get", digest]);
    assert!(report.starts_with("debian-vm: "), "{report}");
    let said =
        |event: &Event| matches!(event, Event::Custom { name, .. } if name == "usage-reported");
    assert!(
        events(&store(), description.to_str().unwrap())
            .iter()
            .any(said)
    );
}

#[test]
fn a_stage_that_writes_no_manifest_is_told() {
    let scratch = scratch();
    let silent = scratch.path().join("desc-parse");
    std::fs::write(&silent, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&silent, Permissions::from_mode(0o755)).unwrap();
    let others = std::env::var("PATH").unwrap();
    let output = command(root().join("pipeline.sh"))
        .env("RAMFORGE_STORE", scratch.path().join("store"))
        .env("PATH", format!("{}:{others}", scratch.path().display()))
        .arg("-o")
        .arg(scratch.path().join("out"))
        .arg(root().join("examples/debian-vm"))
        .output()
        .unwrap();
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("wrote no manifest"), "{said}");
}

fn run_ramforge(arguments: &[&str]) -> String {
    let mut ramforge = command(root().join("target/release/ramforge"));
    let output = ramforge
        .env("RAMFORGE_STORE", store())
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}
