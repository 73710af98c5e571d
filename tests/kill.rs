//! kill -9 of a process of a build, at any moment: the next run is right.
//!
//! Every point starts from the store as an undisturbed build had it at the beginning of a phase, waits for a
//! seeded while, kills one seeded process of the run, waits until nothing of the run is left, and runs the same
//! again. `RAMFORGE_FAULT_SEED`, `RAMFORGE_FAULT_POINTS` and `RAMFORGE_FAULT_POINT` choose other points, more of
//! them, or a single one.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use pipeline_tests::{Disturbed, Phase, Points, Process, Small, command, small, succeed, text};

/// The phases, and how many points of a hundred each gets: late ones are cheap to repeat, early ones are dear.
const SHARES: [(&str, usize); 8] = [
    ("fetch", 4),
    ("install", 8),
    ("tree", 12),
    ("disk", 22),
    ("initrd", 17),
    ("medium", 18),
    ("export", 13),
    ("again", 6),
];
/// Kill points of a plain run of the tests.
const POINTS: usize = 208;
/// From the start of pipeline.sh until the stages before the phase have found their results in the store.
const LEAD: Duration = Duration::from_millis(120);
/// Programs of the pipeline whose end by a signal pipeline.sh tells.
const STAGES: [&str; 6] = [
    "desc-parse",
    "rootfs-assemble",
    "raw-image",
    "initrd-inject",
    "iso-pack",
    "ram-check",
];

#[test]
fn whatever_is_killed_the_next_run_is_right() {
    let small = small();
    let phases = small.phases();
    for phase in &phases {
        println!("{}: {:.2} s", phase.name, phase.length.as_secs_f64());
    }
    let points = Points::new(POINTS);
    points.each(|index, rng| {
        let phase = phase(&phases, index);
        let fraction = rng.f64();
        let victim = rng.f64();
        disturb(&small, phase, fraction, victim)
    });
}

/// What killed runs have left is swept by a later one, also the files that belong to subordinate ids.
#[test]
fn what_a_killed_run_leaves_is_swept() {
    let small = small();
    let phases = small.phases();
    let work = small.work();
    let (store, out) = (work.path().join("store"), work.path().join("out"));
    small.restore(phases[1].begin, &store);
    let mut on_disk = small.pipeline(&store, &out);
    on_disk.env("ROOTFS_ASSEMBLE", "--build-tree disk");
    let mut run = Disturbed::start(&on_disk, work.path());
    while !run.said().contains("configure") {
        std::thread::sleep(Duration::from_millis(10));
    }
    run.wait_until(run.age() + Duration::from_millis(300));
    for victim in run.processes().iter().filter(|p| p.name != "bash") {
        run.kill(victim);
    }
    run.end();
    std::fs::write(out.join(".ramforge-left"), "half of an ISO").unwrap();
    let tmp = store.join("tmp");
    assert!(!unfinished(&tmp).is_empty());
    // Time passes.
    for path in unfinished(&tmp).iter().chain(&unfinished(&out)) {
        succeed(
            command("touch").args(["-d", "2 hours ago"]).arg(path),
            "touch",
        );
    }
    succeed(&mut on_disk, "the next run");
    small.same(&out, "the next run");
    let left = [unfinished(&tmp), unfinished(&out)].concat();
    assert!(left.is_empty(), "{left:?}");
}

fn unfinished(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let begins = ["scratch-", "object-", "whole-", "damaged-", ".ramforge-"];
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        begins.iter().any(|begin| name.starts_with(begin))
    };
    paths.filter(is_it).collect()
}

/// The phase of a point: the shares, spread evenly over the points.
fn phase(phases: &[Phase], index: usize) -> &Phase {
    // A step that has no divisor in common with a hundred visits every share before it begins again.
    let mut place = index * 37 % 100;
    for (name, share) in SHARES {
        if place < share {
            return phases.iter().find(|p| p.name == name).unwrap();
        }
        place -= share;
    }
    panic!("the shares make less than a hundred");
}

/// One point; says what was killed, and when.
fn disturb(small: &Small, phase: &Phase, fraction: f64, victim: f64) -> String {
    let mut delay = (LEAD + phase.length.mul_f64(1.1)).mul_f64(fraction);
    loop {
        let work = small.work();
        let (store, out) = (work.path().join("store"), work.path().join("out"));
        small.restore(phase.begin, &store);
        if phase.exported {
            small.exported(&out);
        }
        let mut run = Disturbed::start(&small.pipeline(&store, &out), work.path());
        run.wait_until(delay);
        let processes = run.processes();
        if processes.is_empty() {
            // This run was faster than the undisturbed one.
            run.end();
            delay = delay.mul_f64(0.7);
            continue;
        }
        let index = (victim * processes.len() as f64) as usize;
        let victim = &processes[index];
        run.kill(victim);
        let what = format!(
            "{}: {} after {:.3} s",
            phase.name,
            victim.name,
            delay.as_secs_f64()
        );
        let output = run.end();
        ended_well(&output, victim, &what);
        nothing_false(small, &out, &output, &what);
        no_mount(&store, &what);
        let output = small.pipeline(&store, &out).output().unwrap();
        assert!(
            output.status.success(),
            "{what}: the next run: {}",
            text(&output)
        );
        small.same(&out, &what);
        return what;
    }
}

/// The way a disturbed run ends, and what it says.
fn ended_well(output: &Output, victim: &Process, what: &str) {
    let said = text(output);
    assert!(!said.contains("panicked"), "{what}: {said}");
    let (code, signal) = (output.status.code(), output.status.signal());
    if STAGES.contains(&victim.name.as_str()) && code != Some(0) {
        let told = format!("{} was killed by signal 9", victim.name);
        assert!(
            code == Some(137) && said.contains(&told),
            "{what}: {code:?} {said}"
        );
    }
    assert!(
        code.is_some() || signal == Some(9),
        "{what}: {signal:?} {said}"
    );
}

/// What a disturbed run has exported is right; where it failed, there is mostly nothing.
fn nothing_false(small: &Small, out: &Path, output: &Output, what: &str) {
    if let Ok(manifest) = std::fs::read(out.join("manifest.json")) {
        assert!(manifest == small.manifest, "{what}: another manifest");
        small.same(out, what);
    }
    let exported = out.join("manifest.json").exists();
    assert!(
        exported || !output.status.success(),
        "{what}: {}",
        text(output)
    );
}

fn no_mount(store: &Path, what: &str) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let store = store.to_string_lossy();
    let stray: Vec<_> = mounts.lines().filter(|l| l.contains(&*store)).collect();
    assert!(stray.is_empty(), "{what}: still mounted: {stray:?}");
}
