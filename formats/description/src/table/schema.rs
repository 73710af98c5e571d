//! The table as a JSON Schema (2020-12): `schema/description.json`, for editors and programs.
//!
//! It describes a description as JSON: an element is an object, its attributes are members that begin
//! with `@`, its text is `#text`, and the elements inside are arrays under their names. What Ramforge
//! does with a thing, and which schema versions have it, stands beside it under `x-ramforge`.
//!
//! *Not in it:* rules between values, and the limits.

use serde_json::{Map, Value, json};

use super::{Attr, Content, Element, Kind, Often, Use, Version, below, decides, elements, find};

/// The schema, indented, with a line feed at the end.
pub fn json_schema() -> String {
    let mut definitions = Map::new();
    for element in elements() {
        definitions.insert(key(element), definition(element));
    }
    let root = find("", "image").map(reference);
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A KIWI image description",
        "type": "object",
        "properties": {"image": root},
        "required": ["image"],
        "$defs": definitions,
    });
    format!("{schema:#}\n")
}

/// The name of a definition: of two elements of one name the parent tells which.
fn key(element: &Element) -> String {
    let same = elements().filter(|e| e.name == element.name).count();
    match element.within.first() {
        Some((parent, _)) if same > 1 => format!("{parent}.{}", element.name),
        _ => element.name.to_owned(),
    }
}

fn reference(element: &Element) -> Value {
    json!({"$ref": format!("#/$defs/{}", key(element))})
}

fn definition(element: &Element) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for attribute in element.attributes {
        let name = format!("@{}", attribute.name);
        required.extend(attribute.must.then(|| name.clone()));
        properties.insert(name, attribute_schema(element, attribute));
    }
    if let Content::Text(kind) = element.content {
        properties.insert("#text".to_owned(), value(kind));
    }
    for (child, often) in below(element.name).filter(|_| element.content == Content::Elements) {
        let (least, most) = match often {
            Often::Once => (0, Some(1)),
            Often::Must => (1, Some(1)),
            Often::Any => (0, None),
            Often::Some => (1, None),
        };
        let mut list = json!({"type": "array", "items": reference(child), "minItems": least});
        if let Some(most) = most {
            list["maxItems"] = json!(most);
        }
        required.extend((least > 0).then(|| child.name.to_owned()));
        properties.insert(child.name.to_owned(), list);
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": element.content == Content::Foreign,
        "x-ramforge": remarks(element.does, element.since, element.until),
    })
}

fn attribute_schema(element: &Element, attribute: &Attr) -> Value {
    let mut schema = value(attribute.kind);
    let mut says = remarks(attribute.does, attribute.since, attribute.until);
    if let Some(new) = attribute.renamed {
        says["renamed"] = json!(new);
    }
    if let (Some(decider), [_, ..]) = (decides(element.name), attribute.only) {
        says["only"] = json!({format!("@{decider}"): attribute.only});
    }
    schema["x-ramforge"] = says;
    schema
}

fn remarks(does: Use, since: Option<Version>, until: Option<Version>) -> Value {
    let mut remarks = json!({"does": does.word(), "says": does.says()});
    for (name, version) in [("since", since), ("until", until)] {
        if let Some((major, minor)) = version {
            remarks[name] = json!(format!("{major}.{minor}"));
        }
    }
    remarks
}

/// The schema of a value. A pattern is left out where it would say less than the description.
fn value(kind: Kind) -> Value {
    let mut schema = json!({"type": "string", "description": kind.expectation()});
    match kind {
        Kind::OneOf(words) => schema["enum"] = json!(words),
        Kind::Bool => schema["enum"] = json!(["true", "false", "1", "0"]),
        Kind::Text | Kind::Path | Kind::Uri | Kind::ProfileNames => schema["minLength"] = json!(1),
        _ => {}
    }
    if let Some(pattern) = pattern(kind) {
        schema["pattern"] = json!(pattern);
    }
    schema
}

fn pattern(kind: Kind) -> Option<String> {
    let one_of = |words: &[&str]| format!("({})", words.join("|"));
    Some(match kind {
        Kind::Words(words) => format!("^{0}( +{0})*$", one_of(words)),
        Kind::DiskFormat(words) => format!("^((oci|docker):)?({}|raw)$", words.join("|")),
        Kind::List(words) => format!("^{0}(,{0})*$", one_of(words)),
        Kind::Machines => format!("^{0}(,{0})*$", one_of(super::MACHINES)),
        Kind::Natural => "^\\+?[0-9]+$".to_owned(),
        Kind::Integer => "^[+-]?[0-9]+$".to_owned(),
        Kind::Name => "^[a-zA-Z0-9_.-]+$".to_owned(),
        Kind::VolumeId => "^[a-zA-Z0-9_.-]{1,32}$".to_owned(),
        Kind::Size => "^[0-9]+[MG]?$".to_owned(),
        Kind::SizeOrAll => "^([0-9]+[MG]?|all)$".to_owned(),
        Kind::Blocks => "^([0-9]*|all)$".to_owned(),
        Kind::Port => "^[0-9]+(/(tcp|udp))?$".to_owned(),
        Kind::Mac => "^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$".to_owned(),
        Kind::FourParts => "^[0-9]+([.][0-9]+){3}$".to_owned(),
        Kind::Locales => "^(C|POSIX|[a-z]{2,3}_[A-Z]{2})(,[a-z]{2,3}_[A-Z]{2})*$".to_owned(),
        Kind::KeyUri => "^(file|this|https?|ftp):".to_owned(),
        _ => return None,
    })
}
