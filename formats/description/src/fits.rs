//! Rules between the values of one element and those around it, as KIWI's schema has them beside its
//! grammar. Each has its place here, its code (R0112, R0211) and a golden.
//!
//! *Not here:* rules about what Ramforge refuses anyway (LVM, LUKS, partitions, verity).

use crate::code;
use crate::diagnostic::{Report, error, quoted};
use crate::node::{Node, boolean};
use crate::table::{Element, decides};
use crate::upgrade::old_value;

/// Attributes that go with other values of the deciding attribute only.
pub fn check_attributes(node: &Node, row: &Element, report: &mut Report) {
    let Some(decider) = decides(row.name) else {
        return;
    };
    let kind = row.attributes.iter().find(|a| a.name == decider);
    let fits = |value: &&str| kind.is_some_and(|k| k.kind.fits(value));
    // A value that is none, or is no more, was told already.
    let is_told = |value: &&str| old_value(row.name, decider, value).is_some();
    let Some(value) = node.value(decider).filter(fits).filter(|v| !is_told(v)) else {
        return;
    };
    for attribute in &node.attributes {
        let known = row.attributes.iter().find(|a| a.name == attribute.name);
        let unfit = |only: &[&str]| !only.is_empty() && !only.contains(&value);
        let Some(known) = known.filter(|a| unfit(a.only)) else {
            continue;
        };
        let fact = format!(
            "{} does not go with {decider}={}",
            known.name,
            quoted(value)
        );
        let label = format!("it is for {decider} {}", known.only.join(", "));
        let found = error(code::MISFIT, attribute.name_span, fact, label);
        report.add(found.and(node.value_span(decider), "this decides"));
    }
}

/// Rules between an element and what stands in it or around it.
pub fn check_around(node: &Node, parent: &Node, report: &mut Report) {
    match node.name.as_str() {
        "type" => btrfs(node, report),
        "repository" => place(node, report),
        "installmedia" => media(node, parent, report),
        "size" => unpartitioned(node, report),
        "collectionModule" => module(node, parent, report),
        _ => {}
    }
}

/// Settings of btrfs need btrfs.
fn btrfs(node: &Node, report: &mut Report) {
    let Some(other) = node.value("filesystem").filter(|f| *f != "btrfs") else {
        return;
    };
    for attribute in node
        .attributes
        .iter()
        .filter(|a| a.name.starts_with("btrfs_"))
    {
        let fact = format!("{} is for btrfs roots; this one is {other}", attribute.name);
        let found = error(
            code::CONTRADICTION,
            attribute.name_span,
            fact,
            "take it out",
        );
        report.add(found.and(node.value_span("filesystem"), "the root"));
    }
}

/// A source is for the image too, or for the image only: KIWI takes one word about it.
fn place(node: &Node, report: &mut Report) {
    if let (Some(_), Some(only)) = (node.attribute("imageinclude"), node.attribute("imageonly")) {
        let fact = "imageinclude and imageonly stand in one <repository>";
        let found = error(code::CONTRADICTION, only.name_span, fact, "take one out");
        let other = node
            .attribute("imageinclude")
            .map_or(node.span, |a| a.name_span);
        report.add(found.and(other, "the other"));
    }
}

fn media(node: &Node, parent: &Node, report: &mut Report) {
    if !(parent.is_true("installiso") || parent.is_true("installpxe")) {
        let fact = "<installmedia> describes a medium, but none is made";
        let label = "expected installiso=\"true\" or installpxe=\"true\" in its <type>";
        let found = error(code::CONTRADICTION, node.span, fact, label);
        report.add(found.and(parent.span, "this <type>"));
    }
}

fn unpartitioned(node: &Node, report: &mut Report) {
    let number = |t: &str| t.trim().parse::<u64>().ok();
    let (whole, part) = (
        number(&node.text),
        node.value("unpartitioned").and_then(number),
    );
    if let (Some(whole), Some(part)) = (whole, part)
        && part > whole
    {
        let fact = format!("{part} of {whole} cannot be left unpartitioned");
        let span = node.value_span("unpartitioned");
        let found = error(
            code::CONTRADICTION,
            span,
            fact,
            format!("expected at most {whole}"),
        );
        report.add(found.and(node.text_span, "the size"));
    }
}

fn module(node: &Node, parent: &Node, report: &mut Report) {
    if parent.value("type").is_some_and(|t| t != "bootstrap") {
        let fact = "<collectionModule> stands among packages that come after the bootstrap";
        let label = "expected in <packages type=\"bootstrap\">";
        let found = error(code::MISFIT, node.span, fact, label);
        report.add(found.and(parent.value_span("type"), "this decides"));
    }
    let off = node.value("enable").and_then(boolean) == Some(false);
    if let Some(stream) = node.attribute("stream").filter(|_| off) {
        let fact = "a module that is switched off has no stream";
        report.add(error(
            code::CONTRADICTION,
            stream.name_span,
            fact,
            "take it out",
        ));
    }
}
