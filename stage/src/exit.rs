//! Exit codes: part of the interface.

use std::process::ExitCode;

/// How a program of Ramforge ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The work failed.
    Failed = 1,
    /// The command line was wrong.
    Usage = 2,
    /// The manifest or the description was refused.
    Refused = 3,
    /// The work is done and its verdict is negative.
    Negative = 4,
    /// A privilege or a host program is missing.
    Missing = 5,
    /// The store is damaged.
    Damaged = 6,
    /// A signal ended the work.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
