use super::*;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::devices::{Device, Inserted};
use crate::medium::tests::medium as medium_in;
use crate::volume::tests::iso;

const LOST: &str = "never lost in this test";

/// A medium that returns as `again` says, and others that `other` knows.
struct Around<A, O> {
    again: A,
    other: O,
}

impl<A, O> Media for Around<A, O>
where
    A: Fn(Medium) -> Result<(Medium, bool)> + Sync,
    O: Fn(&[Inserted]) -> Option<Medium> + Sync,
{
    fn again(&self, lost: Medium, _: &[Inserted]) -> Result<(Medium, bool)> {
        (self.again)(lost)
    }

    fn other(&self, damaged: &[Inserted]) -> Option<Medium> {
        (self.other)(damaged)
    }

    fn say(&self, line: &str) {
        assert!(line.contains("the medium in sdx is damaged"), "{line}");
    }
}

fn never(_: Medium) -> Result<(Medium, bool)> {
    Err(Stop::new(LOST, ""))
}

fn none(_: &[Inserted]) -> Option<Medium> {
    None
}

type Never = Around<fn(Medium) -> Result<(Medium, bool)>, fn(&[Inserted]) -> Option<Medium>>;
const NEVER: Never = Around {
    again: never,
    other: none,
};

/// An ISO with those payload files.
fn write(path: &Path, parts: &[&[u8]]) {
    let names: Vec<String> = (0..parts.len()).map(config::frames_on_medium).collect();
    let files: Vec<_> = names
        .iter()
        .map(String::as_str)
        .zip(parts.iter().copied())
        .collect();
    iso(path, "INSTALL", &files);
}

fn medium(path: &Path) -> Medium {
    medium_in(Device::named("sdx"), File::open(path).unwrap())
}

#[test]
fn reads_cross_files() {
    let path = tempfile::NamedTempFile::new().unwrap();
    write(path.path(), &[b"abc", b"", b"defg"]);
    let payload = Payload::open(medium(path.path()), 7, &NEVER).unwrap();
    let mut bytes = [0; 4];
    payload.read(1, &mut bytes).unwrap();
    assert_eq!(&bytes, b"bcde");
    payload.forget(1, 4);
    assert_eq!(payload.place(4), "/ramforge/frames.002 offset 1");
    let beyond = payload.read(5, &mut bytes).unwrap_err().to_string();
    assert!(beyond.contains(LOST), "{beyond}");
    assert!(payload.into_medium().is_none());
}

#[test]
fn a_missing_file_is_a_short_medium() {
    let path = tempfile::NamedTempFile::new().unwrap();
    write(path.path(), &[b"abc"]);
    let short = Payload::open(medium(path.path()), 7, &NEVER).err().unwrap();
    let text = short.to_string();
    assert!(
        text.starts_with("the medium is short: /ramforge/frames.001 is missing, 3 of 7"),
        "{text}"
    );
}

/// Four threads read while the medium is pulled out; it comes back as another device with another layout.
#[test]
fn reading_goes_on_when_the_medium_returns() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let bytes: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    write(&old, &[&bytes]);
    write(&new, &[&bytes[..70_001], &bytes[70_001..]]);
    let returns = AtomicU32::new(0);
    let again = |lost: Medium| {
        assert_eq!(lost.device.name, "sdx");
        returns.fetch_add(1, Ordering::Relaxed);
        let medium = medium_in(Device::named("sdy"), File::open(&new).unwrap());
        Ok((medium, true))
    };
    let media = Around { again, other: none };
    let payload = Payload::open(medium(&old), bytes.len() as u64, &media).unwrap();
    // What a device without its medium looks like: it ends.
    let file = OpenOptions::new().write(true).open(&old).unwrap();
    file.set_len(50_000).unwrap();
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (payload, bytes) = (&payload, &bytes);
            scope.spawn(move || {
                for at in (part * 1000..bytes.len()).step_by(4000) {
                    let mut read = [0; 1000];
                    payload.read(at as u64, &mut read).unwrap();
                    assert!(read == bytes[at..at + 1000], "{at}");
                    payload.forget(at as u64, 1000);
                }
            });
        }
    });
    assert_eq!(returns.load(Ordering::Relaxed), 1);
    assert_eq!(payload.into_medium().unwrap().device.name, "sdy");
}

/// A medium that is there and cannot be read at one place is opened anew once, and then it is an error.
#[test]
fn a_place_that_cannot_be_read_is_not_waited_for() {
    let path = tempfile::NamedTempFile::new().unwrap();
    write(path.path(), &[&[7; 100_000]]);
    path.as_file().set_len(60_000).unwrap();
    let opened = AtomicU32::new(0);
    let again = |lost: Medium| {
        drop(lost);
        opened.fetch_add(1, Ordering::Relaxed);
        Ok((medium(path.path()), false))
    };
    let media = Around { again, other: none };
    let payload = Payload::open(medium(path.path()), 100_000, &media).unwrap();
    let mut bytes = [0; 10];
    payload.read(99_000, &mut bytes).unwrap_err();
    assert_eq!(opened.load(Ordering::Relaxed), 1);
    payload.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 10]);
}

/// A damaged medium is left for an equal one, once, whoever notices, past one that is short; and where that is damaged too
/// there is none.
#[test]
fn a_damaged_medium_is_left_for_an_equal_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    write(&path("sdx"), &[b"wrong"]);
    write(&path("sdz"), &[]);
    write(&path("sdy"), &[b"right"]);
    let device = Device::named;
    let other = |damaged: &[Inserted]| {
        let mut left = ["sdx", "sdz", "sdy"].into_iter();
        let name = left.find(|name| !damaged.contains(&device(name).inserted()))?;
        Some(medium_in(device(name), File::open(path(name)).unwrap()))
    };
    let media = Around {
        again: never,
        other,
    };
    let payload = Payload::open(medium(&path("sdx")), 5, &media).unwrap();
    assert_eq!(payload.copy(), 0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(payload.elsewhere(0)));
        }
    });
    let mut bytes = [0; 5];
    payload.read(0, &mut bytes).unwrap();
    assert_eq!((&bytes, payload.copy()), (b"right", 1));
    assert!(!payload.elsewhere(1));
    assert_eq!(payload.into_medium().unwrap().device.name, "sdy");
}
