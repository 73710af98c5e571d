//! `--svg`: the file of a picture, whole or as it was before.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use stage::{Error, Result};

/// Looks whether the file's directory is there, before hours of work.
pub(crate) fn checked(path: PathBuf) -> std::result::Result<PathBuf, String> {
    if path.is_dir() {
        return Err("a directory; expected a file's name".to_owned());
    }
    let dir = directory(&path);
    match dir.is_dir() {
        true => Ok(path),
        false => Err(format!(
            "{} is no directory; expected one that is there; make it, or name another file",
            dir.display()
        )),
    }
}

/// Writes the picture.
pub(crate) fn write(path: &Path, svg: &str) -> Result<()> {
    put(path, svg).map_err(|fact| {
        Error::failed(format!("--svg: {}: {fact}", path.display())).advice(
            "expected a file that can be written; the verdict is recorded: the same again with another file is a matter of seconds",
        )
    })
}

fn put(path: &Path, svg: &str) -> io::Result<()> {
    // A link stays one; a device or a pipe is written to.
    let path = match fs::metadata(path) {
        Ok(there) if !there.is_file() => return fs::write(path, svg),
        Ok(_) => path.canonicalize()?,
        Err(_) => path.to_owned(),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".ramforge-svg-")
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(directory(&path))?;
    file.write_all(svg.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_a_device_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("ram.svg"), dir.path().join("link"));
        std::os::unix::fs::symlink("ram.svg", &link).unwrap();
        for text in ["<svg/>", "<g/>"] {
            write(&file, text).unwrap();
            assert_eq!(fs::read_to_string(&link).unwrap(), text);
        }
        write(&link, "<svg/>").unwrap();
        assert!(link.is_symlink() && fs::read_to_string(&file).unwrap() == "<svg/>");
        write(Path::new("/dev/null"), "<svg/>").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_directory_that_is_not_there_is_seen_at_once() {
        assert!(checked("ram.svg".into()).is_ok());
        assert!(checked("/".into()).is_err());
        let fact = checked("/nowhere/ram.svg".into()).unwrap_err();
        assert!(fact.starts_with("/nowhere is no directory"), "{fact}");
        let error = write(Path::new("/nowhere/ram.svg"), "").unwrap_err();
        assert!(error.to_string().contains("help: expected"), "{error}");
    }
}
