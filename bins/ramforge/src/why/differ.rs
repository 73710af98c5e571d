//! Where two JSON values differ, with the members of lists found by their names.

use serde_json::Value;

/// The fields by which a member of a list is known, in order of preference.
const NAMES: [&str; 5] = ["name", "alias", "repository", "number", "path"];

/// One place where two values differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The way to it: names of fields, and of members of lists.
    pub path: Vec<String>,
    /// The same as a JSON pointer into the later value, or into the earlier one where it is gone.
    pub pointer: String,
    /// What stood there; absent: nothing did.
    pub before: Option<Value>,
    /// What stands there; absent: nothing does.
    pub after: Option<Value>,
}

/// Every place where two values differ. A reference to an object is one value.
pub fn compare(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(
        &Place::default(),
        Some(before),
        Some(after),
        &mut |difference| found.push(difference),
    );
    found
}

/// The way to every value of `facts` that is compared as one.
pub fn leaves(facts: &Value) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    descend(&Place::default(), facts, &mut found);
    found
}

#[derive(Default, Clone)]
struct Place {
    path: Vec<String>,
    pointer: String,
}

impl Place {
    fn child(&self, name: &str, step: &str) -> Self {
        let mut path = self.path.clone();
        path.push(name.to_owned());
        let step = step.replace('~', "~0").replace('/', "~1");
        let pointer = format!("{}/{step}", self.pointer);
        Self { path, pointer }
    }
}

fn walk(
    at: &Place,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut dyn FnMut(Difference),
) {
    let set = |value: Option<&Value>| value.filter(|v| !v.is_null()).cloned();
    if set(before) == set(after) {
        return;
    }
    let empty = Value::Array(Vec::new());
    match (before, after) {
        (Some(Value::Object(a)), Some(Value::Object(b)))
            if !is_reference(before) && !is_reference(after) =>
        {
            for name in a.keys().chain(b.keys().filter(|n| !a.contains_key(*n))) {
                walk(&at.child(name, name), a.get(name), b.get(name), found);
            }
        }
        (Some(Value::Array(_)), _) | (_, Some(Value::Array(_))) => {
            let or_empty = |value: Option<&Value>| {
                let value = value.filter(|v| !v.is_null());
                value.unwrap_or(&empty).clone()
            };
            lists(at, &or_empty(before), &or_empty(after), found);
        }
        _ => found(Difference {
            path: at.path.clone(),
            pointer: at.pointer.clone(),
            before: set(before),
            after: set(after),
        }),
    }
}

/// Lists by the names of their members, else by position.
fn lists(at: &Place, before: &Value, after: &Value, found: &mut dyn FnMut(Difference)) {
    let (a, b) = (members(before), members(after));
    let mut any = false;
    let mut told = |difference| {
        any = true;
        found(difference);
    };
    for (name, index, member) in &b {
        let earlier = a.iter().find(|m| m.0 == *name).map(|m| m.2);
        let place = at.child(name, &index.to_string());
        walk(&place, earlier, Some(member), &mut told);
    }
    for (name, index, member) in a.iter().filter(|m| !b.iter().any(|n| n.0 == m.0)) {
        let place = at.child(name, &index.to_string());
        walk(&place, Some(member), None, &mut told);
    }
    if !any {
        // The same members in another order.
        found(Difference {
            path: at.path.clone(),
            pointer: at.pointer.clone(),
            before: Some(before.clone()),
            after: Some(after.clone()),
        });
    }
}

/// Name, index and value of each member. Pairs are taken as name and value.
fn members(list: &Value) -> Vec<(String, usize, &Value)> {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let named: Option<Vec<_>> = items
        .iter()
        .enumerate()
        .map(|(index, item)| name_of(item).map(|(name, value)| (name, index, value)))
        .collect();
    let unique = |named: &Vec<(String, usize, &Value)>| {
        let names: std::collections::BTreeSet<_> = named.iter().map(|m| &m.0).collect();
        names.len() == named.len()
    };
    named.filter(unique).unwrap_or_else(|| {
        let by_position = items.iter().enumerate();
        by_position
            .map(|(index, item)| (index.to_string(), index, item))
            .collect()
    })
}

fn name_of(item: &Value) -> Option<(String, &Value)> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match item {
        Value::Object(fields) => {
            let name = NAMES.iter().find_map(|name| fields.get(*name));
            Some((text(name?)?, item))
        }
        Value::Array(pair) if pair.len() == 2 => Some((text(&pair[0])?, &pair[1])),
        other => Some((text(other)?, item)),
    }
}

/// Whether a value names an object: `{"blake3":"…","size":N}`.
pub fn is_reference(value: Option<&Value>) -> bool {
    let fields = value.and_then(Value::as_object);
    fields.is_some_and(|f| f.len() == 2 && f.contains_key("blake3") && f.contains_key("size"))
}

fn descend(at: &Place, value: &Value, found: &mut Vec<Vec<String>>) {
    match value {
        Value::Null => {}
        Value::Object(fields) if !is_reference(Some(value)) => {
            for (name, field) in fields {
                descend(&at.child(name, name), field, found);
            }
        }
        Value::Array(_) => {
            for (name, index, member) in members(value) {
                descend(&at.child(&name, &index.to_string()), member, found);
            }
        }
        _ => found.push(at.path.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(before: &Value, after: &Value) -> Vec<String> {
        let line = |d: &Difference| format!("{} {}", d.path.join("."), d.pointer);
        compare(before, after).iter().map(line).collect()
    }

    #[test]
    fn members_are_found_by_name_wherever_they_stand() {
        let before = json!({"list": [{"name": "a", "n": 1}, {"name": "b", "n": 1}]});
        let after = json!({"list": [{"name": "c"}, {"name": "a", "n": 2}]});
        assert_eq!(
            told(&before, &after),
            ["list.c /list/0", "list.a.n /list/1/n", "list.b /list/1"]
        );
    }

    #[test]
    fn order_null_and_pairs() {
        assert_eq!(
            told(&json!({"l": ["a", "b"]}), &json!({"l": ["b", "a"]})),
            ["l /l"]
        );
        assert!(told(&json!({"x": null}), &json!({})).is_empty());
        assert_eq!(told(&json!({}), &json!({"l": ["a"]})), ["l.a /l/0"]);
        let pairs = |value| json!({"v": [["name", value]]});
        assert_eq!(told(&pairs("a"), &pairs("b")), ["v.name /v/0"]);
    }

    #[test]
    fn a_reference_is_one_value() {
        let object = |n| json!({"o": {"blake3": n, "size": 1}});
        assert_eq!(told(&object("a"), &object("b")), ["o /o"]);
        assert_eq!(leaves(&object("a")), [["o"]]);
    }
}
