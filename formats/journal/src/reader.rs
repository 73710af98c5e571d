//! Reading a journal and checking its chain.

use std::fs;
use std::path::{Path, PathBuf};

use manifest::Digest;

use crate::error::{Error, Result};
use crate::event::Line;

/// Reads every line of a journal. A torn last line is left out.
///
/// # Errors
/// [`Error::Io`], or [`Error::Broken`] where a line is no event or does not follow from the one before.
pub fn read(path: &Path) -> Result<Vec<Line>> {
    let broken = |line, fact| Error::Broken {
        path: path.to_owned(),
        line,
        fact,
    };
    let text = fs::read(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })?;
    let whole = text.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
    let mut prev = Digest::of(b"");
    let mut lines = Vec::new();
    for (n, bytes) in text[..whole].split_inclusive(|&b| b == b'\n').enumerate() {
        let bytes = &bytes[..bytes.len() - 1];
        let line: Line = serde_json::from_slice(bytes)
            .map_err(|e| broken(n + 1, format!("{e}; expected an event")))?;
        if line.seq != n as u64 || line.prev != prev {
            return Err(broken(
                n + 1,
                "it does not follow from the line before".to_owned(),
            ));
        }
        prev = Digest::of(bytes);
        lines.push(line);
    }
    Ok(lines)
}

/// The journals in `dir`, oldest first (run ids begin with their time).
///
/// # Errors
/// [`Error::Io`].
pub fn runs(dir: &Path) -> Result<Vec<PathBuf>> {
    let io = |source| Error::Io {
        path: dir.to_owned(),
        source,
    };
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .map_err(io)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Journal};
    use std::io::Write;

    fn event(text: &str) -> Event {
        Event::Warning {
            stage: "test".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn two_writers_share_one_chain() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut journal = Journal::open(dir.path(), "run").unwrap();
                    (0..25).for_each(|_| journal.append(event("w")).unwrap());
                });
            }
        });
        assert_eq!(read(&dir.path().join("run.jsonl")).unwrap().len(), 100);
    }

    #[test]
    fn a_torn_line_is_cut_off_and_the_chain_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.jsonl");
        Journal::open(dir.path(), "run")
            .unwrap()
            .append(event("one"))
            .unwrap();
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"seq\":1,")
            .unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
        Journal::open(dir.path(), "run")
            .unwrap()
            .append(event("two"))
            .unwrap();
        assert_eq!(read(&path).unwrap().len(), 2);
    }

    #[test]
    fn an_event_of_a_newer_release_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.jsonl");
        let prev = Digest::of(b"");
        let line = format!(
            "{{\"at\":\"x\",\"event\":\"invented-later\",\"n\":1,\"prev\":\"{prev}\",\"seq\":0}}\n"
        );
        fs::write(&path, line).unwrap();
        assert_eq!(read(&path).unwrap()[0].event, Event::Unknown);
    }

    #[test]
    fn a_changed_line_breaks_the_chain() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.jsonl");
        let mut journal = Journal::open(dir.path(), "run").unwrap();
        journal.append(event("one")).unwrap();
        journal.append(event("two")).unwrap();
        let text = fs::read_to_string(&path).unwrap().replace("one", "0ne");
        fs::write(&path, text).unwrap();
        assert!(matches!(read(&path), Err(Error::Broken { line: 2, .. })));
    }

    #[test]
    fn a_line_that_is_too_long_and_a_bad_name_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), "run").unwrap();
        assert!(matches!(
            journal.append(event(&"x".repeat(5000))),
            Err(Error::TooLong { .. })
        ));
        assert!(matches!(
            Journal::open(dir.path(), "../run"),
            Err(Error::BadRunId(_))
        ));
    }
}
