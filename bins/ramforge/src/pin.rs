//! Pins: manifests whose objects garbage collection keeps.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use manifest::Manifest;
use stage::{At, Error, Exit, Result};
use store::Store;

use crate::{objects, run};

/// Keeps everything that a manifest leads to.
///
/// # Errors
/// Exit code 3 for what is no manifest, 1 where an object that it leads to is not there.
pub(crate) fn pin(store: &Store, name: &str, manifest: Option<&Path>) -> Result<()> {
    let line = Manifest::parse(&objects::text(manifest)?)?.to_line()? + "\n";
    run::holding(store, |store| {
        // From here on nothing of it is taken away: what is there now is there when it is pinned.
        store.note(&line)?;
        if !stage::leads_to_all(store, &line) {
            return Err(Error::failed(
                "something that the manifest leads to is not in the store any more",
            )
            .advice("run the pipeline again, and pin the manifest that it writes"));
        }
        Ok(store.set_ref(name, line.as_bytes())?)
    })
}

/// Ends a pin.
///
/// # Errors
/// Exit code 2 where there is none of that name.
pub(crate) fn unpin(store: &Store, name: &str) -> Result<()> {
    let path = store.ref_path(name)?;
    match fs::remove_file(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            Err(Error::new(Exit::Usage, format!("there is no pin {name:?}"))
                .advice("ramforge store-stats names the pins"))
        }
        done => done.at(&path),
    }
}
