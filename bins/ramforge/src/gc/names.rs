//! The digests that a text names, found without knowing its format: whatever stands in quotes and has 64
//! hexadecimal digits is one. So a section of somebody else's stage is followed like ours, and what is only
//! mistaken for a name makes the collector keep too much, never too little.

use std::io::{ErrorKind, Read};

use manifest::Digest;

/// Hexadecimal digits of a digest.
const DIGITS: usize = 64;
/// Bytes before a digest that say what it is: the longest field's name in canonical JSON and `{"blake3":`.
const BEFORE: usize = 64;
/// Bytes that are looked at together.
const BLOCK: usize = 1 << 16;

/// A digest with what stands before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) digest: Digest,
    pub(crate) place: Place,
}

/// Where a digest stands, as far as canonical JSON says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// `"is":{"file":{"blake3":"…"`: the content of a file in a tree.
    File,
    /// `"FIELD":{"blake3":"…"`: an object in that field; in no field, the empty text.
    Object(String),
    /// `"sha256":"…"`: a package file.
    Package,
    /// Anywhere else: perhaps a key, perhaps no name at all.
    Other,
}

/// Calls `found` with every digest that `text` names; with some of them twice.
///
/// # Errors
/// Those of `text`.
pub(crate) fn scan(mut text: impl Read, found: &mut dyn FnMut(Name)) -> std::io::Result<()> {
    let overlap = BEFORE + DIGITS + 2;
    let mut block = Vec::new();
    loop {
        // What ended the last block may go on here.
        block.drain(..block.len().saturating_sub(overlap));
        let begin = block.len();
        block.resize(begin + BLOCK, 0);
        let read = loop {
            match text.read(&mut block[begin..]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        block.truncate(begin + read);
        if read == 0 {
            return Ok(());
        }
        scan_block(&block, found);
    }
}

fn scan_block(block: &[u8], found: &mut dyn FnMut(Name)) {
    for (at, window) in block.windows(DIGITS + 2).enumerate() {
        let [b'"', digits @ .., b'"'] = window else {
            continue;
        };
        let digest = std::str::from_utf8(digits)
            .ok()
            .and_then(|d| d.parse().ok());
        if let Some(digest) = digest {
            let before = &block[at.saturating_sub(BEFORE)..at];
            let place = place(before);
            found(Name { digest, place });
        }
    }
}

fn place(before: &[u8]) -> Place {
    if before.ends_with(b"\"sha256\":") {
        return Place::Package;
    }
    let Some(outside) = before.strip_suffix(b"{\"blake3\":") else {
        return Place::Other;
    };
    if outside.ends_with(b"\"is\":{\"file\":") {
        return Place::File;
    }
    let field = outside.strip_suffix(b"\":").unwrap_or_default();
    let field = field.rsplit(|&b| b == b'"').next().unwrap_or_default();
    Place::Object(String::from_utf8_lossy(field).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<Name> {
        let mut all = Vec::new();
        scan(text.as_bytes(), &mut |name| all.push(name)).unwrap();
        all.dedup();
        all
    }

    #[test]
    fn every_quoted_digest_is_found_with_its_place() {
        let digest = Digest::of(b"x");
        let name = |place| Name { digest, place };
        for (text, place) in [
            (
                format!("{{\"iso\":{{\"blake3\":\"{digest}\",\"size\":1}}}}"),
                Place::Object("iso".into()),
            ),
            (
                format!("{{\"is\":{{\"file\":{{\"blake3\":\"{digest}\"}}}}}}"),
                Place::File,
            ),
            (
                format!("[{{\"blake3\":\"{digest}\",\"size\":1}}]"),
                Place::Object(String::new()),
            ),
            (format!("{{\"sha256\":\"{digest}\"}}"), Place::Package),
            (format!("{{\"key\":\"{digest}\"}}"), Place::Other),
            (format!("{{\n  \"blake3\": \"{digest}\"\n}}"), Place::Other),
        ] {
            assert_eq!(names(&text), [name(place)], "{text}");
        }
        let upper = digest.to_string().to_uppercase();
        for text in [
            format!("\"{digest}0\""),
            format!("'{digest}'"),
            format!("\"{upper}\""),
        ] {
            assert_eq!(names(&text), [], "{text}");
        }
    }

    #[test]
    fn a_name_across_two_blocks_is_found() {
        let digest = Digest::of(b"x");
        for shift in 0..200 {
            let text = format!(
                "{}{{\"file\":{{\"blake3\":\"{digest}\"}}}}",
                " ".repeat(BLOCK - shift)
            );
            let found = names(&text);
            let place = Place::Object("file".into());
            assert!(
                found.contains(&Name { digest, place }),
                "{shift}: {found:?}"
            );
        }
    }
}
