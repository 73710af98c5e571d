//! Canonical JSON: RFC 8785, restricted to integers that every reader holds exactly.

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// The largest magnitude that RFC 8785 (by way of IEEE 754 doubles) keeps exact: 2^53 − 1.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Writes `value` in canonical form: one line, sorted keys, no insignificant white space.
///
/// # Errors
/// [`Error::NotAnInteger`] where a number has a fraction, an exponent or too many digits.
pub fn to_canonical<T: Serialize>(value: &T) -> Result<String> {
    let value = serde_json::to_value(value).map_err(|e| Error::Unwritable(e.to_string()))?;
    check_integers(&value, &mut String::new())?;
    serde_json_canonicalizer::to_string(&value).map_err(|e| Error::Unwritable(e.to_string()))
}

fn check_integers(value: &Value, place: &mut String) -> Result<()> {
    let length = place.len();
    match value {
        Value::Number(n) => {
            let magnitude = n.as_u64().or_else(|| n.as_i64().map(i64::unsigned_abs));
            if magnitude.is_none_or(|m| m > MAX_SAFE_INTEGER) {
                return Err(Error::NotAnInteger {
                    place: place.clone(),
                    number: n.to_string(),
                });
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                place.push_str(&format!("/{i}"));
                check_integers(item, place)?;
                place.truncate(length);
            }
        }
        Value::Object(fields) => {
            for (name, item) in fields {
                place.push_str(&format!("/{name}"));
                check_integers(item, place)?;
                place.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
    Ok(())
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
    fn fractions_and_large_numbers_are_refused() {
        assert!(matches!(to_canonical(&json!({"a": [1.5]})),
            Err(Error::NotAnInteger { place, .. }) if place == "/a/0"));
        assert!(to_canonical(&json!(9_007_199_254_740_992_u64)).is_err());
        assert!(to_canonical(&json!(-9_007_199_254_740_991_i64)).is_ok());
    }
}
