//! The key of a stage: what decides whether its work must be done again.

use std::fmt;

use serde::Serialize;

use crate::canonical::to_canonical;
use crate::error::Result;
use crate::object::Digest;

/// The name of one piece of work in the store's action index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageKey(Digest);

impl StageKey {
    /// The digest that names the action.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl From<Digest> for StageKey {
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

impl fmt::Display for StageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// BLAKE3 in `derive_key` mode over the canonical JSON of `facts`, with a context string per stage.
///
/// `facts` holds the stage's version, options, the fields it reads, and the identity of the outside
/// programs that shape its output; nothing else.
///
/// # Errors
/// As [`to_canonical`].
pub fn stage_key<T: Serialize>(stage: &str, facts: &T) -> Result<StageKey> {
    Ok(stage_key_of(stage, &to_canonical(facts)?))
}

/// As [`stage_key`], where the canonical JSON of the facts is at hand.
pub fn stage_key_of(stage: &str, canonical: &str) -> StageKey {
    let context = format!("ramforge 2026 stage key: {stage}");
    let key = blake3::derive_key(&context, canonical.as_bytes());
    StageKey(Digest::from(blake3::Hash::from_bytes(key)))
}

/// The key of a part of a stage: as [`stage_key`], with a context string of its own.
///
/// # Errors
/// As [`to_canonical`].
pub fn part_key<T: Serialize>(stage: &str, part: &str, facts: &T) -> Result<StageKey> {
    stage_key(&format!("{stage}/{part}"), facts)
}

/// The key under which the package file with that SHA-256 (64 hexadecimal digits) is recorded.
///
/// # Errors
/// As [`to_canonical`].
pub fn package_key(sha256: &str) -> Result<StageKey> {
    stage_key("package", &sha256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stage_and_facts_both_decide() {
        let facts = json!({"version": 1});
        let key = stage_key("raw-image", &facts).unwrap();
        assert_eq!(key, stage_key("raw-image", &facts).unwrap());
        assert_eq!(key, stage_key_of("raw-image", "{\"version\":1}"));
        assert_ne!(key, stage_key("iso-pack", &facts).unwrap());
        assert_ne!(key, stage_key("raw-image", &json!({"version": 2})).unwrap());
    }
}
