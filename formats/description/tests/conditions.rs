//! Conditions choose for any machine, also for one that no disk is made for.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use description::{Choice, Report, read, resolve};

/// The image's packages on a machine, where they stand in one section.
fn packages(machine: &str, packages: &str) -> Vec<String> {
    let section = format!("<packages type='image'>{packages}</packages>");
    packages_of(machine, &section)
}

/// The image's packages on a machine.
fn packages_of(machine: &str, sections: &str) -> Vec<String> {
    let text = format!("<image schemaversion='8.5' name='a'>{sections}</image>");
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

#[test]
fn no_profile_at_all_is_no_condition() {
    let sections = "<packages type='image' profiles=''><package name='a'/></packages>";
    assert_eq!(packages_of("x86_64", sections), ["a"]);
    let text = format!("<image schemaversion='8.5' name='a'>{sections}</image>");
    let files = BTreeMap::from([("a.kiwi".to_owned(), text.into_bytes())]);
    let mut report = Report::default();
    read(&files, "a.kiwi", &mut report);
    let told = report.diagnostics();
    assert!(told.iter().all(|d| !d.message.contains("profiles")));
}

/// What Ramforge cannot build it still reads right: a later stage of somebody's own could, and the comparison
/// with KIWI rests on it.
#[test]
fn another_image_type_is_refused_once_and_read_all_the_same() {
    let text = "<image schemaversion='8.5' name='a'>
<description type='system'><author>a</author><contact>c</contact><specification>s</specification></description>
<preferences><version>1</version><packagemanager>zypper</packagemanager>
<type image='oem' filesystem='xfs' primary='true'><systemdisk/></type>
<type image='iso' kernelcmdline='a=1  b=\"c d\"' volid='LIVE' flags='overlay'><bootloader name='grub2' timeout='3'/></type>
</preferences>
<repository type='rpm-md'><source path='obs://Some:Where/standard'/></repository>
<packages type='image'><package name='all'/></packages>
<packages type='iso'><package name='live'/><archive name='live.tar'/></packages>
<packages type='oem'><package name='disk'/><archive name='disk.tar'/></packages>
</image>";
    let files = BTreeMap::from([("a.kiwi".to_owned(), text.as_bytes().to_vec())]);
    let choice = Choice {
        machine: "x86_64".to_owned(),
        image_type: Some("iso".to_owned()),
        ..Choice::default()
    };
    let mut report = Report::default();
    let document = read(&files, "a.kiwi", &mut report).unwrap();
    let draft = resolve(&document, &choice, &mut report);
    let codes: Vec<String> = report
        .diagnostics()
        .iter()
        .map(|d| d.code.to_string())
        .collect();
    assert_eq!(codes, ["R0207", "R0205", "R0222"]);
    let plan = draft.plan;
    let names: Vec<_> = plan
        .packages
        .image
        .iter()
        .map(|p| p.name.as_str())
        .collect();
    assert_eq!(names, ["all", "live"]);
    assert_eq!(draft.wants.archives.len(), 1);
    assert_eq!(
        (
            plan.image_type.image.as_str(),
            plan.image_type.volid.as_str()
        ),
        ("iso", "LIVE")
    );
    assert_eq!(plan.kernelcmdline, "a=1 b=\"c d\"");
    assert_eq!(plan.bootloader.timeout, 3);
}
