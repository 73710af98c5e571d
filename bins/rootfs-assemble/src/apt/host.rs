//! The build host's own package sources: sources.list(5), in both spellings.
//!
//! apt itself reads copies of the files, so every option in them means what it means on the host. What is
//! looked at here is only what makes two hosts different for the stage key.

use std::fs;
use std::path::{Path, PathBuf};

use manifest::Digest;
use serde_json::Value;
use stage::{At, Error, Result};

/// One file of package sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// File name: it must end in `.list` or `.sources`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The host's source files below `etc` (`/etc/apt`), in apt's order.
///
/// # Errors
/// Exit code 1 where a file cannot be read; exit code 5 where there is none at all.
pub fn files(etc: &Path) -> Result<Vec<SourceFile>> {
    let mut paths: Vec<PathBuf> = vec![etc.join("sources.list")];
    if let Ok(entries) = fs::read_dir(etc.join("sources.list.d")) {
        let mut parts: Vec<_> = entries.flatten().map(|e| e.path()).collect();
        parts.sort();
        paths.extend(parts);
    }
    let mut files = Vec::new();
    for path in paths {
        let kind = path.extension().and_then(|e| e.to_str());
        if !matches!(kind, Some("list" | "sources")) || !path.is_file() {
            continue;
        }
        let text = fs::read_to_string(&path).at(&path)?;
        let name = path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        files.push(SourceFile { name, text });
    }
    files.retain(|f| !meaning(f).is_empty());
    if files.is_empty() {
        let where_ = etc.display();
        return Err(Error::missing(format!(
            "this host has no package sources: nothing in {where_}/sources.list and {where_}/sources.list.d"
        ))
        .advice("name the repositories in the description, or with desc-parse --set-repo"));
    }
    Ok(files)
}

/// What of the files decides which packages there are: enabled sources of binary packages, without
/// comments, in a form that does not depend on blanks.
pub fn identity(files: &[SourceFile]) -> Value {
    let lines: Vec<String> = files.iter().flat_map(meaning).collect();
    Value::from(Digest::of(lines.join("\n").as_bytes()).to_string())
}

/// Whether a source is a directory of this host, which may change at any time.
pub fn has_local(files: &[SourceFile]) -> bool {
    let local = |line: String| {
        ["file:", "copy:"]
            .iter()
            .any(|scheme| line.contains(scheme))
    };
    files.iter().flat_map(meaning).any(local)
}

/// The sources of one file as normalised lines.
fn meaning(file: &SourceFile) -> Vec<String> {
    if file.name.ends_with(".list") {
        file.text.lines().filter_map(one_line).collect()
    } else {
        let paragraphs = crate::deb::control::Paragraph::parse_all(&file.text);
        paragraphs.iter().filter_map(deb822).collect()
    }
}

/// `deb [options] uri suite component…`
fn one_line(line: &str) -> Option<String> {
    let line = line.split('#').next().unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    (words.first() == Some(&"deb")).then(|| words.join(" "))
}

/// A paragraph of a `.sources` file, if it is enabled and has binary packages.
fn deb822(paragraph: &crate::deb::control::Paragraph) -> Option<String> {
    let off = |v: &str| {
        matches!(
            v.to_ascii_lowercase().as_str(),
            "no" | "false" | "0" | "off"
        )
    };
    if paragraph.get("Enabled").is_some_and(off) {
        return None;
    }
    let types = paragraph.get("Types").unwrap_or_default();
    let text = paragraph.to_string();
    types
        .split_whitespace()
        .any(|t| t == "deb")
        .then(|| text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> SourceFile {
        let (name, text) = (name.to_owned(), text.to_owned());
        SourceFile { name, text }
    }

    #[test]
    fn disabled_and_source_entries_do_not_count() {
        let list = file(
            "a.list",
            "# deb http://x y\ndeb-src http://a s main\n deb  [signed-by=/k]  http://a s main # note\n",
        );
        assert_eq!(meaning(&list), ["deb [signed-by=/k] http://a s main"]);
        let sources = file(
            "a.sources",
            "Types: deb-src\nURIs: http://a\n\nTypes: deb\nEnabled: no\nURIs: http://b\n\nTypes: deb deb-src\n# c\nURIs: http://c\nSuites: s\nSigned-By:\n -----BEGIN\n",
        );
        let expected = "Types: deb deb-src URIs: http://c Suites: s Signed-By: -----BEGIN";
        assert_eq!(meaning(&sources), [expected]);
    }

    #[test]
    fn comments_do_not_change_the_identity_and_sources_do() {
        let identity = |text: &str| identity(&[file("a.list", text)]);
        let one = identity("deb http://a s main\n");
        assert_eq!(one, identity("# new\n\ndeb   http://a s main"));
        assert_ne!(one, identity("deb http://a t main"));
    }

    #[test]
    fn files_are_found_and_none_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = files(dir.path()).unwrap_err().to_string();
        assert!(error.contains("no package sources"), "{error}");
        let parts = dir.path().join("sources.list.d");
        fs::create_dir(&parts).unwrap();
        fs::write(parts.join("b.sources"), "Types: deb\nURIs: http://b\n").unwrap();
        fs::write(parts.join("a.list"), "deb http://a s\n").unwrap();
        fs::write(parts.join("c.list.save"), "deb http://c s\n").unwrap();
        fs::write(dir.path().join("sources.list"), "# none\n").unwrap();
        let names: Vec<_> = files(dir.path())
            .unwrap()
            .into_iter()
            .map(|f| f.name)
            .collect();
        assert_eq!(names, ["a.list", "b.sources"]);
    }
}
