//! Objects by hand.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use manifest::{Digest, Object, to_canonical};
use stage::{At, Error, Exit, Result};
use store::Store;
use walkdir::WalkDir;

use crate::{print, run};

pub(crate) fn put(store: Store, file: Option<&Path>) -> Result<()> {
    let store = run::held(store)?;
    let object = match file {
        Some(path) => store.put_reader(&mut File::open(path).at(path)?)?,
        None => store.put_reader(&mut io::stdin().lock())?,
    };
    store.sync()?;
    print(&to_canonical(&object)?)
}

/// Writes an object to stdout, or to a file that is there whole or not at all.
pub(crate) fn get(store: &Store, name: &str, output: Option<&Path>) -> Result<()> {
    let (object, wanted) = find(store, name)?;
    store.verify(&object)?;
    if wanted.is_some_and(|size| size != object.size) {
        let fact = format!("{name}: the object has {} bytes", object.size);
        return Err(
            Error::new(Exit::Usage, fact).advice("take the reference as the manifest has it")
        );
    }
    let mut from = store.open_object(&object)?;
    let Some(to) = output else {
        return match io::copy(&mut from, &mut io::stdout().lock()) {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                Err(Error::failed(format!("stdout: {e}")))
            }
            _ => Ok(()),
        };
    };
    // A device or a pipe is written to, not replaced.
    if fs::metadata(to).is_ok_and(|m| !m.is_file()) {
        let mut to_file = File::options().write(true).open(to).at(to)?;
        return io::copy(&mut from, &mut to_file).map(drop).at(to);
    }
    let dir = to.parent().filter(|d| !d.as_os_str().is_empty());
    let mut tmp = tempfile::Builder::new()
        .prefix(".ramforge-")
        .tempfile_in(dir.unwrap_or(Path::new(".")))
        .at(to)?;
    io::copy(&mut from, &mut tmp).at(to)?;
    tmp.as_file().set_permissions(of_a_new_file()).at(to)?;
    tmp.persist(to).map(drop).map_err(|e| e.error).at(to)
}

/// What the caller's umask leaves of 0666. It is read, not set and set back: other threads make files meanwhile.
pub(crate) fn of_a_new_file() -> fs::Permissions {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let umask = umask.and_then(|text| u32::from_str_radix(text.trim(), 8).ok());
    fs::Permissions::from_mode(0o666 & !umask.unwrap_or(0o022))
}

/// An object by its digest or its whole reference, and the size that the reference says.
fn find(store: &Store, name: &str) -> Result<(Object, Option<u64>)> {
    let usage = |fact: String| {
        Error::new(Exit::Usage, fact)
            .advice("give 64 hexadecimal digits, or {\"blake3\":\"…\",\"size\":N}")
    };
    let (blake3, wanted) = if name.starts_with('{') {
        let object: Object =
            serde_json::from_str(name).map_err(|e| usage(format!("{name}: {e}")))?;
        (object.blake3, Some(object.size))
    } else {
        (name.parse::<Digest>().map_err(usage)?, None)
    };
    let object = store.find(blake3)?.ok_or_else(|| {
        Error::failed(format!("object {blake3} is not in the store"))
            .advice("run the pipeline again: it makes what is missing")
    })?;
    Ok((object, wanted))
}

/// The text of a file, or of stdin.
pub(crate) fn text(file: Option<&Path>) -> Result<String> {
    match file {
        Some(path) => fs::read_to_string(path).at(path),
        None => {
            io::read_to_string(io::stdin().lock()).map_err(|e| Error::failed(format!("stdin: {e}")))
        }
    }
}

pub(crate) fn files(dir: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    let entries = WalkDir::new(dir).sort_by_file_name().into_iter();
    entries.filter_map(|e| {
        e.ok()
            .filter(|e| e.file_type().is_file())
            .map(walkdir::DirEntry::into_path)
    })
}

/// `…/ab/cdef…` → `abcdef…`.
pub(crate) fn name_of(path: &Path) -> String {
    let mut parts = path.iter().rev().filter_map(|p| p.to_str());
    let rest = parts.next().unwrap_or_default();
    format!("{}{rest}", parts.next().unwrap_or_default())
}
