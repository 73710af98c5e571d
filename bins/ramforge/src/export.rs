//! Files for people: the ISO, the network boot set, the sparse disk image, the package list, the lock and the manifest.
//!
//! A file is written beside its place and renamed, so that an interrupted export leaves no half file.
//! An extended attribute remembers which object a file holds (see [`mark`]); an untouched file is not written again.

mod disk_image;
mod mark;
mod tarball;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use manifest::{Disk, Manifest, Media, Object, Plan, Rootfs};
use stage::{At, Error, Event, Exit, Repaired, Result};
use store::Store;

use crate::{objects, print, run};

/// How the names of unfinished files begin; pipeline.sh's manifest has one as well.
const UNFINISHED: &str = ".ramforge-";
/// An unfinished file that was not written to for that long has no owner.
const FORGOTTEN: Duration = Duration::from_secs(3600);

pub(crate) fn export(store: &Store, manifest: Option<&Path>, dir: &Path) -> Result<()> {
    let manifest = Manifest::parse(&objects::text(manifest)?)?;
    run::holding(store, |store| {
        store.note(&manifest.to_line()?)?;
        files(store, &manifest, dir).map_err(|error| match repair(store) {
            Ok(true) => Error::damaged("what was to be exported is damaged")
                .advice("run the pipeline again: it makes anew what was removed"),
            _ => error,
        })
    })
}

/// Takes away what is damaged, if the export failed for that. Making it anew is up to the stages.
fn repair(store: &Store) -> Result<bool> {
    let Some(repaired) = Repaired::repair(store)? else {
        return Ok(false);
    };
    let text = repaired.sentence();
    let _ = writeln!(io::stderr().lock(), "ramforge: warning: {text}");
    if std::env::var_os("RAMFORGE_RUN").is_some() {
        let stage = "export".to_owned();
        let warning = Event::Warning { stage, text };
        let events = repaired.events("export").into_iter().chain([warning]);
        run::append(store, events)?;
    }
    Ok(true)
}

/// Everything that the manifest has so far.
fn files(store: &Store, manifest: &Manifest, dir: &Path) -> Result<()> {
    let plan: Plan = manifest.section()?;
    let stem = format!("{}.{}-{}", plan.name, plan.arch, plan.version);
    if stem.contains('/') {
        return Err(Error::refused(format!(
            "plan: {stem:?} is no file name; expected one without slashes"
        )));
    }
    fs::create_dir_all(dir).at(dir)?;
    sweep(dir);
    if manifest.has("rootfs") {
        let rootfs: Rootfs = manifest.section()?;
        file(
            &dir.join(format!("{stem}.packages")),
            &rootfs.packages_file,
            |f| copy(store, &rootfs.packages_file, f),
        )?;
        if let Some(lock) = rootfs.lock {
            file(&dir.join(format!("{stem}.lock.json")), &lock, |f| {
                copy(store, &lock, f)
            })?;
        }
    }
    if manifest.has("disk") {
        let disk: Disk = manifest.section()?;
        let path = dir.join(format!("{stem}.raw"));
        let earlier = mark::held(&path);
        file(&path, &disk.map, |f| {
            disk_image::write(store, &disk.map, f, earlier.as_ref())
        })?;
    }
    if manifest.has("media") {
        let media: Media = manifest.section()?;
        file(&dir.join(format!("{stem}.install.iso")), &media.iso, |f| {
            copy(store, &media.iso, f)
        })?;
        if let Some(files) = &media.network {
            // The files are the tarball, and so are their times.
            let epoch = manifest.section::<Rootfs>()?.source_date_epoch;
            let facts = manifest::to_canonical(&(files, epoch))?;
            let path = dir.join(format!("{stem}.install.tar.xz"));
            file(&path, &Object::of(facts.as_bytes()), |f| {
                let written = tarball::write(store, files, epoch, f);
                stage::interrupted()?;
                written.map_err(|e| Error::failed(e.to_string()))
            })?;
        }
    }
    let line = manifest.to_line()? + "\n";
    let whole = Object::of(line.as_bytes());
    file(&dir.join("manifest.json"), &whole, |f| {
        f.write_all_at(line.as_bytes(), 0)
            .map_err(|e| Error::failed(e.to_string()))
    })
}

/// Removes what killed runs have left beside the files: what nobody has written to for an hour.
fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let changed = entry.metadata().and_then(|m| m.modified());
        let old = changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > FORGOTTEN));
        if old && entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            // What cannot be removed now is looked at again next time.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Writes one file unless it is there already.
fn file(path: &Path, object: &Object, write: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    if mark::held(path).is_none_or(|(held, _)| held != *object) {
        let dir = path.parent().unwrap_or(Path::new("."));
        let tmp = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(dir)
            .at(dir)?;
        write(tmp.as_file()).map_err(|error| match error.exit() {
            Exit::Failed => Error::failed(format!("{}: {error}", path.display())),
            _ => error,
        })?;
        tmp.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))
            .at(path)?;
        let file = tmp.persist(path).map_err(|e| e.error).at(path)?;
        mark::set(&file, object);
    }
    print(&path.display().to_string())
}

fn copy(store: &Store, object: &Object, to: &File) -> Result<()> {
    let step = || stage::interrupted().map_err(io::Error::other);
    let copied = store.copy_to(object, to, &step);
    stage::interrupted()?;
    Ok(copied?)
}
