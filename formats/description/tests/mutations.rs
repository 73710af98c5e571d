//! Damaged descriptions: cut, flipped, doubled, shuffled. Nothing panics, and whatever is said can be shown.
//! `RAMFORGE_FUZZ_ROUNDS` and `RAMFORGE_FUZZ_SEED` make it a longer or another run.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use description::{Choice, Report, mended, read, resolve};

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

fn damage(text: &str, random: &mut Random) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << random.below(8),
            2 => {
                bytes.remove(at);
            }
            3 => {
                let end = (at + random.below(80)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            4 => {
                let end = (at + random.below(80)).min(bytes.len());
                bytes.drain(at..end);
            }
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

fn say_everything(bytes: Vec<u8>) -> usize {
    let files = BTreeMap::from([("a.kiwi".to_owned(), bytes)]);
    let choice = Choice {
        profiles: vec!["large".to_owned()],
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

#[test]
fn no_damage_makes_it_panic() {
    let base = include_str!("mistakes/base.kiwi");
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|v| v.parse::<usize>().ok())
    };
    let mut random = Random(number("RAMFORGE_FUZZ_SEED").unwrap_or(0x5eed_0001) as u64);
    let rounds = number("RAMFORGE_FUZZ_ROUNDS").unwrap_or(3000);
    let mut plans = 0;
    for _ in 0..rounds {
        plans += say_everything(damage(base, &mut random));
    }
    // Some damage is harmless and most is not: otherwise the loop tests nothing.
    assert!(
        plans > rounds / 100 && plans < rounds / 2,
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
