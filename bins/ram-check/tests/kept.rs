//! What the store keeps of machines, and what is asked of them anew: with the QEMU of `examples/pretend-qemu.rs`.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use journal::{Event, Measurement, fold};
use serde_json::Value;
use tempfile::TempDir;

/// What the system of the figures takes, in MiB: its service holds 300.
const SET_MIB: u64 = 364;

struct Place {
    dir: TempDir,
    /// The least machine that comes up.
    least: u64,
    figures: String,
}

impl Place {
    fn new(least: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut qemu = std::env::current_exe().unwrap();
        qemu.pop();
        qemu.pop();
        let pretend = qemu.join("examples/pretend-qemu");
        assert!(pretend.exists(), "cargo build --examples makes it");
        symlink(pretend, dir.path().join("qemu-system-x86_64")).unwrap();
        fs::write(dir.path().join("login"), "root:linux\n").unwrap();
        let place = Self {
            dir,
            least,
            figures: include_str!("figures/brd.txt").to_owned(),
        };
        let store = store::Store::open(&place.path("store")).unwrap();
        let mut manifest: Value = serde_json::from_str(include_str!("manifest.json")).unwrap();
        manifest["rootfs"]["kernel"]["image"] = object(&store, b"kernel");
        manifest["media"]["iso"] = object(&store, b"medium");
        fs::write(place.path("manifest"), manifest.to_string()).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The exit code of ram-check, its verdict, and what it said.
    fn check(&self, options: &str) -> (i32, Value, String) {
        fs::write(self.path("figures"), &self.figures).unwrap();
        let path = format!("{}:/usr/bin:/bin", self.dir.path().display());
        let output = Command::new(env!("CARGO_BIN_EXE_ram-check"))
            .env("PATH", path)
            .env("RAMFORGE_STORE", self.path("store"))
            .env("RAMFORGE_RUN", "test")
            .env("RAMFORGE_ACCEL", "tcg")
            .env("PRETEND_LEAST", self.least.to_string())
            .env("PRETEND_FIGURES", self.path("figures"))
            .env("PRETEND_BOOTS", self.path("boots"))
            .args(options.split_whitespace())
            .args(["--timeout", "60"])
            .arg("--manifest")
            .arg(self.path("manifest"))
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let manifest: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
        (
            output.status.code().unwrap(),
            manifest["verdict"].clone(),
            said,
        )
    }

    /// The machines that were started since the last question.
    fn booted(&self) -> Vec<u64> {
        let boots = fs::read_to_string(self.path("boots")).unwrap_or_default();
        fs::write(self.path("boots"), "").unwrap();
        boots.lines().map(|ram| ram.parse().unwrap()).collect()
    }

    fn measurements(&self) -> Vec<Measurement> {
        fold(&journal::read(&self.path("store/journal/test.jsonl")).unwrap()).measurements
    }

    /// How often a measured set is in the journal.
    fn sets(&self) -> usize {
        let lines = journal::read(&self.path("store/journal/test.jsonl")).unwrap();
        let is_set =
            |event: &Event| matches!(event, Event::Custom { name, .. } if name == "working-set");
        lines.iter().filter(|line| is_set(&line.event)).count()
    }
}

fn object(store: &store::Store, bytes: &[u8]) -> Value {
    serde_json::to_value(store.put(bytes).unwrap()).unwrap()
}

fn set_mib(verdict: &Value) -> u64 {
    verdict["working_set"]["kib"].as_u64().unwrap() >> 10
}

#[test]
fn a_measurement_that_is_asked_for_takes_the_place_of_an_earlier_one() {
    let mut place = Place::new(400);
    let (code, first, said) = place.check("--measure --login login");
    assert_eq!((code, set_mib(&first)), (0, SET_MIB), "{said}");
    assert_eq!(place.booted().len(), 1);
    // The same machine, on which another service has been given up.
    place.figures = place.figures.replace(" 802508 kB", " 700108 kB");
    let (code, second, said) = place.check("--measure --login login --ram 1616M");
    assert_eq!((code, set_mib(&second)), (0, SET_MIB + 100), "{said}");
    assert_eq!(place.booted(), [1888], "{said}");
    let both = format!(
        "the working set was {} MiB (brd, a machine with 1568 MiB), is {} MiB (brd, a machine with 1888 MiB)",
        SET_MIB + 1,
        SET_MIB + 101
    );
    assert!(said.contains(&both), "{said}");
    let (_, later, _) = place.check("");
    assert_eq!(set_mib(&later), SET_MIB + 100);
    // The very same command, too.
    let (_, third, _) = place.check("--measure --login login --ram 1616M");
    assert_eq!(set_mib(&third), SET_MIB + 100);
    assert_eq!((place.booted().len(), place.sets()), (1, 3));
    // What is read by the way does not.
    place.figures = include_str!("figures/brd.txt").to_owned();
    let (_, other, said) = place.check("--boot --login login --ram 2G");
    assert_eq!(set_mib(&other), SET_MIB + 100, "{said}");
}

#[test]
fn a_search_that_measures_is_judged_by_what_was_stated_before() {
    let place = Place::new(720);
    let (code, verdict, said) = place.check("--least --login login");
    assert_eq!((code, set_mib(&verdict)), (4, SET_MIB), "{said}");
    let (stated, measured) = (verdict["least_ram_mib"].as_u64().unwrap(), 720);
    assert!(stated > measured, "{said}");
    assert_eq!(verdict["measured"]["least_ram_mib"], measured);
    let least = place.measurements().pop().unwrap();
    assert!(least.predicted_mib < measured && !least.kept, "{least:?}");
    assert_eq!(verdict["measured"]["predicted_mib"], least.predicted_mib);
}

#[test]
fn the_same_search_boots_nothing_again_and_is_kept() {
    let mut place = Place::new(528);
    // A system that takes little: what is stated before holds.
    place.figures = place.figures.replace(" 802508 kB", " 1102508 kB");
    let (code, first, said) = place.check("--least --login login");
    assert_eq!(code, 0, "{said}");
    assert!(!place.booted().is_empty() && first["working_set"].is_object());
    let (code, second, said) = place.check("--least --login login");
    assert_eq!((code, place.booted()), (0, Vec::new()), "{said}");
    assert!(said.contains("nothing to do"), "{said}");
    assert_eq!(first, second);
    // With what is measured another prediction begins elsewhere; then every machine is known, whatever is asked beside.
    let (code, _, said) = place.check("--least --login login --leave 1 --ram 2G");
    assert_eq!((code, place.booted().len()), (0, 1), "{said}");
    let (code, _, said) = place.check("--least --login login --leave 2 --ram 2G");
    assert_eq!((code, place.booted()), (0, Vec::new()), "{said}");
    let kept: Vec<bool> = place.measurements().iter().map(|m| m.kept).collect();
    assert_eq!(kept, [false, true, false, true]);
}

#[test]
fn figures_that_do_not_say_all_are_no_measurement() {
    let mut place = Place::new(528);
    place.figures = place.figures.replace("oom_kill 0\n", "");
    let (code, verdict, said) = place.check("--boot --login login --ram 2G");
    assert_eq!((code, place.sets()), (0, 0), "{said}");
    assert!(verdict["working_set"].is_null());
    let fact = "the working set is not measured: the figures from inside do not say whether";
    assert!(said.contains(fact), "{said}");
}
