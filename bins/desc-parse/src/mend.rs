//! `--fix`: writes the safe fixes into the description, each file whole or not at all.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use description::{Files, Report, mended};
use stage::{At, Context, Error, Result};

use crate::directory;
use crate::options::Options;

/// Applies the safe fixes of a report. Says whether anything was written.
///
/// # Errors
/// Exit code 1 where a file cannot be written.
pub fn mend(cx: &Context, options: &Options, report: &Report) -> Result<bool> {
    let changes = mended(report);
    let Some((directory, _)) = directory::find(&options.description, &mut Report::default()) else {
        return Ok(false);
    };
    for change in &changes {
        let name = &change.name;
        let path = directory
            .path(name)
            .canonicalize()
            .at(&directory.path(name))?;
        if directory.read(name).ok().as_deref() != Some(change.old.as_bytes()) {
            return Err(
                Error::failed(format!("{} changed while it was read", change.shown))
                    .advice("run desc-parse --fix again"),
            );
        }
        replace(&path, &change.new)?;
        let plural = if change.fixes == 1 { "" } else { "es" };
        cx.say(&format!(
            "{}: {} fix{plural} made",
            change.shown, change.fixes
        ));
    }
    Ok(!changes.is_empty())
}

/// Replaces a file in one step; its permissions stay, and its owner, when root does it.
fn replace(path: &Path, text: &str) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    let mut file = tempfile::NamedTempFile::new_in(parent).at(parent)?;
    file.write_all(text.as_bytes()).at(path)?;
    let meta = std::fs::metadata(path).at(path)?;
    let made = file.as_file().metadata().at(path)?;
    if (made.uid(), made.gid()) != (meta.uid(), meta.gid()) {
        fchown(file.as_file(), Some(meta.uid()), Some(meta.gid())).at(path)?;
    }
    file.as_file()
        .set_permissions(meta.permissions())
        .at(path)?;
    file.as_file().sync_all().at(path)?;
    file.persist(path).map_err(|e| e.error).at(path)?;
    Ok(())
}
