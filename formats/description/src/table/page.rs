//! The table as a page: `docs/description.md`.

use std::fmt::Write as _;

use super::{Attr, Content, Element, Often, Version, decides, elements};
use crate::code::EXPLANATIONS;
use crate::upgrade::OLD_VALUES;

const HEAD: &str = "\
# What Ramforge understands of a KIWI description

This page is made from the table in `formats/description`; `RAMFORGE_BLESS=1 cargo test -p description`
writes it anew. It covers schema versions 6.8 to 8.5. Older spellings are upgraded, as KIWI does it, where
the description declares a version that had them.
`7.2–8.3` are the first and the last schema version that has a thing; without it, all have. A younger
element is read in an older description too, as KIWI does it. `formats/description/schema/description.json` is
the same table for programs.

| word | meaning |
|---|---|
| used | it shapes the plan |
| carried | it stands in the plan for a custom stage; the stages of this release do not read it |
| ignored | it has no effect here, and a warning says why; `false` and 0 give no warning |
| refused | an error with the reason; `false` is none |
| note | it has no effect on any image in any tool |

";

/// The whole page.
pub fn markdown() -> String {
    let mut out = String::from(HEAD);
    out.push_str("## Elements\n");
    for element in elements() {
        element_section(&mut out, element);
    }
    old_values(&mut out);
    out.push_str("\n## Diagnostics\n\nThe same text: `desc-parse --explain CODE`.\n\n");
    out.push_str("| code | meaning | what to do |\n|---|---|---|\n");
    for (code, title, text) in EXPLANATIONS {
        line(&mut out, &[&code.to_string(), title, text]);
    }
    out
}

/// Values that an element or attribute had in older versions.
fn old_values(out: &mut String) {
    out.push_str("\n## Values that were renamed\n\n");
    out.push_str("A description that declares a version which had the value is read as if it had the new one.\n\n");
    out.push_str("| where | value | until | now |\n|---|---|---|---|\n");
    for old in OLD_VALUES {
        let place = match old.attribute {
            "" => format!("`<{}>`", old.element),
            attribute => format!("`{attribute}` of `<{}>`", old.element),
        };
        let now = match old.now {
            "" => "as if the attribute were not there".to_owned(),
            now => format!("`{now}`"),
        };
        let (major, minor) = old.until;
        line(
            out,
            &[
                &place,
                &format!("`{}`", old.word),
                &format!("{major}.{minor}"),
                &now,
            ],
        );
    }
}

fn element_section(out: &mut String, element: &Element) {
    let _ = write!(out, "\n### `<{}>`\n\n", element.name);
    let places = element.within.iter().filter(|w| !w.0.is_empty());
    let places: Vec<String> = places
        .map(|(p, often)| format!("`<{p}>` ({})", times(*often)))
        .collect();
    let place = if places.is_empty() {
        "the root".to_owned()
    } else {
        places.join(", ")
    };
    let content = match element.content {
        Content::Empty => "nothing".to_owned(),
        Content::Elements => "elements".to_owned(),
        Content::Text(kind) => kind.expectation(),
        Content::Foreign => "anything".to_owned(),
    };
    let _ = writeln!(
        out,
        "In {place}. Holds: {content}.{}\n",
        versions(element.since, element.until)
    );
    let _ = writeln!(out, "**{}**: {}.", element.does.word(), element.does.says());
    if !element.attributes.is_empty() {
        out.push_str("\n| attribute | value | schema | | |\n|---|---|---|---|---|\n");
    }
    for attribute in element.attributes {
        attribute_line(out, element, attribute);
    }
}

fn attribute_line(out: &mut String, element: &Element, attribute: &Attr) {
    let must = if attribute.must { " (needed)" } else { "" };
    let name = format!("`{}`{must}", attribute.name);
    let renamed = attribute
        .renamed
        .map_or(String::new(), |n| format!("; now `{n}`"));
    let only = match (decides(element.name), attribute.only) {
        (Some(decider), [_, ..]) => format!("; with `{decider}` {}", attribute.only.join(", ")),
        _ => String::new(),
    };
    line(
        out,
        &[
            &name,
            &attribute.kind.expectation(),
            &range(attribute.since, attribute.until),
            attribute.does.word(),
            &format!("{}{renamed}{only}", attribute.does.says()),
        ],
    );
}

fn line(out: &mut String, cells: &[&str]) {
    for cell in cells {
        let _ = write!(out, "| {} ", cell.replace('|', "\\|"));
    }
    out.push_str("|\n");
}

/// `7.2–8.3`, `7.2–` or `–8.3`; nothing where every version has it.
fn range(since: Option<Version>, until: Option<Version>) -> String {
    let text = |v: Option<Version>| v.map_or(String::new(), |(a, b)| format!("{a}.{b}"));
    match (since, until) {
        (None, None) => String::new(),
        _ => format!("{}–{}", text(since), text(until)),
    }
}

fn versions(since: Option<Version>, until: Option<Version>) -> String {
    match range(since, until).as_str() {
        "" => String::new(),
        range => format!(" Schema {range}."),
    }
}

fn times(often: Often) -> &'static str {
    match often {
        Often::Once => "at most once",
        Often::Must => "once",
        Often::Any => "any number",
        Often::Some => "one or more",
    }
}
