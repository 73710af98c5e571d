//! The serial line's log: plain text, and when each part of the boot began. SeaBIOS has a line of its own for that, its
//! debug port, since it says nothing on the serial one.
//!
//! Terminal control is taken out: CSI, OSC and charset sequences (ECMA-48), carriage returns and other
//! control characters. *Not done:* cursor movement; a boot menu's lines run into each other.

use std::time::Duration;

use regex::bytes::Regex;

use super::error::{Error, Result};

/// What a boot goes through, and the text that tells.
const MARKS: &[(&str, &str)] = &[
    // SeaBIOS at its debug port, OVMF on the serial line.
    ("firmware", r"SeaBIOS \(version|BdsDxe: "),
    // The firmware says that it hands over, to the boot sector or image at 0000:7c00 or to a boot entry, or GRUB speaks.
    (
        "grub",
        r"Booting from 0000:7c00|BdsDxe: starting |Welcome to GRUB!|GNU GRUB ",
    ),
    ("kernel", r"Linux version|Command line:|Loading Linux"),
    ("ram-deploy", r"(?m)^ramforge: |ram-deploy"),
    ("switch_root", r"Switching root|Switch Root|switch_root"),
    ("login", LOGIN),
];
/// The prompt that says: the system is up, as a regular expression. A message of the kernel may follow it on its line.
pub const LOGIN: &str = r"(?m)^\S+ login: ?(?:$|\[ *\d+\.\d+\] )";
/// What is left of a prompt at the beginning of a line where a message of the kernel got into the middle of it.
pub(super) const TORN: &str = r"(?m)^(?: ?login|ogin|gin|in|n)?: ?(?:$|\[ *\d+\.\d+\] )";
/// Bytes before an unfinished line that are looked at again: no mark is longer.
const OVERLAP: usize = 256;

/// A part of the boot and when it was first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// `firmware`, `grub`, `kernel`, `ram-deploy`, `switch_root` or `login`.
    pub name: &'static str,
    /// Time since QEMU was started.
    pub at: Duration,
}

/// Text without terminal control, and the marks met in it.
#[derive(Debug)]
pub(super) struct Log {
    serial: Line,
    /// What SeaBIOS says at its debug port.
    firmware: Line,
    patterns: Vec<(&'static str, Regex)>,
    pub(super) marks: Vec<Mark>,
    /// Whether the serial line was closed.
    pub(super) closed: bool,
}

impl Log {
    pub(super) fn new() -> Result<Self> {
        let patterns = MARKS
            .iter()
            .map(|(name, pattern)| Ok((*name, compile(pattern)?)));
        Ok(Self {
            serial: Line::default(),
            firmware: Line::default(),
            patterns: patterns.collect::<Result<_>>()?,
            marks: Vec::new(),
            closed: false,
        })
    }

    /// Takes what the serial line brought at `time` since the start.
    pub(super) fn append(&mut self, bytes: &[u8], time: Duration) {
        let fresh = self.serial.take(bytes);
        mark(fresh, time, &mut self.patterns, &mut self.marks);
        self.serial.searched();
    }

    /// Takes what the firmware said at its debug port.
    pub(super) fn append_firmware(&mut self, bytes: &[u8], time: Duration) {
        let fresh = self.firmware.take(bytes);
        mark(fresh, time, &mut self.patterns, &mut self.marks);
        self.firmware.searched();
    }

    /// The text from `start` on.
    pub(super) fn from(&self, start: usize) -> &[u8] {
        let text = &self.serial.text;
        &text[start.min(text.len())..]
    }

    pub(super) fn len(&self) -> usize {
        self.serial.text.len()
    }

    /// The last lines, for a message.
    pub(super) fn tail(&self) -> String {
        let text = String::from_utf8_lossy(self.from(self.len().saturating_sub(2000)));
        let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// What one line brought.
#[derive(Debug, Default)]
struct Line {
    text: Vec<u8>,
    filter: Filter,
    /// Where the search for marks goes on.
    searched: usize,
}

impl Line {
    /// Takes plain text out of `bytes`; gives what was not searched yet.
    fn take(&mut self, bytes: &[u8]) -> &[u8] {
        let plain = bytes.iter().filter_map(|&byte| self.filter.pass(byte));
        self.text.extend(plain);
        &self.text[self.searched..]
    }

    /// The text is searched to its end.
    fn searched(&mut self) {
        let line = self.text.iter().rposition(|&b| b == b'\n').unwrap_or(0);
        self.searched = line.saturating_sub(OVERLAP).max(self.searched);
    }
}

/// Notes the marks whose patterns are in `fresh`; each is noted once.
fn mark(
    fresh: &[u8],
    at: Duration,
    patterns: &mut Vec<(&'static str, Regex)>,
    marks: &mut Vec<Mark>,
) {
    patterns.retain(|(name, pattern)| {
        let met = pattern.is_match(fresh);
        if met {
            marks.push(Mark { name, at });
        }
        !met
    });
}

/// A pattern over the text.
pub(super) fn compile(pattern: &str) -> Result<Regex> {
    Regex::new(pattern).map_err(|e| Error::Monitor {
        order: format!("pattern {pattern:?}"),
        fact: e.to_string(),
    })
}

/// Where in a control sequence the line stands.
#[derive(Debug, Clone, Copy, Default)]
enum Filter {
    #[default]
    Text,
    Escape,
    /// ESC [ … letter
    Csi,
    /// ESC ] … BEL, or ESC \
    Osc,
    /// ESC ( and one byte
    Charset,
}

impl Filter {
    fn pass(&mut self, byte: u8) -> Option<u8> {
        match (*self, byte) {
            (Self::Osc, 0x07) | (Self::Charset, _) => *self = Self::Text,
            (_, 0x1b) => *self = Self::Escape,
            (Self::Escape, b'[') => *self = Self::Csi,
            (Self::Escape, b']') => *self = Self::Osc,
            (Self::Escape, b'(' | b')' | b'#' | b'%') => *self = Self::Charset,
            (Self::Escape, _) | (Self::Csi, 0x40..=0x7e) => *self = Self::Text,
            (Self::Csi | Self::Osc, _) => (),
            (Self::Text, b'\n' | b'\t' | 0x20..=0x7e | 0x80..) => return Some(byte),
            (Self::Text, _) => (),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(parts: &[&[u8]]) -> Log {
        let mut log = Log::new().unwrap();
        for (second, part) in (0..).zip(parts) {
            log.append(part, Duration::from_secs(second));
        }
        log
    }

    /// Names and seconds.
    fn marks(log: &Log) -> Vec<(&'static str, u64)> {
        let marks = log.marks.iter();
        marks.map(|m| (m.name, m.at.as_secs())).collect()
    }

    #[test]
    fn terminal_control_is_taken_out_even_when_cut_anywhere() {
        let raw =
            b"\x1b[2J\x1b[01;01H\x1b(Ba\r\n\x1b]0;title\x07b\x1b[?2004h\tc\x1bc\0d \xc3\xa4\n";
        for cut in 0..raw.len() {
            let (left, right) = raw.split_at(cut);
            assert_eq!(
                log(&[left, right]).from(0),
                "a\nb\tcd ä\n".as_bytes(),
                "{cut}"
            );
        }
    }

    #[test]
    fn marks_have_the_time_they_were_first_seen() {
        let log = log(&[
            b"[ 0.0] Linux ver",
            b"sion 6.1\nramforge: 3 % of 9 MiB\n",
            b"ramforge: done\nSwitching root.\n",
            b"host login: ",
        ]);
        let expected = [
            ("kernel", 1),
            ("ram-deploy", 1),
            ("switch_root", 2),
            ("login", 3),
        ];
        assert_eq!(marks(&log), expected);
    }

    #[test]
    fn firmware_says_when_it_hands_over() {
        let mut bios = Log::new().unwrap();
        let second = Duration::from_secs;
        bios.append_firmware(
            b"SeaBIOS (version 1.16)\nBooting from DVD/CD...\n",
            second(1),
        );
        bios.append_firmware(b"Booting from 0000", second(2));
        bios.append_firmware(b":7c00\n", second(3));
        bios.append(b"GNU GRUB  version 2.06\nLinux version 6.1", second(4));
        let expected = [("firmware", 1), ("grub", 3), ("kernel", 4)];
        assert_eq!(marks(&bios), expected);
        assert_eq!(bios.from(0), b"GNU GRUB  version 2.06\nLinux version 6.1");
        let uefi = log(&[
            b"\x1b[2J\x1b[01;01H",
            b"BdsDxe: loading Boot0001 \"UEFI\"\r\n",
            b"BdsDxe: starting Boot0001 \"UEFI\"\r\n",
            b"Welcome to GRUB!\n",
        ]);
        assert_eq!(marks(&uefi), [("firmware", 1), ("grub", 2)]);
    }

    #[test]
    fn what_is_not_heard_of_has_no_mark() {
        let mut log = log(&[b"some other loader\n"]);
        log.append_firmware(
            b"Booting from ROM...\nBooting from ca00:0395\n",
            Duration::ZERO,
        );
        assert_eq!(log.marks, []);
    }

    #[test]
    fn a_prompt_counts_only_at_the_end_of_a_line() {
        let log = log(&[b"Last login: Monday\nlogin: denied\n"]);
        assert!(
            log.marks.iter().all(|m| m.name != "login"),
            "{:?}",
            log.marks
        );
    }

    #[test]
    fn a_message_of_the_kernel_may_follow_the_prompt() {
        let log = log(&[b"Debian 12\nhost login: [   45.123456] random: crng\n"]);
        assert!(
            log.marks.iter().any(|m| m.name == "login"),
            "{:?}",
            log.marks
        );
    }

    #[test]
    fn a_torn_prompt_is_told_from_other_questions() {
        let torn = compile(TORN).unwrap();
        for text in [
            "host lo[   45.1] random: crng\ngin: ",
            "host login[   45.1] x\n: ",
            "host[    4.5] x\n login: ",
        ] {
            assert!(torn.is_match(text.as_bytes()), "{text}");
        }
        for text in [
            "-- Press any key to proceed --",
            "Passphrase: ",
            "[ 1.2] a: ",
        ] {
            assert!(!torn.is_match(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn the_tail_skips_empty_lines() {
        assert_eq!(log(&[b"a\n\n\n  \nb\n"]).tail(), "a\nb");
    }
}
