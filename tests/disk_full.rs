//! The disk runs full at any write of a build: one clear error, nothing exported, nothing damaged; with room the
//! same store finishes.
//!
//! Every point is a tmpfs of a seeded size, in a mount namespace of its own, that holds the store as an
//! undisturbed build had it at the beginning of a phase, and the output directory. The size lies between what
//! is there at the beginning and what the phase would need.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::path::Path;
use std::process::{Command, Output};

use pipeline_tests::{Phase, Points, Small, files, isolated, root, small, text};

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

/// The most bytes that are used from the beginning of a phase to the end of the build.
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

/// Fails at the size, then goes on with more room. A size at which the build goes through tries a smaller one.
fn fill(small: &Small, phase: &Phase, peak: u64, mut share: f64) -> String {
    let full = Full::new(small, phase);
    let restored = used(&full.work.path().join("restored"));
    loop {
        let size = restored + PAGE + ((peak.saturating_sub(restored)) as f64 * share) as u64;
        let what = format!("{}: a disk of {} KiB", phase.name, size >> 10);
        let script = format!(
            "room {size}\n\
             code=0; build >$disk/../said 2>&1 || code=$?\n\
             if [ $code = 0 ]; then echo fits; exit; fi\n\
             echo exit $code\n\
             if [ -e $disk/out/manifest.json ]; then echo exported; fi\n\
             mount -o remount,size={ROOMY} $disk\n\
             $ramforge verify || exit 6\n\
             build >$disk/../again 2>&1 || {{ cat $disk/../again; exit 1; }}\n\
             cp -a $disk/out $disk/../out"
        );
        let output = full.run(&script);
        let told = text(&output);
        assert!(output.status.success(), "{what}: {told}\n{}", said(&full));
        if told.starts_with("fits") {
            share *= 0.8;
            continue;
        }
        assert!(
            !told.contains("exported"),
            "{what}: {told}\n{}",
            said(&full)
        );
        clear(&told, &said(&full), &full.work.path().join("disk"), &what);
        small.same(&full.work.path().join("out"), &what);
        return what;
    }
}

fn said(full: &Full<'_>) -> String {
    std::fs::read_to_string(full.work.path().join("said")).unwrap_or_default()
}

/// One error, which names the disk, and exit code 1.
fn clear(told: &str, said: &str, disk: &Path, what: &str) {
    assert!(told.starts_with("exit 1\n"), "{what}: {told}\n{said}");
    let errors: Vec<&str> = said.lines().filter(|l| l.contains(": error: ")).collect();
    assert!(errors.len() == 1, "{what}: {errors:?}\n{said}");
    let place = disk.to_string_lossy();
    let full = |e: &str| e.contains("No space left on device") && e.contains(&*place);
    let error = said.split(": error: ").nth(1);
    assert!(error.is_some_and(full), "{what}: {said}");
    assert!(!said.contains("panicked"), "{what}: {said}");
}

/// Bytes that the files below `dir` take on a tmpfs.
fn used(dir: &Path) -> u64 {
    let pages = |path: &std::path::PathBuf| std::fs::metadata(path).unwrap().len().div_ceil(PAGE);
    files(dir).iter().map(pages).sum::<u64>() * PAGE
}
