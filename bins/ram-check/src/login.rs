//! `--login`: who logs in to read figures inside, and what is read.

use std::fmt;
use std::time::Duration;

use manifest::{Memory, Object};
use stage::{Context, Result};

use crate::figures::{BRD_PAGES, DROPPED};
use crate::qemu::{self, Guest};

/// What is read and how, for the boots that are kept. Changelog. 1: the first. 2: lists of the processors, pages of a brd,
/// kills for lack of memory, and all of it once more with the page cache dropped.
pub(crate) const VERSION: u32 = 2;

/// What is read: the kernel's own account, the RAM disks, each with its name, and the root. Only root may drop the page
/// cache, and see the pages of a brd.
fn figures_script() -> String {
    // With /dev/null grep names the file also where there is one alone.
    let read = format!(
        "cat /proc/meminfo; grep count: /proc/zoneinfo; grep oom_kill /proc/vmstat; \
        grep . /dev/null /sys/block/zram*/mm_stat {BRD_PAGES}/*; df -k /"
    );
    format!(
        "f() {{ {read}; }} 2>/dev/null; f; sync; \
         {{ echo 3 >/proc/sys/vm/drop_caches; }} 2>/dev/null && echo {DROPPED} && f; true"
    )
}

/// Time for reading it in software emulation.
const PATIENCE: Duration = Duration::from_secs(120);

/// A user of the image and the password.
#[derive(Clone)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// Who logs in.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }
}

/// A password is no text for a log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Reads the file at `path`: one line as chpasswd(8) takes it.
pub(crate) fn read(path: &str) -> std::result::Result<Credentials, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let pair = text.trim_end_matches(['\r', '\n']).split_once(':');
    match pair.filter(|(user, password)| !user.is_empty() && !password.contains('\n')) {
        Some((user, password)) => Ok(Credentials {
            user: user.to_owned(),
            password: password.to_owned(),
        }),
        None => Err(format!("{path}: expected one line, USER:PASSWORD")),
    }
}

/// Logs in and reads the figures, or says why they could not be had.
pub(crate) fn figures(
    cx: &Context,
    guest: &mut Guest,
    who: &Credentials,
) -> Result<qemu::Result<Memory>> {
    let answer = guest
        .login(&who.user, &who.password)
        .and_then(|()| guest.run(&figures_script(), PATIENCE));
    let text = match answer {
        Ok(answer) => answer.output,
        Err(error) => return Ok(Err(error)),
    };
    let figures = cx.store().put(text.as_bytes())?;
    Ok(memory(&text, figures).ok_or(qemu::Error::Unread {
        what: "/proc/meminfo",
        expected: "MemTotal and MemAvailable in kB",
        answer: text,
    }))
}

/// The figures that everybody wants, out of the text.
fn memory(text: &str, figures: Object) -> Option<Memory> {
    let mib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kib.map(|kib| kib / 1024)
    };
    Some(Memory {
        total_mib: mib("MemTotal:")?,
        available_mib: mib("MemAvailable:")?,
        figures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> std::result::Result<Credentials, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("login");
        std::fs::write(&path, text).unwrap();
        read(path.to_str().unwrap())
    }

    #[test]
    fn one_line_has_user_and_password() {
        let read = file("root:a:b\n").unwrap();
        assert_eq!(
            (read.user.as_str(), read.password.as_str()),
            ("root", "a:b")
        );
        assert!(!format!("{read:?}").contains("a:b"));
        for bad in ["", "root", ":x", "root:a\nuser:b\n"] {
            assert!(file(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn figures_are_those_of_meminfo() {
        let text = "MemTotal:        2000000 kB\nMemFree: 5 kB\nMemAvailable:    1048576 kB\n";
        let read = memory(text, Object::of(text.as_bytes())).unwrap();
        assert_eq!((read.total_mib, read.available_mib), (1953, 1024));
        for torn in ["", "cat: command not found", "MemTotal: 2000000 kB\nMemAva"] {
            assert_eq!(memory(torn, Object::of(b"")), None, "{torn}");
        }
    }
}
