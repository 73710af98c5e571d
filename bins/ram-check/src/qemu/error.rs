//! What can go wrong around a virtual machine.

use std::path::PathBuf;
use std::time::Duration;

/// A result whose error is a machine's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a machine could not be driven. What the guest itself did is an [`crate::qemu::Outcome`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program or file of the host is not there.
    #[error("{what} not found; on Debian and Ubuntu: apt-get install {package}")]
    Missing {
        /// The program or file.
        what: String,
        /// The package that brings it.
        package: &'static str,
    },
    /// A program of the host is older than what is needed.
    #[error(
        "{what} {found} is too old; expected {least} or newer; on Debian and Ubuntu: apt-get install {package} of a newer release"
    )]
    Old {
        /// The program.
        what: &'static str,
        /// The version that it says it has.
        found: String,
        /// The least one that is taken.
        least: String,
        /// The package that brings it.
        package: &'static str,
    },
    /// The operating system refused something.
    #[error("{path}: {fact}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        fact: std::io::Error,
    },
    /// The console did not say what was expected, in time.
    #[error("console: no {expected} within {} s; its last lines:\n{tail}", limit.as_secs())]
    Silent {
        /// What was waited for.
        expected: String,
        /// How long.
        limit: Duration,
        /// The end of the log.
        tail: String,
    },
    /// The machine ended while something was expected of it.
    #[error(
        "QEMU ended while {expected} was awaited{}; the console's last lines:\n{tail}",
        said(stderr)
    )]
    Ended {
        /// What was waited for.
        expected: String,
        /// What QEMU printed.
        stderr: String,
        /// The end of the log.
        tail: String,
    },
    /// A name and password that the guest did not take.
    #[error("console: user {user:?} is not let in; expected a shell")]
    Login {
        /// The user.
        user: String,
    },
    /// A command line longer than a terminal takes.
    #[error("console: a command of {0} bytes; a terminal takes lines up to 3500")]
    TooLong(usize),
    /// A file of the guest whose text is not as expected.
    #[error("console: {what}: expected {expected}; it has:\n{answer}")]
    Unread {
        /// The file.
        what: &'static str,
        /// What it should have.
        expected: &'static str,
        /// What was read.
        answer: String,
    },
    /// The monitor refused an order.
    #[error("QEMU's monitor: {order}: {fact}")]
    Monitor {
        /// The order.
        order: String,
        /// What it answered.
        fact: String,
    },
    /// The caller asked for the end.
    #[error("interrupted")]
    Cancelled,
}

fn said(stderr: &str) -> String {
    let stderr = stderr.trim();
    if stderr.is_empty() {
        String::new()
    } else {
        format!(" (it said: {stderr})")
    }
}

/// Attaches a path to an error of the operating system.
pub(super) trait At<T> {
    /// Names what was touched.
    fn at(self, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|fact| Error::Io {
            path: path.into(),
            fact,
        })
    }
}
