//! The encoding of a file: UTF-8, with a byte order mark or without. Others are refused rather than guessed.

use std::ops::Range;

use crate::code;
use crate::diagnostic::{Diagnostic, error};
use crate::source::Span;

/// What is wrong with bytes that are no UTF-8, or say that they are something else.
pub fn wrong(name: &str, bytes: &[u8], source: u32) -> Option<Diagnostic> {
    let is_wide = matches!(
        bytes,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, ..] | [_, 0, ..]
    );
    match std::str::from_utf8(bytes) {
        Ok(text) if !is_wide => declared_otherwise(name, text, source),
        read => {
            let at = read.err().map_or(0, |e| e.valid_up_to()) as u32;
            let text = String::from_utf8_lossy(bytes);
            let from = match (is_wide, declared(&text)) {
                (true, _) => "UTF-16",
                (false, Some(range)) => &text[range],
                (false, None) => "ISO-8859-1",
            };
            let span = Span {
                source,
                start: at,
                end: at,
            };
            let fact = format!("{name} is not UTF-8 text");
            let label = "the first byte that is not UTF-8";
            let help = format!("convert the file: {}", conversion(from));
            Some(error(code::UNREADABLE, span, fact, label).help(help))
        }
    }
}

/// KIWI would read other characters than stand there.
fn declared_otherwise(name: &str, text: &str, source: u32) -> Option<Diagnostic> {
    let range = declared(text).filter(|_| !text.is_ascii())?;
    let from = &text[range.clone()];
    if ["utf-8", "utf8"].contains(&from.to_ascii_lowercase().as_str()) {
        return None;
    }
    let span = Span {
        source,
        start: range.start as u32,
        end: range.end as u32,
    };
    let fact = format!("{name} says that it is {from}, and has the bytes of UTF-8");
    let help = format!(
        "write encoding=\"utf-8\"; or, if it is {from} all the same, convert it: {}",
        conversion(from)
    );
    Some(error(code::UNREADABLE, span, fact, "expected utf-8").help(help))
}

fn conversion(from: &str) -> String {
    format!("iconv -f {from} -t UTF-8, and encoding=\"utf-8\" in its first line")
}

/// Where the XML declaration names an encoding.
fn declared(text: &str) -> Option<Range<usize>> {
    let declaration = text.trim_start_matches('\u{feff}').strip_prefix("<?xml")?;
    let declaration = &declaration[..declaration.find("?>")?];
    let (_, value) = declaration.split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let value = value.strip_prefix(['"', '\''])?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let length = value.find(|c| !fits(c)).filter(|length| *length > 0)?;
    let start = value.as_ptr() as usize - text.as_ptr() as usize;
    Some(start..start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_what_they_are() {
        let told = |bytes: &[u8]| -> Vec<String> {
            let found = wrong("a.kiwi", bytes, 0);
            found.into_iter().filter_map(|d| d.help).collect()
        };
        let text = "<?xml version='1.0' encoding = 'ISO-8859-15'?><a>\u{fc}</a>";
        let as_latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
        let as_utf16 = text.encode_utf16().flat_map(u16::to_le_bytes);
        assert!(told(text.as_bytes())[0].starts_with("write encoding=\"utf-8\""));
        assert!(told(&as_latin)[0].contains("iconv -f ISO-8859-15 "));
        assert!(told(&as_utf16.collect::<Vec<u8>>())[0].contains("iconv -f UTF-16 "));
        for fine in [
            "<?xml version='1.0' encoding='iso-8859-1'?><a>u</a>",
            "\u{feff}<?xml version='1.0' encoding=\"UTF-8\"?><a>\u{fc}</a>",
            "<?xml version='1.0'?><a>\u{fc}</a>",
        ] {
            assert!(told(fine.as_bytes()).is_empty(), "{fine}");
        }
    }
}
