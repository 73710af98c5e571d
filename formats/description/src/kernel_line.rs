//! The kernel command line, split as the kernel splits it: words end at white space, and white space
//! inside double quotes does not count (`lib/cmdline.c`, `next_arg`).

use std::ops::Range;

/// One word of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word<'a> {
    /// The word as it was written, quotes and all.
    pub raw: &'a str,
    /// Its bytes in the line.
    pub range: Range<usize>,
}

impl Word<'_> {
    /// What stands before the first `=`.
    pub fn key(&self) -> &str {
        self.raw
            .split('=')
            .next()
            .unwrap_or(self.raw)
            .trim_matches('"')
    }

    /// What stands behind the first `=`, without quotes around it.
    pub fn value(&self) -> Option<&str> {
        Some(self.raw.split_once('=')?.1.trim_matches('"'))
    }
}

/// Splits a line. The flag says whether a quote stayed open.
pub fn split(line: &str) -> (Vec<Word<'_>>, bool) {
    let mut words = Vec::new();
    let mut start = None;
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        if c == '"' {
            quoted = !quoted;
        }
        if c.is_ascii_whitespace() && !quoted {
            words.extend(start.take().map(|from| word(line, from..at)));
        } else if start.is_none() {
            start = Some(at);
        }
    }
    words.extend(start.map(|from| word(line, from..line.len())));
    (words, quoted)
}

fn word(line: &str, range: Range<usize>) -> Word<'_> {
    Word {
        raw: &line[range.clone()],
        range,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_blanks_together() {
        let line = "  quiet a=\"b c\"\t\"d e=f g\" h=";
        let (words, open) = split(line);
        let raw: Vec<_> = words.iter().map(|w| w.raw).collect();
        assert_eq!(raw, ["quiet", "a=\"b c\"", "\"d e=f g\"", "h="]);
        assert_eq!(words[1].value(), Some("b c"));
        assert_eq!((words[3].key(), words[3].value()), ("h", Some("")));
        assert_eq!(&line[words[1].range.clone()], "a=\"b c\"");
        assert!(!open);
        assert!(split("a=\"b").1);
    }
}
