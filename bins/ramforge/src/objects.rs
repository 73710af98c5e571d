//! Objects by hand.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use manifest::{Digest, Object, to_canonical};
use stage::{At, Error, Exit, Result};
use store::Store;
use walkdir::WalkDir;

use crate::print;

pub(crate) fn put(store: &Store, file: Option<&Path>) -> Result<()> {
    let object = match file {
        Some(path) => store.put_reader(&mut File::open(path).at(path)?)?,
        None => store.put_reader(&mut io::stdin().lock())?,
    };
    store.sync()?;
    print(&to_canonical(&object)?)
}

pub(crate) fn get(store: &Store, name: &str, output: Option<&Path>) -> Result<()> {
    let object = find(store, name)?;
    store.verify(&object)?;
    let path = store.object_path(&object);
    let mut from = File::open(&path).at(&path)?;
    match output {
        Some(to) => io::copy(&mut from, &mut File::create(to).at(to)?)
            .map(drop)
            .at(to),
        None => match io::copy(&mut from, &mut io::stdout().lock()) {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                Err(Error::failed(format!("stdout: {e}")))
            }
            _ => Ok(()),
        },
    }
}

/// An object by its digest or its whole reference.
fn find(store: &Store, name: &str) -> Result<Object> {
    let usage = |fact: String| {
        Error::new(Exit::Usage, fact)
            .advice("give 64 hexadecimal digits, or {\"blake3\":\"…\",\"size\":N}")
    };
    if name.starts_with('{') {
        return serde_json::from_str(name).map_err(|e| usage(format!("{name}: {e}")));
    }
    let blake3: Digest = name.parse().map_err(usage)?;
    let path = store.object_path(&Object { blake3, size: 0 });
    let size = fs::metadata(&path).at(&path)?.len();
    Ok(Object { blake3, size })
}

pub(crate) fn stats(store: &Store) -> Result<()> {
    for kind in ["objects", "actions", "journal"] {
        let dir = store.root().join(kind);
        let sizes = files(&dir).filter_map(|p| Some(fs::metadata(p).ok()?.len()));
        let (count, bytes) = sizes.fold((0_u64, 0_u64), |(n, sum), size| (n + 1, sum + size));
        print(&format!(
            "{kind:8} {count:8}  {:10.1} MiB",
            bytes as f64 / f64::from(1 << 20)
        ))?;
    }
    Ok(())
}

pub(crate) fn files(dir: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    let entries = WalkDir::new(dir).sort_by_file_name().into_iter();
    entries.filter_map(|e| {
        e.ok()
            .filter(|e| e.file_type().is_file())
            .map(walkdir::DirEntry::into_path)
    })
}
