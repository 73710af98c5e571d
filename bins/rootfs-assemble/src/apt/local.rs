//! Repositories in a directory of this host: their owner changes them as he works, so every run looks at them.

use std::fs;
use std::path::{Path, PathBuf};

use manifest::{Digest, Repository};
use stage::{At, Result};
use walkdir::WalkDir;

use super::source_uri;

/// Depth at which a suite's package indexes lie below `dists/SUITE`: `main/binary-amd64/Packages`.
const INDEX_DEPTH: usize = 4;

/// A digest of what the repository says it has; `None` where it is not a directory of this host.
///
/// # Errors
/// Exit code 1 where a file of it cannot be read.
pub fn fingerprint(repository: &Repository, architecture: &str) -> Result<Option<Digest>> {
    let Some(dir) = directory(&repository.uri) else {
        return Ok(None);
    };
    let mut hasher = blake3::Hasher::new();
    for path in indexes(&dir, repository.distribution.as_deref(), architecture) {
        let name = path.strip_prefix(&dir).unwrap_or(&path);
        hasher.update(name.as_os_str().as_encoded_bytes());
        hasher.update(blake3::hash(&fs::read(&path).at(&path)?).as_bytes());
    }
    Ok(Some(Digest::from(hasher.finalize())))
}

fn directory(uri: &str) -> Option<PathBuf> {
    let uri = source_uri(uri)?;
    Some(PathBuf::from(uri.strip_prefix("file:")?))
}

/// The files that say what there is, sorted.
fn indexes(dir: &Path, distribution: Option<&str>, architecture: &str) -> Vec<PathBuf> {
    let binary = [format!("binary-{architecture}"), "binary-all".to_owned()];
    let in_place = |path: &Path, flat: bool| {
        let parent = path.parent().and_then(Path::file_name);
        flat || parent.is_some_and(|p| binary.iter().any(|b| p == b.as_str()))
    };
    let mut found = Vec::new();
    let suites: Vec<PathBuf> = match distribution {
        None => vec![dir.to_owned()],
        Some(words) => {
            let suite = |s| dir.join("dists").join(s);
            words.split_whitespace().map(suite).collect()
        }
    };
    for suite in suites {
        let depth = if distribution.is_some() {
            INDEX_DEPTH
        } else {
            1
        };
        let entries = WalkDir::new(&suite).max_depth(depth).follow_links(true);
        for entry in entries.into_iter().flatten() {
            let name = entry.file_name().to_string_lossy();
            let release = entry.depth() == 1 && (name == "InRelease" || name == "Release");
            let index =
                name.starts_with("Packages") && in_place(entry.path(), distribution.is_none());
            if entry.file_type().is_file() && (release || index) {
                found.push(entry.into_path());
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(uri: String, distribution: Option<&str>) -> Repository {
        Repository {
            uri,
            kind: "apt-deb".into(),
            alias: "mine".into(),
            priority: 0,
            distribution: distribution.map(Into::into),
            components: None,
            signature_check: false,
            imageinclude: false,
            imageonly: false,
            keys: Vec::new(),
        }
    }

    #[test]
    fn a_changed_index_shows_and_another_architecture_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let uri = format!("dir://{}", dir.path().display());
        let suite = repository(uri.clone(), Some("stable"));
        let flat = repository(uri, None);
        let of = |r: &Repository| fingerprint(r, "amd64").unwrap().unwrap();
        write("dists/stable/Release", "1");
        write("dists/stable/main/binary-amd64/Packages", "1");
        write("Packages.gz", "1");
        let (a, b) = (of(&suite), of(&flat));
        write("dists/stable/main/binary-s390x/Packages", "1");
        write("pool/x.deb", "1");
        assert_eq!((a, b), (of(&suite), of(&flat)));
        write("dists/stable/main/binary-amd64/Packages", "2");
        assert_ne!(a, of(&suite));
        assert_eq!(b, of(&flat));
        write("Packages.gz", "2");
        assert_ne!(b, of(&flat));
    }

    #[test]
    fn a_repository_elsewhere_has_no_fingerprint() {
        let remote = repository("http://example.org/debian".into(), Some("stable"));
        assert!(fingerprint(&remote, "amd64").unwrap().is_none());
    }
}
