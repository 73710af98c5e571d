//! What can be wrong with a manifest.

/// A result whose error is a manifest's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a manifest is refused. Each message names the place, the fact and the expectation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not JSON; the position counts from line 1, column 1.
    #[error(
        "manifest: not JSON at line {line}, column {column}: {fact}; expected one JSON object, the output of the stage before"
    )]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser met.
        fact: String,
    },
    /// The input ended before anything came.
    #[error(
        "manifest: the input is empty; expected the output of the stage before (did it fail? its message is above)"
    )]
    Empty,
    /// JSON, but not an object with the key `ramforge`.
    #[error("manifest: {0}; expected an object that begins {{\"ramforge\":1,…}}")]
    NotAManifest(String),
    /// The manifest's own version is newer than this program knows.
    #[error(
        "manifest: version {found}, but this program reads up to version {known}; use the same release of every stage"
    )]
    NewerManifest {
        /// The version met.
        found: u64,
        /// The newest version known.
        known: u64,
    },
    /// A section of a newer format.
    #[error(
        "manifest: section \"{section}\" has format {found}, written by {by}; this program reads up to format {known}: use the release of {by} for this stage too"
    )]
    NewerSection {
        /// The section's name.
        section: &'static str,
        /// The format met.
        found: u64,
        /// The newest format known.
        known: u64,
        /// Program and version that wrote it.
        by: String,
    },
    /// A section that the stage needs is not there.
    #[error("manifest: section \"{section}\" is missing; run {stage} before this stage")]
    MissingSection {
        /// The section's name.
        section: String,
        /// The program that writes it.
        stage: String,
    },
    /// A known section with a wrong or unknown field.
    #[error("manifest: section \"{section}\": {fact}")]
    BadSection {
        /// The section's name.
        section: String,
        /// What is wrong, with the field's name.
        fact: String,
    },
    /// A number that is not an integer.
    #[error(
        "manifest: {place}: {number} is not an integer in ±2^53; canonical manifests hold no other numbers"
    )]
    NotAnInteger {
        /// JSON pointer of the value.
        place: String,
        /// The number met.
        number: String,
    },
    /// A value that cannot be written as JSON.
    #[error("manifest: cannot be written: {0}")]
    Unwritable(String),
}
