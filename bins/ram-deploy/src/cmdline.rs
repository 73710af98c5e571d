//! The kernel command line, read as the kernel reads it (`lib/cmdline.c`, `kernel/params.c`).
//!
//! Words are separated by white space; double quotes protect white space and vanish at the ends of a
//! word or a value; `-` and `_` are the same in a name; what follows `--` belongs to init.

use std::time::Duration;

use crate::stop::{Result, Stop};

/// Where this program's own words begin.
const PREFIX: &str = "rd.ramforge.";
/// This program's own words, beside those of KIWI, dracut and the kernel.
pub const WORDS: [&str; 9] = [
    "rd.ramforge.eject",
    "rd.ramforge.local",
    "rd.ramforge.on-error",
    "rd.ramforge.reserve",
    "rd.ramforge.resize",
    "rd.ramforge.shell",
    "rd.ramforge.store",
    "rd.ramforge.url",
    "rd.ramforge.wait",
];

/// The words before `--`: name and, where there is a `=`, value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cmdline(Vec<(String, Option<String>)>);

impl Cmdline {
    /// Splits `text`.
    pub fn parse(text: &str) -> Self {
        Self(
            words(text)
                .into_iter()
                .take_while(|word| word != "--")
                .map(|word| split(&word))
                .collect(),
        )
    }

    /// The command line of the running kernel.
    ///
    /// # Errors
    /// A sentence where /proc is not mounted.
    pub fn of_kernel() -> Result<Self> {
        std::fs::read_to_string("/proc/cmdline")
            .map(|text| Self::parse(&text))
            .map_err(|e| {
                Stop::new(
                    format!("/proc/cmdline: {e}"),
                    "mount /proc before ram-deploy runs",
                )
            })
    }

    /// The value of the last word with that name; a word without `=` has the value "".
    pub fn value(&self, name: &str) -> Option<&str> {
        let same = |(n, _): &&(String, Option<String>)| same_name(n, name);
        let found = self.0.iter().rev().find(same)?;
        Some(found.1.as_deref().unwrap_or(""))
    }

    /// The values of all words with that name, in their order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let same = move |(n, _): &&(String, Option<String>)| same_name(n, name);
        let found = self.0.iter().filter(same);
        found.map(|(_, value)| value.as_deref().unwrap_or(""))
    }

    /// The names that look like this program's words and are none.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        let names = self.0.iter().map(|(name, _)| name.as_str());
        names.filter(|name| {
            name.starts_with(PREFIX) && !WORDS.iter().any(|word| same_name(name, word))
        })
    }

    /// Where the last word with that name stands, counted from 0.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().rposition(|(n, _)| same_name(n, name))
    }

    /// Whether `name` is switched on, or off by `=0`, `=no`, `=n`, `=off` or `=false`; `None` where it
    /// is not there.
    pub fn choice(&self, name: &str) -> Option<bool> {
        self.value(name)
            .map(|v| !["0", "n", "no", "off", "false"].contains(&v))
    }

    /// Whether `name` is there and not switched off.
    pub fn switch(&self, name: &str) -> bool {
        self.choice(name) == Some(true)
    }

    /// The number that `name` has, in the kernel's notation: decimal, or hexadecimal after `0x`.
    ///
    /// # Errors
    /// A sentence where the value is no number.
    pub fn number(&self, name: &str) -> Result<Option<u64>> {
        let Some(text) = self.value(name) else {
            return Ok(None);
        };
        let digits = text.strip_prefix("0x").map_or((text, 10), |hex| (hex, 16));
        u64::from_str_radix(digits.0, digits.1)
            .map(Some)
            .map_err(|_| {
                Stop::new(
                    format!("kernel command line: {name}={text} is not a number"),
                    "correct it in the boot menu",
                )
            })
    }

    /// The number of seconds that `name` has.
    ///
    /// # Errors
    /// As [`Cmdline::number`].
    pub fn seconds(&self, name: &str) -> Result<Option<Duration>> {
        Ok(self.number(name)?.map(Duration::from_secs))
    }
}

fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_ascii_whitespace() && !quoted => {
                words.push(String::new());
                continue;
            }
            _ => (),
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words.retain(|w| !w.is_empty());
    words
}

fn split(word: &str) -> (String, Option<String>) {
    let whole = word
        .strip_prefix('"')
        .map(|w| w.strip_suffix('"').unwrap_or(w));
    match whole.unwrap_or(word).split_once('=') {
        None => (whole.unwrap_or(word).to_owned(), None),
        Some((name, value)) => {
            let bare = value
                .strip_prefix('"')
                .map(|v| v.strip_suffix('"').unwrap_or(v));
            (name.to_owned(), Some(bare.unwrap_or(value).to_owned()))
        }
    }
}

fn same_name(a: &str, b: &str) -> bool {
    let dashed = |c: u8| if c == b'-' { b'_' } else { c };
    a.len() == b.len()
        && a.bytes()
            .zip(b.bytes())
            .all(|(a, b)| dashed(a) == dashed(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_the_kernel_does() {
        let line = Cmdline::parse(
            "BOOT_IMAGE=/k  quiet rd.x=\"a b\" \"rd.y=c d\" rd.z=\"=\"\tn=1 n=2 -- n=3\n",
        );
        assert_eq!(line.value("quiet"), Some(""));
        assert_eq!(line.value("rd.x"), Some("a b"));
        assert_eq!(line.value("rd.y"), Some("c d"));
        assert_eq!(line.value("rd.z"), Some("="));
        assert_eq!(line.value("n"), Some("2"));
        assert_eq!(line.value("absent"), None);
    }

    #[test]
    fn dashes_are_underscores() {
        let line = Cmdline::parse("ramdisk-size=2048000");
        assert_eq!(line.number("ramdisk_size"), Ok(Some(2_048_000)));
    }

    #[test]
    fn misspelt_words_are_found() {
        let line = "rd.ramforge.on_error=stop rd.ramforge.stor=brd rd.ramforge.shell rd.kiwi.x";
        let line = Cmdline::parse(line);
        assert_eq!(line.unknown().collect::<Vec<_>>(), ["rd.ramforge.stor"]);
    }

    #[test]
    fn numbers_are_checked() {
        let line = Cmdline::parse("a=0x10 b=2G c");
        assert_eq!(line.number("a"), Ok(Some(16)));
        assert!(
            line.number("b")
                .unwrap_err()
                .to_string()
                .contains("b=2G is not a number")
        );
        assert!(line.number("c").is_err());
        assert_eq!(line.number("d"), Ok(None));
    }

    #[test]
    fn switches_can_be_off() {
        let line = Cmdline::parse("rd.a rd.b=0 rd.c=1");
        assert!(line.switch("rd.a") && line.switch("rd.c"));
        assert!(!line.switch("rd.b") && !line.switch("rd.d"));
        for off in ["no", "off", "false", "n", "0"] {
            let line = Cmdline::parse(&format!("rd.x={off}"));
            assert_eq!(line.choice("rd.x"), Some(false), "{off}");
        }
        assert_eq!(line.choice("rd.d"), None);
    }
}
