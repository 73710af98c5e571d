//! Files for people: the ISO, the network boot set, the sparse disk image, the package list, the lock and the manifest.
//!
//! A file is written beside its place and renamed, so that an interrupted export leaves no half file. The disk image may
//! be an earlier one that was [changed](patch): out of its place as well.
//! An extended attribute remembers which object a file holds (see [`mark`]); an untouched file is not written again.

mod disk_image;
mod mark;
mod patch;
mod tarball;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
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
    let stem = dir.join(stem);
    // The disk and the media are large: while one waits for its file system, the other is written.
    let written = std::thread::scope(|scope| {
        let disk = scope.spawn(|| disk_image(store, manifest, &stem));
        let written = [
            lists(store, manifest, &stem),
            media(store, manifest, &stem),
            disk.join().unwrap_or_else(|_| Err(lost())),
        ];
        written.into_iter().collect::<Result<Vec<_>>>()
    })?;
    for path in written.iter().flatten() {
        print(&path.display().to_string())?;
    }
    let line = manifest.to_line()? + "\n";
    let whole = Object::of(line.as_bytes());
    let path = file(dir.join("manifest.json"), &whole, |f| {
        f.write_all_at(line.as_bytes(), 0)
            .map_err(|e| Error::failed(e.to_string()))
    })?;
    print(&path.display().to_string())
}

fn lost() -> Error {
    Error::failed("a writing thread was lost")
}

/// The paths of files that were written, or were there already.
type Written = Vec<PathBuf>;

/// `STEM` and an ending.
fn with(stem: &Path, ending: &str) -> PathBuf {
    let mut path = stem.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// The package list and the lock.
fn lists(store: &Store, manifest: &Manifest, stem: &Path) -> Result<Written> {
    if !manifest.has("rootfs") {
        return Ok(Written::new());
    }
    let rootfs: Rootfs = manifest.section()?;
    let list = (".packages", rootfs.packages_file);
    let lock = rootfs.lock.map(|lock| (".lock.json", lock));
    let files = [list].into_iter().chain(lock);
    files
        .map(|(ending, object)| file(with(stem, ending), &object, |f| copy(store, &object, f)))
        .collect()
}

/// The sparse disk image.
fn disk_image(store: &Store, manifest: &Manifest, stem: &Path) -> Result<Written> {
    if !manifest.has("disk") {
        return Ok(Written::new());
    }
    let disk: Disk = manifest.section()?;
    let path = with(stem, ".raw");
    if patch::patch(store, &disk.map, &path)? {
        return Ok(vec![path]);
    }
    let earlier = mark::held(&path);
    let written = file(path, &disk.map, |f| {
        disk_image::write(store, &disk.map, f, earlier.as_ref())
    })?;
    Ok(vec![written])
}

/// The ISO and the network boot set.
fn media(store: &Store, manifest: &Manifest, stem: &Path) -> Result<Written> {
    if !manifest.has("media") {
        return Ok(Written::new());
    }
    let media: Media = manifest.section()?;
    let iso = with(stem, ".install.iso");
    let mut written = vec![file(iso, &media.iso, |f| copy(store, &media.iso, f))?];
    if let Some(files) = &media.network {
        // The files are the tarball, and so are their times.
        let epoch = manifest.section::<Rootfs>()?.source_date_epoch;
        let facts = manifest::to_canonical(&(files, epoch))?;
        let path = with(stem, ".install.tar.xz");
        written.push(file(path, &Object::of(facts.as_bytes()), |f| {
            let written = tarball::write(store, files, epoch, f);
            stage::interrupted()?;
            written.map_err(|e| Error::failed(e.to_string()))
        })?);
    }
    Ok(written)
}

/// Removes what killed runs have left beside the files: what nobody has written to for an hour. An earlier image that is
/// being changed has an old time of writing, and a lock.
fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let changed = entry.metadata().and_then(|m| m.modified());
        let old = changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > FORGOTTEN));
        if old && entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let in_use = File::open(entry.path()).is_ok_and(|file| file.try_lock().is_err());
            if !in_use {
                // What cannot be removed now is looked at again next time.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Writes one file unless it is there already; gives its path.
fn file(
    path: PathBuf,
    object: &Object,
    write: impl FnOnce(&File) -> Result<()>,
) -> Result<PathBuf> {
    if mark::held(&path).is_none_or(|(held, _)| held != *object) {
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
            .set_permissions(objects::of_a_new_file())
            .at(&path)?;
        let file = tmp.persist(&path).map_err(|e| e.error).at(&path)?;
        mark::set(&file, object);
    }
    Ok(path)
}

fn copy(store: &Store, object: &Object, to: &File) -> Result<()> {
    let step = || stage::interrupted().map_err(io::Error::other);
    let copied = store.copy_to(object, to, &step);
    stage::interrupted()?;
    Ok(copied?)
}
