//! `ramforge why` on stores and journals as stages leave them.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::BTreeMap;

use journal::{Event, Journal};
use manifest::{Digest, Object, part_key, stage_key};
use serde_json::{Value, json};
use store::Store;
use store::chunk_map::{CHUNK_SIZE, Chunk, ChunkMap, FORMAT};
use store::tree::{Entry, Kind, Tree};

/// A store with a run of a description after another.
struct History {
    _dir: tempfile::TempDir,
    store: Store,
    runs: u32,
}

/// How a stage or a part ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Found,
    Made,
    Failed,
}

impl History {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        Self {
            _dir: dir,
            store,
            runs: 0,
        }
    }

    /// Journals a run with these stages and parts: `stage` or `stage/part`, facts, end.
    fn run(&mut self, description: &str, work: &[(&str, Value, End)]) {
        self.runs += 1;
        let mut journal = self.journal();
        let arguments = vec![description.to_owned()];
        journal.append(Event::RunStarted { arguments }).unwrap();
        for (place, facts, end) in work {
            self.work(&mut journal, place, facts, *end);
        }
        let code = u8::from(work.iter().any(|w| w.2 == End::Failed));
        journal.append(Event::RunFinished { code }).unwrap();
    }

    fn journal(&self) -> Journal {
        let name = format!("run-{:03}", self.runs);
        Journal::open(&self.store.journal_dir(), &name).unwrap()
    }

    fn work(&self, journal: &mut Journal, place: &str, facts: &Value, end: End) {
        let object = self.put(facts);
        let (stage, part) = match place.split_once('/') {
            Some((stage, part)) => (stage.to_owned(), Some(part.to_owned())),
            None => (place.to_owned(), None),
        };
        let key = match &part {
            Some(part) => *part_key(&stage, part, facts).unwrap().digest(),
            None => *stage_key(&stage, facts).unwrap().digest(),
        };
        let begin = match part.clone() {
            Some(part) => Event::PartStarted {
                stage: stage.clone(),
                part,
                key,
                facts: object,
            },
            None => Event::StageStarted {
                stage: stage.clone(),
                version: "0.1.0".to_owned(),
                key,
                facts: object,
            },
        };
        journal.append(begin).unwrap();
        match end {
            End::Made => {}
            End::Found => journal
                .append(Event::CacheHit { stage, key, part })
                .unwrap(),
            End::Failed => journal
                .append(Event::StageFailed {
                    stage,
                    code: 1,
                    message: "no room\n  help: make some".to_owned(),
                })
                .unwrap(),
        }
    }

    fn put(&self, value: &Value) -> Object {
        self.store.put(value.to_string().as_bytes()).unwrap()
    }

    fn tree(&self, files: &[(&str, &str, u32)]) -> Object {
        let mut tree = Tree::default();
        for (path, content, mode) in files {
            tree.insert(Entry {
                path: (*path).to_owned(),
                kind: Kind::File(Object::of(content.as_bytes())),
                mode: *mode,
                uid: 0,
                gid: 0,
                mtime: 0,
                xattrs: BTreeMap::new(),
            });
        }
        tree.write(&self.store).unwrap()
    }

    fn map(&self, chunks: &[&str]) -> Object {
        let chunk = |(at, text): (usize, &&str)| Chunk {
            at: at as u64,
            blake3: Digest::of(text.as_bytes()),
            frame: Object::of(text.as_bytes()),
        };
        let map = ChunkMap {
            format: FORMAT,
            size: 8 * CHUNK_SIZE,
            chunk_size: CHUNK_SIZE,
            chunks: chunks.iter().enumerate().map(chunk).collect(),
        };
        map.write(&self.store).unwrap()
    }

    fn why(&self, stage: &str) -> String {
        why::why(&self.store, Some(stage)).unwrap().join("\n")
    }

    /// What `stage` says after a run with `before` and one with `after`.
    fn between(&mut self, place: &str, before: Value, after: Value) -> String {
        let stage = place.split('/').next().unwrap();
        let run = |history: &mut Self, facts: Value| match place.contains('/') {
            true => {
                let whole = json!({"input": facts});
                history.run("d", &[(stage, whole, End::Made), (place, facts, End::Made)]);
            }
            false => history.run("d", &[(place, facts, End::Made)]),
        };
        run(self, before);
        run(self, after);
        let said = self.why(stage);
        said.lines().last().unwrap().trim().to_owned()
    }
}

#[test]
fn a_value_is_told_with_its_place_in_the_description() {
    let mut history = History::new();
    let mut plan: Value =
        serde_json::from_str(include_str!("../../../stage/tests/plan.json")).unwrap();
    let mut run = |history: &mut History, timeout: u64| {
        plan["bootloader"]["timeout"] = timeout.into();
        plan["origins"]["/bootloader/timeout"] =
            json!({"file": "config.xml", "line": 16, "column": 38});
        let facts = json!({"input": {"plan": {"bootloader": {"timeout": timeout}}}});
        let work = [
            ("desc-parse", plan.clone(), End::Made),
            ("iso-pack", facts, End::Made),
        ];
        history.run("d", &work);
    };
    run(&mut history, 1);
    history.run("another", &[("iso-pack", json!({"input": {}}), End::Made)]);
    run(&mut history, 5);
    assert_eq!(
        history.why("iso-pack"),
        "iso-pack ran again: the boot menu's timeout was 1, is 5 (config.xml:16:38)"
    );
    assert!(
        history
            .why("desc-parse")
            .ends_with("was 1, is 5 (config.xml:16:38)")
    );
}

#[test]
fn files_chunks_and_packages_are_named() {
    let mut history = History::new();
    let before = history.tree(&[("etc/a", "1", 0o644), ("etc/b", "1", 0o644)]);
    let after = history.tree(&[
        ("etc/a", "2", 0o644),
        ("etc/b", "1", 0o755),
        ("etc/c", "", 0o644),
    ]);
    let facts = |tree: Object| json!({"input": {"rootfs": {"tree": tree}}});
    assert_eq!(
        history.between("raw-image", facts(before), facts(after)),
        "raw-image ran again: the root tree changed: 1 file is new: etc/c, 1 file changed: etc/a, \
         1 file has another mode: etc/b"
    );
    let one = history.tree(&[("etc/a", "2", 0o644), ("etc/b", "1", 0o644)]);
    let facts = |tree: Object| json!({"input": {"plan": {"overlay": tree}}});
    assert_eq!(
        history.between("rootfs-assemble", facts(before), facts(one)),
        "rootfs-assemble ran again: the overlay file etc/a changed"
    );
    let facts = |map: Object| json!({"input": {"disk": {"map": map, "data_bytes": map.size}}});
    let maps = (history.map(&["a", "b", "c"]), history.map(&["a", "x", "c"]));
    assert_eq!(
        history.between("iso-pack", facts(maps.0), facts(maps.1)),
        "iso-pack ran again: the disk image changed: 1 of 3 chunks differ"
    );
    let package = |name: &str, version: &str| {
        let deb = Object::of(version.as_bytes());
        json!({"name": name, "version": version, "deb": deb})
    };
    assert_eq!(
        history.between(
            "rootfs-assemble/base tree",
            json!({"packages": [package("openssl", "3.0.15"), package("nano", "1")]}),
            json!({"packages": [package("vim", "9"), package("openssl", "3.0.16")]}),
        ),
        "base tree                made again: 1 package has another version: openssl 3.0.15 → \
         3.0.16; 1 package is new: vim; 1 package is gone: nano"
    );
}

#[test]
fn lists_programs_versions_and_secrets() {
    let mut history = History::new();
    let facts = |packages: &[&str], password: &str, version: u32, tool: &str| {
        let packages: Vec<_> = packages.iter().map(|n| json!({"name": n})).collect();
        json!({"version": version, "tools": {"apt-get": tool}, "input": {"plan": {
            "packages": {"image": packages}, "users": [{"name": "root", "password": password}],
        }}})
    };
    let said = history.between(
        "rootfs-assemble",
        facts(&["a"], "secret one", 3, "x"),
        facts(&["b", "a", "c"], "secret two", 4, "y"),
    );
    for part in [
        "packages b, c are new",
        "the password of account root changed",
        "rootfs-assemble itself changed: version 3 → 4",
        "the host's program apt-get changed",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("secret"), "{said}");
    let said = history.between(
        "rootfs-assemble",
        facts(&["a", "b"], "", 4, "y"),
        facts(&["b", "a"], "", 4, "y"),
    );
    assert_eq!(
        said,
        "rootfs-assemble ran again: the order of the packages changed"
    );
}

#[test]
fn what_is_gone_from_the_store_is_said() {
    let mut history = History::new();
    let gone = Object::of(b"a listing that nobody wrote");
    let there = history.tree(&[]);
    let facts = |tree: Object| json!({"input": {"rootfs": {"tree": tree}}});
    let said = history.between("raw-image", facts(gone), facts(there));
    assert!(said.contains("not in the store any more"), "{said}");
    let object = history.put(&facts(gone));
    std::fs::remove_file(history.store.object_path(&object)).unwrap();
    let said = history.why("raw-image");
    assert!(said.contains("what differs cannot be said"), "{said}");
}

#[test]
fn what_did_not_run_says_so() {
    let mut history = History::new();
    let facts = json!({"input": {}});
    history.run("d", &[("raw-image", facts.clone(), End::Failed)]);
    assert_eq!(
        history.why("iso-pack"),
        "iso-pack did not run the last time: raw-image failed before it: no room"
    );
    assert!(
        history
            .why("raw-image")
            .contains("\n  it did not end well: no room")
    );
    history.run("d", &[("raw-image", facts.clone(), End::Made)]);
    assert!(history.why("raw-image").contains("did not come to its end"));
    history.run("d", &[("raw-image", facts, End::Found)]);
    assert!(
        history
            .why("raw-image")
            .contains("nothing that it reads differs")
    );
    assert!(history.why("iso-pack").contains("another program"));
}

#[test]
fn a_stage_that_nobody_knows_is_a_usage_error_that_names_all() {
    let mut history = History::new();
    history.run("d", &[("my-stage", json!({"input": {"x": 1}}), End::Made)]);
    let error = why::why(&history.store, Some("raw-imgae")).unwrap_err();
    assert_eq!(error.exit() as u8, 2);
    let said = error.to_string();
    assert!(
        said.contains("desc-parse, rootfs-assemble, raw-image"),
        "{said}"
    );
    assert!(said.contains("my-stage"), "{said}");
    history.run("d", &[("my-stage", json!({"input": {"x": 2}}), End::Made)]);
    assert_eq!(
        history.why("my-stage"),
        "my-stage ran again: input.x was 1, is 2"
    );
}
