//! The lock: the same packages, so the same image, for as long as the store has them.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use manifest::Lock;
use pipeline_tests::{ascii, example, isolated, packages_only, program, root, scratch, text};

/// Everything is made again in a network namespace where nothing answers, and no program, not even one of the tree,
/// makes a socket that could leave the machine.
#[test]
fn a_lock_and_its_packages_make_the_same_image_without_a_network() {
    let made = example("debian-vm");
    let scratch = scratch();
    let text_of_lock = std::fs::read(&made.lock).unwrap();
    let lock = Lock::parse(&text_of_lock).unwrap();
    let store = scratch.path().join("store");
    packages_only(&lock, &store);
    let (out, trace) = (scratch.path().join("out"), scratch.path().join("sockets"));
    let script = format!(
        "exec {strace} --follow-forks --seccomp-bpf --quiet=all --trace=socket,connect --output={trace} \
         {root}/pipeline.sh --offline --lock {lock} -o {out} {root}/examples/debian-vm",
        strace = program("strace").display(),
        trace = trace.display(),
        root = root().display(),
        lock = made.lock.display(),
        out = out.display(),
    );
    let output = isolated(&format!("exec unshare --net sh -c '{script}'"))
        .env("RAMFORGE_STORE", &store)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let manifest = std::fs::read_to_string(out.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["media"], made.manifest["media"]);
    assert_eq!(manifest["disk"], made.manifest["disk"]);
    assert_eq!(manifest["rootfs"], made.manifest["rootfs"]);
    let sockets = ascii(&std::fs::read(&trace).unwrap());
    let inet: Vec<_> = sockets.lines().filter(|l| l.contains("AF_INET")).collect();
    assert!(inet.is_empty(), "{inet:?}");
}
