//! Many pipelines on one store at once: all of them are right, and so is the store.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::process::Stdio;

use pipeline_tests::{command, root, small, succeed, text};

/// Pipelines at a time.
const CROWD: usize = 8;

#[test]
fn eight_pipelines_share_one_store() {
    let small = small();
    let work = small.work();
    let store = work.path().join("store");
    // It holds the packages and nothing else.
    small.restore(small.phases()[1].begin, &store);
    let out = |n: usize| work.path().join(format!("out-{n}"));
    let start = |n| {
        let mut command = small.pipeline(&store, &out(n));
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let running: Vec<_> = (0..CROWD).map(start).collect();
    for (n, child) in running.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "pipeline {n}: {}", text(&output));
        small.same(&out(n), &format!("pipeline {n}"));
    }
    let mut verify = command(root().join("target/release/ramforge"));
    succeed(verify.env("RAMFORGE_STORE", &store).arg("verify"), "verify");
}
