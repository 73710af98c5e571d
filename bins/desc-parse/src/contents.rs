//! What a description holds besides its document: keys, overlay, archives, files, scripts.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use description::{Draft, FileError, Report, Source, Span, code, error, error_nowhere};
use manifest::{Object, SigningKey};
use stage::{At, Context, Result};
use store::tree::{Kind, Tree};

use crate::archive::{Budget, add_archive};
use crate::directory::Directory;
use crate::overlay::{add_directory, entry, settle, umask_of};

/// Largest script or key in bytes.
const MAX_SMALL: u64 = 1 << 20;

/// Scripts that KIWI knows and that have no moment of their own here.
const OTHER_SCRIPTS: &[&str] = &[
    "post_bootstrap.sh",
    "config-overlay.sh",
    "config-host-overlay.sh",
    "pre_disk_sync.sh",
    "disk.sh",
    "edit_boot_config.sh",
    "edit_boot_install.sh",
    "uefi.sh",
];

/// How the name of an archive begins that KIWI unpacks onto the medium.
const MEDIUM_ARCHIVE: &str = "config-cdroot.tar";

/// Names of an overlay that is an archive.
const OVERLAY_ARCHIVES: &[&str] = &["root.tar.gz", "root.tar.xz", "root.tar.zst", "root.tar"];

/// Puts everything into the store and its objects into the plan. What is missing goes to the report.
///
/// # Errors
/// Exit code 1 or 6, where the store or a directory fails.
pub fn gather(
    cx: &Context,
    directory: &Directory,
    draft: &mut Draft,
    report: &mut Report,
) -> Result<()> {
    keys(cx, directory, draft, report)?;
    let mut tree = Tree::default();
    let mut budget = Budget::default();
    archives(cx, directory, draft, &mut tree, &mut budget, report);
    overlay(cx, directory, draft, &mut tree, &mut budget, report)?;
    files(cx, directory, draft, &mut tree, report)?;
    if !tree.is_empty() {
        draft.plan.overlay = Some(tree.write(cx.store())?);
    }
    draft.plan.scripts.config = script(cx, directory, "config.sh", report)?;
    draft.plan.scripts.images = script(cx, directory, "images.sh", report)?;
    not_taken(directory, report);
    Ok(())
}

/// Files that KIWI takes by their names alone, and Ramforge does not.
fn not_taken(directory: &Directory, report: &mut Report) {
    for name in OTHER_SCRIPTS.iter().filter(|n| directory.has_file(n)) {
        let fact = format!("{name} is not run");
        let help = "move what it does into config.sh or images.sh, or take the file out";
        report.add(error_nowhere(code::UNSUPPORTED_SCRIPT, fact).help(help));
    }
    let entries = std::fs::read_dir(directory.path("")).into_iter().flatten();
    let names = entries.flatten().map(|e| e.file_name());
    let mut names: Vec<String> = names.map(|n| n.to_string_lossy().into_owned()).collect();
    names.sort();
    // KIWI takes the first.
    if let Some(name) = names.iter().find(|n| n.starts_with(MEDIUM_ARCHIVE)) {
        let fact = format!("{name} is not unpacked onto the medium");
        let help = "put its files into the system with an overlay, or take the archive out";
        report.add(error_nowhere(code::REFUSED, fact).help(help));
    }
}

/// A finding about a file that the description names.
fn unusable(wrong: &FileError, thing: &str, name: &str, span: Span, report: &mut Report) {
    let of_option = report.sources.get(span).is_some_and(Source::is_option);
    let expected = match of_option {
        true => "expected a file, by its path from here",
        false => "expected a file of the description",
    };
    let (code, fact, label) = match wrong {
        FileError::Missing => (
            code::MISSING_FILE,
            format!("the {thing} {name} is not there"),
            expected.to_owned(),
        ),
        FileError::Outside => (
            code::OUTSIDE,
            format!("the {thing} {name} leads outside the description"),
            expected.to_owned(),
        ),
        FileError::TooLarge(limit) => (
            code::LIMIT,
            format!("the {thing} {name} is too large"),
            format!("the limit is {limit} bytes"),
        ),
        FileError::Other(fact) => (
            code::UNREADABLE,
            format!("the {thing} {name} cannot be read"),
            fact.clone(),
        ),
    };
    report.add(error(code, span, fact, label));
}

/// A file that the command line names.
fn open_given(path: &str) -> std::result::Result<File, FileError> {
    let other = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => FileError::Missing,
        _ => FileError::Other(e.to_string()),
    };
    if !std::fs::metadata(path).map_err(other)?.is_file() {
        return Err(FileError::Other("it is not a regular file".to_owned()));
    }
    File::open(path).map_err(other)
}

fn small(file: File) -> std::result::Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    file.take(MAX_SMALL + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| FileError::Other(e.to_string()))?;
    if bytes.len() as u64 > MAX_SMALL {
        return Err(FileError::TooLarge(MAX_SMALL));
    }
    Ok(bytes)
}

fn keys(cx: &Context, directory: &Directory, draft: &mut Draft, report: &mut Report) -> Result<()> {
    for key in &draft.wants.keys {
        let bytes = match key.from_option {
            true => open_given(&key.path).and_then(small),
            false => directory.open(&key.path).and_then(small),
        };
        match bytes {
            Ok(bytes) => {
                let object = cx.store().put(&bytes)?;
                if let Some(repository) = draft.plan.repositories.get_mut(key.repository) {
                    let key = SigningKey { object };
                    // The same key by two ways counts once.
                    if !repository.keys.contains(&key) {
                        repository.keys.push(key);
                    }
                }
            }
            Err(wrong) => unusable(&wrong, "signing key", &key.path, key.span, report),
        }
    }
    Ok(())
}

fn archives(
    cx: &Context,
    directory: &Directory,
    draft: &Draft,
    tree: &mut Tree,
    budget: &mut Budget,
    report: &mut Report,
) {
    for archive in &draft.wants.archives {
        let file = match directory.open(&archive.path) {
            Ok(file) => file,
            Err(wrong) => {
                unusable(&wrong, "archive", &archive.path, archive.span, report);
                continue;
            }
        };
        if let Err(fact) = add_archive(cx, tree, file, &archive.target, budget) {
            let fact = format!("the archive {} cannot be unpacked: {fact}", archive.path);
            let label = "expected tar, plain or with gzip, xz or zstd";
            report.add(error(code::BAD_ARCHIVE, archive.span, fact, label));
        }
    }
}

fn overlay(
    cx: &Context,
    directory: &Directory,
    draft: &Draft,
    tree: &mut Tree,
    budget: &mut Budget,
    report: &mut Report,
) -> Result<()> {
    if is_own_directory(directory, "root", report) {
        add_directory(cx, tree, &directory.path("root"), "root", report)?;
    } else if let Some(name) = OVERLAY_ARCHIVES.iter().find(|n| directory.has_file(n)) {
        let opened = directory
            .open(name)
            .map_err(|e| description::file_error_words(&e));
        if let Err(fact) = opened.and_then(|file| add_archive(cx, tree, file, "", budget)) {
            report.add(error_nowhere(code::BAD_ARCHIVE, format!("{name}: {fact}")));
        }
    }
    for profile in &draft.plan.profiles {
        let plain = !profile.name.contains('/') && !profile.name.starts_with('.');
        if !plain && directory.path(&profile.name).is_dir() {
            let fact = format!("the overlay of the profile {} is not taken", profile.name);
            let help = "give the profile a name without / that does not begin with a dot";
            report.add(error_nowhere(code::OUTSIDE, fact).help(help));
        }
        if plain && profile.name != "root" && is_own_directory(directory, &profile.name, report) {
            add_directory(
                cx,
                tree,
                &directory.path(&profile.name),
                &profile.name,
                report,
            )?;
        }
    }
    Ok(())
}

/// Whether there is a directory of this name; a symbolic link to one could lead anywhere.
fn is_own_directory(directory: &Directory, name: &str, report: &mut Report) -> bool {
    let Ok(meta) = std::fs::symlink_metadata(directory.path(name)) else {
        return false;
    };
    if meta.is_symlink() {
        let fact = format!("the overlay {name}/ is a symbolic link");
        let help = "put the directory itself into the description";
        report.add(error_nowhere(code::OUTSIDE, fact).help(help));
    }
    meta.is_dir()
}

fn files(
    cx: &Context,
    directory: &Directory,
    draft: &Draft,
    tree: &mut Tree,
    report: &mut Report,
) -> Result<()> {
    let umask = umask_of(&directory.path(""))?;
    for wanted in &draft.wants.files {
        let is_directory = tree
            .get(&wanted.target)
            .is_some_and(|e| e.kind == Kind::Dir);
        let wanted = match is_directory {
            true => &wanted.clone().below_target(),
            false => wanted,
        };
        let mut file = match directory.open(&wanted.path) {
            Ok(file) => file,
            Err(wrong) => {
                unusable(&wrong, "file", &wanted.path, wanted.span, report);
                continue;
            }
        };
        let object = cx.store().put_reader(&mut file)?;
        tree.insert_parents(&wanted.target, 0);
        let own = file.metadata().at(&directory.path(&wanted.path))?;
        let mode = wanted.mode.unwrap_or(own.permissions().mode() & 0o7777);
        let mut entry = entry(wanted.target.clone(), Kind::File(object), mode);
        (entry.uid, entry.gid) = wanted.owner;
        if wanted.mode.is_none() && settle(std::slice::from_mut(&mut entry), umask) {
            let (name, mode) = (&wanted.path, entry.mode);
            cx.warn(&format!(
                "{name} has the mode of umask {umask:03o}; {mode:04o} is taken"
            ))?;
        }
        tree.insert(entry);
    }
    Ok(())
}

fn script(
    cx: &Context,
    directory: &Directory,
    name: &str,
    report: &mut Report,
) -> Result<Option<Object>> {
    if std::fs::symlink_metadata(directory.path(name)).is_err() {
        return Ok(None);
    }
    match directory.open(name).and_then(small) {
        Ok(bytes) => Ok(Some(cx.store().put(&bytes)?)),
        Err(wrong) => {
            let fact = format!("{name}: {}", description::file_error_words(&wrong));
            report.add(error_nowhere(code::UNREADABLE, fact));
            Ok(None)
        }
    }
}
