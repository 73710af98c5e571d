//! What the kernel said before this program ran.
//!
//! An initramfs that cannot be unpacked as a whole is an error that the kernel only prints: it goes on with the files it
//! got, and one of them may be wrong. Compressed segments carry checksums, so it notices, and here the boot ends; the
//! configuration has a sum of its own. On a large machine the log may have lost its beginning before this program reads it.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use crate::stop::{Result, Stop};

/// What it prints then (`init/initramfs.c`).
const UNPACKING_FAILED: &str = "Initramfs unpacking failed";
/// Longest record of /dev/kmsg in bytes (`CONSOLE_EXT_LOG_MAX`).
const RECORD: usize = 8192;

/// Refuses an initramfs that was not unpacked as a whole.
///
/// # Errors
/// A sentence with the kernel's words.
pub fn check_unpacked() -> Result<()> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open("/dev/kmsg");
    // A kernel without it tells nothing.
    let Ok(mut log) = opened else { return Ok(()) };
    let mut record = vec![0; RECORD];
    loop {
        match log.read(&mut record) {
            Ok(0) => return Ok(()),
            Ok(n) => check(&String::from_utf8_lossy(&record[..n]))?,
            // Records were overwritten while they were read.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => (),
            Err(_) => return Ok(()),
        }
    }
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
