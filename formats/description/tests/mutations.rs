//! Damaged descriptions: cut, flipped, doubled, shuffled, crossed with each other. Nothing panics, and whatever
//! is said can be shown.
//!
//! As a test it takes a moment. `make fuzz` runs it for a time: `RAMFORGE_FUZZ_SECONDS`, from
//! `RAMFORGE_FUZZ_SEED`, and prints what it reached. An input that takes longer than [`HANG`] then is left
//! in `target/fuzz-hang.kiwi`, one that panics in `target/fuzz-last.kiwi`. The seeds are `seeds/` and what
//! the goldens start from.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use description::{Choice, Report, mended, read, resolve, table};

/// A generator good enough to damage text: xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit.max(1)
    }
}

/// Bytes and fragments that mean something to a reader of XML or of descriptions.
const FRAGMENTS: &[&str] = &[
    "<",
    ">",
    "/",
    "\"",
    "'",
    "&",
    "&amp;",
    "&#x10FFFF;",
    "&#10;",
    "]]>",
    "<![CDATA[",
    "<!--",
    "-->",
    "<?x?>",
    "<!DOCTYPE a [<!ENTITY e 'x'>]>",
    "&e;",
    "\u{feff}",
    "ü",
    "\u{202e}",
    "\0",
    "\r\n",
    "\t",
    " ",
    "=",
    "<image>",
    "</image>",
    "<package/>",
    " arch=\"\"",
    " profiles=\",\"",
    "xmlns=\"u\"",
    "x:",
    "true",
    "-1",
    "99999999999999999999",
    "ramdisk_size=",
    "..",
    "this://",
    "$6$",
];

/// What a description is made of, and what to damage it with.
struct Seeds {
    texts: Vec<Vec<u8>>,
    names: Vec<&'static str>,
}

impl Seeds {
    fn read() -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds");
        let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
        let mut paths: Vec<PathBuf> = entries.collect();
        paths.sort();
        let mut texts = vec![include_bytes!("mistakes/base.kiwi").to_vec()];
        texts.extend(paths.iter().map(|p| std::fs::read(p).unwrap()));
        let of = |e: &'static table::Element| e.attributes.iter().map(|a| a.name).chain([e.name]);
        Self {
            texts,
            names: table::elements().flat_map(of).collect(),
        }
    }

    /// Every second time the one that has no mistake: damage to the others finds mistakes behind mistakes.
    fn any(&self, random: &mut Random) -> &[u8] {
        match random.below(2) {
            0 => &self.texts[0],
            _ => &self.texts[random.below(self.texts.len())],
        }
    }
}

fn damage(seed: &[u8], seeds: &Seeds, random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let end = (at + random.below(120)).min(bytes.len());
        match random.below(9) {
            0 if random.below(4) == 0 => bytes.truncate(at),
            0 | 1 => bytes[at] ^= 1 << random.below(8),
            2 => {
                bytes.remove(at);
            }
            3 => {
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            4 => {
                bytes.drain(at..end);
            }
            5 => cross(&mut bytes, seeds.any(random), random),
            6 => rename(
                &mut bytes,
                seeds.names[random.below(seeds.names.len())],
                random,
            ),
            _ => {
                let fragment = FRAGMENTS[random.below(FRAGMENTS.len())];
                bytes.splice(at..at, fragment.bytes());
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

/// Puts a tag of another description behind one of this.
fn cross(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let tags = |text: &[u8]| -> Vec<usize> {
        let ends = text.iter().enumerate().filter(|(_, b)| **b == b'>');
        ends.map(|(at, _)| at + 1).collect()
    };
    let (here, there) = (tags(bytes), tags(other));
    if here.is_empty() || there.len() < 2 {
        return;
    }
    let n = random.below(there.len() - 1);
    let piece = other[there[n]..there[n + 1]].to_vec();
    let to = here[random.below(here.len())];
    bytes.splice(to..to, piece);
}

/// Gives a word the name of another element or attribute.
fn rename(bytes: &mut Vec<u8>, name: &str, random: &mut Random) {
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let at = random.below(bytes.len());
    let start = bytes[..at]
        .iter()
        .rposition(|b| !is_word(b))
        .map_or(0, |p| p + 1);
    let end = bytes[at..]
        .iter()
        .position(|b| !is_word(b))
        .map_or(bytes.len(), |p| at + p);
    bytes.splice(start..end, name.bytes());
}

fn say_everything(bytes: Vec<u8>) -> usize {
    let more = b"<image schemaversion='8.5' name='m'><packages type='image'/></image>".to_vec();
    let files = BTreeMap::from([("a.kiwi".to_owned(), bytes), ("more.xml".to_owned(), more)]);
    let large = b"name=\"large\"";
    let declares = files["a.kiwi"].windows(large.len()).any(|w| w == large);
    let choice = Choice {
        profiles: declares.then(|| "large".to_owned()).into_iter().collect(),
        machine: "x86_64".to_owned(),
        type_attributes: vec!["volid=A".to_owned()],
        set_repo: Some("dir:///srv,,x".to_owned()),
        ..Choice::default()
    };
    let mut report = Report::default();
    let mut plans = 0;
    if let Some(document) = read(&files, "a.kiwi", &mut report) {
        let draft = resolve(&document, &choice, &mut report);
        plans = usize::from(!report.has_errors());
        assert!(
            draft
                .plan
                .origins
                .values()
                .all(|o| o.line > 0 && o.column > 0)
        );
    }
    for change in mended(&report) {
        assert_ne!(change.old, change.new);
    }
    for diagnostic in report.diagnostics() {
        assert!(!report.render(diagnostic, false).is_empty());
        assert!(!report.render(diagnostic, true).is_empty());
    }
    plans
}

/// An input of a long run that takes longer stops it.
const HANG: Duration = Duration::from_secs(10);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Watches over a long run: leaves the input that does not end, and ends.
fn watch(started: Arc<AtomicU64>, last: Arc<Mutex<Vec<u8>>>, clock: Instant) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(HANG / 10);
            let since = clock.elapsed().as_millis() as u64 - started.load(Ordering::Relaxed);
            if u128::from(since) > HANG.as_millis() {
                leave("fuzz-hang.kiwi", &last.lock().unwrap());
                eprintln!("an input takes longer than {HANG:?}: target/fuzz-hang.kiwi");
                std::process::exit(1);
            }
        }
    });
}

fn leave(name: &str, bytes: &[u8]) {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    std::fs::write(target.join(name), bytes).unwrap();
}

/// The largest memory of this process so far in KiB, as Linux counts it.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

#[test]
fn no_damage_makes_it_panic() {
    let seeds = Seeds::read();
    let mut random = Random(number("RAMFORGE_FUZZ_SEED").unwrap_or(0x5eed_0001));
    let long = number("RAMFORGE_FUZZ_SECONDS").map(Duration::from_secs);
    let (clock, started) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let last = Arc::new(Mutex::new(Vec::new()));
    if long.is_some() {
        watch(started.clone(), last.clone(), clock);
    }
    let (mut rounds, mut plans, mut slowest) = (0, 0, Duration::ZERO);
    while long.map_or(rounds < 3000, |time| clock.elapsed() < time) {
        let bytes = damage(seeds.any(&mut random), &seeds, &mut random);
        started.store(clock.elapsed().as_millis() as u64, Ordering::Relaxed);
        (*last.lock().unwrap()).clone_from(&bytes);
        let before = clock.elapsed();
        match std::panic::catch_unwind(|| say_everything(bytes)) {
            Ok(found) => plans += found,
            Err(panic) => {
                leave("fuzz-last.kiwi", &last.lock().unwrap());
                std::panic::resume_unwind(panic);
            }
        }
        slowest = slowest.max(clock.elapsed() - before);
        rounds += 1;
    }
    println!(
        "{rounds} executions, {plans} plans, slowest {slowest:?}, peak memory {} MiB",
        peak_kib() / 1024
    );
    // Some damage is harmless and most is not: otherwise the loop tests nothing.
    assert!(
        plans > rounds / 500 && plans < rounds / 2,
        "{plans} of {rounds}"
    );
}

#[test]
fn every_prefix_can_be_told() {
    let base = include_str!("mistakes/base.kiwi").as_bytes();
    for end in 0..base.len() {
        say_everything(base[..end].to_vec());
    }
}
