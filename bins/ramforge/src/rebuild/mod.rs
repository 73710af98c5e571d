//! `ramforge rebuild --check MANIFEST`: makes an image again from its inputs, and says where the two differ.
//!
//! From the manifest's plan and lock everything is made again in a store of its own, into which only inputs are
//! carried: overlay, scripts, keys and package files, but nothing that a stage made. Package files that the store
//! no longer has are fetched where the lock says. Then section by section is compared, and a difference is
//! explained by file and byte.
//!
//! Options that changed the result (`raw-image --level`) are no part of a manifest; they are given again in
//! `RAW_IMAGE` and its like, as for `pipeline.sh`.
//!
//! *Not compared:* the verdict, which is about a machine and not about bytes; who wrote a section (`by`).

mod archive;
mod bytes;
mod disk;
mod inputs;
mod medium;
mod report;
mod stages;
mod tree;

use std::fs;
use std::io::Write;
use std::path::Path;

use manifest::{Disk, Initrd, Manifest, Media, NetworkFile, Object, Plan, Rootfs, Section};
use serde_json::Value;
use stage::{At, Error, Exit, Result};
use store::Store;

use crate::{objects, print, run};
use report::Report;

/// The store that made the image, and the one that made it again.
pub(crate) struct Sides<'a> {
    was: &'a Store,
    is: &'a Store,
}

/// The command. `dir` keeps the store of the rebuild.
///
/// # Errors
/// Exit code 4 where the image is another one; that of the stage that failed; 3 for a manifest without a lock.
pub(crate) fn check(store: &Store, manifest: &Path, dir: Option<&Path>) -> Result<()> {
    let was = Manifest::parse(&objects::text(Some(manifest))?)?;
    run::holding(store, |store| {
        store.note(&was.to_line()?)?;
        let scratch = store.scratch()?;
        let place = scratch.path().join("store");
        let fresh = fresh(dir.unwrap_or(&place))?;
        let is = again(store, &fresh, &was, scratch.path())?;
        let sides = Sides {
            was: store,
            is: &fresh,
        };
        match compare(&sides, &was, &is)? {
            0 => print("the same, byte for byte: root tree, disk image, initrd and ISO"),
            n => Err(Error::new(
                Exit::Negative,
                format!("the rebuild is not the same: {n} differences"),
            )),
        }
    })
}

/// An empty store: results of earlier builds would prove nothing.
fn fresh(dir: &Path) -> Result<Store> {
    let has_content = |dir: &Path| fs::read_dir(dir).is_ok_and(|mut d| d.next().is_some());
    if has_content(dir) {
        let fact = format!(
            "--store {}: expected a directory that is empty or not there",
            dir.display()
        );
        return Err(Error::new(Exit::Usage, fact).advice("name another one, or remove it"));
    }
    Ok(Store::open(dir)?)
}

/// Makes everything again; gives the manifest.
fn again(store: &Store, fresh: &Store, was: &Manifest, scratch: &Path) -> Result<Manifest> {
    let (plan, rootfs): (Plan, Rootfs) = (was.section()?, was.section()?);
    let lock = inputs::lock(store, &rootfs)?;
    let missing = inputs::carry(store, fresh, &plan, &lock)?;
    if missing > 0 {
        let fact =
            format!("ramforge: {missing} packages are not in the store any more and are fetched");
        let _ = writeln!(std::io::stderr().lock(), "{fact}");
    }
    let (plan_file, lock_file) = (scratch.join("plan.json"), scratch.join("lock.json"));
    let mut only_plan = Manifest::default();
    only_plan.set(&plan)?;
    fs::write(&plan_file, only_plan.to_line()?).at(&plan_file)?;
    if let Some(object) = rootfs.lock {
        fs::write(&lock_file, store.get(&object)?).at(&lock_file)?;
    }
    Ok(Manifest::parse(&stages::run(
        fresh, &plan_file, &lock_file,
    )?)?)
}

/// Compares all sections and prints the differences; gives their number.
///
/// # Errors
/// Exit code 6 where something is damaged.
pub(crate) fn compare(sides: &Sides<'_>, was: &Manifest, is: &Manifest) -> Result<usize> {
    let mut report = Report::default();
    rootfs(sides, &was.section()?, &is.section()?, &mut report)?;
    if was.has(Disk::NAME) {
        let (was, is): (Disk, Disk) = (was.section()?, is.section()?);
        report.part("disk image")?;
        if was.map != is.map {
            disk::explain(sides, &was, &is, &mut report)?;
        }
        fields(&was, &is, &mut report)?;
    }
    if was.has(Initrd::NAME) {
        initrd(sides, &was.section()?, &is.section()?, &mut report)?;
    }
    if was.has(Media::NAME) {
        let (was, is): (Media, Media) = (was.section()?, is.section()?);
        report.part("ISO")?;
        if was.iso != is.iso {
            medium::explain(sides, was.iso, is.iso, &mut report)?;
        }
        fields(&was, &is, &mut report)?;
        let files = |media: Media| media.network.unwrap_or_default();
        network(sides, &files(was), &files(is), &mut report)?;
    }
    report.finish()
}

fn network(
    sides: &Sides<'_>,
    was: &[NetworkFile],
    is: &[NetworkFile],
    report: &mut Report,
) -> Result<()> {
    report.part("network boot set")?;
    let in_both = |a: &NetworkFile, files: &[NetworkFile]| files.iter().any(|b| a.path == b.path);
    for file in was.iter().filter(|file| !in_both(file, is)) {
        report.add(format!("{}: was there, is not", file.path))?;
    }
    for file in is.iter().filter(|file| !in_both(file, was)) {
        report.add(format!("{}: was not there, is", file.path))?;
    }
    for file in was {
        let other = is.iter().find(|other| other.path == file.path);
        let other = other.map_or(file.object, |other| other.object);
        if let Some(fact) = content(sides, file.object, other)? {
            report.add(format!("{}: {fact}", file.path))?;
        }
    }
    Ok(())
}

fn rootfs(sides: &Sides<'_>, was: &Rootfs, is: &Rootfs, report: &mut Report) -> Result<()> {
    report.part("root tree")?;
    if was.tree != is.tree {
        tree::explain(sides, was.tree, is.tree, report)?;
    }
    if let (Some(was), Some(is)) = (was.initramfs, is.initramfs)
        && was != is
    {
        report.part("initramfs of the root tree")?;
        archive::explain(sides, was, is, report)?;
    }
    report.part("packages")?;
    for package in was.packages.iter().filter(|p| !is.packages.contains(p)) {
        report.add(format!(
            "{} {} was installed, is not",
            package.name, package.version
        ))?;
    }
    for package in is.packages.iter().filter(|p| !was.packages.contains(p)) {
        report.add(format!(
            "{} {} was not installed, is",
            package.name, package.version
        ))?;
    }
    report.part("rootfs")?;
    fields(was, is, report)
}

fn initrd(sides: &Sides<'_>, was: &Initrd, is: &Initrd, report: &mut Report) -> Result<()> {
    for (a, b) in was.segments.iter().zip(&is.segments) {
        report.part(&format!("initrd, segment {}", a.name))?;
        if a.object != b.object {
            archive::explain(sides, a.object, b.object, report)?;
        }
    }
    report.part("initrd")?;
    fields(was, is, report)
}

/// Fields of a section that are neither objects nor lists of them: those are explained by what is in them.
fn fields<S: Section>(was: &S, is: &S, report: &mut Report) -> Result<()> {
    let value =
        |section: &S| serde_json::to_value(section).map_err(|e| Error::failed(e.to_string()));
    let (was, is) = (value(was)?, value(is)?);
    for (name, was) in was.as_object().into_iter().flatten() {
        let is = is.get(name).unwrap_or(&Value::Null);
        let is_plain = |v: &Value| !v.to_string().contains("\"blake3\":");
        let skipped = ["by", "packages", "deploy_id"].contains(&name.as_str());
        if was != is && is_plain(was) && is_plain(is) && !skipped {
            report.add(format!("{}.{name} was {was}, is {is}", S::NAME))?;
        }
    }
    Ok(())
}

/// How two objects' bytes differ; nothing where they are the same.
///
/// # Errors
/// Exit code 6 where one is damaged.
fn content(sides: &Sides<'_>, was: Object, is: Object) -> Result<Option<String>> {
    if was == is {
        return Ok(None);
    }
    let path = sides.was.object_path(&was);
    let readers = (sides.was.open_object(&was)?, sides.is.open_object(&is)?);
    Ok(bytes::first(readers.0, readers.1)
        .at(&path)?
        .map(|d| d.to_string()))
}
