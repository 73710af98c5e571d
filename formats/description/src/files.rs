//! The files of a description, as far as the document itself names them.

use std::collections::BTreeMap;

/// Reads files of one description. The name is relative to the description and uses `/`.
pub trait Files {
    /// The bytes of a file.
    ///
    /// # Errors
    /// [`FileError`].
    fn read(&self, name: &str) -> Result<Vec<u8>, FileError>;
}

/// Why a file of a description cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileError {
    /// Nothing of that name is there.
    Missing,
    /// The name leads out of the description.
    Outside,
    /// It is larger than the limit in bytes.
    TooLarge(u64),
    /// The system said something else.
    Other(String),
}

/// Files in memory.
impl Files for BTreeMap<String, Vec<u8>> {
    fn read(&self, name: &str) -> Result<Vec<u8>, FileError> {
        self.get(name).cloned().ok_or(FileError::Missing)
    }
}

/// The name relative to the description that a reference means: `this://./a/b`, `file://./a/b`, `./a/b` and
/// `a/b` are all `a/b`.
///
/// # Errors
/// [`FileError::Outside`] for an absolute path, `..`, or a URI of another kind.
pub fn relative(reference: &str) -> Result<String, FileError> {
    let path = reference
        .strip_prefix("this://")
        .or(reference.strip_prefix("this:"))
        .or(reference.strip_prefix("file://"))
        .or(reference.strip_prefix("file:"))
        .unwrap_or(reference);
    if path.contains("://") || path.contains('\0') {
        return Err(FileError::Outside);
    }
    if path.starts_with('/') && !reference.starts_with("this:") {
        return Err(FileError::Outside);
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(FileError::Outside),
            name => parts.push(name),
        }
    }
    if parts.is_empty() {
        return Err(FileError::Missing);
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_stay_inside() {
        assert_eq!(relative("this://./keys/a.asc").as_deref(), Ok("keys/a.asc"));
        assert_eq!(relative("this:///a").as_deref(), Ok("a"));
        assert_eq!(relative("file://./a.xml").as_deref(), Ok("a.xml"));
        assert_eq!(relative("a//b/./c").as_deref(), Ok("a/b/c"));
        for outside in [
            "/etc/shadow",
            "../a",
            "a/../../b",
            "file:///etc/passwd",
            "file://../a",
            "this://../x",
        ] {
            assert_eq!(relative(outside), Err(FileError::Outside), "{outside}");
        }
    }
}
