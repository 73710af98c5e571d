//! The keys: what every field of a description, every input file, option and program makes run again, and that
//! nothing else does.
//!
//! ```text
//! fields.rs   every element and attribute of the language ─┐  STAGE --key: which fields of which keys differ
//! inputs.rs   files, environment, options, programs ───────┘
//! parts.rs    every field of a key, in a real build ──────▶ which parts of which stages are made again
//! page.rs     the tables of the section "Keys" in CONTRIBUTING.md
//! ```
//!
//! A row that is missing fails: the language is taken from its own table, the fields of keys from the stages.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod fields;
mod inputs;
mod page;
mod parts;
mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use description::table::{Content, Use, elements};
use fields::Expect;
use place::{Call, Keys, Place, STAGES, differences};

/// Does `work` for every row, on all processors; what it returns is what is wrong.
fn every<T: Sync>(rows: &[T], work: impl Fn(usize, &T) -> Option<String> + Sync) {
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(row) = rows.get(n) else { break };
                    let found = work(n, row);
                    wrong.lock().unwrap().extend(found);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(
        wrong.is_empty(),
        "{} rows:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn compared(what: &str, expected: &[&str], found: &BTreeSet<String>) -> Option<String> {
    let expected: BTreeSet<String> = expected.iter().map(|f| (*f).to_owned()).collect();
    let list = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
        let left: Vec<_> = a.difference(b).cloned().collect();
        left.join(", ")
    };
    (expected != *found).then(|| {
        let (more, less) = (list(found, &expected), list(&expected, found));
        format!("{what}: too many: [{more}], too few: [{less}]")
    })
}

/// Replaces text that stands in a file exactly once.
fn edit(place: &Place, file: &Path, (from, to): (&str, &str)) {
    let repository = place.path("repository").display().to_string();
    let [from, to] = [from, to].map(|text| text.replace("@REPOSITORY@", &repository));
    let text = fs::read_to_string(file).unwrap();
    assert_eq!(
        text.matches(&from).count(),
        1,
        "{from:?} in {}",
        file.display()
    );
    fs::write(file, text.replace(&from, &to)).unwrap();
}

/// The rows of the language that shape or enter the plan: `PARENT/ELEMENT` and `PARENT/ELEMENT@ATTRIBUTE`.
fn language() -> BTreeSet<String> {
    let counts = |does: Use| matches!(does, Use::Used(_) | Use::Carried(_));
    let mut found = BTreeSet::new();
    for element in elements() {
        for (parent, _) in element.within {
            let name = format!("{parent}/{}", element.name);
            let says_something = element.content != Content::Foreign;
            // The root stands for the whole document.
            if counts(element.does) && says_something && !parent.is_empty() {
                found.insert(name.clone());
            }
            let attributes = element.attributes.iter().filter(|a| counts(a.does));
            if counts(element.does) {
                found.extend(attributes.map(|a| format!("{name}@{}", a.name)));
            }
        }
    }
    found
}

#[test]
fn every_field_of_the_language_has_a_row() {
    let rows: BTreeSet<String> = fields::ROWS
        .iter()
        .flat_map(|row| row.of.iter().map(|of| (*of).to_owned()))
        .filter(|of| of != "/image")
        .collect();
    let language = language();
    let lacking: Vec<_> = language.difference(&rows).collect();
    assert!(lacking.is_empty(), "no row changes {lacking:?}");
    let unknown: Vec<_> = rows.difference(&language).collect();
    assert!(
        unknown.is_empty(),
        "not in the table of the language: {unknown:?}"
    );
}

#[test]
fn every_field_of_a_description_changes_exactly_the_keys_that_read_it() {
    let place = Place::new();
    let seen = Mutex::new(Seen::default());
    every(fields::ROWS, |n, row| {
        let dir = place.description(&format!("field-{n}"));
        let call = Call {
            file: row.file,
            arguments: row.arguments,
            ..Call::default()
        };
        let file = dir.join(row.file.unwrap_or("config.xml"));
        row.given
            .iter()
            .for_each(|given| edit(&place, &file, *given));
        let what = format!("{:?} {:?}", row.of, row.edit);
        let plan = match place.plan(&dir, &call) {
            Ok(plan) => plan,
            Err((_, said)) => return Some(format!("{what}: before the change: {said}")),
        };
        let before = place.keys(&plan, &call);
        edit(&place, &file, row.edit);
        match (&row.expect, place.plan(&dir, &call)) {
            (Expect::Fields(expected), Ok(plan)) => {
                let after = place.keys(&plan, &call);
                let found = differences(&before, &after);
                seen.lock().unwrap().add(&[&before, &after], &found);
                compared(&what, expected, &found)
            }
            (Expect::Refused, Err((3, _))) => None,
            (Expect::Refused, other) => Some(format!("{what}: not refused: {other:?}")),
            (_, Err(said)) => Some(format!("{what}: {said:?}")),
        }
    });
    let mut seen = seen.into_inner().unwrap();
    seen.check();
    // Fields that only a variable and an option bring.
    let call = Call {
        environment: vec![("SOURCE_DATE_EPOCH", "1700000000".to_owned())],
        options: vec![("ram-check", "--boot".to_owned())],
        ..Call::default()
    };
    let plan = place.plan(&place.description("all"), &call).unwrap();
    seen.add(&[&place.keys(&plan, &call)], &BTreeSet::new());
    assert!(seen.unnamed.is_empty(), "no word: {:?}", seen.unnamed);
    page::check("keys of stages", &seen.page);
}

/// What keys were made of, and what of it changed.
#[derive(Default)]
struct Seen {
    fields: BTreeSet<String>,
    changed: BTreeSet<String>,
    unnamed: BTreeMap<String, BTreeSet<String>>,
    page: page::Fields,
}

impl Seen {
    fn add(&mut self, keys: &[&Keys], changed: &BTreeSet<String>) {
        for (stage, facts) in keys.iter().copied().flatten() {
            let of_stage = self.page.entry((*stage).to_owned()).or_default();
            of_stage.extend(page::names(facts));
            let names = place::fields(facts).into_keys();
            self.fields
                .extend(names.map(|name| format!("{stage} {name}")));
            let unnamed = why::unnamed(stage, facts);
            if !unnamed.is_empty() {
                let of_stage = self.unnamed.entry((*stage).to_owned()).or_default();
                of_stage.extend(unnamed);
            }
        }
        self.changed.extend(changed.iter().cloned());
    }

    /// Every field of the plan in a key is changed by some row, and every field of a key has a word.
    fn check(&self) {
        // A plan for another machine is one that this machine may not be able to build.
        const ONE_VALUE: [&str; 3] = ["plan.arch", "plan.package_manager", "plan.bootloader.name"];
        let of_plan = self.fields.iter().filter(|f| f.contains(" plan."));
        let by_files = |field: &str| inputs::ROWS.iter().any(|row| row.expect.contains(&field));
        let unchanged: Vec<_> = of_plan
            .filter(|f| !self.changed.contains(*f) && !by_files(f))
            .filter(|f| !ONE_VALUE.iter().any(|one| f.ends_with(one)))
            .collect();
        assert!(
            unchanged.is_empty(),
            "in a key, but no row changes it: {unchanged:?}"
        );
        assert!(
            self.unnamed.is_empty(),
            "no word in bins/ramforge/src/why/words.rs: {:?}",
            self.unnamed
        );
    }
}

#[test]
fn every_other_input_changes_exactly_the_keys_that_read_it() {
    let place = Place::new();
    every(inputs::ROWS, |n, row| {
        let dir = place.description(&format!("input-{n}"));
        let mut call = Call::default();
        let plan = place.plan(&dir, &call).unwrap_or_else(|e| panic!("{e:?}"));
        let before = place.keys(&plan, &call);
        (row.change)(&place, &dir, &mut call);
        let plan = place
            .plan(&dir, &call)
            .unwrap_or_else(|e| panic!("{}: {e:?}", row.name));
        let after = place.keys(&plan, &call);
        compared(row.name, row.expect, &differences(&before, &after))
    });
    lacks_no_option(&place);
    // The repository belongs to all rows, so its content changes last.
    let dir = place.description("published");
    let plan = place.plan(&dir, &Call::default()).unwrap();
    let before = place.keys(&plan, &Call::default());
    place.publish();
    let after = place.keys(&plan, &Call::default());
    let expected = ["rootfs-assemble identity.metadata"];
    let wrong = compared(
        "a repository's content",
        &expected,
        &differences(&before, &after),
    );
    assert_eq!(wrong, None);
}

/// Every option that the programs' help names is in a row.
fn lacks_no_option(place: &Place) {
    let mut said = BTreeSet::new();
    for (n, row) in inputs::ROWS.iter().enumerate() {
        let mut call = Call::default();
        (row.change)(place, &place.description(&format!("option-{n}")), &mut call);
        let options = call.options.iter().flat_map(|(_, words)| words.split(' '));
        let words = options.chain(call.arguments.iter().copied());
        said.extend(words.filter(|w| w.starts_with("--")).map(str::to_owned));
    }
    for program in ["desc-parse"].iter().chain(&STAGES) {
        let help = place.help(program);
        let words = help
            .split_whitespace()
            .filter(|w| w.starts_with("--") && w.len() > 2);
        let name = |w: &str| {
            w.trim_end_matches(|c: char| !c.is_ascii_alphabetic())
                .to_owned()
        };
        let lacking: Vec<_> = words
            .map(name)
            .filter(|w| !said.contains(w) && !inputs::NO_INPUT.contains(&w.as_str()))
            .collect();
        assert!(
            lacking.is_empty(),
            "no row calls {program} with {lacking:?}"
        );
    }
}

/// Builds the rows one after the other, each from the example's own results, through at least this many stages.
/// Gives what the keys of parts were made of.
fn built(rows: &[parts::Row], least: usize) -> page::Fields {
    let mut build = parts::Build::new();
    let mut wrong = Vec::new();
    for row in rows {
        let later = row.again.iter().any(|(stage, _)| *stage != STAGES[0]);
        let stages = if later { STAGES.len() } else { least };
        let done = build.run(Some(&row.change), stages);
        let said = build.why();
        wrong.extend(again(row, &done));
        if !said.contains(row.why) {
            wrong.push(format!(
                "{:?}: why does not say {:?}:\n{said}",
                row.of, row.why
            ));
        }
        // So that the next row is compared with the example too.
        build.run(None, stages);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    build.fields
}

/// Whether other parts were made again than a row says.
fn again(row: &parts::Row, done: &parts::Done) -> Option<String> {
    let sorted = |parts: &[String]| parts.iter().cloned().collect::<BTreeSet<_>>();
    let wrong: Vec<_> = done
        .iter()
        .filter(|(stage, parts)| {
            let expected = row.again.iter().find(|(of, _)| of == stage);
            if expected.is_some_and(|(_, parts)| parts.contains(&parts::OR_NOT)) {
                return false;
            }
            let expected =
                expected.map(|(_, parts)| parts.iter().map(|p| (*p).to_owned()).collect());
            expected != parts.as_deref().map(sorted)
        })
        .collect();
    (!wrong.is_empty()).then(|| {
        format!(
            "{:?}: made again: {wrong:?}, expected {:?}",
            row.of, row.again
        )
    })
}

#[test]
fn exactly_the_parts_that_read_a_field_are_made_again() {
    let fields = built(parts::ROWS, STAGES.len());
    page::check("keys of parts", &fields);
}

#[test]
fn exactly_the_parts_that_read_a_field_are_made_again_with_the_initramfs() {
    built(parts::DEAR, 1);
}

#[test]
fn every_field_of_a_key_is_built_with_another_value() {
    let by_language = fields::ROWS.iter().flat_map(|row| match row.expect {
        Expect::Fields(fields) => fields,
        Expect::Refused => &[],
    });
    let by_inputs = inputs::ROWS.iter().flat_map(|row| row.expect);
    let all: BTreeSet<&str> = by_language.chain(by_inputs).copied().collect();
    let rows = parts::ROWS.iter().chain(parts::DEAR).flat_map(|row| row.of);
    let not_built = parts::NOT_BUILT.iter().map(|(field, _)| field);
    let known: BTreeSet<&str> = rows.chain(not_built).copied().collect();
    let lacking: Vec<_> = all.difference(&known).collect();
    assert!(lacking.is_empty(), "no row builds with another {lacking:?}");
}
