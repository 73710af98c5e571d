//! Which QEMU the host has.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::error::{At, Error, Result};
use super::machine::{QEMU, QEMU_PACKAGE};

/// The oldest QEMU that is taken: that of Debian 11. Its options and its monitor are those that are used here; what
/// older ones would do with them was never tried.
pub const LEAST: Version = Version(5, 2);

/// How long it may take to say its version, and how often it is looked whether it has.
const LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

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
/// [`Error::Missing`], [`Error::Old`] with both versions, [`Error::Io`] where it does not run.
pub fn demand() -> Result<()> {
    let program = stage::find_program(QEMU).ok_or_else(|| Error::Missing {
        what: QEMU.to_owned(),
        package: QEMU_PACKAGE,
    })?;
    judge(&said(&program, LIMIT).at(&program)?)
}

/// What the program says of its version within `limit`. One that cannot run is not an old one.
fn said(program: &Path, limit: Duration) -> io::Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = run(program, limit)?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&stderr);
    let last = stderr.lines().last().unwrap_or("nothing");
    Err(io::Error::other(format!(
        "--version ended with {status}, expected a version; it said: {last}"
    )))
}

fn run(program: &Path, limit: Duration) -> io::Result<Output> {
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let begin = Instant::now();
    while child.try_wait()?.is_none() {
        if begin.elapsed() > limit {
            child.kill()?;
            // A process that hangs in the kernel does not die now: nobody shall wait for it.
            std::thread::spawn(move || child.wait());
            let seconds = limit.as_secs();
            return Err(io::Error::other(format!(
                "--version said nothing within {seconds} s, expected a version"
            )));
        }
        std::thread::sleep(POLL);
    }
    child.wait_with_output()
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
    use std::os::unix::fs::PermissionsExt;

    /// A program in the place of QEMU, and what is said of it.
    fn demanded(script: &str, limit: Duration) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qemu");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        said(&path, limit).map_or_else(|e| e.to_string(), |said| format!("said {said}"))
    }

    #[test]
    fn a_qemu_that_does_not_run_is_not_an_old_one() {
        let broken = "echo loader >&2; echo 'libfdt.so.1: no such file' >&2; exit 127";
        assert_eq!(
            demanded(broken, LIMIT),
            "--version ended with exit status: 127, expected a version; it said: libfdt.so.1: no such file"
        );
        assert_eq!(demanded("echo 9.1; echo more >&2", LIMIT), "said 9.1\n");
        assert_eq!(
            demanded("exec sleep 600", Duration::from_secs(1)),
            "--version said nothing within 1 s, expected a version"
        );
    }

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
