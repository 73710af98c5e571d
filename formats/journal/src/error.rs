//! What can go wrong with a journal.

use std::io;
use std::path::PathBuf;

/// A result whose error is a journal's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a journal cannot be written or believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("journal: {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An event is too long to be one line.
    #[error(
        "journal: a line of {length} bytes, at most {max} are allowed; long payloads belong in an object"
    )]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A line that does not follow from the one before it.
    #[error("journal: {}: line {line}: {fact}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What does not fit.
        fact: String,
    },
    /// The run's name is no file name.
    #[error(
        "journal: run id {0:?}: expected letters, digits, '-', '_' and '.' only (RAMFORGE_RUN sets it)"
    )]
    BadRunId(String),
    /// There is no journal of that name.
    #[error(
        "journal: there is no run {0:?}; expected one that `ramforge start-run` began in this store (RAMFORGE_RUN and RAMFORGE_STORE)"
    )]
    NoSuchRun(String),
    /// A line could not be written as canonical JSON.
    #[error("journal: {0}")]
    Manifest(#[from] manifest::Error),
}
