//! A difference as a sentence.

use manifest::Object;
use serde_json::Value;
use store::Store;

use super::contents;
use super::differ::{Difference, is_reference};
use super::words::{Word, in_manifest, word};

/// Names that are told one by one; the rest is counted.
const NAMED: usize = 4;
/// Characters of a value that are shown.
const SHOWN: usize = 80;

/// The differences of one stage, or part of a stage, as sentences without a full stop.
///
/// `place` is the stage, or `stage/part`; `origin` says where a value of the manifest stands in the description.
pub fn sentences(
    store: &Store,
    place: &str,
    differences: &[Difference],
    origin: &dyn Fn(&[String], &str) -> Option<String>,
) -> Vec<String> {
    let mut said = Vec::new();
    let mut following = Vec::new();
    let mut items: Vec<Group> = Vec::new();
    let mut packages = Vec::new();
    for difference in differences {
        let place_in_description = || place_of(place, difference, origin);
        match word(place, &difference.path) {
            Some((Word::Follows(text), names)) => {
                following.push(format!("{} changed", filled(text, &names)));
            }
            Some((Word::Item(one, many), names)) => {
                group(&mut items, difference, one, many, &names)
            }
            None if in_packages(place, difference) => packages.push(difference),
            Some((word, names)) => {
                let text = sentence(store, place, word, &names, difference);
                said.push(text + &place_in_description());
            }
            None => {
                let text = order(place, difference).unwrap_or_else(|| unknown(difference));
                said.push(text + &place_in_description());
            }
        }
    }
    said.extend(items.iter().map(Group::sentence));
    said.extend(contents::packages(&packages));
    said.dedup();
    match said.is_empty() {
        true => following,
        false => said,
    }
}

fn sentence(
    store: &Store,
    place: &str,
    word: Word,
    names: &[String],
    difference: &Difference,
) -> String {
    let (before, after) = (difference.before.as_ref(), difference.after.as_ref());
    match word {
        Word::Value(text) => value(&filled(text, names), before, after),
        Word::Object(text) => presence(&filled(text, names), difference),
        Word::Version => {
            let what = match place.contains('/') {
                true => "the way it is made",
                false => place,
            };
            format!(
                "{what} itself changed: version {} → {}",
                short(before),
                short(after)
            )
        }
        Word::Tree(one, many) => contents::tree(store, one, many, object(before), object(after)),
        Word::Chunks(text) => contents::chunks(store, text, object(before), object(after)),
        Word::Changed(text) | Word::Follows(text) | Word::Item(text, _) => {
            format!("{} changed", filled(text, names))
        }
        Word::Packages => "the packages changed".to_owned(),
    }
}

/// A list of which only the order differs.
fn order(place: &str, difference: &Difference) -> Option<String> {
    let is_list = |value: &Option<Value>| value.as_ref().is_some_and(Value::is_array);
    if !(is_list(&difference.before) && is_list(&difference.after)) {
        return None;
    }
    let mut member = difference.path.clone();
    member.push(String::new());
    match word(place, &member)? {
        (Word::Item(_, many), names) => {
            let many = filled(many, &names);
            Some(format!(
                "the order of the {} changed",
                many.trim_end_matches(':')
            ))
        }
        _ => None,
    }
}

/// Whether the difference lies in a list of packages, which is told as a whole.
fn in_packages(place: &str, difference: &Difference) -> bool {
    let parent = difference.path.get(..1).unwrap_or_default();
    matches!(word(place, parent), Some((Word::Packages, _)))
}

fn place_of(
    place: &str,
    difference: &Difference,
    origin: &dyn Fn(&[String], &str) -> Option<String>,
) -> String {
    if difference.after.is_none() {
        return String::new();
    }
    let path = in_manifest(place, &difference.path);
    let found = origin(&path, &difference.pointer);
    found.map_or(String::new(), |found| format!(" ({found})"))
}

fn value(what: &str, before: Option<&Value>, after: Option<&Value>) -> String {
    match (before, after) {
        (Some(_), Some(_)) => format!("{what} was {}, is {}", short(before), short(after)),
        (None, _) => format!("{what} was not set, is {}", short(after)),
        (_, None) => format!("{what} was {}, is not set any more", short(before)),
    }
}

fn presence(what: &str, difference: &Difference) -> String {
    let how = match (&difference.before, &difference.after) {
        (None, _) => "is new",
        (_, None) => "is gone",
        _ => "changed",
    };
    format!("{what} {how}")
}

/// A field that no table knows: of a stage of somebody else, or of another release.
fn unknown(difference: &Difference) -> String {
    value(
        &difference.path.join("."),
        difference.before.as_ref(),
        difference.after.as_ref(),
    )
}

/// A value as a person reads it.
fn short(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => "not set".to_owned(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(Value::String(text)) => format!("{text:?}"),
        Some(object) if is_reference(Some(object)) => "another object".to_owned(),
        Some(Value::Object(fields)) => {
            let fields = fields
                .iter()
                .map(|(name, v)| format!("{name} {}", short(Some(v))));
            fields.collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn object(value: Option<&Value>) -> Option<Object> {
    serde_json::from_value(value?.clone()).ok()
}

/// A word with the names that its place had.
fn filled(text: &str, names: &[String]) -> String {
    let mut text = text.to_owned();
    for (n, name) in names.iter().enumerate() {
        text = text.replace(&format!("{{{n}}}"), name);
    }
    text
}

/// Members of lists with the same word and the same change.
struct Group {
    one: String,
    many: String,
    how: &'static str,
    members: Vec<String>,
}

impl Group {
    fn sentence(&self) -> String {
        match self.members.as_slice() {
            [one] => format!("{} {one} {}", self.one, self.how),
            all => format!(
                "{} {} {}",
                self.many,
                listed(all),
                self.how.replace("is", "are")
            ),
        }
    }
}

fn group(
    groups: &mut Vec<Group>,
    difference: &Difference,
    one: &str,
    many: &str,
    names: &[String],
) {
    let how = match (&difference.before, &difference.after) {
        (None, _) => "is new",
        (_, None) => "is gone",
        _ => "changed",
    };
    let (one, many) = (filled(one, names), filled(many, names));
    let member = difference.path.last().cloned().unwrap_or_default();
    match groups.iter_mut().find(|g| g.one == one && g.how == how) {
        Some(group) => group.members.push(member),
        None => groups.push(Group {
            one,
            many,
            how,
            members: vec![member],
        }),
    }
}

/// `a, b, c and 5 more`.
pub(super) fn listed(names: &[String]) -> String {
    match names.len() {
        0..=NAMED => names.join(", "),
        n => format!("{} and {} more", names[..NAMED].join(", "), n - NAMED),
    }
}
