//! Two root trees, path by path.

use std::collections::BTreeSet;

use manifest::Object;
use stage::Result;
use store::tree::{Entry, Kind, Tree};

use super::report::Report;
use super::{Sides, content};

/// Names every path that differs, and how.
///
/// # Errors
/// Exit code 6 where something is damaged.
pub(super) fn explain(
    sides: &Sides<'_>,
    was: Object,
    is: Object,
    report: &mut Report,
) -> Result<()> {
    let (was, is) = (Tree::read(sides.was, &was)?, Tree::read(sides.is, &is)?);
    let paths: BTreeSet<&str> = was
        .iter()
        .chain(is.iter())
        .map(|e| e.path.as_str())
        .collect();
    for path in paths {
        match (was.get(path), is.get(path)) {
            (Some(was), Some(is)) if was != is => entry(sides, was, is, report)?,
            (Some(_), None) => report.add(format!("{path}: was there, is not"))?,
            (None, Some(_)) => report.add(format!("{path}: was not there, is"))?,
            _ => {}
        }
    }
    Ok(())
}

fn entry(sides: &Sides<'_>, was: &Entry, is: &Entry, report: &mut Report) -> Result<()> {
    let path = &was.path;
    let kind = match (&was.kind, &is.kind) {
        (was, is) if was == is => None,
        (Kind::File(was), Kind::File(is)) if report.is_open() => content(sides, *was, *is)?,
        (was, is) => Some(format!("was {}, is {}", words(was), words(is))),
    };
    let owner = |e: &Entry| format!("{}:{}", e.uid, e.gid);
    let facts = [
        kind,
        differs(
            "mode",
            format!("{:04o}", was.mode),
            format!("{:04o}", is.mode),
        ),
        differs("owner", owner(was), owner(is)),
        differs("mtime", was.mtime, is.mtime),
        differs(
            "xattrs",
            format!("{:?}", was.xattrs),
            format!("{:?}", is.xattrs),
        ),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    report.add(format!("{path}: {}", facts.join("; ")))
}

fn differs<T: PartialEq + std::fmt::Display>(what: &str, was: T, is: T) -> Option<String> {
    (was != is).then(|| format!("{what} was {was}, is {is}"))
}

fn words(kind: &Kind) -> String {
    match kind {
        Kind::File(object) => format!("a file of {} bytes", object.size),
        Kind::Dir => "a directory".to_owned(),
        Kind::Symlink(to) => format!("a link to {to}"),
        Kind::Hardlink(to) => format!("another name of {to}"),
        Kind::Char(major, minor) => format!("character device {major}:{minor}"),
        Kind::Block(major, minor) => format!("block device {major}:{minor}"),
        Kind::Fifo => "a named pipe".to_owned(),
    }
}
