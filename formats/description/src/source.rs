//! Source texts and places in them.
//!
//! A [`Span`] is a byte range of one source; [`Sources`] turns it into file, line and column. The
//! command line counts as a source too, so that a wrong option is shown like a wrong line.

use manifest::Origin;

/// The name of options in the plan.
const COMMAND_LINE: &str = "(command line)";

/// A range of bytes in one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Index of the source.
    pub source: u32,
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
}

/// One text that was read.
#[derive(Debug, Clone)]
pub struct Source {
    /// Name in the plan: a path relative to the description, or `(command line)`.
    pub name: String,
    /// Name for people: the path as they would give it to another program, or the option itself.
    pub shown: String,
    /// The whole text.
    pub text: String,
    line_starts: Vec<u32>,
    /// Characters before each block of the text; empty where every character is a byte.
    before_blocks: Vec<u32>,
}

/// Bytes of a block: a place in a long line is counted from the block's start, not from the line's.
const BLOCK: usize = 1024;

/// Line and column of a place, both from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

impl Source {
    fn new(name: String, shown: String, text: String) -> Self {
        let after_newlines = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at as u32 + 1);
        let line_starts = std::iter::once(0).chain(after_newlines).collect();
        let before_blocks = match text.is_ascii() {
            true => Vec::new(),
            false => before_blocks(text.as_bytes()),
        };
        Self {
            name,
            shown,
            text,
            line_starts,
            before_blocks,
        }
    }

    /// Characters before a byte.
    fn characters(&self, at: usize) -> u64 {
        match self.before_blocks.get(at / BLOCK) {
            Some(before) => {
                let since = &self.text.as_bytes()[at / BLOCK * BLOCK..at];
                u64::from(*before) + characters(since)
            }
            None => at as u64,
        }
    }

    /// Whether this is an option of the command line and no file.
    pub fn is_option(&self) -> bool {
        self.name == COMMAND_LINE
    }

    /// The position of a byte; a byte past the end is the end.
    pub fn position(&self, at: u32) -> Position {
        let at = self.boundary(at);
        let line = self
            .line_starts
            .partition_point(|start| *start as usize <= at)
            .max(1);
        let start = self.line_starts[line - 1] as usize;
        Position {
            line: line as u64,
            column: self.characters(at) - self.characters(start) + 1,
        }
    }

    /// The byte where a line and a column (both from 1, in characters) begin; clamped to the text.
    pub fn byte_at(&self, line: u32, column: u32) -> u32 {
        let index = (line.max(1) as usize - 1).min(self.line_starts.len() - 1);
        let start = self.line_starts[index] as usize;
        let offset: usize = self.text[start..]
            .chars()
            .take(column.max(1) as usize - 1)
            .map(char::len_utf8)
            .sum();
        (start + offset) as u32
    }

    /// The whole lines that a range touches: their first line number, first byte and text.
    pub fn lines_around(&self, start: u32, end: u32) -> (usize, usize, &str) {
        let first = self.position(start).line as usize;
        let from = self.line_starts[first - 1] as usize;
        let end = self.boundary(end).max(from);
        let to = self.text[end..]
            .find('\n')
            .map_or(self.text.len(), |more| end + more);
        (first, from, &self.text[from..to])
    }

    fn boundary(&self, at: u32) -> usize {
        let mut at = (at as usize).min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

/// Characters in bytes of UTF-8: what begins one.
fn characters(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b & 0xc0 != 0x80).count() as u64
}

/// Characters before each block, and before the end.
fn before_blocks(bytes: &[u8]) -> Vec<u32> {
    let mut before = 0;
    let counts = bytes.chunks(BLOCK).map(|block| {
        before += characters(block) as u32;
        before
    });
    std::iter::once(0).chain(counts).collect()
}

/// Every text of one run.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    list: Vec<Source>,
    /// What stands before the names of files when they are shown.
    base: String,
}

impl Sources {
    /// Says where the description lies: `base` stands before the names of the files added from now on,
    /// when they are shown.
    pub fn set_base(&mut self, base: impl Into<String>) {
        self.base = base.into();
    }

    /// The name of a file of the description as people are shown it.
    pub fn shown(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    /// Adds the text of a file and returns its index.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> u32 {
        let name = name.into();
        let shown = self.shown(&name);
        self.list.push(Source::new(name, shown, text.into()));
        self.list.len() as u32 - 1
    }

    /// Adds an option of the command line, as it was given.
    pub fn add_option(&mut self, option: impl Into<String>) -> Span {
        let text = option.into();
        let end = text.len() as u32;
        let name = COMMAND_LINE.to_owned();
        self.list.push(Source::new(name, text.clone(), text));
        Span {
            source: self.list.len() as u32 - 1,
            start: 0,
            end,
        }
    }

    /// Adds a text and returns the span of all of it.
    pub fn add_whole(&mut self, name: impl Into<String>, text: impl Into<String>) -> Span {
        let source = self.add(name, text);
        let end = self.list[source as usize].text.len() as u32;
        Span {
            source,
            start: 0,
            end,
        }
    }

    /// The source of a span.
    pub fn get(&self, span: Span) -> Option<&Source> {
        self.list.get(span.source as usize)
    }

    /// The text of a span.
    pub fn text(&self, span: Span) -> Option<&str> {
        let range = span.start as usize..span.end as usize;
        self.get(span)?.text.get(range)
    }

    /// The place of a span, as the manifest writes it.
    pub fn origin(&self, span: Span) -> Option<Origin> {
        let source = self.get(span)?;
        let position = source.position(span.start);
        Some(Origin {
            file: source.name.clone(),
            line: position.line,
            column: position.column,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_not_bytes() {
        let mut sources = Sources::default();
        let whole = sources.add_whole("a.kiwi", "x\nüü<b>\n");
        let source = sources.get(whole).unwrap();
        assert_eq!(source.position(6), Position { line: 2, column: 3 });
        assert_eq!(source.byte_at(2, 3), 6);
        assert_eq!(source.lines_around(6, 7), (2, 2, "üü<b>"));
    }

    #[test]
    fn columns_of_a_long_line_are_right_in_every_block() {
        let mut sources = Sources::default();
        let text = format!("x\n{}", "aü€\u{1f600}".repeat(2000));
        let whole = sources.add_whole("a.kiwi", text.clone());
        let source = sources.get(whole).unwrap();
        for (n, (at, _)) in text.char_indices().enumerate().skip(2) {
            let column = n as u64 - 1;
            assert_eq!(source.position(at as u32), Position { line: 2, column });
        }
        let end = source.position(text.len() as u32);
        assert_eq!(end.column, 4 * 2000 + 1);
    }

    #[test]
    fn places_outside_are_clamped() {
        let mut sources = Sources::default();
        let whole = sources.add_whole("a.kiwi", "é");
        let source = sources.get(whole).unwrap();
        assert_eq!(source.position(1), Position { line: 1, column: 1 });
        assert_eq!(source.position(99), Position { line: 1, column: 2 });
        assert_eq!(source.byte_at(7, 7), 2);
    }
}
