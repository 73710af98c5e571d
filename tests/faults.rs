//! What the host does to a build: a full disk, a Ctrl-C at every stage.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use journal::Event;
use pipeline_tests::{command, example, find_process, isolated, root, scratch, text};
use rustix::process::{Pid, Signal, kill_process_group};

/// Whether the journal has come to the moment at which the signal is sent.
type Moment = Box<dyn Fn(&[Event]) -> bool>;

/// A stage that does not end within this has not heard the signal. The promise is a second; the rest is for
/// busy machines.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time for the stages before the one that is waited for.
const BUILD: Duration = Duration::from_secs(1200);

/// A pipeline with a store of its own.
struct Run {
    store: PathBuf,
    out: PathBuf,
    description: PathBuf,
}

impl Run {
    fn new(dir: &Path) -> Self {
        let description = dir.join("description");
        std::os::unix::fs::symlink(root().join("examples/debian-vm"), &description).unwrap();
        Self {
            store: dir.join("store"),
            out: dir.join("out"),
            description,
        }
    }

    fn command(&self) -> Command {
        let mut command = command(root().join("pipeline.sh"));
        command
            .env("RAMFORGE_STORE", &self.store)
            .arg("-o")
            .args([&self.out, &self.description]);
        command
    }

    /// All events of the newest run so far; a line may be half written.
    fn events(&self) -> Vec<Event> {
        let mut runs = journal::runs(&self.store.join("journal")).unwrap_or_default();
        runs.sort_by_key(|path| path.metadata().and_then(|m| m.modified()).ok());
        let lines = runs.last().and_then(|path| journal::read(path).ok());
        lines
            .unwrap_or_default()
            .into_iter()
            .map(|l| l.event)
            .collect()
    }

    /// Starts the pipeline and sends Ctrl-C, as a terminal does to all its processes, when `now` says so.
    fn interrupt(
        &self,
        command: &mut Command,
        now: impl Fn(&[Event]) -> bool,
    ) -> (Child, Duration) {
        let before = self.events().len();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        loop {
            let events = self.events();
            let fresh =
                matches!(events.first(), Some(Event::RunStarted { .. })) && events.len() != before;
            if fresh && now(&events) {
                break;
            }
            assert!(
                child.try_wait().unwrap().is_none(),
                "ended early: {events:?}"
            );
            assert!(
                begin.elapsed() < BUILD,
                "the moment did not come: {events:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let group = Pid::from_child(&child);
        kill_process_group(group, Signal::INT).unwrap();
        let begin = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < PATIENCE, "it does not end on Ctrl-C");
            std::thread::sleep(Duration::from_millis(20));
        }
        (child, begin.elapsed())
    }

    /// Nothing of the run is left but the store: no process, no mount, no scratch directory in use.
    fn left_nothing(&self) {
        let begin = Instant::now();
        let store = self.store.to_string_lossy().into_owned();
        loop {
            let running = find_process("RAMFORGE_STORE", &store);
            if running.is_empty() {
                break;
            }
            assert!(begin.elapsed() < PATIENCE, "still running: {running:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let stray: Vec<_> = mounts.lines().filter(|l| l.contains(&store)).collect();
        assert!(stray.is_empty(), "still mounted: {stray:?}");
    }
}

fn began(stage: &'static str) -> impl Fn(&[Event]) -> bool {
    move |events| {
        events
            .iter()
            .any(|e| matches!(e, Event::StageStarted { stage: s, .. } if s == stage))
    }
}

/// Interrupted in every stage, and several times in the long one; each run goes on where the last one stopped,
/// and the end is what an undisturbed run makes, byte for byte, with another store.
#[test]
fn ctrl_c_in_every_stage_ends_at_once_and_the_next_run_goes_on() {
    let undisturbed = example("debian-vm");
    let scratch = scratch();
    let run = Run::new(scratch.path());
    let parts = |n: usize| {
        move |events: &[Event]| {
            let done = events.iter().filter(|e| {
                matches!(
                    e,
                    Event::PartFinished { .. } | Event::CacheHit { part: Some(_), .. }
                )
            });
            done.count() >= n
        }
    };
    let moments: [(&str, Moment); 7] = [
        ("rootfs-assemble", Box::new(began("rootfs-assemble"))),
        ("rootfs-assemble", Box::new(parts(1))),
        ("rootfs-assemble", Box::new(parts(2))),
        ("raw-image", Box::new(began("raw-image"))),
        ("initrd-inject", Box::new(began("initrd-inject"))),
        ("iso-pack", Box::new(began("iso-pack"))),
        ("ram-check", Box::new(began("ram-check"))),
    ];
    for (stage, moment) in &moments {
        let mut command = run.command();
        // The proof takes long enough to be interrupted.
        command.env("RAM_CHECK", "--boot");
        let (child, time) = run.interrupt(&mut command, moment);
        let output = child.wait_with_output().unwrap();
        let said = text(&output);
        println!(
            "{stage}: ended {:.2} s after the signal",
            time.as_secs_f64()
        );
        assert_eq!(output.status.code(), Some(130), "in {stage}: {said}");
        assert!(!said.contains("panicked"), "{said}");
        run.left_nothing();
        let heard = |e: &Event| matches!(e, Event::Interrupted { .. });
        assert!(
            run.events().iter().any(heard),
            "in {stage}: no line in the journal: {said}"
        );
    }
    let output = run.command().output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let stages = ["rootfs-assemble", "raw-image", "initrd-inject", "iso-pack"];
    let hits: Vec<_> = run
        .events()
        .into_iter()
        .filter_map(|e| match e {
            Event::CacheHit {
                stage, part: None, ..
            } => Some(stage),
            _ => None,
        })
        .collect();
    assert!(
        stages.iter().all(|s| hits.contains(&(*s).to_owned())),
        "done again: only {hits:?} were there"
    );
    let manifest = std::fs::read_to_string(run.out.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["media"], undisturbed.manifest["media"]);
}

/// The store's file system runs full at several sizes: one clear error each time, and the store stays whole;
/// with room the same store finishes what it began.
#[test]
fn a_full_disk_is_said_and_damages_nothing() {
    let scratch = scratch();
    let run = Run::new(scratch.path());
    std::fs::create_dir(&run.store).unwrap();
    let bin = root().join("target/release");
    // All in one mount namespace: the tmpfs ends with it.
    let script = format!(
        r#"set -u
        export RAMFORGE_STORE={store}
        mount -t tmpfs -o size=8m none {store} || exit 90
        for size in 8m 160m 500m; do
            mount -o remount,size=$size {store} || exit 91
            {root}/pipeline.sh -o {out} {description} >{out}.$size.log 2>&1
            code=$?
            echo "$size: exit $code" && cat {out}.$size.log
            [ $code = 1 ] || exit 92
            grep -q 'No space left' {out}.$size.log || exit 93
            grep -q panicked {out}.$size.log && exit 94
            [ -e {out}/manifest.json ] && exit 95
            {bin}/ramforge verify || exit 96
        done
        mount -o remount,size=6g {store} || exit 97
        {root}/pipeline.sh -o {out} {description} || exit 98
        {bin}/ramforge verify || exit 99
        "#,
        store = run.store.display(),
        out = run.out.display(),
        description = run.description.display(),
        root = root().display(),
        bin = bin.display(),
    );
    example("debian-vm");
    let output = isolated(&script).output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        output.status,
        text(&output)
    );
}
