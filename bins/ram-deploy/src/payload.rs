//! The payload of a medium: files back to back that hold the distinct frames.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::Advice;

use crate::config;
use crate::deploy::Source;
use crate::stop::{Result, Stop};

/// The opened payload files.
#[derive(Debug)]
pub struct Payload {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    name: String,
    file: File,
    start: u64,
    length: u64,
}

impl Payload {
    /// Opens `ramforge/frames.000` and its successors below `root`, where `length` bytes are expected.
    ///
    /// # Errors
    /// A sentence where a file cannot be opened or the files are shorter than `length`.
    pub fn open(root: &Path, length: u64) -> Result<Self> {
        let mut payload = Self { parts: Vec::new() };
        let mut end = 0;
        while end < length {
            let name = config::frames_on_medium(payload.parts.len());
            let file = match File::open(root.join(&name)) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    return Err(short(&name, end, length));
                }
                Err(e) => return Err(broken(&name, &e)),
            };
            let size = file.metadata().map_err(|e| broken(&name, &e))?.len();
            // The order of reading is the order of the files: the kernel may read far ahead.
            rustix::fs::fadvise(&file, 0, None, Advice::Sequential)
                .map_err(|e| broken(&name, &e.into()))?;
            payload.parts.push(Part {
                name,
                file,
                start: end,
                length: size,
            });
            end += size;
        }
        Ok(payload)
    }

    /// The parts of the range that lie in each file: part, offset in its file, length.
    fn pieces(&self, offset: u64, length: u64) -> impl Iterator<Item = (&Part, u64, u64)> {
        self.parts.iter().filter_map(move |part| {
            let start = offset.max(part.start);
            let end = (offset + length).min(part.start + part.length);
            (start < end).then(|| (part, start - part.start, end - start))
        })
    }
}

impl Source for Payload {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut rest = bytes;
        for (part, at, length) in self.pieces(offset, rest.len() as u64) {
            let (now, later) = rest.split_at_mut(length as usize);
            part.file.read_exact_at(now, at)?;
            rest = later;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn forget(&self, offset: u64, length: u64) {
        for (part, at, length) in self.pieces(offset, length) {
            // Advice only: where it is refused the pages stay reclaimable.
            let _ = rustix::fs::fadvise(
                &part.file,
                at,
                std::num::NonZero::new(length),
                Advice::DontNeed,
            );
        }
    }

    fn place(&self, offset: u64) -> String {
        let found = self.pieces(offset, 1).next();
        found.map_or_else(
            || format!("payload offset {offset}"),
            |(part, at, _)| format!("/{} offset {at}", part.name),
        )
    }
}

fn short(name: &str, end: u64, length: u64) -> Stop {
    Stop::new(
        format!(
            "the medium is short: /{name} is missing, {end} of {length} payload bytes are there"
        ),
        "write the ISO to the medium again and compare its checksum",
    )
}

fn broken(name: &str, error: &io::Error) -> Stop {
    Stop::new(
        format!("the medium cannot be read: /{name}: {error}"),
        "try another drive or port, or write the ISO to the medium again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn medium(parts: &[&[u8]]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("ramforge")).unwrap();
        for (n, part) in parts.iter().enumerate() {
            std::fs::write(dir.path().join(config::frames_on_medium(n)), part).unwrap();
        }
        dir
    }

    #[test]
    fn reads_cross_files() {
        let dir = medium(&[b"abc", b"", b"defg"]);
        let payload = Payload::open(dir.path(), 7).unwrap();
        let mut bytes = [0; 4];
        payload.read(1, &mut bytes).unwrap();
        assert_eq!(&bytes, b"bcde");
        payload.forget(1, 4);
        assert_eq!(payload.place(4), "/ramforge/frames.002 offset 1");
        assert!(payload.read(5, &mut bytes).is_err());
    }

    #[test]
    fn a_missing_file_is_a_short_medium() {
        let dir = medium(&[b"abc"]);
        let text = Payload::open(dir.path(), 7).unwrap_err().to_string();
        assert!(
            text.starts_with("the medium is short: /ramforge/frames.001 is missing, 3 of 7"),
            "{text}"
        );
    }
}
