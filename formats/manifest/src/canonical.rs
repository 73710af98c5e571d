//! Canonical JSON: RFC 8785, restricted to integers that every reader holds exactly.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The largest magnitude that RFC 8785 (by way of IEEE 754 doubles) keeps exact: 2^53 − 1.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Writes `value` in canonical form: one line, sorted keys, no insignificant white space.
///
/// # Errors
/// [`Error::NotAnInteger`] where a number has a fraction, an exponent or too many digits.
pub fn to_canonical<T: Serialize>(value: &T) -> Result<String> {
    let value = serde_json::to_value(value).map_err(|e| Error::Unwritable(e.to_string()))?;
    canonical_value(&value)
}

/// As [`to_canonical`], for what is JSON already: nothing is copied.
///
/// # Errors
/// As [`to_canonical`].
pub fn canonical_value(value: &Value) -> Result<String> {
    write(value, inexact(value), in_order(value))
}

/// As [`canonical_value`], for an object.
pub(crate) fn canonical_fields(fields: &Map<String, Value>) -> Result<String> {
    write(fields, inexact_field(fields), fields_in_order(fields))
}

/// Most manifests are large and right, so the place of a number is put together only when it is wrong.
fn write<T: Serialize>(
    value: &T,
    inexact: Option<(String, String)>,
    in_order: bool,
) -> Result<String> {
    if let Some((place, number)) = inexact {
        return Err(Error::NotAnInteger { place, number });
    }
    let written = match in_order {
        true => serde_json::to_string(value),
        false => serde_json_canonicalizer::to_string(value),
    };
    written.map_err(|e| Error::Unwritable(e.to_string()))
}

/// Whether the keys are ASCII and sorted already, as those of nearly all manifests are. Integers and text
/// are written alike, so the canonical form is then the plain one, at a seventh of the cost.
fn in_order(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().all(in_order),
        Value::Object(fields) => fields_in_order(fields),
        _ => true,
    }
}

fn fields_in_order(fields: &Map<String, Value>) -> bool {
    let all = |(name, item): (&String, &Value)| name.is_ascii() && in_order(item);
    fields.keys().is_sorted() && fields.iter().all(all)
}

/// The first number that is no exact integer, with its JSON pointer.
fn inexact(value: &Value) -> Option<(String, String)> {
    match value {
        Value::Number(n) => {
            let magnitude = n.as_u64().or_else(|| n.as_i64().map(i64::unsigned_abs));
            let fine = magnitude.is_some_and(|m| m <= MAX_SAFE_INTEGER);
            (!fine).then(|| (String::new(), n.to_string()))
        }
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(i, item)| Some(below(i, inexact(item)?)))
        }
        Value::Object(fields) => inexact_field(fields),
        Value::Null | Value::Bool(_) | Value::String(_) => None,
    }
}

fn inexact_field(fields: &Map<String, Value>) -> Option<(String, String)> {
    let mut fields = fields.iter();
    fields.find_map(|(name, item)| Some(below(name, inexact(item)?)))
}

fn below(name: impl std::fmt::Display, (place, number): (String, String)) -> (String, String) {
    (format!("/{name}{place}"), number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_and_text_is_kept() {
        let text = to_canonical(&json!({"b": [1, true, null], "a": "é\n\u{1}"})).unwrap();
        assert_eq!(text, "{\"a\":\"é\\n\\u0001\",\"b\":[1,true,null]}");
    }

    #[test]
    fn both_ways_of_writing_are_one() {
        let every: String = (0..0x250_u32).filter_map(char::from_u32).collect();
        let value = json!({"z": [0, -1, 9_007_199_254_740_991_i64, every], "a/~b": {}, "a": {"": "\u{1f600}"}});
        assert!(in_order(&value));
        let plain = to_canonical(&value).unwrap();
        assert_eq!(plain, serde_json_canonicalizer::to_string(&value).unwrap());
        // Beyond the first 65,536 characters UTF-16 sorts otherwise than UTF-8.
        let odd = json!({"\u{ff61}": 1, "\u{1f600}": 2});
        assert!(!in_order(&odd));
        assert!(to_canonical(&odd).unwrap().starts_with("{\"\u{1f600}\""));
    }

    #[test]
    fn fractions_and_large_numbers_are_refused() {
        assert!(matches!(to_canonical(&json!({"a": [1.5]})),
            Err(Error::NotAnInteger { place, .. }) if place == "/a/0"));
        assert!(to_canonical(&json!(9_007_199_254_740_992_u64)).is_err());
        assert!(to_canonical(&json!(-9_007_199_254_740_991_i64)).is_ok());
    }
}
