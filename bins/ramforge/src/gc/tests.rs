//! Random stores against a model, and builds that go on while the collector takes whatever it may.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use journal::{Event, Journal};
use manifest::{Digest, Object, StageKey, stage_key, to_canonical};
use serde_json::{Value, json};

use super::*;

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }

    fn one_of<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        let n = self.below(list.len().max(1) as u64);
        list.get(n as usize).cloned()
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

fn opened() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn collect(store: &Store, keep_days: u64, max_size: Option<u64>) -> Vec<Digest> {
    let keep = days(keep_days);
    let inventory = Inventory::take(store).unwrap();
    let mut marker = Marker::new(store, &inventory);
    let plan = plan::plan(store, &inventory, &mut marker, Policy { keep, max_size }).unwrap();
    sweep::sweep(store, &inventory, &mut marker, &plan).unwrap()
}

fn objects(store: &Store) -> BTreeSet<Digest> {
    Inventory::take(store)
        .unwrap()
        .objects
        .into_keys()
        .collect()
}

fn key(n: u64) -> StageKey {
    stage_key("test", &n).unwrap()
}

/// A journal with these events, as old as that.
fn run(store: &Store, name: &str, age: Duration, events: Vec<Event>) {
    let mut journal = Journal::open(&store.journal_dir(), name).unwrap();
    events.into_iter().for_each(|e| journal.append(e).unwrap());
    let file = std::fs::File::options()
        .append(true)
        .open(journal.path())
        .unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

fn hit(n: u64) -> Event {
    Event::CacheHit {
        stage: "test".into(),
        key: *key(n).digest(),
        part: None,
    }
}

/// A store and what leads where in it.
struct World {
    store: Store,
    /// Listings: what they name.
    listings: BTreeMap<Digest, Vec<Object>>,
    all: Vec<Object>,
    actions: BTreeMap<u64, Object>,
}

impl World {
    /// Contents, listings of what is there, actions that name one object each.
    fn random(store: Store, random: &mut Random) -> Self {
        let mut world = Self {
            store,
            listings: BTreeMap::new(),
            all: Vec::new(),
            actions: BTreeMap::new(),
        };
        for n in 0..40_u64 {
            let names: Vec<Object> = (0..random.below(5))
                .filter_map(|_| random.one_of(&world.all))
                .collect();
            let object = match names.is_empty() {
                true => world.store.put(format!("content {n}").as_bytes()).unwrap(),
                false => {
                    let text = to_canonical(&json!({"n": n, "names": names})).unwrap();
                    world.store.put(text.as_bytes()).unwrap()
                }
            };
            world.listings.insert(object.blake3, names);
            world.all.push(object);
        }
        for n in 0..10 {
            let object = random.one_of(&world.all).unwrap();
            world
                .store
                .record_action(&key(n), &json!({"result": object}))
                .unwrap();
            world.actions.insert(n, object);
        }
        world
    }

    /// Everything that these lead to, without the collector's code.
    fn closure(&self, roots: impl IntoIterator<Item = Object>) -> BTreeSet<Digest> {
        let mut queue: Vec<Object> = roots.into_iter().collect();
        let mut found = BTreeSet::new();
        while let Some(object) = queue.pop() {
            if found.insert(object.blake3) {
                queue.extend(self.listings[&object.blake3].iter().copied());
            }
        }
        found
    }
}

#[test]
fn what_roots_lead_to_stays_and_nothing_else() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let (_dir, store) = opened();
        let world = World::random(store, &mut random);
        let store = &world.store;
        let mut roots = Vec::new();
        for n in 0..6 {
            let (hits, young) = (random.below(10), random.below(2) == 0);
            let logged = random.one_of(&world.all).unwrap();
            let what = "x".to_owned();
            let stored = Event::ObjectStored {
                stage: "test".into(),
                what,
                object: logged,
            };
            run(
                store,
                &format!("run{n}"),
                if young { DAY } else { 40 * DAY },
                vec![hit(hits), stored],
            );
            if young {
                roots.extend([world.actions[&hits], logged]);
            }
        }
        let (pinned, held) = (
            random.one_of(&world.all).unwrap(),
            random.one_of(&world.all).unwrap(),
        );
        store
            .set_ref("pin", to_canonical(&pinned).unwrap().as_bytes())
            .unwrap();
        let holding = store.clone().hold("build").unwrap();
        assert!(holding.claim(&held).unwrap());
        roots.extend([pinned, held]);
        let stay = world.closure(roots);
        collect(store, 30, None);
        assert_eq!(objects(store), stay, "seed {seed}");
        for (n, object) in &world.actions {
            let here = store.action(&key(*n)).unwrap().is_some();
            assert_eq!(
                here,
                stay.contains(&object.blake3),
                "seed {seed}, action {n}"
            );
        }
        let journals = inventory::runs(store).unwrap();
        assert!(journals.iter().all(|run| run.age() < 30 * DAY));
        assert!(
            collect(store, 30, None).is_empty(),
            "seed {seed}: a second time"
        );
    }
}

#[test]
fn the_oldest_results_go_first_until_it_fits() {
    let (_dir, store) = opened();
    let put = |n: u64, bytes: usize| {
        let object = store.put(&vec![n as u8; bytes]).unwrap();
        store
            .record_action(&key(n), &json!({"result": object}))
            .unwrap();
        object
    };
    let made = [put(1, 1000), put(2, 2000), put(3, 3000)];
    run(&store, "first", 3 * DAY, vec![hit(1)]);
    run(&store, "second", 2 * DAY, vec![hit(2)]);
    // The newest run used what the oldest one made.
    run(&store, "third", DAY, vec![hit(1), hit(3)]);
    collect(&store, 30, Some(5999));
    let left: Vec<bool> = made.iter().map(|o| store.has(o)).collect();
    assert_eq!(left, [true, false, true]);
    collect(&store, 30, Some(3999));
    assert!(objects(&store).is_empty());
    assert_eq!(
        inventory::runs(&store).unwrap().len(),
        3,
        "journals go by age only"
    );
}

#[test]
fn packages_stay_with_the_lock_that_names_them() {
    let (_dir, store) = opened();
    let sha256 = "ab".repeat(32);
    let deb = store.put(b"!<arch>").unwrap();
    let other = store.put(b"!<arch> another").unwrap();
    for (sum, object) in [(&sha256, deb), (&"cd".repeat(32), other)] {
        let key = manifest::package_key(sum).unwrap();
        store.record_action(&key, &json!(object)).unwrap();
    }
    store
        .record_action(&key(1), &json!({"packages": [{"sha256": sha256}]}))
        .unwrap();
    run(&store, "run", DAY, vec![hit(1)]);
    collect(&store, 30, None);
    assert!(store.has(&deb) && !store.has(&other));
}

#[test]
fn a_listing_that_cannot_be_read_stops_the_collector() {
    let (_dir, store) = opened();
    let leaf = store.put(b"leaf").unwrap();
    let listing = store
        .put(to_canonical(&json!([leaf])).unwrap().as_bytes())
        .unwrap();
    store
        .set_ref("pin", to_canonical(&listing).unwrap().as_bytes())
        .unwrap();
    let path = store.object_path(&listing);
    std::fs::remove_file(&path).unwrap();
    // A directory cannot be read, not even by root.
    std::fs::create_dir(&path).unwrap();
    let inventory = Inventory::take(&store).unwrap();
    let mut marker = Marker::new(&store, &inventory);
    let policy = Policy {
        keep: days(30),
        max_size: None,
    };
    assert!(plan::plan(&store, &inventory, &mut marker, policy).is_err());
    assert!(store.has(&leaf));
}

/// One build: everything it comes to need is there until its end.
fn build(store: &Store, name: &str, random: &mut Random) {
    let held = store.clone().hold(name).unwrap();
    let mut events = Vec::new();
    let mut needed = Vec::new();
    for _ in 0..4 {
        let n = random.below(6);
        let found = held.action(&key(n)).unwrap();
        let found = found.and_then(|v| serde_json::from_value::<Object>(v["result"].clone()).ok());
        let listing = match found.filter(|o| held.has(o)) {
            Some(listing) => listing,
            None => {
                let files: Vec<Object> = (0..20)
                    .map(|_| {
                        held.put(format!("file {}", random.below(60)).as_bytes())
                            .unwrap()
                    })
                    .collect();
                let text = to_canonical(&json!({"files": files})).unwrap();
                let listing = held.put(text.as_bytes()).unwrap();
                held.record_action(&key(n), &json!({"result": listing}))
                    .unwrap();
                listing
            }
        };
        needed.push(listing);
        events.push(hit(n));
        std::thread::sleep(Duration::from_micros(random.below(2000)));
        for listing in &needed {
            read_all(&held, listing);
        }
    }
    run(store, name, Duration::ZERO, events);
    drop(held);
    store.release(name).unwrap();
}

fn read_all(store: &Store, listing: &Object) {
    let text: Value = serde_json::from_slice(&store.get(listing).unwrap()).unwrap();
    for file in text["files"].as_array().unwrap() {
        let file: Object = serde_json::from_value(file.clone()).unwrap();
        store.get(&file).unwrap();
    }
}

#[test]
fn running_builds_miss_nothing_while_everything_goes_that_may() {
    // In RAM, where there is such a place: the collector flushes the file system, and shall have many turns.
    let ram = std::path::Path::new("/dev/shm");
    let dir = match ram.is_dir() {
        true => tempfile::tempdir_in(ram).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let store = Store::open(dir.path()).unwrap();
    let gone = AtomicUsize::new(0);
    let enough = || gone.load(Ordering::SeqCst) > 200;
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, enough, failed) = (&store, &enough, &failed);
            scope.spawn(move || {
                let _told = TellPanic(failed);
                let mut random = Random(thread);
                let mut n = 0;
                while n < 10 || !(enough() || failed.load(Ordering::SeqCst)) {
                    build(store, &format!("run-{thread}-{n}"), &mut random);
                    n += 1;
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let _told = TellPanic(&failed);
                while !enough() && !failed.load(Ordering::SeqCst) {
                    // Runs that ended are younger than no day at all, and so their journals go as well.
                    gone.fetch_add(collect(&store, 0, None).len(), Ordering::SeqCst);
                }
            });
        }
    });
    collect(&store, 0, None);
    assert!(objects(&store).is_empty());
}

/// Tells the other threads that this one failed.
struct TellPanic<'a>(&'a AtomicBool);

impl Drop for TellPanic<'_> {
    fn drop(&mut self) {
        self.0.fetch_or(std::thread::panicking(), Ordering::SeqCst);
    }
}
