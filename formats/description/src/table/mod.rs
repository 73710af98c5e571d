//! The KIWI `<image>` language as a table, schema versions 6.8 to 8.5.
//!
//! One [`Element`] per element and parent, one [`Attr`] per attribute: the kind of its value, where it
//! may stand and how often, until which schema version, what it is called since, and what Ramforge
//! does with it ([`Use`]). The grammar check, the suggestions, `docs/description.md` and
//! `schema/description.json` come from here.
//!
//! *Not in the table:* the order of siblings (KIWI does not mind it either), and rules between values,
//! which are code in `resolve`.

mod container;
mod image;
mod kind;
mod machine;
mod oem;
mod packages;
mod page;
mod preferences;
mod schema;
mod type_element;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use kind::{Kind, MACHINES};
pub use page::markdown;
pub use schema::json_schema;

/// A schema version, `8.5` as (8, 5).
pub type Version = (u8, u8);

/// The oldest version that is read.
pub const OLDEST: Version = (6, 8);
/// The newest version that the table knows.
pub const NEWEST: Version = (8, 5);

/// What Ramforge does with an element or attribute. The text says how, or why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It shapes the plan.
    Used(&'static str),
    /// It stands in the plan for a custom stage; the stages of this release do not read it.
    Carried(&'static str),
    /// It has no effect; a warning says why. A boolean that says no, and 0, give no warning.
    Ignored(&'static str),
    /// It is an error. A boolean that says no is none.
    Refused(&'static str),
    /// It has no effect on any image in any tool, by its nature.
    Note(&'static str),
}

impl Use {
    /// The text.
    pub fn says(self) -> &'static str {
        match self {
            Self::Used(s)
            | Self::Carried(s)
            | Self::Ignored(s)
            | Self::Refused(s)
            | Self::Note(s) => s,
        }
    }

    /// The word for it in the documentation.
    pub fn word(self) -> &'static str {
        match self {
            Self::Used(_) => "used",
            Self::Carried(_) => "carried",
            Self::Ignored(_) => "ignored",
            Self::Refused(_) => "refused",
            Self::Note(_) => "note",
        }
    }
}

/// How often an element may stand below its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Often {
    /// At most once.
    Once,
    /// Exactly once.
    Must,
    /// Any number of times.
    Any,
    /// Once or more.
    Some,
}

/// What stands between the tags.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Content {
    /// Nothing.
    Empty,
    /// Child elements, found by their `within`.
    Elements,
    /// Text of a kind.
    Text(Kind),
    /// Anything: elements of other namespaces.
    Foreign,
}

/// One element below its parents.
#[derive(Debug, PartialEq)]
pub struct Element {
    /// Its name.
    pub name: &'static str,
    /// The parents it may stand in, and how often. The root has the parent "".
    pub within: &'static [(&'static str, Often)],
    /// What stands inside.
    pub content: Content,
    /// Its attributes.
    pub attributes: &'static [Attr],
    /// The first schema version that has it, where it is younger than [`OLDEST`].
    pub since: Option<Version>,
    /// The last schema version that has it.
    pub until: Option<Version>,
    /// What Ramforge does with it.
    pub does: Use,
}

/// One attribute.
#[derive(Debug, PartialEq)]
pub struct Attr {
    /// Its name.
    pub name: &'static str,
    /// The kind of its value.
    pub kind: Kind,
    /// Whether it must be there.
    pub must: bool,
    /// The first schema version that has it, where it is younger than its element and [`OLDEST`].
    pub since: Option<Version>,
    /// The values of the element's deciding attribute (see [`decides`]) that it goes with; empty: all.
    pub only: &'static [&'static str],
    /// The last schema version that has it.
    pub until: Option<Version>,
    /// What it is called since then, where there is something.
    pub renamed: Option<&'static str>,
    /// What Ramforge does with it.
    pub does: Use,
}

impl Element {
    const fn since(self, major: u8, minor: u8) -> Self {
        Self {
            since: Some((major, minor)),
            ..self
        }
    }
}

impl Attr {
    const fn since(self, major: u8, minor: u8) -> Self {
        Self {
            since: Some((major, minor)),
            ..self
        }
    }

    const fn only(self, only: &'static [&'static str]) -> Self {
        Self { only, ..self }
    }
}

/// The attribute of an element whose value decides which others may stand beside it.
pub fn decides(element: &str) -> Option<&'static str> {
    Some(match element {
        "type" => "image",
        "bootloader" => "name",
        "packages" | "repository" => "type",
        "vagrantconfig" => "provider",
        _ => return None,
    })
}

/// An element that holds elements.
const fn node(
    name: &'static str,
    within: &'static [(&'static str, Often)],
    attributes: &'static [Attr],
    does: Use,
) -> Element {
    Element {
        name,
        within,
        content: Content::Elements,
        attributes,
        since: None,
        until: None,
        does,
    }
}

/// An element that holds text and has no attributes.
const fn text(
    name: &'static str,
    within: &'static [(&'static str, Often)],
    kind: Kind,
    does: Use,
) -> Element {
    Element {
        content: Content::Text(kind),
        ..node(name, within, &[], does)
    }
}

/// An element that is only its attributes.
const fn leaf(
    name: &'static str,
    within: &'static [(&'static str, Often)],
    attributes: &'static [Attr],
    does: Use,
) -> Element {
    Element {
        content: Content::Empty,
        ..node(name, within, attributes, does)
    }
}

const fn attr(name: &'static str, kind: Kind, does: Use) -> Attr {
    Attr {
        name,
        kind,
        must: false,
        since: None,
        only: &[],
        until: None,
        renamed: None,
        does,
    }
}

const fn must(name: &'static str, kind: Kind, does: Use) -> Attr {
    Attr {
        must: true,
        ..attr(name, kind, does)
    }
}

const fn old(
    name: &'static str,
    kind: Kind,
    until: Version,
    renamed: Option<&'static str>,
    does: Use,
) -> Attr {
    Attr {
        until: Some(until),
        renamed,
        ..attr(name, kind, does)
    }
}

/// `arch=`: the element counts on these machines only.
const ARCH: Attr = attr(
    "arch",
    Kind::Machines,
    Use::Used("the element counts only on these machines"),
);

/// `profiles=`: the element counts when one of these profiles is in force.
const PROFILES: Attr = attr(
    "profiles",
    Kind::ProfileNames,
    Use::Used("the element counts only when one of these profiles is in force"),
);

/// All rows, in the order of the documentation.
pub fn elements() -> impl Iterator<Item = &'static Element> {
    [
        image::ROWS,
        preferences::ROWS,
        type_element::ROWS,
        oem::ROWS,
        machine::ROWS,
        packages::ROWS,
        container::ROWS,
    ]
    .into_iter()
    .flatten()
}

/// What may stand below each parent, in the order of the rows.
static PLACES: LazyLock<BTreeMap<&str, Vec<(&Element, Often)>>> = LazyLock::new(|| {
    let mut places: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for element in elements() {
        for (parent, often) in element.within {
            places.entry(*parent).or_default().push((element, *often));
        }
    }
    places
});

/// The row of an element below a parent.
pub fn find(parent: &str, name: &str) -> Option<&'static Element> {
    below(parent).map(|b| b.0).find(|e| e.name == name)
}

/// The rows that may stand below a parent.
pub fn below(parent: &str) -> impl Iterator<Item = (&'static Element, Often)> + use<> {
    PLACES.get(parent).into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parent_is_a_row_and_no_row_stands_twice() {
        let names: Vec<&str> = elements().map(|e| e.name).collect();
        let mut places = std::collections::BTreeSet::new();
        for e in elements() {
            assert!(!e.does.says().is_empty(), "{}", e.name);
            for (parent, _) in e.within {
                assert!(
                    parent.is_empty() || names.contains(parent),
                    "{} in {parent}",
                    e.name
                );
                assert!(
                    places.insert((*parent, e.name)),
                    "{} twice in {parent}",
                    e.name
                );
            }
            let attributes: std::collections::BTreeSet<_> =
                e.attributes.iter().map(|a| a.name).collect();
            assert_eq!(attributes.len(), e.attributes.len(), "{}", e.name);
        }
    }

    #[test]
    fn what_was_renamed_has_its_new_name_in_the_table() {
        for e in elements() {
            for a in e.attributes {
                if let Some(new) = a.renamed.filter(|n| !n.starts_with('<')) {
                    assert!(
                        e.attributes.iter().any(|b| b.name == new),
                        "{} {new}",
                        e.name
                    );
                }
            }
        }
    }
}
