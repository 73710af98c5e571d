//! The commands that look after the store, as programs.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use manifest::{Object, to_canonical};
use serde_json::{Value, json};
use store::Store;
use tempfile::TempDir;

struct Place {
    dir: TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ramforge"));
        command
            .args(arguments)
            .env("RAMFORGE_STORE", self.store.root());
        command.env_remove("RAMFORGE_RUN");
        command
    }

    /// Runs a command; gives its exit code and what it printed.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        said(&self.command(arguments).output().unwrap())
    }

    /// Runs a command that must succeed, for the run of that name.
    fn within(&self, run: &str, arguments: &[&str]) -> String {
        let output = self
            .command(arguments)
            .env("RAMFORGE_RUN", run)
            .output()
            .unwrap();
        let (code, said) = said(&output);
        assert_eq!(code, Some(0), "{said}");
        said
    }

    /// A manifest that names an object, and one that the object names.
    fn manifest(&self) -> (PathBuf, [Object; 2]) {
        let leaf = self.store.put(b"leaf").unwrap();
        let listing = to_canonical(&json!({"leaf": leaf})).unwrap();
        let listing = self.store.put(listing.as_bytes()).unwrap();
        let path = self.file("manifest.json");
        let text = json!({"ramforge": 1, "mine": {"listing": listing}}).to_string();
        std::fs::write(&path, text).unwrap();
        (path, [leaf, listing])
    }
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn reference(object: &Object) -> String {
    to_canonical(object).unwrap()
}

#[test]
fn a_pin_keeps_what_its_manifest_leads_to() {
    let place = Place::new();
    let (manifest, objects) = place.manifest();
    let loose = place.store.put(b"loose").unwrap();
    assert_eq!(place.run(&["pin", "mine", text(&manifest)]).0, Some(0));
    let (code, said) = place.run(&["gc", "--max-size", "0"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("freed") && said.contains("more than --max-size"),
        "{said}"
    );
    assert!(objects.iter().all(|o| place.store.has(o)) && !place.store.has(&loose));
    assert_eq!(place.run(&["unpin", "mine"]).0, Some(0));
    assert_eq!(place.run(&["gc"]).0, Some(0));
    assert!(!objects.iter().any(|o| place.store.has(o)));
    let (code, said) = place.run(&["pin", "again", text(&manifest)]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not in the store any more"), "{said}");
    for arguments in [["unpin", "mine"], ["unpin", "../mine"]] {
        assert_eq!(place.run(&arguments).0, Some(2));
    }
}

#[test]
fn a_dry_run_removes_nothing_and_says_the_same() {
    let place = Place::new();
    let (_, objects) = place.manifest();
    let (_, would) = place.run(&["gc", "--dry-run"]);
    assert!(objects.iter().all(|o| place.store.has(o)));
    let (_, did) = place.run(&["gc"]);
    assert_eq!(would.replace("would free", "freed"), did);
    assert!(!objects.iter().any(|o| place.store.has(o)));
}

#[test]
fn what_a_run_puts_stays_until_it_is_finished() {
    let place = Place::new();
    let run = place.run(&["start-run"]).1.trim().to_owned();
    let file = place.file("file");
    std::fs::write(&file, "content").unwrap();
    let put = place.within(&run, &["put", text(&file)]);
    let object: Object = serde_json::from_str(&put).unwrap();
    place.run(&["gc", "--keep-days", "0"]);
    assert!(place.store.has(&object), "the run goes on");
    place.within(&run, &["event", "mine", "made", &put]);
    place.within(&run, &["finish-run", "0"]);
    place.run(&["gc"]);
    assert!(
        place.store.has(&object),
        "the run is young, and its journal names the object"
    );
    place.run(&["gc", "--keep-days", "0"]);
    assert!(!place.store.has(&object));
    let (code, said) = place.run(&["report", &run]);
    assert_eq!(code, Some(1), "its journal went with it: {said}");
}

#[test]
fn a_report_has_what_was_measured_beside_what_is_stated() {
    let place = Place::new();
    let run = place.run(&["start-run"]).1.trim().to_owned();
    let event = |measured: &str| {
        let data = format!(
            r#"{{"store":"brd","firmware":"bios","predicted_mib":672,"measured_mib":{measured},"too_little_mib":624,"boots":4}}"#
        );
        place.within(&run, &["event", "ram-check", "least", &data]);
    };
    event("640");
    event("688");
    event("672");
    event("null");
    let newer = r#"{"store":"brd","firmware":"uefi","accelerator":"tcg","predicted_mib":560,"recommended_mib":680,"measured_mib":544,"too_little_mib":528,"boots":3}"#;
    place.within(&run, &["event", "ram-check", "least", newer]);
    // Somebody else's event of this name is none of ours.
    place.within(&run, &["event", "mine", "least", "{}"]);
    let (_, said) = place.run(&["report", &run]);
    for expected in [
        "least RAM (brd, bios): 672 MiB stated, 640 MiB measured in 4 boots: 32 MiB or 5 % above",
        "688 MiB measured in 4 boots: 16 MiB too little",
        "672 MiB measured in 4 boots: the same",
        "in 4 boots nothing up to 624 MiB came up",
        "(brd, uefi, tcg): 560 MiB stated (680 recommended), 544 MiB measured in 3 boots: 16 MiB or 2 % above",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(said.matches("least RAM").count(), 5, "{said}");
}

#[test]
fn a_report_of_no_run_has_what_all_runs_stated_and_measured() {
    let place = Place::new();
    let event = |image: &str, stated: u64, measured: u64, more: &str| {
        let run = place.run(&["start-run"]).1.trim().to_owned();
        let data = format!(
            r#"{{"image":"{image}","store":"brd","firmware":"bios","predicted_mib":{stated},"measured_mib":{measured},"too_little_mib":0,"boots":3{more}}}"#
        );
        place.within(&run, &["event", "ram-check", "least", &data]);
        run
    };
    let first = event("a.x86_64-1", 672, 640, "");
    event("b.x86_64-1", 512, 576, "");
    event("a.x86_64-1", 640, 640, "");
    event("a.x86_64-1", 656, 640, r#","kept":true"#);
    // A journal that somebody has changed is told, and hides none of the others.
    let changed = place.store.journal_dir().join("20000101T000000-x.jsonl");
    std::fs::write(&changed, "no event\n").unwrap();
    let (code, said) = place.run(&["report"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("640 MiB measured in 3 boots, kept: 16 MiB or 2 % above\n"),
        "{said}"
    );
    let line = |image: &str| {
        let lines = said.lines().filter(|line| line.starts_with(image));
        let line = lines.collect::<Vec<_>>();
        assert_eq!(line.len(), 1, "{image}: {said}");
        line[0].split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let (a, b) = (line("a.x86_64-1"), line("b.x86_64-1"));
    assert!(
        a.starts_with("a.x86_64-1 brd bios 656 640 2 2") && a.ends_with(" 16 MiB or 2 % above"),
        "{a}"
    );
    assert!(
        b.starts_with("b.x86_64-1 brd bios 512 576 1 2") && b.ends_with("! 64 MiB too little"),
        "{b}"
    );
    assert!(said.contains("not read: journal: "), "{said}");
    let (_, one) = place.run(&["report", &first]);
    assert!(!one.contains("b.x86_64-1"), "{one}");
}

#[test]
fn a_report_tells_a_measured_set_from_an_assumed_one() {
    let place = Place::new();
    for (stated, more) in [(592, ""), (896, r#","working_set_kib":372736"#)] {
        let run = place.run(&["start-run"]).1.trim().to_owned();
        let data = format!(
            r#"{{"image":"a\u001b[1m","store":"brd","firmware":"bios","predicted_mib":{stated},"measured_mib":816,"too_little_mib":800,"boots":3{more}}}"#
        );
        place.within(&run, &["event", "ram-check", "least", &data]);
    }
    let (_, said) = place.run(&["report"]);
    let one = "(brd, bios): 896 MiB stated with 364 MiB of working set measured, 816 MiB measured in 3 boots: ";
    assert!(said.contains(one), "{said}");
    let lines = said.lines().filter(|line| line.starts_with("a\\u{1b}[1m "));
    let ends: Vec<&str> = lines.filter_map(|line| line.rsplit("  ").next()).collect();
    assert_eq!(ends, ["224 MiB too little", "(set measured)"], "{said}");
}

#[test]
fn a_report_has_the_timeline_of_a_boot() {
    let place = Place::new();
    let run = place.run(&["start-run"]).1.trim().to_owned();
    let event = |result: &str, marks: &str| {
        let data = format!(
            r#"{{"proof":{{"ram_mib":672,"firmware":"bios","result":"{result}"}},"milliseconds":{{{marks}}}}}"#
        );
        place.within(&run, &["event", "ram-check", "boot", &data]);
    };
    let login = r#""kernel":6857,"firmware":211,"grub":324,"ram-deploy":9700,"switch_root":41020,"login":70485"#;
    event("login", login);
    // Older runs know no firmware.
    event("refused", r#""kernel":6857,"loader":539"#);
    let newer = r#"{"proof":{"ram_mib":704,"firmware":"uefi","accelerator":"kvm","result":"login"},"milliseconds":{"login":9000}}"#;
    place.within(&run, &["event", "ram-check", "boot", newer]);
    let kept = r#"{"kept":true,"proof":{"ram_mib":720,"firmware":"bios","accelerator":"tcg","result":"login"},"milliseconds":{}}"#;
    place.within(&run, &["event", "ram-check", "boot", kept]);
    let (_, said) = place.run(&["report", &run]);
    for expected in [
        "boot with 720 MiB (bios, tcg), kept: login\n",
        "boot with 704 MiB (uefi, kvm): login 9.0 s\n",
        "boot with 672 MiB (bios): firmware 0.2 s, grub 0.3 s, kernel 6.9 s, ram-deploy 9.7 s, switch_root 41.0 s, login 70.5 s\n",
        "boot with 672 MiB (bios): loader 0.5 s, kernel 6.9 s, refused\n",
    ] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_password_among_the_arguments_is_not_in_the_journal() {
    let place = Place::new();
    let run = place
        .run(&[
            "start-run",
            "--",
            "--add-repo",
            "http://me:hidden@deb.example.org/d,apt-deb",
            "--set-repo=https://hidden@deb.example.org/d",
            "--set-type-attr",
            "luks=hidden",
            "--set-type-attr=luks=hidden",
            "examples/debian-vm",
        ])
        .1;
    let journal = place
        .store
        .journal_dir()
        .join(format!("{}.jsonl", run.trim()));
    let journal = std::fs::read_to_string(journal).unwrap();
    assert!(!journal.contains("hidden"), "{journal}");
    for kept in [
        "http://…@deb.example.org/d,apt-deb",
        "--set-repo=https://…@deb.example.org/d",
        "luks=…",
        "examples/debian-vm",
    ] {
        assert!(journal.contains(kept), "no {kept:?} in {journal}");
    }
}

#[test]
fn a_run_that_never_began_is_a_mistake_and_leaves_no_file() {
    let place = Place::new();
    for arguments in [vec!["event", "s", "n"], vec!["finish-run", "0"]] {
        let mut command = place.command(&arguments);
        let (code, said) = said(&command.env("RAMFORGE_RUN", "typo").output().unwrap());
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("no run \"typo\""), "{said}");
    }
    assert_eq!(
        std::fs::read_dir(place.store.journal_dir())
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn get_leaves_a_whole_file_or_the_old_one() {
    let place = Place::new();
    let object = place.store.put(b"content").unwrap();
    let to = place.file("out");
    std::fs::write(&to, "old").unwrap();
    let wrong = Object { size: 8, ..object };
    let (code, said) = place.run(&["get", &reference(&wrong), "-o", text(&to)]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("has 7 bytes"), "{said}");
    assert_eq!(std::fs::read(&to).unwrap(), b"old");
    assert_eq!(
        place.run(&["get", &reference(&object), "-o", text(&to)]).0,
        Some(0)
    );
    assert_eq!(std::fs::read(&to).unwrap(), b"content");
    assert_eq!(
        place
            .run(&["get", &reference(&object), "-o", "/dev/null"])
            .0,
        Some(0)
    );
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    damage(&place.store, &object);
    assert_eq!(
        place.run(&["get", &reference(&object), "-o", text(&to)]).0,
        Some(6)
    );
    assert_eq!(std::fs::read(&to).unwrap(), b"content");
    let left = std::fs::read_dir(place.dir.path()).unwrap().count();
    assert_eq!(left, 2, "the store and the file");
}

#[test]
fn an_object_of_parts_is_got_like_any_other() {
    let place = Place::new();
    let parts = [b"one ".as_slice(), b"two"].map(|bytes| place.store.put(bytes).unwrap());
    let whole = place.store.put_parts(&parts, &mut || Ok(())).unwrap();
    for name in [reference(&whole), whole.blake3.to_string()] {
        assert_eq!(place.run(&["get", &name]), (Some(0), "one two".to_owned()));
    }
}

/// Changes the bytes of an object.
fn damage(store: &Store, object: &Object) {
    let path = store.object_path(object);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, vec![b'x'; object.size as usize]).unwrap();
}

#[test]
fn verify_finds_every_damage_and_mends_it() {
    let place = Place::new();
    let put = |n| place.store.put(format!("content {n}").as_bytes()).unwrap();
    let objects: Vec<Object> = (0..50).map(put).collect();
    let key = |n| manifest::stage_key("test", &n).unwrap();
    for n in [1, 7] {
        let value = json!({"result": objects[n]});
        place.store.record_action(&key(n), &value).unwrap();
    }
    assert_eq!(place.run(&["verify"]).0, Some(0));
    damage(&place.store, &objects[7]);
    damage(&place.store, &objects[8]);
    let (code, said) = place.run(&["verify"]);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("50 objects read, 2 damaged"), "{said}");
    assert_eq!(place.run(&["verify", "--repair"]).0, Some(0));
    assert_eq!(place.run(&["verify"]).0, Some(0));
    assert!(place.store.action(&key(1)).unwrap().is_some());
    assert!(place.store.action(&key(7)).unwrap().is_none());
}

#[test]
fn the_statistics_say_what_keeps_what() {
    let place = Place::new();
    let (manifest, _) = place.manifest();
    place.run(&["pin", "mine", text(&manifest)]);
    place.store.put(b"loose").unwrap();
    let (code, said) = place.run(&["store-stats"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("pins (1)"), "{said}");
    let stats: Value = serde_json::from_str(&place.run(&["store-stats", "--json"]).1).unwrap();
    assert_eq!(stats["objects"]["count"], 3);
    assert_eq!(stats["kept"]["pins"]["count"], 2);
    assert_eq!(
        stats["kept"]["nothing"],
        json!({"roots": 0, "count": 1, "bytes": 5})
    );
}
