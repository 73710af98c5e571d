//! Two media, file by file.

use std::collections::BTreeSet;
use std::io::{self, Read};

use image::iso9660::{Extent, extents};
use manifest::{Digest, Object};
use stage::{At, Error, Result};
use store::Store;

use super::bytes::first;
use super::report::Report;
use super::{Sides, content};

/// Bytes at the beginning of an image in which all its directories lie.
const HEAD: u64 = 4 << 20;

/// Names every file of the medium that differs.
///
/// # Errors
/// Exit code 6 where something is damaged.
pub(super) fn explain(
    sides: &Sides<'_>,
    was: Object,
    is: Object,
    report: &mut Report,
) -> Result<()> {
    let (before, now) = (areas(sides.was, was)?, areas(sides.is, is)?);
    let paths: BTreeSet<&str> = before.iter().chain(&now).map(|a| a.path.as_str()).collect();
    for path in paths {
        let find = |areas: &'_ [Area]| areas.iter().find(|a| a.path == path).cloned();
        match (find(&before), find(&now)) {
            (Some(a), Some(b)) if a.digest == b.digest => {}
            (Some(a), Some(b)) => {
                let (was, is) = (reader(sides.was, was, &a)?, reader(sides.is, is, &b)?);
                if let Some(difference) = first(was, is).at(sides.is.root())? {
                    let at = a.offset + difference.offset;
                    report.add(format!("{path}: {difference} (byte {at} of the ISO)"))?;
                }
            }
            (Some(_), None) => report.add(format!("{path}: was there, is not"))?,
            (None, _) => report.add(format!("{path}: was not there, is"))?,
        }
    }
    if !report.has_any()
        && let Some(fact) = content(sides, was, is)?
    {
        report.add(format!("between the files: {fact}"))?;
    }
    Ok(())
}

/// A range of the image.
#[derive(Clone)]
struct Area {
    path: String,
    offset: u64,
    len: u64,
    digest: Digest,
}

/// The files, and what lies before the first of them.
fn areas(store: &Store, iso: Object) -> Result<Vec<Area>> {
    let mut head = Vec::new();
    let path = store.recipe_path(&iso);
    store
        .open_object(&iso)?
        .take(HEAD)
        .read_to_end(&mut head)
        .at(&path)?;
    let files = extents(&head).map_err(|e| Error::failed(e.to_string()))?;
    let begin = files
        .iter()
        .map(|f| f.offset)
        .find(|&o| o > 0)
        .unwrap_or(iso.size);
    let tables = Extent {
        path: "(boot sector, descriptors and directories)".to_owned(),
        offset: 0,
        len: begin,
    };
    let mut from = store.open_object(&iso)?;
    let (mut at, mut areas) = (0, Vec::new());
    for file in std::iter::once(tables).chain(files) {
        let gap = file.offset.checked_sub(at);
        // Empty files lie anywhere; nothing else lies twice.
        let Some(gap) = gap.filter(|_| file.len > 0) else {
            continue;
        };
        io::copy(&mut (&mut from).take(gap), &mut io::sink()).at(&path)?;
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut (&mut from).take(file.len), &mut hasher).at(&path)?;
        at = file.offset + file.len;
        areas.push(Area {
            digest: Digest::from(hasher.finalize()),
            path: file.path,
            offset: file.offset,
            len: file.len,
        });
    }
    Ok(areas)
}

fn reader(store: &Store, iso: Object, area: &Area) -> Result<impl Read + use<>> {
    let mut from = store.open_object(&iso)?;
    io::copy(&mut (&mut from).take(area.offset), &mut io::sink()).at(&store.recipe_path(&iso))?;
    Ok(from.take(area.len))
}
