//! The document as a tree of our own, so that included files and upgraded spellings are ordinary nodes.
//!
//! XML 1.0 is read by roxmltree. *Not read:* comments and processing instructions (they mean nothing
//! in a description), external entities (roxmltree never fetches them).

use crate::code;
use crate::diagnostic::{Report, error, error_nowhere};
use crate::encoding;
use crate::malformed::malformed;
use crate::source::Span;
use crate::table::Element;

/// Largest file in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Largest number of nodes in one file.
pub(crate) const MAX_NODES: u32 = 50_000;
/// Most attributes of one element; the language has a hundred at one.
const MAX_ATTRIBUTES: usize = 1000;
/// Most bytes that entities may expand to, by the worst that a document of its shape can do.
const MAX_EXPANSION: usize = 64 << 20;
/// References that roxmltree follows inside one reference.
const REFERENCES_PER_REFERENCE: usize = 255;
/// Deepest nesting. The deepest place in the language is at eight.
const MAX_DEPTH: usize = 64;

/// One element.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Local name.
    pub name: String,
    /// The namespace, where there is one.
    pub namespace: Option<String>,
    /// The place of the name in its start tag.
    pub span: Span,
    /// The place of the name in its end tag, where there is one.
    pub end_span: Option<Span>,
    /// Attributes in the order of the text.
    pub attributes: Vec<Attribute>,
    /// Child elements.
    pub children: Vec<Node>,
    /// All character data directly below, joined.
    pub text: String,
    /// The place of the first character data that is not white space, else of the name.
    pub text_span: Span,
    /// The row of the table; set when the grammar was checked.
    pub row: Option<&'static Element>,
}

/// One attribute.
#[derive(Debug, Clone)]
pub struct Attribute {
    /// Local name.
    pub name: String,
    /// The namespace, where there is one.
    pub namespace: Option<String>,
    /// The value, entities resolved.
    pub value: String,
    /// The place of the name.
    pub name_span: Span,
    /// The place of the value between its quotes.
    pub value_span: Span,
}

impl Node {
    /// The attribute of this name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes
            .iter()
            .find(|a| a.name == name && a.namespace.is_none())
    }

    /// The value of an attribute without the white space around it; an empty value counts as absent.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.attribute(name)
            .map(|a| a.value.trim())
            .filter(|v| !v.is_empty())
    }

    /// The edits that rename the element.
    pub(crate) fn rename(&self, name: &str) -> Vec<(Span, String)> {
        let places = std::iter::once(self.span).chain(self.end_span);
        places.map(|span| (span, name.to_owned())).collect()
    }

    /// The place of an attribute's value, else of the element's name.
    pub fn value_span(&self, name: &str) -> Span {
        self.attribute(name).map_or(self.span, |a| a.value_span)
    }

    /// Whether a boolean attribute is true; absent means no.
    pub fn is_true(&self, name: &str) -> bool {
        self.value(name).and_then(boolean).unwrap_or(false)
    }

    /// The child elements of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Node> {
        self.children.iter().filter(move |c| c.name == name)
    }

    /// The first child element of this name.
    pub fn child(&self, name: &str) -> Option<&Node> {
        self.children.iter().find(|c| c.name == name)
    }

    /// The text without the white space around it; an empty text counts as absent.
    pub fn words(&self) -> Option<&str> {
        Some(self.text.trim()).filter(|t| !t.is_empty())
    }
}

/// `xs:boolean`.
pub fn boolean(text: &str) -> Option<bool> {
    match text.trim() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Reads one XML text. Whatever is wrong is added to the report.
pub fn parse(name: &str, bytes: &[u8], report: &mut Report) -> Option<Node> {
    if bytes.len() > MAX_BYTES {
        let shown = report.sources.shown(name);
        let fact = format!(
            "{shown} has {} bytes; the limit is {MAX_BYTES}",
            bytes.len()
        );
        report.add(error_nowhere(code::LIMIT, fact));
        return None;
    }
    let source = report.sources.add(name, String::from_utf8_lossy(bytes));
    if let Some(found) = encoding::wrong(name, bytes, source) {
        report.add(found);
        return None;
    }
    parse_text(name, source, report)
}

fn parse_text(name: &str, source: u32, report: &mut Report) -> Option<Node> {
    let whole = Span {
        source,
        start: 0,
        end: 0,
    };
    let text = report.sources.get(whole)?.text.clone();
    if !expansion_fits(&text) {
        let fact = format!(
            "{name} declares entities that could expand to more than any description needs"
        );
        report.add(error(
            code::LIMIT,
            whole,
            fact,
            "expected shorter entities, or fewer references",
        ));
        return None;
    }
    if let Some(start) = widest_tag(&text) {
        let span = Span {
            start,
            end: start,
            ..whole
        };
        let fact = format!("an element of {name} has more attributes than any has");
        let label = format!("the limit is {MAX_ATTRIBUTES}");
        report.add(error(code::LIMIT, span, fact, label));
        return None;
    }
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        nodes_limit: MAX_NODES,
        ..Default::default()
    };
    match roxmltree::Document::parse_with_options(&text, options) {
        Ok(document) => convert(document.root_element(), source, 0, report),
        Err(wrong) => {
            let found = malformed(name, whole, &wrong, report);
            report.add(found);
            None
        }
    }
}

/// Where a tag begins that has too many attributes: the parser compares each with each.
fn widest_tag(text: &str) -> Option<u32> {
    let (mut start, mut count, mut quote) = (0, 0, None);
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'<') => (start, count) = (at, 0),
            // Outside of tags an apostrophe is text.
            (None, b'"' | b'\'') if count > 0 => quote = Some(byte),
            (None, b'>') => count = 0,
            (None, b'=') if opens_value(&text[at + 1..]) => count += 1,
            _ => {}
        }
        if count > MAX_ATTRIBUTES {
            return u32::try_from(start).ok();
        }
    }
    None
}

/// Whether a value in quotes follows: in a comment or in text an equals sign alone is nothing.
fn opens_value(rest: &str) -> bool {
    rest.trim_ascii_start().starts_with(['"', '\''])
}

/// Whether entities cannot expand beyond the limit: each `&` may stand for all declarations, as often
/// as the parser follows references.
fn expansion_fits(text: &str) -> bool {
    let references = text.bytes().filter(|b| *b == b'&').count();
    declarations(text)
        .saturating_mul(references)
        .saturating_mul(REFERENCES_PER_REFERENCE)
        <= MAX_EXPANSION
}

/// Bytes of the document type declaration, which stands before the root element or nowhere.
fn declarations(text: &str) -> usize {
    let mut rest = text.trim_start_matches('\u{feff}').trim_ascii_start();
    while let Some(behind) = after_remark(rest) {
        rest = behind.trim_ascii_start();
    }
    if !rest.starts_with("<!DOCTYPE") {
        return 0;
    }
    let whole = rest.len();
    let (mut inside, mut quote) = (false, None);
    while let Some(byte) = rest.bytes().next() {
        if let (None, Some(behind)) = (quote, after_remark(rest)) {
            rest = behind;
            continue;
        }
        match (quote, byte) {
            (Some(open), _) if open == byte => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'[') => inside = true,
            (None, b']') => inside = false,
            (None, b'>') if !inside => return whole - rest.len(),
            _ => {}
        }
        let width = rest.chars().next().map_or(1, char::len_utf8);
        rest = &rest[width..];
    }
    whole
}

/// What follows a comment or processing instruction that the text begins with. One without an end is the
/// rest of the text.
fn after_remark(text: &str) -> Option<&str> {
    let (start, end) = [("<!--", "-->"), ("<?", "?>")]
        .into_iter()
        .find(|(start, _)| text.starts_with(start))?;
    let inside = &text[start.len()..];
    Some(inside.split_once(end).map_or("", |parts| parts.1))
}

fn convert(
    from: roxmltree::Node<'_, '_>,
    source: u32,
    depth: usize,
    report: &mut Report,
) -> Option<Node> {
    let span = tag_span(&from, source);
    if depth > MAX_DEPTH {
        let fact = format!("elements are nested deeper than {MAX_DEPTH}");
        report.add(error(code::LIMIT, span, fact, "one too deep"));
        return None;
    }
    let mut node = Node {
        name: from.tag_name().name().to_owned(),
        namespace: from.tag_name().namespace().map(str::to_owned),
        span,
        text_span: span,
        end_span: end_span(&from, span),
        attributes: from.attributes().map(|a| attribute(&a, source)).collect(),
        ..Node::default()
    };
    for child in from.children() {
        if child.is_element() {
            node.children
                .push(convert(child, source, depth + 1, report)?);
        } else if let (true, Some(text)) = (child.is_text(), child.text()) {
            // What an entity stands for has its place in the declaration, where others may refer to it.
            let own = from.range().contains(&child.range().start);
            add_text(&mut node, text, own.then(|| child.range()), source);
        }
    }
    Some(node)
}

fn add_text(node: &mut Node, text: &str, range: Option<std::ops::Range<usize>>, source: u32) {
    let words = text.trim();
    if words.is_empty() {
        // Between elements there is nothing else; between words it keeps them apart.
        if !node.text.is_empty() {
            node.text.push_str(text);
        }
        return;
    }
    if let (true, Some(range)) = (node.text.is_empty(), range) {
        let lead = text.len() - text.trim_start().len();
        // Text that came from an entity or CDATA is longer or shorter than its range: stay inside it.
        let start = (range.start + lead).min(range.end);
        let end = (start + words.len()).min(range.end);
        node.text_span = Span {
            source,
            start: start as u32,
            end: end as u32,
        };
    }
    node.text.push_str(text);
}

/// The name in `</name >`, looked for backwards from the element's end.
fn end_span(node: &roxmltree::Node<'_, '_>, name: Span) -> Option<Span> {
    let text = node.document().input_text().get(node.range())?;
    let tag = text.rfind("</").filter(|_| !text.ends_with("/>"))?;
    let start = u32::try_from(node.range().start + tag + 2).ok()?;
    Some(Span {
        start,
        end: start + (name.end - name.start),
        ..name
    })
}

fn tag_span(node: &roxmltree::Node<'_, '_>, source: u32) -> Span {
    let start = node.range().start as u32 + 1;
    let prefix = node
        .tag_name()
        .namespace()
        .and_then(|uri| node.lookup_prefix(uri))
        .map_or(0, |p| p.len() + 1);
    let end = start + (prefix + node.tag_name().name().len()) as u32;
    Span { source, start, end }
}

fn attribute(from: &roxmltree::Attribute<'_, '_>, source: u32) -> Attribute {
    let span = |r: std::ops::Range<usize>| Span {
        source,
        start: r.start as u32,
        end: r.end as u32,
    };
    Attribute {
        name: from.name().to_owned(),
        namespace: from.namespace().map(str::to_owned),
        value: from.value().to_owned(),
        name_span: span(from.range_qname()),
        value_span: span(from.range_value()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<String> {
        let mut report = Report::default();
        parse("a.kiwi", text.as_bytes(), &mut report);
        let found = report.diagnostics();
        found.iter().map(|d| d.code.to_string()).collect()
    }

    #[test]
    fn limits_hold() {
        let deep = format!("{}{}", "<a>".repeat(5000), "</a>".repeat(5000));
        assert_eq!(codes(&deep), ["R0005"]);
        let laughs = "<!DOCTYPE a [<!ENTITY a '&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;'>\
            <!ENTITY b '&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;'><!ENTITY c '&d;&d;&d;&d;&d;&d;&d;&d;'>\
            <!ENTITY d '&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;'><!ENTITY e 'ha'>]><a>&a;</a>";
        assert_eq!(codes(laughs), ["R0005"]);
        let long = format!(
            "<!DOCTYPE a [<!ENTITY e '{}'>]><a>{}</a>",
            "x".repeat(1 << 18),
            "&e;".repeat(1000)
        );
        assert_eq!(codes(&long), ["R0005"]);
        // What looks like the end of the declarations is not: it stands in a value, a comment, or before them.
        for cover in [
            "<!DOCTYPE a [<!ENTITY q ']>'>",
            "<!DOCTYPE a [<!-- ]> -->",
            "<!-- <!DOCTYPE a []> --><!DOCTYPE a [",
        ] {
            let (long, many) = ("x".repeat(1 << 18), "&e;".repeat(1000));
            let text = format!("{cover}<!ENTITY e '{long}'>]><a>{many}</a>");
            assert_eq!(codes(&text), ["R0005"], "{cover}");
        }
        let usual = "<!DOCTYPE a [<!ENTITY e '1.0'>]><a b='&e;'>&e;&amp;</a>";
        assert!(codes(usual).is_empty());
        let attributes: String = (0..2000).map(|n| format!(" a{n}='>'")).collect();
        assert_eq!(codes(&format!("<a{attributes}/>")), ["R0005"]);
        let banner = "=".repeat(3000);
        assert!(codes(&format!("<!-- {banner} it's --><a>it's {banner}</a>")).is_empty());
        let mut report = Report::default();
        assert!(parse("a", &vec![b' '; MAX_BYTES + 1], &mut report).is_none());
    }

    #[test]
    fn places_of_names_and_values() {
        let mut report = Report::default();
        let text = "<a>\n <b c = 'd'> e </b></a>";
        let node = parse("a.kiwi", text.as_bytes(), &mut report).unwrap();
        let b = node.child("b").unwrap();
        let slice = |s: Span| &text[s.start as usize..s.end as usize];
        assert_eq!(slice(b.span), "b");
        assert_eq!(slice(b.attributes[0].name_span), "c");
        assert_eq!(slice(b.value_span("c")), "d");
        assert_eq!((b.words(), slice(b.text_span)), (Some("e"), "e"));
    }
}
