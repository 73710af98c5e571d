//! One mistake per golden file in `mistakes/`: what is changed in `base.kiwi`, and everything that is
//! then said about it. `RAMFORGE_BLESS=1 cargo test -p description` writes the goldens anew.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use description::{Choice, Report, mended, read, resolve};

/// A golden file: the changes above the line, what is said below it.
#[derive(Default)]
struct Case {
    changes: String,
    replace: Vec<(String, String)>,
    files: BTreeMap<String, Vec<u8>>,
    options: Vec<String>,
    expected: String,
}

const LINE: &str = "--------\n";

fn case(path: &Path) -> Case {
    let text = std::fs::read_to_string(path).unwrap();
    let (changes, expected) = text.split_once(LINE).unwrap_or((&text, ""));
    let mut case = Case {
        changes: changes.to_owned(),
        expected: expected.to_owned(),
        ..Case::default()
    };
    for line in changes.lines() {
        let unescaped = |t: &str| t.replace("\\n", "\n");
        if let Some(old) = line.strip_prefix("replace: ") {
            case.replace.push((unescaped(old), String::new()));
        } else if let Some(new) = line.strip_prefix("with: ") {
            case.replace.last_mut().unwrap().1 = unescaped(new);
        } else if let Some(options) = line.strip_prefix("options: ") {
            case.options = options.split_whitespace().map(str::to_owned).collect();
        } else if let Some((name, text)) =
            line.strip_prefix("file ").and_then(|l| l.split_once(": "))
        {
            case.files
                .insert(name.to_owned(), unescaped(text).into_bytes());
        } else {
            assert!(line.is_empty(), "{}: {line:?} is no change", path.display());
        }
    }
    case
}

fn choice(options: &[String]) -> Choice {
    let mut choice = Choice {
        machine: "x86_64".to_owned(),
        program: "desc-parse".to_owned(),
        ..Choice::default()
    };
    for pair in options.chunks(2) {
        let value = pair[1].clone();
        match pair[0].as_str() {
            "--profile" => choice.profiles.push(value),
            "--type" => choice.image_type = Some(value),
            "--add-package" => choice.add_package.push(value),
            "--set-repo" => choice.set_repo = Some(value),
            "--add-repo" => choice.add_repo.push(value),
            "--set-type-attr" => choice.type_attributes.push(value),
            "--set-release-version" => choice.release_version = Some(value),
            "--target-arch" => {
                choice.machine = value;
                choice.machine_was_given = true;
            }
            other => panic!("{other}: not an option of this test"),
        }
    }
    choice
}

fn report(case: &Case, base: &str, name: &str) -> Report {
    let mut text = base.to_owned();
    for (old, new) in &case.replace {
        assert!(
            text.contains(old.as_str()),
            "{name}: base.kiwi has no {old:?}"
        );
        text = text.replacen(old.as_str(), new, 1);
    }
    let mut files = case.files.clone();
    files.insert("base.kiwi".to_owned(), text.into_bytes());
    let mut report = Report::default();
    if let Some(document) = read(&files, "base.kiwi", &mut report) {
        resolve(&document, &choice(&case.options), &mut report);
    }
    report
}

fn said(case: &Case, base: &str, name: &str) -> String {
    let report = report(case, base, name);
    let mut out = String::new();
    for diagnostic in report.diagnostics() {
        writeln!(out, "{}\n", report.render(diagnostic, false)).unwrap();
    }
    out
}

fn goldens() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut paths: Vec<_> = entries
        .filter(|p| p.extension().is_some_and(|e| e == "txt"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn every_mistake_is_told_as_its_golden_says() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let base = std::fs::read_to_string(dir.join("base.kiwi")).unwrap();
    let bless = std::env::var_os("RAMFORGE_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in goldens() {
        let case = case(&path);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let said = said(&case, &base, &name);
        assert!(
            !said.is_empty(),
            "{name}: nothing is said about the mistake"
        );
        if bless && said != case.expected {
            std::fs::write(&path, format!("{}{LINE}{said}", case.changes)).unwrap();
        } else if said != case.expected {
            wrong.push(format!("{name}\n{said}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn there_are_enough_mistakes_and_the_base_has_none() {
    assert!(goldens().len() >= 60, "{} goldens", goldens().len());
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let base = std::fs::read_to_string(dir.join("base.kiwi")).unwrap();
    assert_eq!(said(&Case::default(), &base, "base"), "");
}

/// What a safe fix mends: the mistake is gone, no new one is there, and everything else is untouched.
#[test]
fn safe_fixes_leave_fewer_mistakes() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let base = std::fs::read_to_string(dir.join("base.kiwi")).unwrap();
    let mut fixed = 0;
    for path in goldens() {
        let mut case = case(&path);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let before = report(&case, &base, &name);
        let Some(change) = mended(&before).into_iter().find(|m| m.name == "base.kiwi") else {
            continue;
        };
        case.replace.clear();
        let after = report(&case, &change.new, &name);
        assert!(
            after.errors() < before.errors() || before.errors() == 0,
            "{name}"
        );
        assert!(mended(&after).is_empty(), "{name}: mending once is enough");
        fixed += change.fixes;
    }
    assert!(fixed >= 14, "{fixed} fixes");
}

#[test]
fn fixes_keep_comments_and_layout() {
    let base = "<image schemaversion='8.5' name='a'>\n <!-- <pakages/> -->\n <pakages\ttype='imgae' >\n\
        <package  nmae=\"b\"  /><!-- c --></pakages >\n</image>\n";
    let change = mended(&report(&Case::default(), base, "layout")).remove(0);
    assert_eq!(
        change.new,
        "<image schemaversion='8.5' name='a'>\n <!-- <pakages/> -->\n <packages\ttype='imgae' >\n\
        <package  nmae=\"b\"  /><!-- c --></packages >\n</image>\n"
    );
    // Once the element is known, so are its attributes.
    let next = mended(&report(&Case::default(), &change.new, "layout")).remove(0);
    assert!(
        next.new
            .contains("<packages\ttype='image' >\n<package  name=\"b\"  />"),
        "{}",
        next.new
    );
    assert_eq!((change.fixes, next.fixes), (1, 2));
}

/// The text of a description after its safe fixes.
fn fixed(text: &str) -> Option<String> {
    let report = report(&Case::default(), text, "fixed");
    mended(&report).into_iter().next().map(|m| m.new)
}

#[test]
fn fixes_keep_the_quotes() {
    let old = "<image schemaversion='8.5' name='a'><preferences><type image='oem'>\
        <bootloader name='grub2' console = 'serial  console'/></type></preferences></image>";
    let new = old.replace(
        "console = 'serial  console'",
        "output_console = 'serial' input_console='console'",
    );
    assert_eq!(fixed(old), Some(new));
}

#[test]
fn a_text_that_is_not_written_in_one_piece_is_left_alone() {
    let text = |head: &str, value: &str| {
        format!(
            "{head}<image schemaversion='8.5' name='a'><preferences><type image='oem'><oemconfig>\
             <oem-unattended>{value}</oem-unattended></oemconfig></type></preferences></image>"
        )
    };
    assert_eq!(fixed(&text("", " yes ")), Some(text("", " true ")));
    let entity = "<!DOCTYPE image [<!ENTITY y 'yes'>]>";
    for (head, value) in [
        ("", "y&#101;s"),
        ("", "y<!-- e -->es"),
        ("", "<![CDATA[yes]]>"),
        (entity, "&y;"),
    ] {
        assert_eq!(fixed(&text(head, value)), None, "{value}");
    }
}

#[test]
fn one_fix_that_cannot_be_made_does_not_hold_up_the_others() {
    let old = "<image schemaversion='8.5' name='a'><preferences><type image='oem'>\
        <bootloader name='grub2' console='serial' output_console='serial'/>\
        <oemconfig><oem-swap>no</oem-swap></oemconfig></type></preferences></image>";
    assert_eq!(fixed(old), Some(old.replace(">no<", ">false<")));
}
