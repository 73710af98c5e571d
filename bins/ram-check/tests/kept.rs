//! What the store keeps of machines, and what of it counts: with the QEMU of `examples/pretend-qemu.rs`.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output};

use journal::{Event, Measurement, fold};
use serde_json::Value;
use tempfile::TempDir;

/// What the system of the figures takes, in MiB: its service holds 300.
const SET_MIB: u64 = 366;

const MENU: &str = "set default=0
set timeout=1
menuentry Debian {
    linux /boot/linux root=ramforge quiet $iso_words
    initrd /boot/initrd
}
menuentry 'Debian (failsafe)' {
    linux /boot/linux root=ramforge nomodeset $iso_words
    initrd /boot/initrd
}
";

struct Place {
    dir: TempDir,
    /// The least machine that comes up.
    least: u64,
    figures: String,
    /// Seconds.
    timeout: u64,
    /// Whether no machine says anything.
    silent: bool,
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
            timeout: 60,
            silent: false,
        };
        let store = store::Store::open(&place.path("store")).unwrap();
        let mut manifest: Value = serde_json::from_str(include_str!("manifest.json")).unwrap();
        manifest["rootfs"]["kernel"]["image"] = object(&store, b"kernel");
        manifest["media"]["iso"] = object(&store, b"medium");
        fs::write(place.path("manifest"), manifest.to_string()).unwrap();
        place
    }

    /// Gives it an ISO as iso-pack makes it, by another program, with no more than a boot menu. The digest of its object.
    fn has_a_menu(&self) -> String {
        let grub = self.path("tree/boot/grub");
        fs::create_dir_all(&grub).unwrap();
        fs::write(grub.join("grub.cfg"), MENU).unwrap();
        let (iso, tree) = (self.path("medium.iso"), self.path("tree"));
        let paths = [iso.as_os_str(), tree.as_os_str()];
        let xorriso = Command::new("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-R", "-o"])
            .args(paths)
            .output();
        let xorriso = xorriso.expect("xorriso is a judge of these tests");
        assert!(xorriso.status.success(), "{xorriso:?}");
        let store = store::Store::open(&self.path("store")).unwrap();
        let manifest = fs::read(self.path("manifest")).unwrap();
        let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
        manifest["media"]["iso"] = object(&store, &fs::read(iso).unwrap());
        fs::write(self.path("manifest"), manifest.to_string()).unwrap();
        let digest = manifest["media"]["iso"]["blake3"].as_str().unwrap();
        digest.to_owned()
    }

    /// The boot menu of the medium that the last machine had, as another program reads it.
    fn menu(&self) -> String {
        let (medium, menu) = (self.path("booted.iso"), self.path("grub.cfg"));
        let _ = fs::remove_file(&menu);
        let xorriso = Command::new("xorriso")
            .args(["-osirrox", "on", "-indev"])
            .arg(medium)
            .args(["-extract", "/boot/grub/grub.cfg"])
            .arg(&menu)
            .output()
            .unwrap();
        assert!(xorriso.status.success(), "{xorriso:?}");
        fs::read_to_string(menu).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The exit code of ram-check, its verdict, and what it said.
    fn check(&self, options: &str) -> (i32, Value, String) {
        let (code, written, said) = self.answer(options);
        let manifest: Value =
            serde_json::from_slice(&written).unwrap_or_else(|e| panic!("{e}: {said}"));
        (code, manifest["verdict"].clone(), said)
    }

    /// What it said before it ended with exit code 1, and wrote nothing.
    fn fails(&self, options: &str) -> String {
        let (code, written, said) = self.answer(options);
        assert_eq!((code, written.len()), (1, 0), "{said}");
        said
    }

    fn answer(&self, options: &str) -> (i32, Vec<u8>, String) {
        let output = self.run(options);
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), output.stdout, said)
    }

    fn run(&self, options: &str) -> Output {
        fs::write(self.path("figures"), &self.figures).unwrap();
        let path = format!("{}:/usr/bin:/bin", self.dir.path().display());
        Command::new(env!("CARGO_BIN_EXE_ram-check"))
            .env("PATH", path)
            .env("RAMFORGE_STORE", self.path("store"))
            .env("RAMFORGE_RUN", "test")
            .env("RAMFORGE_ACCEL", "tcg")
            .env("PRETEND_LEAST", self.least.to_string())
            .env("PRETEND_FIGURES", self.path("figures"))
            .env("PRETEND_BOOTS", self.path("boots"))
            .env("PRETEND_MEDIUM", self.path("booted.iso"))
            .args(options.split_whitespace())
            .args(["--timeout", &self.timeout.to_string()])
            .envs(self.silent.then_some(("PRETEND_SILENT", "yes")))
            .arg("--manifest")
            .arg(self.path("manifest"))
            .current_dir(self.dir.path())
            .output()
            .unwrap()
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

    /// What every key in the journal was made of, by its stage, or stage and part.
    fn facts(&self) -> BTreeMap<String, Vec<Value>> {
        let store = store::Store::open(&self.path("store")).unwrap();
        let lines = journal::read(&self.path("store/journal/test.jsonl")).unwrap();
        let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for event in lines.into_iter().map(|line| line.event) {
            let (place, facts) = match event {
                Event::StageStarted { stage, facts, .. } => (stage, facts),
                Event::PartStarted {
                    stage, part, facts, ..
                } => (format!("{stage}/{part}"), facts),
                _ => continue,
            };
            let facts = serde_json::from_slice(&store.get(&facts).unwrap()).unwrap();
            found.entry(place).or_default().push(facts);
        }
        found
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
fn a_measured_set_counts_where_it_is_asked_for_and_is_measured_once() {
    let place = Place::new(400);
    let (_, assumed, _) = place.check("");
    let (code, first, said) = place.check("--measure --login login");
    assert_eq!((code, set_mib(&first)), (0, SET_MIB), "{said}");
    let assumed = assumed["least_ram_mib"].as_u64().unwrap();
    assert_eq!(place.booted(), [assumed + 1024]);
    let stated = first["least_ram_mib"].as_u64().unwrap();
    assert!(stated > assumed + 200, "{said}");
    // Every other question is answered with it, whatever the machine and its firmware.
    for options in ["--ram 1G", "--ram 600M", "--ram 2G --leave 10M"] {
        let (_, later, said) = place.check(&format!("--measure --login login {options}"));
        assert_eq!(
            (set_mib(&later), place.booted().len()),
            (SET_MIB, 0),
            "{said}"
        );
        assert_eq!(later["least_ram_mib"], stated, "{said}");
    }
    // Who does not ask has what there was before, from the store.
    let (_, later, said) = place.check("");
    assert!(
        later["working_set"].is_null() && said.contains("nothing to do"),
        "{said}"
    );
    let (_, later, _) = place.check("--ram 2G");
    assert_eq!(later["least_ram_mib"], assumed);
    assert_eq!(place.sets(), 1);
}

#[test]
fn a_search_that_measures_begins_with_what_was_measured() {
    let place = Place::new(720);
    let (code, verdict, said) = place.check("--least");
    assert_eq!(
        (code, verdict["working_set"].is_null()),
        (4, true),
        "{said}"
    );
    let (code, verdict, said) = place.check("--least --measure --login login");
    assert_eq!((code, set_mib(&verdict)), (0, SET_MIB), "{said}");
    assert_eq!(verdict["measured"]["least_ram_mib"], 720);
    let least = place.measurements().pop().unwrap();
    assert_eq!(verdict["least_ram_mib"], least.predicted_mib);
    assert!(least.predicted_mib >= 720 && !least.kept, "{least:?}");
    // The report tells the two statements apart.
    assert_eq!(
        least.working_set_kib,
        verdict["working_set"]["kib"].as_u64()
    );
    assert_eq!(place.measurements()[0].working_set_kib, None);
}

#[test]
fn the_same_search_boots_nothing_again_and_is_kept() {
    let place = Place::new(528);
    let (code, first, said) = place.check("--least");
    assert_eq!(code, 0, "{said}");
    assert!(!place.booted().is_empty());
    let (code, second, said) = place.check("--least");
    assert_eq!((code, place.booted()), (0, Vec::new()), "{said}");
    assert!(said.contains("nothing to do"), "{said}");
    assert_eq!(first, second);
    // Whatever is asked beside, every machine is known.
    let (code, _, said) = place.check("--least --leave 1 --ram 2G");
    assert_eq!((code, place.booted()), (0, Vec::new()), "{said}");
    let kept: Vec<bool> = place.measurements().iter().map(|m| m.kept).collect();
    assert_eq!(kept, [false, true, true]);
}

#[test]
fn what_is_no_measurement_is_an_error_and_counts_nowhere() {
    let mut place = Place::new(400);
    let whole = place.figures.clone();
    for (torn, fact) in [
        (
            whole.replace("oom_kill 0\n", ""),
            "do not say whether programs were killed",
        ),
        (
            whole.replace("oom_kill 0\n", "oom_kill 3\n"),
            "MiB (3); give it more with --ram",
        ),
        (
            whole.replace("MemFree", "Mem"),
            "the figures from inside do not say it",
        ),
    ] {
        assert_ne!(torn, whole);
        place.figures = torn;
        let said = place.fails(&format!(
            "--measure --login login --ram {}M",
            2048 + 16 * fact.len()
        ));
        assert!(said.contains(fact), "{said}");
    }
    assert_eq!(place.sets(), 0);
    place.figures = whole;
    let (code, verdict, said) = place.check("--measure --login login");
    assert_eq!((code, set_mib(&verdict)), (0, SET_MIB), "{said}");
}

#[test]
fn a_machine_that_does_not_come_up_measures_nothing() {
    let place = Place::new(4000);
    let said = place.fails("--measure --login login");
    assert!(
        said.contains("--measure: the system stopped with") && said.contains("with --ram"),
        "{said}"
    );
    let (code, verdict, said) = place.check("--measure --login login --ram 4001M");
    assert_eq!((code, set_mib(&verdict)), (0, SET_MIB), "{said}");
    assert_eq!(place.booted().last(), Some(&4016));
}

#[test]
fn another_store_is_asked_of_a_copy_of_the_medium_and_kept_apart() {
    let place = Place::new(320);
    let digest = place.has_a_menu();
    let (code, verdict, said) = place.check("--least --store zram");
    assert_eq!(code, 0, "{said}");
    assert_eq!(verdict["stores"][0]["store"], "zram");
    assert_eq!(verdict["measured"]["store"], "zram");
    assert_eq!(place.measurements().pop().unwrap().store, "zram");
    let machines = place.booted();
    assert!(machines.contains(&320) && machines.contains(&304), "{said}");
    let menu = place.menu();
    let line = "    linux /boot/linux rd.ramforge.store=zram root=ramforge quiet $iso_words\n";
    assert!(menu.contains(line) && !menu.contains("failsafe"), "{menu}");
    // The object is what it was, and a machine without the option has it as it is.
    let store = store::Store::open(&place.path("store")).unwrap();
    let iso = fs::read(place.path("medium.iso")).unwrap();
    let object = manifest::Object::of(&iso);
    assert_eq!(object.blake3.to_string(), digest);
    assert!(store.get(&object).unwrap() == iso);
    let (code, _, said) = place.check("--boot --ram 1G");
    assert_eq!((code, place.booted()), (0, vec![1024]), "{said}");
    assert!(fs::read(place.path("booted.iso")).unwrap() == iso);
    // Each has machines of its own that are known.
    for (options, booted) in [
        ("--boot --ram 1G --store zram", vec![1024]),
        ("--boot --ram 1G --leave 1 --store zram", vec![]),
        ("--boot --ram 1G --leave 1", vec![]),
        ("--boot --ram 1G --leave 1 --store tmpfs", vec![1024]),
    ] {
        let (code, _, said) = place.check(options);
        assert_eq!((code, place.booted()), (0, booted), "{options}: {said}");
    }
}

#[test]
fn ramforge_why_has_a_word_for_every_field_of_a_key() {
    let place = Place::new(400);
    place.has_a_menu();
    for options in ["--measure", "--boot --ram 2G --store zram"] {
        let (code, _, said) = place.check(&format!("{options} --login login"));
        assert_eq!(code, 0, "{said}");
    }
    let all = place.facts();
    let places: Vec<&str> = all.keys().map(String::as_str).collect();
    assert_eq!(
        places,
        ["ram-check", "ram-check/boot", "ram-check/working set"]
    );
    // Also the fields that are not always there.
    let boots = &all["ram-check/boot"];
    assert!(boots.iter().any(|boot| boot["facts"]["store"] == "zram"));
    assert!(boots.iter().all(|boot| boot["facts"]["login"] == "root"));
    for (place, facts) in &all {
        for facts in facts {
            let unnamed = why::unnamed(place, facts);
            assert!(unnamed.is_empty(), "{place}: no word for {unnamed:?}");
        }
    }
}

#[test]
fn a_store_without_a_root_or_a_menu_is_refused() {
    let place = Place::new(320);
    let refused = |options: &str| {
        let output = place.run(options);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused("--store erofs");
    let expected = "--store erofs: the medium does not carry the root for it";
    assert!(said.contains(expected), "{said}");
    let said = refused("--boot --store zram");
    let expected = "expected a medium with the boot menu of iso-pack";
    assert!(
        said.contains("--store zram: the medium: ") && said.contains(expected),
        "{said}"
    );
    assert!(place.booted().is_empty());
}

#[test]
fn a_search_that_ran_out_of_time_is_no_measurement() {
    let mut place = Place::new(320);
    (place.silent, place.timeout) = (true, 1);
    let said = place.fails("--least");
    assert!(
        said.contains("no machine came up within 1 s, so nothing is measured")
            && said.contains("--timeout"),
        "{said}"
    );
    assert!(place.measurements().is_empty());
    (place.silent, place.timeout) = (false, 60);
    let (code, verdict, said) = place.check("--least");
    assert_eq!(
        (code, verdict["measured"]["least_ram_mib"].as_u64()),
        (0, Some(320)),
        "{said}"
    );
}
