//! What can go wrong with an image.

use std::fmt::Display;
use std::io;

/// A result whose error is an image's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why an image cannot be written or read. Each message names the thing, the fact and the
/// expectation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing failed underneath.
    #[error("{what}: {source}")]
    Io {
        /// The file or structure at hand.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The input cannot be expressed in the format.
    #[error("{what}: {fact}; expected {expected}")]
    Unfit {
        /// The file or structure at hand.
        what: String,
        /// What is so.
        fact: String,
        /// What would have been right, or what to do.
        expected: String,
    },
    /// The bytes read are not what the format says they are.
    #[error("{what}: damaged: {fact}")]
    Damaged {
        /// The file or structure at hand.
        what: String,
        /// What is so.
        fact: String,
    },
}

impl Error {
    /// An [`Error::Unfit`].
    pub fn unfit(what: impl Display, fact: impl Display, expected: impl Display) -> Self {
        Error::Unfit {
            what: what.to_string(),
            fact: fact.to_string(),
            expected: expected.to_string(),
        }
    }

    /// An [`Error::Damaged`].
    pub fn damaged(what: impl Display, fact: impl Display) -> Self {
        Error::Damaged {
            what: what.to_string(),
            fact: fact.to_string(),
        }
    }

    /// For `map_err`: attaches the thing at hand to an I/O error.
    pub fn io(what: impl Display) -> impl FnOnce(io::Error) -> Self {
        move |source| Error::Io {
            what: what.to_string(),
            source,
        }
    }
}
