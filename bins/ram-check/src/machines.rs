//! `--machines`: a list of machines, one a line.
//!
//! ```text
//! # name      RAM   [what must be left to applications]
//! kiosk       1G    256M
//! rack-2019   64G
//! ```
//!
//! Words are apart by blanks, `#` begins a comment, sizes are those of `--ram`. *Not here:* names with blanks
//! or control characters.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use serde::Serialize;

use crate::options::{leave_mib, size_mib};

/// What a line holds, for messages.
const EXPECTED: &str = "expected NAME RAM [LEAVE], as: kiosk 1G 256M";

/// Characters that turn or hide text: marks of direction, of width zero, of byte order, of annotation, and tags.
const FORMAT: &[RangeInclusive<char>] = &[
    '\u{ad}'..='\u{ad}',
    '\u{61c}'..='\u{61c}',
    '\u{200b}'..='\u{200b}',
    '\u{200e}'..='\u{200f}',
    '\u{202a}'..='\u{202e}',
    '\u{2060}'..='\u{2069}',
    '\u{feff}'..='\u{feff}',
    '\u{fff9}'..='\u{fffb}',
    '\u{e0000}'..='\u{e007f}',
];

/// A machine of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Its name; no other of the list has it.
    pub name: String,
    /// Its RAM in MiB.
    pub ram_mib: u64,
    /// What must be left to applications, in MiB.
    pub leave_mib: Option<u64>,
}

/// The machines of a file, in its order; at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Machines(pub Vec<Machine>);

/// Reads the file at `path`.
pub(crate) fn read(path: &str) -> Result<Machines, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    parse(&text).map_err(|mistake| match mistake.place {
        Some((line, column)) => format!("{path}:{line}:{column}: {}", mistake.fact),
        None => format!("{path}: {}", mistake.fact),
    })
}

/// What is wrong, and where: line and column, from 1.
#[derive(Debug)]
struct Mistake {
    place: Option<(usize, usize)>,
    fact: String,
}

fn parse(text: &str) -> Result<Machines, Mistake> {
    let (mut machines, mut names) = (Vec::new(), HashSet::new());
    // Some editors put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1..).zip(text.lines()) {
        let listed = machine(line, &mut names);
        machines.extend(listed.map_err(|(column, fact)| Mistake {
            place: Some((number, column)),
            fact,
        })?);
    }
    if machines.is_empty() {
        let fact = format!("no machine; {EXPECTED}");
        return Err(Mistake { place: None, fact });
    }
    Ok(Machines(machines))
}

/// The machine of a line; none where the line says nothing. Its name joins those of the list. A mistake has its column.
fn machine<'a>(
    line: &'a str,
    names: &mut HashSet<&'a str>,
) -> Result<Option<Machine>, (usize, String)> {
    let words = words(line);
    let Some(&(column, name)) = words.first() else {
        return Ok(None);
    };
    named(name).map_err(|fact| (column, fact))?;
    if !names.insert(name) {
        return Err((column, format!("machine {name} is listed twice")));
    }
    if let Some((column, word)) = words.get(3) {
        return Err((
            *column,
            format!("{word:?} is one word too many; {EXPECTED}"),
        ));
    }
    let size = |n: usize, read: fn(&str) -> Result<u64, String>| {
        let found = words.get(n);
        let read = found.map(|(column, word)| read(word).map_err(|fact| (*column, fact)));
        read.transpose()
    };
    let missing = || {
        (
            end(line),
            format!("the RAM of {name} is missing; {EXPECTED}"),
        )
    };
    Ok(Some(Machine {
        name: name.to_owned(),
        ram_mib: size(1, size_mib)?.ok_or_else(missing)?,
        leave_mib: size(2, leave_mib)?,
    }))
}

/// Names reach terminals and the logs of CI systems as they are.
fn named(name: &str) -> Result<(), String> {
    let hides = |c: &char| FORMAT.iter().any(|range| range.contains(c));
    match name.chars().find(|c| c.is_control() || hides(c)) {
        Some(c) => Err(format!(
            "machine {name:?}: {} is a control character; expected a name that can be read; take it out",
            c.escape_unicode()
        )),
        None => Ok(()),
    }
}

/// The words of a line before a comment, each with its column.
fn words(line: &str) -> Vec<(usize, &str)> {
    let (mut found, mut column, mut rest) = (Vec::new(), 1, before_comment(line));
    loop {
        let next = rest.trim_start();
        column += rest[..rest.len() - next.len()].chars().count();
        let length = next.find(char::is_whitespace).unwrap_or(next.len());
        if length == 0 {
            return found;
        }
        found.push((column, &next[..length]));
        column += next[..length].chars().count();
        rest = &next[length..];
    }
}

/// The column behind what a line says.
fn end(line: &str) -> usize {
    before_comment(line).trim_end().chars().count() + 1
}

fn before_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str) -> String {
        let mistake = parse(text).map(|m| m.0).unwrap_err();
        let (line, column) = mistake.place.unwrap_or_default();
        format!("{line}:{column}: {}", mistake.fact)
    }

    #[test]
    fn a_line_is_a_machine() {
        let text = "# fleet\n\nkiosk 1G\t256M # till 2030\n  räck 512\r\n#x 1G\n";
        let Ok(Machines(machines)) = parse(text) else {
            panic!("refused");
        };
        let machine = |name: &str, ram_mib, leave_mib| Machine {
            name: name.to_owned(),
            ram_mib,
            leave_mib,
        };
        let expected = [
            machine("kiosk", 1024, Some(256)),
            machine("räck", 512, None),
        ];
        assert_eq!(machines, expected);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_name() {
        let machines = parse("\u{feff}kiosk 1G\n").map(|m| m.0).unwrap();
        assert_eq!(machines[0].name, "kiosk");
    }

    #[test]
    fn a_name_is_nothing_that_a_terminal_obeys() {
        for (name, said) in [
            ("a\x1b[31m", "\\u{1b}"),
            ("a\u{202e}b", "\\u{202e}"),
            ("a\u{e0041}b", "\\u{e0041}"),
        ] {
            let fact = mistake(&format!("b 1G\n{name} 1G"));
            assert!(fact.starts_with("2:1: machine \"a"), "{fact}");
            assert!(fact.contains(said) && !fact.contains(name), "{fact}");
        }
    }

    #[test]
    fn a_mistake_has_line_and_column() {
        assert_eq!(
            mistake("kiosk 1G\nräck  1.5G"),
            "2:7: \"1.5G\": expected a size as 1024M or 2G"
        );
        assert!(mistake("a 1G 1x").starts_with("1:6: \"1x\": expected"));
        assert!(
            mistake("a 1G 1G all").starts_with("1:9: \"all\" is one word too many; expected NAME")
        );
        assert!(mistake("kiosk  # 1G").starts_with("1:6: the RAM of kiosk is missing; expected"));
        assert_eq!(mistake("a 1G\n a 2G"), "2:2: machine a is listed twice");
        assert!(mistake("# none\n").starts_with("0:0: no machine; expected"));
    }
}
