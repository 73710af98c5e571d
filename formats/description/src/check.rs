//! The grammar: every element and attribute of a document against its row of the table.

use crate::code;
use crate::diagnostic::{Report, error, is_slip, nearest, quoted};
use crate::fits;
use crate::node::{Attribute, Node};
use crate::source::Span;
use crate::table::{Attr, Content, Element, Kind, Often, Use, Version, below, elements, find};
use crate::upgrade::old_value;

const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// Findings of one kind about one element that are told.
const FEW: usize = 10;
/// Attributes of one element that are looked at: twice as many as any has.
const MANY: usize = 200;

/// Checks a whole document and ties each node to its row.
pub fn check(image: &mut Node, version: Version, report: &mut Report) {
    image.row = find("", "image");
    check_inside(image, version, report);
}

fn check_inside(node: &mut Node, version: Version, report: &mut Report) {
    let Some(row) = node.row.filter(|_| !report.is_full()) else {
        return;
    };
    check_attributes(node, row, version, report);
    fits::check_attributes(node, row, report);
    check_text(node, row, version, report);
    if row.content == Content::Foreign {
        return;
    }
    check_children(node, row, report);
    for child in node.children.iter().filter(|c| c.namespace.is_none()) {
        fits::check_around(child, node, report);
    }
    for child in &mut node.children {
        if report.is_full() {
            return;
        }
        child.row = find(row.name, &child.name).filter(|_| child.namespace.is_none());
        match child.row {
            Some(found) => {
                check_age(child, found, version, report);
                check_inside(child, version, report);
            }
            None => unknown_element(child, row, report),
        }
    }
}

fn unknown_element(node: &Node, parent: &Element, report: &mut Report) {
    let name = &node.name;
    if node.namespace.is_some() {
        let fact = format!("<{name}> belongs to another namespace");
        report.add(error(
            code::FOREIGN_ELEMENT,
            node.span,
            fact,
            "expected inside <extension>",
        ));
        return;
    }
    let here = format!("<{}>", parent.name);
    if let Some(elsewhere) = elements().find(|e| e.name == *name) {
        let parents: Vec<String> = elsewhere
            .within
            .iter()
            .map(|w| format!("<{}>", w.0))
            .collect();
        let fact = format!("<{name}> may not stand in {here}");
        let label = format!("expected in {}", parents.join(" or "));
        report.add(error(code::MISPLACED_ELEMENT, node.span, fact, label));
        return;
    }
    let names = below(parent.name)
        .map(|b| b.0.name)
        .chain(elements().map(|e| e.name));
    let near = nearest(name, names).filter(|_| parent.content == Content::Elements);
    let label = match (near, parent.content) {
        (Some(near), _) => format!("did you mean <{near}>?"),
        (None, Content::Elements) => format!("{here} has no such element"),
        (None, _) => format!("{here} holds no elements"),
    };
    let fact = format!("there is no element <{name}>");
    let mut found = error(code::UNKNOWN_ELEMENT, node.span, fact, label);
    if let Some(near) = near {
        found = found.fix(node.rename(near), is_slip(name, near));
    }
    report.add(found);
}

fn check_age(node: &Node, row: &Element, version: Version, report: &mut Report) {
    if let Some(until) = row.until.filter(|u| version > *u) {
        let fact = format!(
            "<{}> ended with schema version {}.{}",
            row.name, until.0, until.1
        );
        report.add(error(code::OLD_NAME, node.span, fact, "take it out"));
    }
}

fn check_children(node: &Node, row: &Element, report: &mut Report) {
    for (child, often) in below(row.name) {
        let mut found = node.all(child.name);
        let first = found.next();
        if first.is_none() && matches!(often, Often::Must | Often::Some) {
            let fact = format!("<{}> has no <{}>", row.name, child.name);
            let label = format!("expected <{}> inside: {}", child.name, child.does.says());
            report.add(error(code::MISSING_ELEMENT, node.span, fact, label));
        }
        if let (Some(first), true) = (first, matches!(often, Often::Must | Often::Once)) {
            for second in found.take(FEW) {
                let fact = format!("<{}> stands twice in <{}>", child.name, row.name);
                let d = error(code::TOO_MANY, second.span, fact, "expected once");
                report.add(d.and(first.span, "the first is here"));
            }
        }
    }
}

fn check_text(node: &Node, row: &Element, version: Version, report: &mut Report) {
    let text = node.text.trim();
    match row.content {
        Content::Text(kind) => {
            if let Some(old) = old_value(row.name, "", text).filter(|o| version > o.until) {
                let fact = format!("{} is now called {}", quoted(text), quoted(old.now));
                let label = format!("expected {}", old.now);
                let mut found = error(code::OLD_NAME, node.text_span, fact, label);
                if is_written(text, node.text_span, report) {
                    found = found.fix(vec![(node.text_span, old.now.to_owned())], true);
                }
                report.add(found);
            } else if !(kind.fits(text) || text.is_empty() && kind == Kind::Text) {
                let thing = format!("<{}>", row.name);
                let mut found = bad_value(&thing, text, kind, node.text_span);
                found.fix = found
                    .fix
                    .filter(|_| is_written(text, node.text_span, report));
                report.add(found);
            }
        }
        Content::Empty | Content::Elements if !text.is_empty() => {
            let fact = format!("<{}> holds no text", row.name);
            let label = match row.content {
                Content::Empty => "expected nothing",
                _ => "expected elements only",
            };
            report.add(error(code::STRAY_TEXT, node.text_span, fact, label));
        }
        _ => {}
    }
}

/// Whether a text stands at its place as it is: not so where references, comments or CDATA are in it.
fn is_written(text: &str, span: Span, report: &Report) -> bool {
    report.sources.text(span) == Some(text)
}

fn bad_value(thing: &str, text: &str, kind: Kind, span: Span) -> crate::diagnostic::Diagnostic {
    let fact = if text.is_empty() {
        format!("{thing} is empty")
    } else {
        format!("{thing} cannot be {}", quoted(text))
    };
    let expected = format!("expected {}", kind.expectation());
    let meant = meant(text, kind);
    let found = |label: String| error(code::BAD_VALUE, span, fact, label);
    let Some(meant) = meant else {
        return found(expected);
    };
    let edit = vec![(span, meant.to_owned())];
    match kind {
        // That a switch is true or false needs no second sentence.
        Kind::Bool => found(expected).fix(edit, true),
        _ => {
            let safe = is_slip(text, meant);
            found(format!("did you mean {meant}?"))
                .help(expected)
                .fix(edit, safe)
        }
    }
}

/// The word that a wrong value stands for.
fn meant(text: &str, kind: Kind) -> Option<&'static str> {
    match (kind, text.to_ascii_lowercase().as_str()) {
        (Kind::Bool, "yes" | "on" | "true") => Some("true"),
        (Kind::Bool, "no" | "off" | "false") => Some("false"),
        (Kind::Bool, _) => None,
        _ => nearest(text, kind.words()?.iter().copied()),
    }
}

fn check_attributes(node: &Node, row: &Element, version: Version, report: &mut Report) {
    for attribute in node.attributes.iter().take(MANY) {
        match attribute.namespace {
            Some(_) => foreign(node, attribute, report),
            None => check_one(row, attribute, version, report),
        }
    }
    // A misspelt name was told above; it counts as the name that was meant.
    let is_meant = |name: &str| {
        let mut given = node.attributes.iter().take(MANY);
        given.any(|a| nearest(&a.name, row.attributes.iter().map(|r| r.name)) == Some(name))
    };
    let there = |name: &str| node.attribute(name).is_some() || is_meant(name);
    for missing in row.attributes.iter().filter(|a| a.must && !there(a.name)) {
        let fact = format!("<{}> has no {}", row.name, missing.name);
        let label = format!(
            "expected {}=\"…\": {}",
            missing.name,
            missing.kind.expectation()
        );
        report.add(error(code::MISSING_ATTRIBUTE, node.span, fact, label));
    }
}

/// Checks one attribute against the row of its element.
pub(crate) fn check_one(
    row: &Element,
    attribute: &Attribute,
    version: Version,
    report: &mut Report,
) {
    match row.attributes.iter().find(|a| a.name == attribute.name) {
        Some(known) => check_attribute(row, attribute, known, version, report),
        None => unknown_attribute(row, attribute, report),
    }
}

fn check_attribute(
    row: &Element,
    attribute: &Attribute,
    known: &Attr,
    version: Version,
    report: &mut Report,
) {
    if let Some(until) = known.until.filter(|u| version > *u) {
        let fact = format!(
            "{} of <{}> ended with schema version {}.{}",
            known.name, row.name, until.0, until.1
        );
        let label = match known.renamed {
            Some(new) => format!("expected {new}"),
            None => "take it out".to_owned(),
        };
        let found = error(code::OLD_NAME, attribute.name_span, fact, label);
        report.add(match modern(attribute, known, report) {
            Some(edits) => found.fix(edits, true),
            None => found,
        });
        return;
    }
    let text = attribute.value.trim();
    if let Some(old) = old_value(row.name, known.name, text).filter(|o| version > o.until) {
        let fact = format!(
            "{}=\"{text}\" ended with schema version {}.{}",
            known.name, old.until.0, old.until.1
        );
        let (label, edit) = match old.now {
            "" => (
                "take it out".to_owned(),
                (whole(attribute, report), String::new()),
            ),
            now => (
                format!("expected {now}"),
                (attribute.value_span, now.to_owned()),
            ),
        };
        let found = error(code::OLD_NAME, attribute.value_span, fact, label);
        report.add(found.fix(vec![edit], true));
    } else if !known.kind.fits(text) && !may_be_empty(known, &attribute.value) {
        let thing = format!("{} of <{}>", known.name, row.name);
        report.add(bad_value(&thing, text, known.kind, attribute.value_span));
    }
}

/// KIWI takes an empty value where any text may stand; it is as if the attribute were absent. A blank among
/// the names of profiles is a name to KIWI.
fn may_be_empty(known: &Attr, value: &str) -> bool {
    let counts = known.must && matches!(known.does, Use::Used(_));
    match known.kind {
        Kind::Text => value.trim().is_empty() && !counts,
        Kind::ProfileNames => value.is_empty(),
        _ => false,
    }
}

/// The edits that turn an attribute of an older schema into what it is now.
fn modern(attribute: &Attribute, known: &Attr, report: &Report) -> Option<Vec<(Span, String)>> {
    match (known.name, known.renamed) {
        (_, None) => Some(vec![(whole(attribute, report), String::new())]),
        // It became an element, which is more than an edit of the tag.
        (_, Some(new)) if new.starts_with('<') => None,
        ("console", Some(new)) => {
            let mut edits = vec![(attribute.name_span, new.to_owned())];
            edits.extend(two_consoles(attribute, report));
            Some(edits)
        }
        (_, Some(new)) => Some(vec![(attribute.name_span, new.to_owned())]),
    }
}

/// The edit that makes two attributes of `console="OUTPUT INPUT"`, with the quotes that are there.
fn two_consoles(attribute: &Attribute, report: &Report) -> Option<(Span, String)> {
    let span = attribute.value_span;
    let (output, input) = attribute.value.trim().split_once(' ')?;
    let text = &report.sources.get(span)?.text;
    let quote = text.get(span.end as usize..)?.chars().next()?;
    let both = format!("{output}{quote} input_console={quote}{}", input.trim());
    is_written(&attribute.value, span, report).then_some((span, both))
}

/// An attribute with the white space before it and its closing quote.
fn whole(attribute: &Attribute, report: &Report) -> Span {
    let (name, value) = (attribute.name_span, attribute.value_span);
    let text = report.sources.get(name).map_or("", |s| s.text.as_str());
    let before = text.get(..name.start as usize).unwrap_or_default();
    Span {
        start: before.trim_end().len() as u32,
        end: value.end + 1,
        ..name
    }
}

fn unknown_attribute(row: &Element, attribute: &Attribute, report: &mut Report) {
    let fact = format!("<{}> has no attribute {}", row.name, attribute.name);
    let known = row
        .attributes
        .iter()
        .filter(|a| a.until.is_none())
        .map(|a| a.name);
    let otherwise = match row.attributes.len() {
        0 => "it has no attributes".to_owned(),
        1..=8 => format!(
            "it has {}",
            row.attributes
                .iter()
                .map(|a| a.name)
                .collect::<Vec<_>>()
                .join(", ")
        ),
        _ => "not known here".to_owned(),
    };
    let near = nearest(&attribute.name, known);
    let label = near.map_or(otherwise, |near| format!("did you mean {near}?"));
    let mut found = error(code::UNKNOWN_ATTRIBUTE, attribute.name_span, fact, label);
    if let Some(near) = near {
        let edit = vec![(attribute.name_span, near.to_owned())];
        found = found.fix(edit, is_slip(&attribute.name, near));
    }
    report.add(found);
}

fn foreign(node: &Node, attribute: &Attribute, report: &mut Report) {
    if node.name == "image" && attribute.namespace.as_deref() == Some(XSI) {
        return;
    }
    let fact = format!("{} belongs to another namespace", attribute.name);
    report.add(error(
        code::FOREIGN_ATTRIBUTE,
        attribute.name_span,
        fact,
        "take it out",
    ));
}
