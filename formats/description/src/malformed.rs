//! What is told of XML that is not well-formed, or beyond the parser's limits.

use roxmltree::Error as E;

use crate::code;
use crate::diagnostic::{Diagnostic, Report, error};
use crate::node::MAX_NODES;
use crate::source::Span;

/// The diagnostic for an error of the XML parser.
pub fn malformed(name: &str, whole: Span, wrong: &E, report: &Report) -> Diagnostic {
    let at_end = matches!(
        wrong,
        E::NoRootNode | E::UnclosedRootNode | E::UnexpectedEndOfStream
    );
    let position = wrong.pos();
    let start = report.sources.get(whole).map_or(0, |source| match at_end {
        true => source.text.trim_end().len() as u32,
        false => source.byte_at(position.row, position.col),
    });
    let span = Span {
        start,
        end: start,
        ..whole
    };
    if let Some((fact, label)) = limit(name, wrong) {
        return error(code::LIMIT, span, fact, label);
    }
    let text = report.sources.get(whole).map_or("", |s| s.text.as_str());
    let (fact, label) = words(name, text, start as usize, wrong);
    if let Some(begin) = unended(text, wrong) {
        let begin = Span {
            start: begin,
            end: begin + 1,
            ..whole
        };
        return error(code::MALFORMED, begin, fact, label);
    }
    match last_open(text).filter(|_| at_end) {
        Some(name) => {
            let label = format!("expected </{}>", &text[name.clone()]);
            let opened = Span {
                start: name.start as u32,
                end: name.end as u32,
                ..whole
            };
            error(code::MALFORMED, span, fact, label).and(opened, "this one is open")
        }
        None => error(code::MALFORMED, span, fact, label),
    }
}

/// Fact and expectation.
fn words(name: &str, text: &str, start: usize, wrong: &E) -> (String, String) {
    structure(name, wrong)
        .or_else(|| inside_a_tag(wrong))
        .or_else(|| reference(text, start, wrong))
        .or_else(|| out_of_place(name, text, start, wrong))
        .unwrap_or_else(|| (parser_words(wrong), "here".to_owned()))
}

/// The name of the innermost element that is not closed, in a text that ends too soon. A hint: whatever
/// makes tags hard to tell apart makes it none.
fn last_open(text: &str) -> Option<std::ops::Range<usize>> {
    let mut open: Vec<std::ops::Range<usize>> = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find('<').map(|n| at + n) {
        let rest = &text[start..];
        let (skipped, end) = match rest {
            _ if rest.starts_with("<!--") => (true, "-->"),
            _ if rest.starts_with("<![CDATA[") => (true, "]]>"),
            _ if rest.starts_with("<?") => (true, "?>"),
            _ if rest.starts_with("<!") => return None,
            _ => (false, ">"),
        };
        // A tag that does not end is itself what is open.
        let length = rest.find(end)?;
        let tag = &rest[1..length];
        if let (false, Some(closes)) = (skipped, tag.strip_prefix('/')) {
            let name = open.pop()?;
            if text[name] != *closes.trim_end() {
                return None;
            }
        } else if !skipped && !tag.ends_with('/') {
            let name = tag.split(|c: char| c.is_ascii_whitespace()).next()?;
            open.push(start + 1..start + 1 + name.len());
        }
        at = start + length + end.len();
    }
    open.pop()
}

fn limit(name: &str, wrong: &E) -> Option<(String, String)> {
    Some(match wrong {
        E::NodesLimitReached | E::AttributesLimitReached | E::NamespacesLimitReached => (
            format!("{name} has more nodes than any description needs"),
            format!("the limit is {MAX_NODES}"),
        ),
        E::EntityReferenceLoop(_) => (
            "entities expand without end".to_owned(),
            "expected fewer references".to_owned(),
        ),
        _ => return None,
    })
}

/// Tags that do not match, text that ends too soon.
fn structure(name: &str, wrong: &E) -> Option<(String, String)> {
    Some(match wrong {
        E::UnexpectedCloseTag(expected, actual, _) => (
            format!("</{actual}> closes <{expected}>"),
            format!("expected </{expected}>"),
        ),
        E::UnclosedRootNode | E::UnexpectedEndOfStream => (
            format!("{name} ends in the middle of an element"),
            "expected the closing tags".to_owned(),
        ),
        E::InvalidString("-->", _) => (
            "a comment does not end".to_owned(),
            "expected --> behind it".to_owned(),
        ),
        E::InvalidString("]]>", _) => (
            "a CDATA section does not end".to_owned(),
            "expected ]]> behind it".to_owned(),
        ),
        E::NoRootNode => (
            format!("{name} holds no XML element"),
            "expected <image …>".to_owned(),
        ),
        _ => return None,
    })
}

/// Attributes, comments.
fn inside_a_tag(wrong: &E) -> Option<(String, String)> {
    Some(match wrong {
        E::DuplicatedAttribute(attribute, _) => (
            format!("the attribute {attribute} stands twice in one tag"),
            "expected one".to_owned(),
        ),
        E::InvalidComment(_) => (
            "a comment holds -- or does not end".to_owned(),
            "expected <!-- text --> without -- in the text".to_owned(),
        ),
        E::InvalidAttributeValue(_) | E::InvalidChar(b'"' | b'\'', b'<', _) => (
            "an attribute's value holds <".to_owned(),
            "expected &lt;, or the closing quote before it".to_owned(),
        ),
        E::InvalidChar2("a quote", _, _) => (
            "an attribute's value stands without quotes".to_owned(),
            "expected NAME=\"VALUE\"".to_owned(),
        ),
        E::InvalidChar2("a whitespace", _, _) => (
            "a quote ends an attribute's value, and more follows".to_owned(),
            "expected a blank: a closing quote is missing before, or this one is one too many"
                .to_owned(),
        ),
        E::InvalidChar(b'=', _, _) => (
            "an attribute has no value".to_owned(),
            "expected =\"VALUE\" before it".to_owned(),
        ),
        E::UnknownNamespace(prefix, _) => (
            format!("the namespace prefix {prefix}: is not declared"),
            format!("expected xmlns:{prefix}=\"…\" here or further out"),
        ),
        _ => return None,
    })
}

/// Where a comment or CDATA section begins that has no end.
fn unended(text: &str, wrong: &E) -> Option<u32> {
    let begin = match wrong {
        E::InvalidString("-->", _) => text.rfind("<!--"),
        E::InvalidString("]]>", _) => text.rfind("<![CDATA["),
        _ => None,
    };
    begin.and_then(|at| u32::try_from(at).ok())
}

/// References to entities and characters.
fn reference(text: &str, start: usize, wrong: &E) -> Option<(String, String)> {
    let (fact, label) = match wrong {
        E::UnknownEntityReference(entity, _) if is_external(text, entity) => (
            format!("the entity &{entity}; stands for another file, and none is read"),
            "write the text itself here",
        ),
        E::UnknownEntityReference(entity, _) => (
            format!("the entity &{entity}; is not declared"),
            "write &amp; where a bare & is meant",
        ),
        E::MalformedEntityReference(_) if text[start..].starts_with("&#") => (
            "the reference names no character that XML has".to_owned(),
            "take it out",
        ),
        E::MalformedEntityReference(_) => ("a bare & is no XML".to_owned(), "expected &amp;"),
        E::NonXmlChar(c, _) => (
            format!("XML has no character U+{:04X}", u32::from(*c)),
            "take it out",
        ),
        _ => return None,
    };
    Some((fact, label.to_owned()))
}

/// Whether an entity is declared as a file or address.
fn is_external(text: &str, entity: &str) -> bool {
    text.match_indices("<!ENTITY").any(|(at, declares)| {
        let mut words = text[at + declares.len()..].split_ascii_whitespace();
        words.next() == Some(entity) && matches!(words.next(), Some("SYSTEM" | "PUBLIC"))
    })
}

/// Text and declarations where none belong, and a < that begins no tag.
fn out_of_place(name: &str, text: &str, start: usize, wrong: &E) -> Option<(String, String)> {
    let (before, behind) = text.split_at_checked(start)?;
    let (fact, label) = match wrong {
        E::UnexpectedDeclaration(_) => (
            "the XML declaration is not at the very beginning".to_owned(),
            "expected nothing before it, no blank and no empty line",
        ),
        E::InvalidName(_) if before.ends_with('<') => (
            "a < begins no tag".to_owned(),
            "expected &lt; where the sign itself is meant",
        ),
        E::UnknownToken(_) if behind.starts_with('%') => {
            ("a parameter entity is not read".to_owned(), "take it out")
        }
        E::UnknownToken(_) if before.contains("</") || before.contains("/>") => (
            "something follows the end of the root element".to_owned(),
            "expected nothing: one element holds all others",
        ),
        E::UnknownToken(_) if !behind.starts_with('<') => {
            (format!("{name} is no XML"), "expected <image …>")
        }
        _ => return None,
    };
    Some((fact, label.to_owned()))
}

/// The parser's own sentence without its position, which is shown apart.
fn parser_words(wrong: &roxmltree::Error) -> String {
    let text = wrong.to_string();
    let text = text
        .rsplit_once(" at ")
        .map_or(text.as_str(), |parts| parts.0);
    format!("not well-formed: {text}")
}
