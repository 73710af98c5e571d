//! Two segments of an initrd, member by member.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

use image::cpio::{self, Entry};
use manifest::{Digest, Object};
use stage::{Error, Result};
use store::Store;

use super::bytes::first;
use super::report::Report;
use super::{Sides, content};

/// A larger member is not held in memory to be compared; only that it differs is said.
const LARGEST: u64 = 256 << 20;

/// What is known of a member without its content.
type Member = (Entry, Digest);

/// Names every member that differs.
///
/// # Errors
/// Exit code 6 where something is damaged.
pub(super) fn explain(
    sides: &Sides<'_>,
    was: Object,
    is: Object,
    report: &mut Report,
) -> Result<()> {
    let (before, now) = (members(sides.was, was)?, members(sides.is, is)?);
    for path in before
        .keys()
        .chain(now.keys().filter(|p| !before.contains_key(*p)))
    {
        let name = String::from_utf8_lossy(path);
        match (before.get(path), now.get(path)) {
            (Some(a), Some(b)) if a != b => {
                let fact = difference(sides, (was, is), path, a, b, report.is_open())?;
                report.add(format!("{name}: {fact}"))?;
            }
            (Some(_), None) => report.add(format!("{name}: was there, is not"))?,
            (None, Some(_)) => report.add(format!("{name}: was not there, is"))?,
            _ => {}
        }
    }
    if !report.has_any()
        && let Some(fact) = content(sides, was, is)?
    {
        report.add(format!("the same members, packed otherwise: {fact}"))?;
    }
    Ok(())
}

fn difference(
    sides: &Sides<'_>,
    (was, is): (Object, Object),
    path: &[u8],
    (a, a_digest): &Member,
    (b, b_digest): &Member,
    look: bool,
) -> Result<String> {
    let mut facts = Vec::new();
    if a_digest != b_digest && look {
        let (was, is) = (read(sides.was, was, path)?, read(sides.is, is, path)?);
        let found = first(&was[..], &is[..]).map_err(|e| Error::failed(e.to_string()))?;
        facts.push(found.map_or("content differs".to_owned(), |d| d.to_string()));
    } else if a_digest != b_digest {
        facts.push("content differs".to_owned());
    }
    let mut differs = |what: &str, was: u32, is: u32| {
        if was != is {
            facts.push(format!("{what} was {was}, is {is}"));
        }
    };
    differs("inode", a.inode, b.inode);
    differs("owner", a.uid, b.uid);
    differs("group", a.gid, b.gid);
    differs("mtime", a.mtime, b.mtime);
    differs("links", a.links, b.links);
    if a.mode != b.mode {
        facts.push(format!("mode was {:o}, is {:o}", a.mode, b.mode));
    }
    Ok(facts.join("; "))
}

/// Header and digest of every member; of several with one path, the last.
fn members(store: &Store, object: Object) -> Result<BTreeMap<Vec<u8>, Member>> {
    let mut members = BTreeMap::new();
    walk(store, object, &mut |entry, content| {
        let mut hasher = blake3::Hasher::new();
        io::copy(content, &mut hasher)?;
        let member = (entry.clone(), Digest::from(hasher.finalize()));
        members.insert(entry.path.clone(), member);
        Ok(())
    })?;
    Ok(members)
}

/// The content of one member.
fn read(store: &Store, object: Object, path: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    walk(store, object, &mut |entry, content| {
        if entry.path == path {
            bytes.clear();
            content.take(LARGEST).read_to_end(&mut bytes)?;
        }
        Ok(())
    })?;
    Ok(bytes)
}

fn walk(
    store: &Store,
    object: Object,
    visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> io::Result<()>,
) -> Result<()> {
    let reader = BufReader::new(store.open_object(&object)?);
    cpio::walk(reader, &mut |_, entry, content| {
        visit(entry, content).map_err(|source| image::Error::Io {
            what: String::from_utf8_lossy(&entry.path).into_owned(),
            source,
        })
    })
    .map_err(|e| Error::failed(format!("initrd: {e}")))
}
