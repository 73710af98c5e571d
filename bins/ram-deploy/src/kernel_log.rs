//! What the kernel said before this program ran.
//!
//! An initramfs that cannot be unpacked as a whole is an error that the kernel only prints: it goes on with the files it
//! got, and one of them may be wrong. Compressed segments carry checksums, so it notices, and here the boot ends; the
//! configuration has a sum of its own. On a large machine the log may have lost its beginning before this program reads it,
//! and then that is said.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use crate::stop::{Result, Stop};

/// What it prints then (`init/initramfs.c`).
const UNPACKING_FAILED: &str = "Initramfs unpacking failed";
/// Longest record of /dev/kmsg in bytes (`CONSOLE_EXT_LOG_MAX`).
const RECORD: usize = 8192;

/// What is said where nobody knows.
const LOST: &str = "warning: the kernel's log has lost a part of it, which might tell whether the whole \
    initramfs was unpacked; log_buf_len=4M on the kernel command line keeps it";

/// Refuses an initramfs that was not unpacked as a whole. A warning where the log does not tell.
///
/// # Errors
/// A sentence with the kernel's words.
pub fn check_unpacked() -> Result<Option<&'static str>> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open("/dev/kmsg");
    // A kernel without it tells nothing.
    let Ok(log) = opened else { return Ok(None) };
    check_all(log)
}

fn check_all(mut log: impl Read) -> Result<Option<&'static str>> {
    let mut record = vec![0; RECORD];
    let mut first = true;
    let mut warning = None;
    loop {
        match log.read(&mut record) {
            Ok(0) => return Ok(warning),
            Ok(n) => {
                let record = String::from_utf8_lossy(&record[..n]);
                check(&record)?;
                if std::mem::take(&mut first) && number(&record) != Some(0) {
                    warning = Some(LOST);
                }
            }
            // Records were overwritten while they were read.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => warning = Some(LOST),
            Err(_) => return Ok(warning),
        }
    }
}

/// The second field of a record: how many the kernel had written before.
fn number(record: &str) -> Option<u64> {
    record.split(',').nth(1)?.parse().ok()
}

/// One record: level, number and time, then the message.
fn check(record: &str) -> Result<()> {
    let message = record
        .split_once(';')
        .map_or(record, |(_, message)| message);
    match message.lines().next() {
        Some(line) if line.starts_with(UNPACKING_FAILED) => Err(Stop::new(
            format!("the initramfs is damaged; the kernel says: {line}"),
            "write the ISO to the medium again and compare its checksum",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log that gives one record a read; an empty one was overwritten.
    struct Records<'a>(&'a [&'a str]);

    impl Read for Records<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else {
                return Err(ErrorKind::WouldBlock.into());
            };
            self.0 = rest;
            if first.is_empty() {
                return Err(ErrorKind::BrokenPipe.into());
            }
            bytes[..first.len()].copy_from_slice(first.as_bytes());
            Ok(first.len())
        }
    }

    #[test]
    fn a_log_that_lost_a_part_is_told() {
        let whole = ["5,0,0,-;Linux version 6\n", "6,3,9,-;more\n"];
        assert_eq!(check_all(Records(&whole)).unwrap(), None);
        assert_eq!(check_all(Records(&[])).unwrap(), None);
        let lost = ["6,3,9,-;more\n", "6,4,9,-;more\n"];
        assert_eq!(check_all(Records(&lost)).unwrap(), Some(LOST));
        let gap = ["5,0,0,-;Linux version 6\n", "", "6,9,9,-;more\n"];
        assert_eq!(check_all(Records(&gap)).unwrap(), Some(LOST));
        let bad = "3,9,9,-;Initramfs unpacking failed: junk\n";
        assert!(check_all(Records(&["6,3,9,-;more\n", bad])).is_err());
    }

    #[test]
    fn only_the_kernels_own_words_count() {
        assert!(check("6,339,5140900,-;NET: Registered protocol family 10\n").is_ok());
        assert!(check("30,1,2,-;init: Initramfs unpacking failed\n").is_ok());
        let bad =
            "0,300,1,-;Initramfs unpacking failed: ZSTD-compressed data is corrupt\n SUBSYSTEM=x\n";
        let text = check(bad).unwrap_err().to_string();
        assert!(
            text.contains(
                "says: Initramfs unpacking failed: ZSTD-compressed data is corrupt; write"
            ),
            "{text}"
        );
    }
}
