//! Says what is refused and what is ignored, for the elements that count.

use crate::code;
use crate::diagnostic::{Report, error, warning};
use crate::node::{Node, boolean};
use crate::source::Span;
use crate::table::{Attr, Content, Kind, Use};

use super::select::Conditions;

/// Judges an element and all that is inside it, by the table.
pub fn treat(node: &Node, conditions: &Conditions, report: &mut Report) {
    let Some(row) = node.row else { return };
    if let Some(told) = verdict(row.does) {
        let says_no = match row.content {
            Content::Text(kind) => says_no(kind, &node.text),
            _ => false,
        };
        if !says_no {
            tell(
                told,
                node.span,
                &format!("<{}>", row.name),
                row.does,
                report,
            );
        }
        return;
    }
    for attribute in &node.attributes {
        let known = row.attributes.iter().find(|a| a.name == attribute.name);
        let counts = |a: &&Attr| !says_no(a.kind, &attribute.value);
        let Some(known) = known.filter(counts) else {
            continue;
        };
        if let Some(told) = verdict(known.does) {
            let thing = match known.kind {
                Kind::Bool | Kind::OneOf(_) | Kind::DiskFormat(_) | Kind::Natural => {
                    format!("{}=\"{}\"", known.name, attribute.value.trim())
                }
                // Free text may be a secret.
                _ => known.name.to_owned(),
            };
            tell(told, attribute.name_span, &thing, known.does, report);
        }
    }
    for child in node.children.iter().filter(|c| conditions.hold(c)) {
        treat(child, conditions, report);
    }
}

enum Told {
    Refused,
    Ignored,
}

fn verdict(does: Use) -> Option<Told> {
    match does {
        Use::Refused(_) => Some(Told::Refused),
        Use::Ignored(_) => Some(Told::Ignored),
        Use::Used(_) | Use::Carried(_) | Use::Note(_) => None,
    }
}

/// Whether a value asks for nothing: `false`, `0`, or nothing at all.
fn says_no(kind: Kind, text: &str) -> bool {
    match kind {
        Kind::Bool => boolean(text) == Some(false),
        Kind::Natural | Kind::Integer => text.trim() == "0",
        _ => text.trim().is_empty(),
    }
}

fn tell(told: Told, span: Span, thing: &str, does: Use, report: &mut Report) {
    report.add(match told {
        Told::Refused => error(
            code::REFUSED,
            span,
            format!("{thing} is refused"),
            does.says(),
        ),
        Told::Ignored => warning(
            code::IGNORED,
            span,
            format!("{thing} has no effect"),
            does.says(),
        ),
    });
}
