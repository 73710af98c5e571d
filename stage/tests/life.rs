//! The life of a stage, seen from outside: the example `count-packages`, its store and its journal.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use journal::{Event, Line};

fn program() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples/count-packages")
}

fn spawn(store: &Path, manifest: &str) -> Child {
    let mut child = Command::new(program())
        .env("RAMFORGE_STORE", store)
        .env("RAMFORGE_RUN", "test")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(manifest.as_bytes())
        .unwrap();
    child
}

fn run(store: &Path, manifest: &str) -> Output {
    spawn(store, manifest).wait_with_output().unwrap()
}

fn events(store: &Path) -> Vec<Event> {
    let lines: Vec<Line> = journal::read(&store.join("journal/test.jsonl")).unwrap();
    lines.into_iter().map(|line| line.event).collect()
}

fn manifest(names: &[&str]) -> String {
    let packages: Vec<_> = names
        .iter()
        .map(|n| serde_json::json!({"name": n}))
        .collect();
    let mut plan: serde_json::Value = serde_json::from_str(include_str!("plan.json")).unwrap();
    plan["packages"]["image"] = packages.into();
    serde_json::json!({"ramforge": 1, "plan": plan}).to_string()
}

#[test]
fn the_second_run_reads_and_writes_the_same_line() {
    let dir = tempfile::tempdir().unwrap();
    let first = run(dir.path(), &manifest(&["a", "b"]));
    assert!(
        first.status.success(),
        "{}",
        String::from_utf8_lossy(&first.stderr)
    );
    let second = run(dir.path(), &manifest(&["a", "b"]));
    assert_eq!(first.stdout, second.stdout);
    let hits = |events: &[Event]| {
        events
            .iter()
            .filter(|e| matches!(e, Event::CacheHit { .. }))
            .count()
    };
    assert_eq!(hits(&events(dir.path())), 1);
    run(dir.path(), &manifest(&["a", "c"]));
    assert_eq!(
        hits(&events(dir.path())),
        1,
        "another input must not be a hit"
    );
}

#[test]
fn what_the_stage_does_not_read_is_not_in_its_key() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &manifest(&["a"]));
    run(
        dir.path(),
        &manifest(&["a"]).replace("\"timeout\":1", "\"timeout\":9"),
    );
    assert!(
        events(dir.path())
            .iter()
            .any(|e| matches!(e, Event::CacheHit { .. }))
    );
}

#[test]
fn the_key_can_be_asked_for_without_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("manifest.json");
    std::fs::write(&file, manifest(&["a"])).unwrap();
    let output = Command::new(program())
        .env("RAMFORGE_STORE", dir.path())
        .args(["--key", "--manifest"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success());
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        told["facts"]["input"]["plan"]["packages"]["image"][0]["name"],
        "a"
    );
    assert!(!dir.path().join("journal/test.jsonl").exists());
    run(dir.path(), &manifest(&["a"]));
    let is_it =
        |e: &Event| matches!(e, Event::StageStarted { key, .. } if told["key"] == key.to_string());
    assert!(events(dir.path()).iter().any(is_it));
}

#[test]
fn a_negative_verdict_is_written_and_is_exit_code_4() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &manifest(&[]));
    assert_eq!(output.status.code(), Some(4));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\"sentence\":\"0 packages\""), "{text}");
    run(dir.path(), &manifest(&[]));
    let hit = |e: &Event| matches!(e, Event::CacheHit { .. });
    assert!(
        !events(dir.path()).iter().any(hit),
        "a negative verdict must be asked for again"
    );
}

#[test]
fn bad_input_is_exit_code_3_and_leaves_no_action() {
    let dir = tempfile::tempdir().unwrap();
    for (text, expected) in [
        ("", "input is empty"),
        ("garbage", "line 1, column 1"),
        ("{\"ramforge\":1}", "run desc-parse"),
        ("{\"ramforge\":2}", "same release"),
    ] {
        let output = run(dir.path(), text);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{message}");
        assert!(message.contains(expected), "{message}");
        assert!(output.stdout.is_empty());
    }
    let events = events(dir.path());
    assert!(
        events
            .iter()
            .all(|e| matches!(e, Event::StageFailed { code: 3, .. })),
        "{events:?}"
    );
    assert_eq!(events.len(), 4);
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = spawn(dir.path(), &manifest(&["a"]));
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_interrupt_ends_the_stage_and_its_program() {
    let dir = tempfile::tempdir().unwrap();
    let child = spawn(dir.path(), &manifest(&["sleep"]));
    let sleeper = child_of(child.id());
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(
        events(dir.path())
            .iter()
            .any(|e| matches!(e, Event::Interrupted { .. }))
    );
    assert!(
        !Path::new(&format!("/proc/{sleeper}/exe")).exists(),
        "sleep still runs"
    );
}

/// The first child of a process, once it has one.
fn child_of(pid: u32) -> String {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let path = thread.unwrap().path().join("children");
            let children = std::fs::read_to_string(path).unwrap_or_default();
            if let Some(child) = children.split_whitespace().next() {
                return child.to_owned();
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the stage started no program");
}

#[test]
fn a_missing_program_is_exit_code_5_and_names_its_package() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("empty");
    std::fs::create_dir(&root).unwrap();
    // Hidden from the stage: a mount name space of its own, where no directory of $PATH has programs.
    let script = "for d in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin; do \
                  mount --bind \"$1\" $d; done; exec \"$2\"";
    let mut child = Command::new("/usr/bin/unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "/bin/sh",
            "-c",
            script,
            "sh",
        ])
        .arg(&root)
        .arg(program())
        .env("RAMFORGE_STORE", dir.path().join("store"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It ends before it reads, so the pipe may be closed already.
    let _ = child
        .stdin
        .take()
        .unwrap()
        .write_all(manifest(&["a"]).as_bytes());
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{message}");
    assert!(
        message.contains("sleep") && message.contains("apt-get install coreutils"),
        "{message}"
    );
}
