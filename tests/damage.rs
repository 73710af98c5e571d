//! Bytes that change on disk, and what a power cut leaves: the next run is right, and says what it repaired.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use fastrand::Rng;
use journal::Event;
use manifest::Object;
use pipeline_tests::{Points, Small, command, files, root, small, succeed, text};
use serde_json::Value;
use store::Store;
use store::tree::{Kind, Tree};

/// Moments of a power cut in a plain run of the tests.
const CUTS: usize = 20;

fn ramforge(store: &Path) -> Command {
    let mut command = command(root().join("target/release/ramforge"));
    command.env("RAMFORGE_STORE", store);
    command
}

/// Puts other bytes at `path`. The file that lay there has other names, which keep it.
fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o444)).unwrap();
}

/// Changes one bit. An empty file has none, so it gets a byte.
fn flip(path: &Path, rng: &mut Rng) {
    let mut bytes = fs::read(path).unwrap();
    match bytes.len() {
        0 => bytes.push(rng.u8(..)),
        length => bytes[rng.usize(..length)] ^= 1 << rng.u32(..8),
    }
    replace(path, &bytes);
}

/// What a power cut makes of a file that was not flushed.
fn forget(path: &Path, rng: &mut Rng) {
    let length = fs::metadata(path).unwrap().len() as usize;
    match rng.u8(..4) {
        0 => fs::remove_file(path).unwrap(),
        1 => replace(path, b""),
        2 => replace(path, &fs::read(path).unwrap()[..length / 2]),
        _ => replace(path, &vec![0; length]),
    }
}

/// Where the object lies, or the list of what it is made of.
fn place(store: &Path, object: &Object) -> PathBuf {
    let store = Store::open(store).unwrap();
    let places = [store.object_path(object), store.recipe_path(object)];
    places.into_iter().find(|path| path.exists()).unwrap()
}

fn whole_store(small: &Small, to: &Path) {
    let end = small.phases().last().unwrap().begin;
    small.restore(end, to);
}

fn events(store: &Path) -> Vec<Event> {
    let runs = journal::runs(&store.join("journal")).unwrap();
    let lines = journal::read(runs.last().unwrap()).unwrap();
    lines.into_iter().map(|line| line.event).collect()
}

/// Every object of a finished build is flipped once, in two halves: `verify` names exactly those. Then a plain
/// run finds its way out of half a store.
#[test]
fn every_flipped_object_is_found() {
    let small = small();
    Points::all(2).each(|half, _| {
        // The same order of objects for both halves.
        let mut rng = Rng::with_seed(2);
        let work = small.work();
        let store = work.path().join("store");
        whole_store(&small, &store);
        let mut objects = files(&store.join("objects"));
        objects.extend(files(&store.join("recipes")));
        rng.shuffle(&mut objects);
        let middle = objects.len() / 2;
        let flipped = if half == 0 {
            &objects[..middle]
        } else {
            &objects[middle..]
        };
        flipped.iter().for_each(|path| flip(path, &mut rng));
        let output = ramforge(&store).arg("verify").output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(6), "{said}");
        let named = said.lines().filter_map(|l| l.strip_prefix("damaged: "));
        let named: BTreeSet<PathBuf> = named.map(PathBuf::from).collect();
        assert!(named == flipped.iter().cloned().collect(), "{said}");
        let out = work.path().join("out");
        let said = succeed(
            &mut small.pipeline(&store, &out),
            "half of the objects flipped",
        );
        assert!(said.contains("the store was damaged"), "{said}");
        small.same(&out, "half of the objects flipped");
        succeed(ramforge(&store).arg("verify"), "after the repair");
        format!("{} of {} objects", flipped.len(), objects.len())
    });
}

/// One object, and the phase that is the first to read it.
struct Sample {
    what: &'static str,
    phase: &'static str,
    object: Object,
}

fn sample(what: &'static str, phase: &'static str, object: &Value) -> Sample {
    let object = serde_json::from_value(object.clone()).unwrap();
    Sample {
        what,
        phase,
        object,
    }
}

/// An object of every kind that a stage reads.
fn samples(small: &Small) -> Vec<Sample> {
    let manifest: Value = serde_json::from_slice(&small.manifest).unwrap();
    let (plan, rootfs) = (&manifest["plan"], &manifest["rootfs"]);
    let actions = small.actions();
    let base = actions
        .iter()
        .find(|(_, v)| v.get("epoch").is_some())
        .unwrap();
    let frame = |map: &Value| {
        let map: Object = serde_json::from_value(map.clone()).unwrap();
        let map = Store::open(&small.store()).unwrap().get(&map).unwrap();
        let map: Value = serde_json::from_slice(&map).unwrap();
        map["chunks"][7]["frame"].clone()
    };
    let file = |listing: &Value, path: &str| {
        let listing = serde_json::from_value(listing.clone()).unwrap();
        let tree = Tree::read(&Store::open(&small.store()).unwrap(), &listing).unwrap();
        match &tree.get(path).unwrap().kind {
            Kind::File(object) => serde_json::to_value(object).unwrap(),
            other => panic!("{path} is a {other:?}"),
        }
    };
    let conf = "etc/dracut.conf.d/small.conf";
    vec![
        sample("package", "install", &package(small)),
        sample("listing of the base tree", "tree", &base.1["tree"]),
        sample(
            "file of the base tree",
            "tree",
            &file(&base.1["tree"], "usr/bin/dpkg"),
        ),
        sample("listing of the overlay", "tree", &plan["overlay"]),
        sample("file of the overlay", "tree", &file(&plan["overlay"], conf)),
        sample("script", "tree", &plan["scripts"]["config"]),
        sample("listing of the tree", "disk", &rootfs["tree"]),
        sample(
            "file of the tree",
            "disk",
            &file(&rootfs["tree"], "etc/passwd"),
        ),
        sample("base initramfs", "initrd", &rootfs["initramfs"]),
        sample("kernel", "medium", &rootfs["kernel"]["image"]),
        sample("initrd", "medium", &manifest["initrd"]["image"]),
        sample("chunk map", "medium", &manifest["disk"]["map"]),
        sample("frame", "medium", &frame(&manifest["disk"]["map"])),
        sample("frame", "export", &frame(&manifest["disk"]["map"])),
        sample("ISO", "export", &manifest["media"]["iso"]),
        sample("package list", "export", &rootfs["packages_file"]),
    ]
}

/// The largest package.
fn package(small: &Small) -> Value {
    let fetched = small.phases()[1].begin;
    let packages = small.actions().into_iter().filter(|(path, value)| {
        let written = fs::metadata(path).unwrap().modified().unwrap();
        written <= fetched && value.get("blake3").is_some()
    });
    packages
        .max_by_key(|(_, value)| value["size"].as_u64())
        .unwrap()
        .1
}

/// Whatever a stage reads may be flipped, cut, emptied or gone: the run repairs it, says so, and makes the same.
#[test]
fn a_damaged_object_of_every_kind_is_made_again() {
    let small = small();
    let samples = samples(&small);
    Points::all(2 * samples.len()).each(|index, rng| {
        let sample = &samples[index / 2 % samples.len()];
        let work = small.work();
        let (store, out) = (work.path().join("store"), work.path().join("out"));
        let phases = small.phases();
        let phase = phases.iter().find(|p| p.name == sample.phase).unwrap();
        small.restore(phase.begin, &store);
        let path = place(&store, &sample.object);
        match index % 2 {
            0 => flip(&path, rng),
            _ => forget(&path, rng),
        }
        let silent = !path.exists() && is_of_the_plan(&small, &sample.object);
        let what = format!("{} at the beginning of {}", sample.what, sample.phase);
        let said = succeed(&mut small.pipeline(&store, &out), &what);
        small.same(&out, &what);
        told(&store, &sample.object, silent, &said, &what);
        succeed(ramforge(&store).arg("verify"), &what);
        what
    });
}

/// Whether desc-parse makes the object, which it does every time: a missing one is nothing to tell of.
fn is_of_the_plan(small: &Small, object: &Object) -> bool {
    let manifest: Value = serde_json::from_slice(&small.manifest).unwrap();
    let plan = &manifest["plan"];
    let overlay = serde_json::from_value(plan["overlay"].clone()).unwrap();
    let tree = Tree::read(&Store::open(&small.store()).unwrap(), &overlay).unwrap();
    let name = object.blake3.to_string();
    plan.to_string().contains(&name) || tree.iter().any(|e| e.kind == Kind::File(*object))
}

/// What was repaired is said, and in the journal.
fn told(store: &Path, object: &Object, silent: bool, said: &str, what: &str) {
    let removed = events(store)
        .into_iter()
        .any(|e| matches!(e, Event::ObjectDamaged { object: o, .. } if o.blake3 == object.blake3));
    let name = object.blake3.to_string();
    let told = said.contains("the store was damaged") && said.contains(&name);
    assert!(removed == told && told != silent, "{what}: {said}");
}

/// Every recorded result is changed, cut or emptied: those that are not what was recorded count as absent.
#[test]
fn damaged_results_are_worked_out_again() {
    let small = small();
    Points::all(2).each(|index, rng| {
        let work = small.work();
        let (store, out) = (work.path().join("store"), work.path().join("out"));
        whole_store(&small, &store);
        for path in files(&store.join("actions")) {
            match index {
                0 => flip(&path, rng),
                _ => forget(&path, rng),
            }
        }
        forget(&store.join("store.json"), rng);
        let what = "every recorded result";
        succeed(&mut small.pipeline(&store, &out), what);
        small.same(&out, what);
        what.to_owned()
    });
}

/// The power goes at a seeded moment. What was flushed is there; of what came later each file may be gone,
/// empty, short or full of zeros.
#[test]
fn after_a_power_cut_the_next_run_is_right() {
    let small = small();
    let phases = small.phases();
    let (begin, end) = (phases[0].begin, phases.last().unwrap().begin);
    Points::new(CUTS).each(|_, rng| {
        let work = small.work();
        let (store, out) = (work.path().join("store"), work.path().join("out"));
        let moment = begin + end.duration_since(begin).unwrap().mul_f64(rng.f64());
        small.restore(moment, &store);
        let flushed = flushed(&small, moment);
        let mut lost = 0;
        for path in ["objects", "recipes", "actions"]
            .iter()
            .flat_map(|k| files(&store.join(k)))
        {
            if written(&path) >= flushed && rng.bool() {
                forget(&path, rng);
                lost += 1;
            }
        }
        torn_journal(&small, &store, rng);
        let after = moment.duration_since(begin).unwrap().as_secs_f64();
        let what = format!("a power cut after {after:.3} s, {lost} files lost");
        succeed(&mut small.pipeline(&store, &out), &what);
        small.same(&out, &what);
        succeed(ramforge(&store).arg("report"), &what);
        what
    });
}

fn written(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

/// When the store was flushed for the last time before `moment`: before a stage's or a part's result is
/// recorded. Results that are nothing but an object are recorded without.
fn flushed(small: &Small, moment: SystemTime) -> SystemTime {
    let results = small.actions().into_iter();
    let results = results.filter(|(_, value)| value.get("blake3").is_none());
    let times = results.map(|(path, _)| written(&path));
    let begin = SystemTime::UNIX_EPOCH;
    times.filter(|time| *time <= moment).max().unwrap_or(begin)
}

/// The journal of the run that was cut, up to somewhere in a line, perhaps with zeros behind.
fn torn_journal(small: &Small, store: &Path, rng: &mut Rng) {
    let whole = files(&small.store().join("journal"));
    let mut bytes = fs::read(&whole[0]).unwrap();
    bytes.truncate(rng.usize(..bytes.len()));
    bytes.resize(bytes.len() + rng.usize(..5000) * rng.usize(..2), 0);
    let name = whole[0].file_name().unwrap();
    fs::write(store.join("journal").join(name), bytes).unwrap();
}
