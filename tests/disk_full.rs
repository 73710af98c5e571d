//! The disk runs full at any write of a build: one clear error, nothing exported, nothing damaged; with room the
//! same store finishes.
//!
//! Every point is a tmpfs of a seeded size, in a mount namespace of its own, that holds the store as an
//! undisturbed build had it at the beginning of a phase, and the output directory. The size lies between what
//! is there at the beginning and what the phase would need.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::path::Path;
use std::process::{Command, Output};

use pipeline_tests::{Phase, Points, Small, isolated, root, small, text};

/// Points of a plain run of the tests.
const POINTS: usize = 52;
/// Bytes in which a tmpfs counts.
const PAGE: u64 = 4096;
/// More than any phase needs.
const ROOMY: &str = "4g";

#[test]
fn a_full_disk_at_any_write_is_said_and_damages_nothing() {
    let small = small();
    let phases = small.phases();
    // What is built already writes a few lines only.
    let phases = &phases[..phases.len() - 1];
    let peaks: Vec<u64> = phases.iter().map(|phase| peak(&small, phase)).collect();
    Points::new(POINTS).each(|index, rng| {
        let n = index % phases.len();
        let share = rng.f64();
        fill(&small, &phases[n], peaks[n], share)
    });
}

/// A tmpfs with the store of a phase, and scripts for it.
struct Full<'a> {
    small: &'a Small,
    work: tempfile::TempDir,
}

impl Full<'_> {
    fn new<'a>(small: &'a Small, phase: &Phase) -> Full<'a> {
        let work = small.work();
        small.restore(phase.begin, &work.path().join("restored"));
        std::fs::create_dir(work.path().join("disk")).unwrap();
        Full { small, work }
    }

    /// Runs `script` where `$disk` is a tmpfs of `size` with the store; `build` is a function in it.
    fn run(&self, script: &str) -> Output {
        let path = |name: &str| self.work.path().join(name).display().to_string();
        let (disk, store, out) = (path("disk"), path("disk/store"), path("disk/out"));
        let pipeline = self.small.pipeline(Path::new(&store), Path::new(&out));
        let script = format!(
            "set -eu\ndisk={disk} restored={restored} ramforge={root}/target/release/ramforge\n\
             export RAMFORGE_STORE=$disk/store\n\
             build() {{ {build}; }}\n\
             room() {{ mount -t tmpfs -o \"size=$1\" none $disk && cp -a $restored $disk/store && mkdir $disk/out; }}\n\
             used() {{ df --output=used -B1 $disk | tail -n1; }}\n{script}",
            restored = path("restored"),
            root = root().display(),
            build = words(&pipeline),
        );
        isolated(&script).output().unwrap()
    }
}

/// The command with its variables as words for a shell.
fn words(command: &Command) -> String {
    let quote = |text: &std::ffi::OsStr| format!("'{}'", text.to_string_lossy());
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), quote(value?))));
    let program = std::iter::once(quote(command.get_program()));
    let all = std::iter::once("env".to_owned())
        .chain(variables)
        .chain(program);
    all.chain(command.get_args().map(quote))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Bytes that are used at the beginning of a phase, and at most while it runs and the rest after it.
fn peak(small: &Small, phase: &Phase) -> u64 {
    let full = Full::new(small, phase);
    let script = format!(
        "room {ROOMY}\n(while sleep 0.02; do used; done) >$disk/../used & watch=$!\n\
         build >/dev/null 2>&1\nused >>$disk/../used\nkill $watch\nsort -n $disk/../used | tail -n1"
    );
    let output = full.run(&script);
    assert!(output.status.success(), "{}: {}", phase.name, text(&output));
    text(&output).trim().parse().unwrap()
}
