//! Conditions choose for any machine, also for one that no disk is made for.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use description::{Choice, Report, read, resolve};

/// The image's packages on a machine.
fn packages(machine: &str, packages: &str) -> Vec<String> {
    let text = format!(
        "<image schemaversion='8.5' name='a'><packages type='image'>{packages}</packages></image>"
    );
    let files = BTreeMap::from([("a.kiwi".to_owned(), text.into_bytes())]);
    let choice = Choice {
        machine: machine.to_owned(),
        ..Choice::default()
    };
    let mut report = Report::default();
    let document = read(&files, "a.kiwi", &mut report).unwrap();
    let plan = resolve(&document, &choice, &mut report).plan;
    plan.packages.image.into_iter().map(|p| p.name).collect()
}

#[test]
fn a_condition_is_the_name_that_uname_prints() {
    let list = "<package name='a'/><package name='b' arch='aarch64,x86_64'/>\
        <package name='c' arch='aarch64'/><package name='d' arch='amd64'/>";
    assert_eq!(packages("x86_64", list), ["a", "b"]);
    assert_eq!(packages("aarch64", list), ["a", "b", "c"]);
    assert_eq!(packages("riscv64", list), ["a"]);
}
