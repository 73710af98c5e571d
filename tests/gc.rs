//! Garbage collection beside running pipelines.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use pipeline_tests::{command, example, root, run, scratch, text};

/// A pipeline of a copy of examples/debian-vm with one more file.
struct Build {
    description: PathBuf,
    out: PathBuf,
    store: PathBuf,
}

impl Build {
    fn new(dir: &Path, name: &str) -> Self {
        let description = dir.join(name);
        run(
            "cp",
            &[&"-r", &root().join("examples/debian-vm"), &description],
        );
        std::fs::create_dir_all(description.join("root/srv")).unwrap();
        std::fs::write(description.join("root/srv/name"), name).unwrap();
        Self {
            description,
            out: dir.join(format!("{name}.out")),
            store: dir.join("store"),
        }
    }

    fn command(&self) -> Command {
        let mut command = command(root().join("pipeline.sh"));
        command.env("RAMFORGE_STORE", &self.store);
        command.arg("-o").args([&self.out, &self.description]);
        command
    }

    fn start(&self) -> Child {
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn manifest(&self) -> Vec<u8> {
        std::fs::read(self.out.join("manifest.json")).unwrap()
    }
}

fn ramforge(store: &Path, arguments: &[&str]) -> Output {
    let mut command = command(root().join("target/release/ramforge"));
    let output = command
        .env("RAMFORGE_STORE", store)
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "ramforge {arguments:?}: {}",
        text(&output)
    );
    output
}

/// Everything that is not needed goes, again and again, while two pipelines share the store: the first builds, and
/// then builds that find what is left of them. Each one ends with the files of an undisturbed build.
#[test]
fn running_pipelines_miss_nothing_while_everything_goes_that_may() {
    example("debian-vm");
    let scratch = scratch();
    let builds = ["one", "two"].map(|name| Build::new(scratch.path(), name));
    let mut collected = 0;
    let mut first = Vec::new();
    for round in 0..3 {
        let mut running: Vec<Child> = builds.iter().map(Build::start).collect();
        while running
            .iter_mut()
            .any(|child| child.try_wait().unwrap().is_none())
        {
            ramforge(
                &builds[0].store,
                &["gc", "--keep-days", "0", "--max-size", "0"],
            );
            ramforge(&builds[0].store, &["verify"]);
            collected += 1;
        }
        for child in running {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "round {round}: {}", text(&output));
        }
        let made: Vec<Vec<u8>> = builds.iter().map(Build::manifest).collect();
        match round {
            0 => first = made,
            _ => assert!(made == first, "round {round}: another manifest"),
        }
    }
    println!("{collected} collections beside 6 builds");
    let stats = ramforge(&builds[0].store, &["store-stats"]);
    println!("{}", text(&stats));
    undisturbed(scratch.path(), &builds[0]);
}

/// The exported files are those that a build makes with nobody beside it.
fn undisturbed(dir: &Path, build: &Build) {
    let alone = Build {
        description: build.description.clone(),
        out: dir.join("alone.out"),
        store: dir.join("alone"),
    };
    let output = alone.command().output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    for entry in std::fs::read_dir(&alone.out).unwrap() {
        let file = entry.unwrap().path();
        run("cmp", &[&file, &build.out.join(file.file_name().unwrap())]);
    }
}
