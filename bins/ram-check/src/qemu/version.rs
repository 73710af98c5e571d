//! Which QEMU the host has.

use std::fmt;
use std::process::Command;

use super::error::{At, Error, Result};
use super::machine::{QEMU, QEMU_PACKAGE};

/// The oldest QEMU that is taken: that of Debian 11. Its options and its monitor are those that are used here; what
/// older ones would do with them was never tried.
pub const LEAST: Version = Version(5, 2);

/// A version of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Demands a QEMU that is new enough.
///
/// # Errors
/// [`Error::Missing`], [`Error::Old`] with both versions, [`Error::Io`].
pub fn demand() -> Result<()> {
    let program = stage::find_program(QEMU).ok_or_else(|| Error::Missing {
        what: QEMU.to_owned(),
        package: QEMU_PACKAGE,
    })?;
    let output = Command::new(&program).arg("--version").output();
    judge(&String::from_utf8_lossy(&output.at(&program)?.stdout))
}

/// What `--version` printed is new enough.
fn judge(said: &str) -> Result<()> {
    let found = parse(said);
    match found {
        Some(found) if found >= LEAST => Ok(()),
        _ => Err(Error::Old {
            what: QEMU,
            found: found.map_or("of unknown version".to_owned(), |v| v.to_string()),
            least: LEAST.to_string(),
            package: QEMU_PACKAGE,
        }),
    }
}

/// `QEMU emulator version 7.2.22 (Debian …)`.
fn parse(said: &str) -> Option<Version> {
    let (_, rest) = said.split_once("version ")?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse().ok();
    Some(Version(number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_qemu_is_refused_with_both_versions() {
        for good in [
            "QEMU emulator version 5.2.0 (Debian 1:5.2+dfsg-11)\nCopyright",
            "QEMU emulator version 10.0.2",
            "QEMU emulator version 11.0-rc1",
        ] {
            assert!(judge(good).is_ok(), "{good}");
        }
        let refused = |said| judge(said).unwrap_err().to_string();
        assert_eq!(
            refused("QEMU emulator version 4.2.1 (Debian 1:4.2-3ubuntu6)"),
            "qemu-system-x86_64 4.2 is too old; expected 5.2 or newer; on Debian and Ubuntu: apt-get install qemu-system-x86 \
             of a newer release"
        );
        for odd in ["", "version", "version 5", "version x.y"] {
            assert!(refused(odd).contains(" of unknown version is "), "{odd}");
        }
    }
}
