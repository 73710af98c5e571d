//! One error for all stages: an exit code, a fact and a way out.

use std::fmt;
use std::path::Path;

use crate::exit::Exit;

/// A result whose error ends the stage.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a stage ends without its section.
#[derive(Debug)]
pub struct Error {
    exit: Exit,
    message: String,
    advice: Option<String>,
    stale: bool,
}

impl Error {
    /// The work failed: exit code 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The manifest or the description cannot be taken: exit code 3.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// A privilege or a host program is missing: exit code 5.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(Exit::Missing, message)
    }

    /// The store is damaged: exit code 6.
    pub fn damaged(message: impl Into<String>) -> Self {
        Self::new(Exit::Damaged, message)
    }

    /// A signal asked for the end: exit code 130.
    pub fn interrupted() -> Self {
        Self::new(
            Exit::Interrupted,
            "interrupted; the next run goes on from the last finished stage",
        )
    }

    /// An error with the given exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            advice: None,
            stale: false,
        }
    }

    /// Says that what the key was made of is no longer so: the stage makes its key anew and tries once more.
    #[must_use]
    pub fn stale(mut self) -> Self {
        self.stale = true;
        self
    }

    /// Whether the stage shall try once more with a new key.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale
    }

    /// Adds the way out, shown on a line of its own.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.advice {
            Some(advice) => write!(f, "\n  help: {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Damaged { .. } => Self::damaged(error.to_string()),
            store::Error::NewerLayout { .. } => Self::refused(error.to_string()),
            store::Error::BadName(_) => Self::new(Exit::Usage, error.to_string()),
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<manifest::Error> for Error {
    fn from(error: manifest::Error) -> Self {
        Self::refused(error.to_string())
    }
}

impl From<::journal::Error> for Error {
    fn from(error: ::journal::Error) -> Self {
        use ::journal::Error as E;
        match error {
            E::BadRunId(_) | E::NoSuchRun(_) => Self::new(Exit::Usage, error.to_string()),
            _ => Self::failed(error.to_string()),
        }
    }
}

/// Attaches a path to an error of the operating system.
pub trait At<T> {
    /// Names the path that was touched.
    ///
    /// # Errors
    /// Exit code 1 with the path and what the system said.
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|e| Error::failed(format!("{}: {e}", path.display())))
    }
}
