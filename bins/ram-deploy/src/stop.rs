//! The one kind of error: a sentence for the person in front of the machine.

use std::fmt;

/// A result whose error stops the deployment.
pub type Result<T> = std::result::Result<T, Stop>;

/// Why the deployment stops: what is so, where, and what to do. One sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    fact: String,
    way_out: String,
}

impl Stop {
    /// A fact and the way out of it.
    pub fn new(fact: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self {
            fact: fact.into(),
            way_out: way_out.into(),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.fact, self.way_out)
    }
}

impl std::error::Error for Stop {}
