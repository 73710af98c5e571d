//! The directory of a description: which file is meant, and reading without ever leaving it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use description::{FileError, Files, MAX_BYTES, Report, code, error_nowhere};

/// A description's directory, with symbolic links resolved.
#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
}

/// Finds the directory and the name of the description in it. Whatever is wrong goes to the report.
pub fn find(given: &Path, report: &mut Report) -> Option<(Directory, String)> {
    let meta = match std::fs::metadata(given) {
        Ok(meta) => meta,
        Err(e) => {
            let fact = format!("{}: {}", given.display(), words(&e));
            report.add(error_nowhere(code::NO_DESCRIPTION, fact).help(WAY_OUT));
            return None;
        }
    };
    let (dir, name) = if meta.is_dir() {
        (given, main_file(given, report)?)
    } else {
        let name = given.file_name()?.to_string_lossy().into_owned();
        let parent = given.parent().filter(|p| !p.as_os_str().is_empty());
        (parent.unwrap_or(Path::new(".")), name)
    };
    report
        .sources
        .set_base(shown_base(given, meta.is_dir(), &name));
    match dir.canonicalize() {
        Ok(root) => Some((Directory { root }, name)),
        Err(e) => {
            let fact = format!("{}: {}", dir.display(), words(&e));
            report.add(error_nowhere(code::NO_DESCRIPTION, fact));
            None
        }
    }
}

fn words(wrong: &std::io::Error) -> String {
    match wrong.kind() {
        std::io::ErrorKind::NotFound => "there is no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "you may not read it".to_owned(),
        _ => wrong.to_string(),
    }
}

/// What stands before the names of files in messages, so that an editor finds them from where the user is.
fn shown_base(given: &Path, is_directory: bool, name: &str) -> String {
    let given = given.to_string_lossy();
    match given.strip_suffix(name).filter(|_| !is_directory) {
        Some(before) => before.to_owned(),
        None => format!("{}/", given.trim_end_matches('/')),
    }
}

const WAY_OUT: &str = "name a directory with config.xml or one *.kiwi, or such a file itself";

/// `config.xml`, else the only `*.kiwi`.
fn main_file(dir: &Path, report: &mut Report) -> Option<String> {
    if dir.join("config.xml").is_file() {
        return Some("config.xml".to_owned());
    }
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries.flatten(),
        Err(e) => {
            let fact = format!("{}: {}", dir.display(), words(&e));
            report.add(error_nowhere(code::NO_DESCRIPTION, fact).help(WAY_OUT));
            return None;
        }
    };
    let mut names: Vec<String> = entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|n| n.ends_with(".kiwi") && dir.join(n).is_file())
        .collect();
    names.sort();
    match names.as_slice() {
        [one] => Some(one.clone()),
        [] => {
            let fact = format!("{}: there is no config.xml and no *.kiwi", dir.display());
            report.add(error_nowhere(code::NO_DESCRIPTION, fact).help(WAY_OUT));
            None
        }
        [most @ .., last] => {
            let list = format!("{} and {last}", most.join(", "));
            let fact = format!("{}: {list} are both descriptions", dir.display());
            let help = format!("name the one that is meant: {}", dir.join(last).display());
            report.add(error_nowhere(code::TWO_DESCRIPTIONS, fact).help(help));
            None
        }
    }
}

impl Directory {
    /// The path of something in the directory. Symbolic links in it are not resolved.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Whether there is a regular file, or a link to one, of this name.
    pub fn has_file(&self, name: &str) -> bool {
        self.path(name).is_file()
    }

    /// Opens a regular file. Links are followed, but never out of the directory.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(&self, name: &str) -> Result<File, FileError> {
        let other = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => FileError::Missing,
            _ => FileError::Other(words(&e)),
        };
        let real = self.path(name).canonicalize().map_err(other)?;
        if !real.starts_with(&self.root) {
            return Err(FileError::Outside);
        }
        // A named pipe would block for ever, a device would be read to no end.
        if !real.metadata().map_err(other)?.is_file() {
            return Err(FileError::Other("it is not a regular file".to_owned()));
        }
        File::open(&real).map_err(other)
    }
}

impl Files for Directory {
    fn read(&self, name: &str) -> Result<Vec<u8>, FileError> {
        let mut bytes = Vec::new();
        self.open(name)?
            .take(MAX_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| FileError::Other(e.to_string()))?;
        if bytes.len() > MAX_BYTES {
            return Err(FileError::TooLarge(MAX_BYTES as u64));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn found(dir: &Path) -> (Option<String>, Vec<String>) {
        let mut report = Report::default();
        let name = find(dir, &mut report).map(|f| f.1);
        let facts = report
            .diagnostics()
            .iter()
            .map(|d| d.message.clone())
            .collect();
        (name, facts)
    }

    #[test]
    fn exactly_one_description_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(dir.path().join(name), "<image/>").unwrap();
        assert!(found(dir.path()).1[0].contains("no config.xml and no *.kiwi"));
        write("b.kiwi");
        assert_eq!(found(dir.path()).0.as_deref(), Some("b.kiwi"));
        write("a.kiwi");
        assert!(found(dir.path()).1[0].contains("a.kiwi and b.kiwi"));
        assert_eq!(
            found(&dir.path().join("a.kiwi")).0.as_deref(),
            Some("a.kiwi")
        );
        write("config.xml");
        assert_eq!(found(dir.path()).0.as_deref(), Some("config.xml"));
        assert!(found(&dir.path().join("none")).1[0].contains("no such file or directory"));
    }

    #[test]
    fn nothing_outside_is_read() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.kiwi"), "<image/>").unwrap();
        std::fs::write(dir.path().join("real"), "r").unwrap();
        symlink(outside.path().join("secret"), dir.path().join("out")).unwrap();
        symlink("real", dir.path().join("in")).unwrap();
        symlink(outside.path(), dir.path().join("sub")).unwrap();
        let (directory, _) = find(dir.path(), &mut Report::default()).unwrap();
        assert_eq!(directory.read("in"), Ok(b"r".to_vec()));
        assert_eq!(directory.read("out"), Err(FileError::Outside));
        assert_eq!(directory.read("sub/secret"), Err(FileError::Outside));
        assert_eq!(directory.read("nothing"), Err(FileError::Missing));
        assert!(matches!(directory.read("."), Err(FileError::Other(_))));
    }
}
