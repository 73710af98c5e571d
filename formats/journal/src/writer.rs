//! Appending to a journal that several processes share.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use manifest::{Digest, to_canonical};

use crate::error::{Error, Result};
use crate::event::{Event, Line};

/// Longest line in bytes, newline included: what one `write(2)` to a file puts down in one piece.
pub const MAX_LINE: usize = 4096;

/// The journal of one run, open for appending.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens `dir/RUN.jsonl`, and makes it where there is none.
    ///
    /// # Errors
    /// [`Error::BadRunId`] or [`Error::Io`].
    pub fn open(dir: &Path, run: &str) -> Result<Self> {
        Self::open_with(dir, run, true)
    }

    /// Opens `dir/RUN.jsonl`, which must be there.
    ///
    /// # Errors
    /// [`Error::BadRunId`], [`Error::NoSuchRun`] or [`Error::Io`].
    pub fn open_existing(dir: &Path, run: &str) -> Result<Self> {
        Self::open_with(dir, run, false)
    }

    fn open_with(dir: &Path, run: &str, create: bool) -> Result<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if run.is_empty() || run.starts_with('.') || !run.chars().all(fits) {
            return Err(Error::BadRunId(run.to_owned()));
        }
        let path = dir.join(format!("{run}.jsonl"));
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(create)
            .open(&path);
        match file {
            Ok(file) => Ok(Self { path, file }),
            Err(e) if e.kind() == io::ErrorKind::NotFound && !create => {
                Err(Error::NoSuchRun(run.to_owned()))
            }
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one event.
    ///
    /// # Errors
    /// [`Error::TooLong`] or [`Error::Io`].
    pub fn append(&mut self, event: Event) -> Result<()> {
        let path = self.path.clone();
        self.append_locked(event).map_err(|e| match e {
            Failure::Io(source) => Error::Io { path, source },
            Failure::Other(error) => error,
        })
    }

    fn append_locked(&mut self, event: Event) -> std::result::Result<(), Failure> {
        self.file.lock()?;
        let done = self.append_now(event);
        self.file.unlock()?;
        done
    }

    fn append_now(&mut self, event: Event) -> std::result::Result<(), Failure> {
        let (seq, prev) = match self.last_line()? {
            Some(last) => (next_seq(&last), Digest::of(&last)),
            None => (0, Digest::of(b"")),
        };
        let at = format!("{:.6}", Timestamp::now());
        let line = Line {
            seq,
            at,
            prev,
            event,
        };
        let text = to_canonical(&line).map_err(|e| Failure::Other(e.into()))? + "\n";
        if text.len() > MAX_LINE {
            return Err(Failure::Other(Error::TooLong {
                length: text.len(),
                max: MAX_LINE,
            }));
        }
        self.file.write_all(text.as_bytes())?;
        Ok(())
    }

    /// The last whole line. A torn one (the writer died in the middle) is cut off first.
    fn last_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let end = self.file.seek(SeekFrom::End(0))?;
        let begin = end.saturating_sub(2 * MAX_LINE as u64);
        self.file.seek(SeekFrom::Start(begin))?;
        let mut tail = Vec::new();
        self.file.read_to_end(&mut tail)?;
        let whole = tail.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
        if whole < tail.len() {
            self.file.set_len(begin + whole as u64)?;
        }
        Ok(tail[..whole].strip_suffix(b"\n").map(|lines| {
            let begin = lines.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
            lines[begin..].to_vec()
        }))
    }
}

enum Failure {
    Io(io::Error),
    Other(Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn next_seq(last: &[u8]) -> u64 {
    serde_json::from_slice::<serde_json::Value>(last)
        .ok()
        .and_then(|v| v.get("seq")?.as_u64())
        .map_or(0, |n| n + 1)
}

/// A name for a new run: its time, then a few digits against collisions.
pub fn new_run_id() -> String {
    let now = Timestamp::now();
    let salt = fs::read("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let digest = Digest::of(&[&salt[..], &std::process::id().to_le_bytes()].concat()).to_string();
    format!("{}-{}", now.strftime("%Y%m%dT%H%M%S%6fZ"), &digest[..6])
}
