//! The tables of CONTRIBUTING.md that say what keys are made of, from what stages and parts say of themselves.
//! `RAMFORGE_BLESS=1` writes them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;

use pipeline_tests::root;
use serde_json::Value;

use crate::place::STAGES;

/// What keys are made of: a stage, or `stage/part`, and the names of its fields.
pub type Fields = BTreeMap<String, BTreeSet<String>>;

/// The names of the fields of facts, set or not. Lists and references to objects are values, and so are maps
/// whose names are data.
pub fn names(facts: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect("", facts, &mut found);
    // The name of the stage is in the key as its context.
    found.remove("stage");
    found
}

fn collect(place: &str, value: &Value, found: &mut BTreeSet<String>) {
    const MAPS: [&str; 2] = ["added", "identity.loader"];
    let fields = value.as_object().filter(|f| !f.contains_key("blake3"));
    let Some(fields) = fields.filter(|_| !MAPS.contains(&place)) else {
        found.insert(place.to_owned());
        return;
    };
    for (name, field) in fields {
        let place = match place {
            "" | "input" => name.clone(),
            place => format!("{place}.{name}"),
        };
        collect(&place, field, found);
    }
}

/// Compares a table between two marks of CONTRIBUTING.md with the fields.
pub fn check(mark: &str, fields: &Fields) {
    let path = root().join("CONTRIBUTING.md");
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = (
        format!("<!-- {mark} -->\n"),
        format!("<!-- end of {mark} -->\n"),
    );
    let from = text.find(&begin).unwrap() + begin.len();
    let to = text.find(&end).unwrap();
    let table = table(fields);
    if std::env::var_os("RAMFORGE_BLESS").is_some() {
        let text = format!("{}{table}{}", &text[..from], &text[to..]);
        return fs::write(path, text).unwrap();
    }
    assert!(
        text[from..to] == table,
        "CONTRIBUTING.md, {mark}: the table is not what the keys are made of; RAMFORGE_BLESS=1 writes it anew:\n{table}"
    );
}

fn table(fields: &Fields) -> String {
    let mut text = "| key | what it is made of |\n|---|---|\n".to_owned();
    let stage = |place: &str| {
        STAGES
            .iter()
            .position(|s| Some(*s) == place.split('/').next())
    };
    let mut rows: Vec<_> = fields.iter().collect();
    rows.sort_by_key(|(place, _)| (stage(place), place.as_str()));
    for (place, names) in rows {
        let place = place.replace('/', " · ");
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        writeln!(text, "| {place} | {} |", names.join(", ")).unwrap();
    }
    text
}
