//! Older spellings become newer ones, as KIWI's own upgrade does it, from schema 6.8 to 8.5.
//!
//! A spelling is upgraded only where the description declares a version that had it. The new nodes
//! keep the places of the old ones, so diagnostics point at what was written.

use crate::code;
use crate::diagnostic::{Report, warning};
use crate::node::{Attribute, Node};
use crate::table::{Version, find};

/// A value that was renamed or dropped.
pub struct OldValue {
    /// The element.
    pub element: &'static str,
    /// Its attribute; empty for the text.
    pub attribute: &'static str,
    /// The old word.
    pub word: &'static str,
    /// The last schema version that has it.
    pub until: Version,
    /// The new word; empty: the attribute is dropped.
    pub now: &'static str,
}

const fn value(
    element: &'static str,
    attribute: &'static str,
    word: &'static str,
    until: Version,
    now: &'static str,
) -> OldValue {
    OldValue {
        element,
        attribute,
        word,
        until,
        now,
    }
}

/// Every renamed value.
pub const OLD_VALUES: &[OldValue] = &[
    value("packagemanager", "", "apt-get", (7, 3), "apt"),
    value("packagemanager", "", "yum", (7, 3), "dnf4"),
    value("packagemanager", "", "dnf", (7, 5), "dnf4"),
    value("type", "image", "vmx", (7, 2), "oem"),
    value("packages", "type", "vmx", (7, 2), "oem"),
    value("type", "devicepersistency", "by-path", (7, 3), "by-uuid"),
    value("type", "luksOS", "sle11", (7, 3), "sle12"),
    value("machine", "ovftype", "xen", (7, 6), "vmware"),
    value("machine", "ovftype", "zvm", (7, 6), "vmware"),
    value("machine", "ovftype", "powervm", (7, 6), "vmware"),
    value("repository", "type", "red-carpet", (7, 0), ""),
    value("repository", "type", "slack-site", (7, 0), ""),
    value("repository", "type", "up2date-mirrors", (7, 0), ""),
    value("repository", "type", "urpmi", (7, 0), ""),
    value("repository", "type", "yast2", (7, 0), ""),
    value("repository", "type", "rpm-dir", (8, 0), ""),
];

/// The renamed value that this is, where it is one.
pub fn old_value(element: &str, attribute: &str, word: &str) -> Option<&'static OldValue> {
    OLD_VALUES
        .iter()
        .find(|o| o.element == element && o.attribute == attribute && o.word == word)
}

/// Upgrades a whole document that declares `version`.
pub fn upgrade(node: &mut Node, version: Version, report: &mut Report) {
    match node.name.as_str() {
        "type" => upgrade_type(node, version, report),
        "bootloader" if version <= (8, 3) => split_console(node),
        "containerconfig" if version <= (7, 4) => rename(node, "additionaltags", "additionalnames"),
        _ => {}
    }
    upgrade_values(node, version);
    for child in &mut node.children {
        upgrade(child, version, report);
    }
}

fn upgrade_values(node: &mut Node, version: Version) {
    let name = node.name.clone();
    if let Some(old) = old_value(&name, "", node.text.trim()).filter(|o| version <= o.until) {
        node.text = old.now.to_owned();
    }
    node.attributes.retain_mut(|attribute| {
        let old = old_value(&name, &attribute.name, attribute.value.trim());
        match old.filter(|o| version <= o.until) {
            Some(old) if old.now.is_empty() => false,
            Some(old) => {
                attribute.value = old.now.to_owned();
                true
            }
            None => true,
        }
    });
}

fn upgrade_type(node: &mut Node, version: Version, report: &mut Report) {
    if version <= (6, 9) {
        drop_pxedeploy(node, report);
    }
    if version <= (7, 1) {
        add_bootloader(node, report);
    }
    if version <= (7, 2) && node.value("image") == Some("vmx") {
        forbid_resize(node);
    }
    if version <= (8, 2) {
        rename(
            node,
            "btrfs_root_is_snapshot",
            "btrfs_root_is_snapper_snapshot",
        );
    }
}

/// Schema 7.0: nothing took its place. What stands in it is not in the table.
fn drop_pxedeploy(node: &mut Node, report: &mut Report) {
    let does = find("type", "pxedeploy").map_or("", |row| row.does.says());
    for dropped in node.all("pxedeploy") {
        let fact = "<pxedeploy> has no effect";
        report.add(warning(code::IGNORED, dropped.span, fact, does));
    }
    node.children.retain(|c| c.name != "pxedeploy");
}

/// Schema 7.2: four attributes of `<type>` became `<bootloader>`.
fn add_bootloader(node: &mut Node, report: &mut Report) {
    const MOVED: &[(&str, &str)] = &[
        ("bootloader", "name"),
        ("bootloader_console", "console"),
        ("boottimeout", "timeout"),
        ("zipl_targettype", "targettype"),
    ];
    let mut moved = Vec::new();
    node.attributes.retain(|attribute| {
        let Some((_, new)) = MOVED.iter().find(|m| m.0 == attribute.name) else {
            return true;
        };
        moved.push(Attribute {
            name: (*new).to_owned(),
            ..attribute.clone()
        });
        false
    });
    let named = moved
        .iter()
        .find(|a| a.name == "name" && !a.value.trim().is_empty());
    let Some(name) = named else {
        for lost in moved.iter().filter(|a| a.name != "name") {
            let fact = format!(
                "{} of the boot loader is lost: no bootloader= names one",
                lost.name
            );
            let label = "KIWI's upgrade drops it; write <bootloader name=\"grub2\" …/>";
            report.add(warning(code::IGNORED, lost.name_span, fact, label));
        }
        return;
    };
    if node.child("bootloader").is_none() {
        let span = name.name_span;
        node.children.push(Node {
            name: "bootloader".to_owned(),
            span,
            text_span: span,
            attributes: moved
                .into_iter()
                .filter(|a| !a.value.trim().is_empty())
                .collect(),
            ..Node::default()
        });
    }
}

/// Schema 7.3: a vmx image is an oem image that never resizes.
fn forbid_resize(node: &mut Node) {
    let span = node.attribute("image").map_or(node.span, |a| a.value_span);
    let resize = Node {
        name: "oem-resize".to_owned(),
        span,
        text: "false".to_owned(),
        text_span: span,
        ..Node::default()
    };
    if let Some(config) = node.children.iter_mut().find(|c| c.name == "oemconfig") {
        config.children.retain(|c| c.name != "oem-resize");
        config.children.push(resize);
    } else {
        node.children.push(Node {
            name: "oemconfig".to_owned(),
            span,
            text_span: span,
            children: vec![resize],
            ..Node::default()
        });
    }
}

/// Schema 8.4: `console="OUTPUT INPUT"` became two attributes.
fn split_console(node: &mut Node) {
    let Some(index) = node.attributes.iter().position(|a| a.name == "console") else {
        return;
    };
    let old = node.attributes.remove(index);
    let (output, input) = match old.value.trim().split_once(' ') {
        Some((output, input)) => (output, Some(input.trim())),
        None => (old.value.trim(), None),
    };
    let new = |name: &str, value: &str| Attribute {
        name: name.to_owned(),
        value: value.to_owned(),
        ..old.clone()
    };
    replace(node, new("output_console", output));
    if let Some(input) = input {
        replace(node, new("input_console", input));
    }
}

/// Where both spellings stand in one tag, the upgraded one counts, as in KIWI.
fn replace(node: &mut Node, attribute: Attribute) {
    node.attributes.retain(|a| a.name != attribute.name);
    node.attributes.push(attribute);
}

fn rename(node: &mut Node, from: &str, to: &str) {
    if let Some(old) = node.attribute(from).cloned() {
        node.attributes.retain(|a| a.name != from);
        replace(
            node,
            Attribute {
                name: to.to_owned(),
                ..old
            },
        );
    }
}
