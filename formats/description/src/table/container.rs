//! `<containerconfig>`: container images. They are another image type; the rows keep the grammar whole.

use super::Often::{Any, Once, Some};
use super::Use::{Ignored, Note};
use super::{Element, Kind, attr, leaf, must, node, old, text};

const SEE: super::Use = Note("see <containerconfig>");
const IN: &[(&str, super::Often)] = &[("containerconfig", Once)];

// A table: one row a line.
#[rustfmt::skip]
pub(super) const ROWS: &[Element] = &[
    node(
        "containerconfig",
        &[("type", Once)],
        &[
            must("name", Kind::Text, SEE),
            attr("tag", Kind::Text, SEE),
            attr("additionalnames", Kind::Text, SEE).since(7, 5),
            old("additionaltags", Kind::Text, (7, 4), core::option::Option::Some("additionalnames"), SEE).since(6, 9),
            attr("maintainer", Kind::Text, SEE),
            attr("user", Kind::Text, SEE),
            attr("workingdir", Kind::Text, SEE),
        ],
        Ignored("it belongs to container images"),
    ),
    node("entrypoint", IN, &[attr("execute", Kind::Text, SEE), attr("clear", Kind::Bool, SEE)], SEE),
    node("subcommand", IN, &[attr("execute", Kind::Text, SEE), attr("clear", Kind::Bool, SEE)], SEE),
    leaf("argument", &[("entrypoint", Any), ("subcommand", Any)], &[must("name", Kind::Text, SEE)], SEE),
    node("expose", IN, &[], SEE),
    leaf("port", &[("expose", Some)], &[must("number", Kind::Port, SEE)], SEE),
    node("volumes", IN, &[], SEE),
    leaf("volume", &[("volumes", Some)], &[must("name", Kind::Text, SEE)], SEE),
    text("stopsignal", IN, Kind::Text, SEE).since(8, 2),
    node("labels", IN, &[], SEE),
    leaf("label", &[("labels", Some)], &[must("name", Kind::Text, SEE), must("value", Kind::Text, SEE)], SEE),
    Element {
        attributes: &[
            attr("created_by", Kind::Text, SEE),
            attr("author", Kind::Text, SEE),
            attr("application_id", Kind::Text, SEE).since(7, 2),
            attr("package_version", Kind::FourParts, SEE).since(7, 2),
            attr("launcher", Kind::Text, SEE).since(7, 2),
        ],
        ..text("history", IN, Kind::Free, SEE).since(6, 9)
    },
];
