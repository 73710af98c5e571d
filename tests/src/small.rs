//! The least system that goes through every stage, built undisturbed once per test run, and its store as it
//! was at any moment of that build.
//!
//! ```text
//! target/pipeline-tests/small/
//! ├── packages/          its packages as a repository of their own: no network from here on
//! ├── store/             the store of the undisturbed build
//! ├── out/               what the build left
//! └── work/              one directory per disturbed build
//! ```
//!
//! Objects and actions never change, and the file system knows when each was written. So the store at a moment
//! is every one of them that is not younger, as hard links: thousands of starts cost nothing but time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use journal::{Event, Line};
use manifest::{Object, stage_key};
use serde_json::Value;
use store::Store;
use walkdir::WalkDir;

use crate::example::{SUCCESS, make, this_run};
use crate::{command, program, root, run, shared, store, text};

/// The undisturbed build.
#[derive(Debug)]
pub struct Small {
    dir: PathBuf,
    /// Its journal.
    pub lines: Vec<Line>,
    /// The manifest it exported.
    pub manifest: Vec<u8>,
}

/// A stretch of the build, from one recorded result to the next.
#[derive(Debug, Clone)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// The moment it begins: what was stored until then is what a build that is disturbed in it finds.
    pub begin: SystemTime,
    /// How long it took.
    pub length: Duration,
    /// Whether the build's files lie in the output directory already.
    pub exported: bool,
}

/// Builds the small system, or takes what another test of this run has built.
///
/// # Panics
/// Where the build fails.
pub fn small() -> Small {
    let dir = shared().join("small");
    fs::create_dir_all(dir.join("work")).unwrap();
    let lock = File::create(dir.join("lock")).unwrap();
    lock.lock().unwrap();
    let note = dir.join("run");
    if fs::read_to_string(&note).unwrap_or_default() != this_run() {
        build(&dir);
        fs::write(&note, this_run()).unwrap();
    }
    let journals = journal::runs(&dir.join("store/journal")).unwrap();
    Small {
        lines: journal::read(&journals[0]).unwrap(),
        manifest: fs::read(dir.join("out/manifest.json")).unwrap(),
        dir,
    }
}

fn build(dir: &Path) {
    let made = make();
    assert!(made.starts_with(SUCCESS), "{made}");
    // What a killed test run has left lies here too.
    for name in ["packages", "store", "out", "work"] {
        let _ = fs::remove_dir_all(dir.join(name));
    }
    fs::create_dir(dir.join("work")).unwrap();
    collect(&dir.join("packages"));
    let output = pipeline(dir, &description(), &dir.join("store"), &dir.join("out")).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

/// The description's packages as a repository, from a build with the host's own sources.
fn collect(packages: &Path) {
    let out = packages.with_file_name("out");
    let output = command(root().join("pipeline.sh"))
        .env("RAMFORGE_STORE", store())
        .arg("-o")
        .args([&out, &description()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let manifest: Value =
        serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    fs::remove_dir_all(&out).unwrap();
    fs::create_dir(packages).unwrap();
    let from = Store::open(&store()).unwrap();
    for package in manifest["rootfs"]["packages"].as_array().unwrap() {
        let word = |name: &str| package[name].as_str().unwrap();
        let key = stage_key("package", &word("sha256")).unwrap();
        let object: Object = serde_json::from_value(from.action(&key).unwrap().unwrap()).unwrap();
        let name = format!("{}_{}.deb", word("name"), word("architecture"));
        fs::copy(from.object_path(&object), packages.join(name)).unwrap();
    }
    let index = |what: &str| {
        let output = Command::new(program("apt-ftparchive"))
            .current_dir(packages)
            .args([what, "."])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        output.stdout
    };
    fs::write(packages.join("Packages"), index("packages")).unwrap();
    fs::write(packages.join("Release"), index("release")).unwrap();
}

fn description() -> PathBuf {
    root().join("tests/faults/description")
}

/// pipeline.sh on the small description, with its own repository.
fn pipeline(dir: &Path, description: &Path, store: &Path, out: &Path) -> Command {
    let mut command = command(root().join("pipeline.sh"));
    let repository = repository_of(dir);
    command
        .env("RAMFORGE_STORE", store)
        // What compressing well costs belongs to other tests.
        .env("RAW_IMAGE", "--level 1")
        .arg("-o")
        .arg(out)
        .args(["--set-repo", &repository])
        .arg(description);
    command
}

/// The packages as `--set-repo` takes them.
fn repository_of(dir: &Path) -> String {
    format!(
        "dir://{},apt-deb,local,,,,,,,false",
        dir.join("packages").display()
    )
}

impl Small {
    /// Its packages as `--set-repo` takes them.
    pub fn repository(&self) -> String {
        repository_of(&self.dir)
    }

    /// The directory of its packages.
    pub fn packages(&self) -> PathBuf {
        self.dir.join("packages")
    }

    /// What the undisturbed build exported.
    pub fn out(&self) -> PathBuf {
        self.dir.join("out")
    }

    /// pipeline.sh on the same description and packages.
    pub fn pipeline(&self, store: &Path, out: &Path) -> Command {
        self.pipeline_of(&description(), store, out)
    }

    /// pipeline.sh on another description with the same packages.
    pub fn pipeline_of(&self, description: &Path, store: &Path, out: &Path) -> Command {
        pipeline(&self.dir, description, store, out)
    }

    /// The store of the undisturbed build. Not to be changed.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// An empty directory for a disturbed build, removed at the end.
    ///
    /// # Panics
    /// Where it cannot be made.
    pub fn work(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(self.dir.join("work")).unwrap()
    }

    /// The stretches of the build. The last one is a build of what is built already.
    pub fn phases(&self) -> Vec<Phase> {
        let part =
            |name: &str| self.at(|e| matches!(e, Event::PartFinished { part, .. } if part == name));
        let stage = |name: &str| {
            self.at(|e| matches!(e, Event::StageFinished { stage, .. } if stage == name))
        };
        let begin = self.at(|e| matches!(e, Event::RunStarted { .. }));
        let end = self.at(|e| matches!(e, Event::RunFinished { .. }));
        let bounds = [
            ("fetch", begin),
            ("install", part("fetch")),
            ("tree", self.base_recorded()),
            ("disk", stage("rootfs-assemble")),
            ("initrd", stage("raw-image")),
            ("medium", stage("initrd-inject")),
            ("export", stage("ram-check")),
            ("again", end),
        ];
        let ends = bounds.iter().skip(1).map(|(_, at)| *at);
        let ends = ends.chain([end + Duration::from_millis(200)]);
        bounds
            .iter()
            .zip(ends)
            .map(|((name, begin), end)| Phase {
                name,
                begin: *begin,
                length: end.duration_since(*begin).unwrap(),
                exported: *name == "again",
            })
            .collect()
    }

    fn at(&self, is_it: impl Fn(&Event) -> bool) -> SystemTime {
        let line = self.lines.iter().find(|l| is_it(&l.event)).unwrap();
        let time: jiff::Timestamp = line.at.parse().unwrap();
        SystemTime::UNIX_EPOCH + Duration::from_micros(time.as_microsecond().unsigned_abs())
    }

    /// When the tree of configured packages was recorded: beside the work that goes on.
    fn base_recorded(&self) -> SystemTime {
        let is_base = |value: &Value| value.get("tree").is_some() && value.get("epoch").is_some();
        let (path, _) = self
            .actions()
            .into_iter()
            .find(|(_, v)| is_base(v))
            .unwrap();
        fs::metadata(path).unwrap().modified().unwrap()
    }

    /// Every recorded result with its value.
    ///
    /// # Panics
    /// Where one cannot be read.
    pub fn actions(&self) -> Vec<(PathBuf, Value)> {
        let value = |path: PathBuf| {
            let mut recorded: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            (path, recorded["value"].take())
        };
        files(&self.store().join("actions"))
            .into_iter()
            .map(value)
            .collect()
    }

    /// Makes `to` the store as it was at `moment`.
    ///
    /// # Panics
    /// Where a file cannot be linked.
    pub fn restore(&self, moment: SystemTime, to: &Path) {
        for name in ["objects", "recipes", "actions", "refs", "tmp", "journal"] {
            fs::create_dir_all(to.join(name)).unwrap();
        }
        for name in ["CACHEDIR.TAG", "store.json"] {
            fs::copy(self.store().join(name), to.join(name)).unwrap();
        }
        for kind in ["objects", "recipes", "actions"] {
            for path in files(&self.store().join(kind)) {
                if fs::metadata(&path).unwrap().modified().unwrap() <= moment {
                    let target = to.join(path.strip_prefix(self.store()).unwrap());
                    fs::create_dir_all(target.parent().unwrap()).unwrap();
                    fs::hard_link(&path, &target).unwrap();
                }
            }
        }
    }

    /// Copies what the undisturbed build exported.
    ///
    /// # Panics
    /// Where it cannot be copied.
    pub fn exported(&self, to: &Path) {
        run("cp", &[&"-a", &self.dir.join("out"), &to]);
    }

    /// Compares the files in `out` with those of the undisturbed build: the manifest, the ISO, the disk image
    /// and the package list, byte for byte.
    ///
    /// # Panics
    /// Where one differs or is missing.
    pub fn same(&self, out: &Path, what: &str) {
        let names = |dir: &Path| {
            let mut names: Vec<_> = fs::read_dir(dir)
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect();
            names.retain(|n| !n.to_string_lossy().starts_with('.'));
            names.sort();
            names
        };
        let ours = self.dir.join("out");
        assert_eq!(names(out), names(&ours), "{what}");
        for name in names(out) {
            let output = command("cmp")
                .args([ours.join(&name), out.join(&name)])
                .output();
            let output = output.unwrap();
            assert!(output.status.success(), "{what}: {}", text(&output));
        }
    }
}

/// All files below `dir`, in the order of their paths.
///
/// # Panics
/// Where it cannot be read.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = WalkDir::new(dir).sort_by_file_name().into_iter();
    let entries = entries.map(std::result::Result::unwrap);
    let files = entries.filter(|e| e.file_type().is_file());
    files.map(walkdir::DirEntry::into_path).collect()
}
