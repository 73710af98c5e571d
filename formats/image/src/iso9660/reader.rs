//! Where the files of a finished image lie, from its directory records (ECMA-119 9.1) and the Rock Ridge name
//! (NM) in each. [`extents`] finds all of them in the first bytes of an image, [`list`] those of one directory, wherever
//! it lies.
//!
//! *Not read:* anything but names and places; names that continue in another record; images whose directories do
//! not lie before their files, which this writer does not make.

use super::SECTOR;
use crate::error::{Error, Result};

/// Directories that one image may have: a loop of damaged records ends here.
const MAX_DIRECTORIES: usize = 1 << 16;
/// Where the primary volume descriptor holds the root's directory record, 8.4.18.
const ROOT_RECORD: usize = 16 * SECTOR as usize + 156;
/// File flag of a directory, 9.1.6.
const FLAG_DIRECTORY: u8 = 0x02;

/// A file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// Its path, relative, with `/`.
    pub path: String,
    /// Its first byte in the image.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// The files of an image in the order of their bytes. `head` are the image's first bytes, with all directories.
///
/// # Errors
/// [`Error::Damaged`] for what is no image, or one whose directories lie further behind.
pub fn extents(head: &[u8]) -> Result<Vec<Extent>> {
    let damaged = |fact: &str| Error::damaged("ISO image", fact);
    let root = head
        .get(ROOT_RECORD..ROOT_RECORD + 34)
        .filter(|_| {
            head.get(16 * SECTOR as usize + 1..)
                .is_some_and(|d| d.starts_with(b"CD001"))
        })
        .and_then(record)
        .ok_or_else(|| damaged("there is no volume descriptor"))?;
    let mut directories = vec![(String::new(), root)];
    let mut files = Vec::new();
    let mut seen = 0;
    while let Some((path, directory)) = directories.pop() {
        seen += 1;
        let extent = directory.range().and_then(|range| head.get(range));
        let extent = extent.filter(|_| seen <= MAX_DIRECTORIES);
        let extent = extent.ok_or_else(|| damaged("a directory does not lie before the files"))?;
        for record in records(extent) {
            let path = format!("{path}{}", record.name);
            match record.is_directory {
                true => directories.push((path + "/", record)),
                false => files.push(Extent {
                    path,
                    offset: record.offset,
                    len: record.len,
                }),
            }
        }
    }
    files.sort_by(|a, b| (a.offset, &a.path).cmp(&(b.offset, &b.path)));
    Ok(files)
}

/// Longest directory that is read, in bytes: what claims to be longer is damaged.
const MAX_DIRECTORY: u64 = 1 << 20;

/// The files of one directory of an image of any size, read with `read`, which fills its buffer from an offset of the
/// image. `None` where there is no such directory. No more than the directories on the way is read.
///
/// # Errors
/// Those of `read`; [`Error::Damaged`] for what is no image.
pub fn list(
    read: &dyn Fn(u64, &mut [u8]) -> std::io::Result<()>,
    directory: &str,
) -> Result<Option<Vec<Extent>>> {
    let damaged = |fact: &str| Error::damaged("ISO image", fact);
    let mut descriptor = [0; SECTOR as usize];
    read(16 * SECTOR, &mut descriptor).map_err(Error::io("volume descriptor"))?;
    let root = descriptor.get(ROOT_RECORD - 16 * SECTOR as usize..);
    let root = root.filter(|_| descriptor[1..].starts_with(b"CD001"));
    let mut at = root
        .and_then(record)
        .ok_or_else(|| damaged("there is no volume descriptor"))?;
    let open = |record: &Record| -> Result<Vec<Record>> {
        if record.len > MAX_DIRECTORY {
            return Err(damaged("a directory is longer than any can be"));
        }
        let mut extent = vec![0; record.len as usize];
        read(record.offset, &mut extent).map_err(Error::io("directory"))?;
        Ok(records(&extent))
    };
    for name in directory.split('/').filter(|name| !name.is_empty()) {
        let found = open(&at)?
            .into_iter()
            .find(|r| r.is_directory && r.name == name);
        match found {
            Some(record) => at = record,
            None => return Ok(None),
        }
    }
    let files = open(&at)?.into_iter().filter(|r| !r.is_directory);
    let path = |name: &str| format!("{}/{name}", directory.trim_matches('/'));
    let extent = |r: Record| Extent {
        path: path(&r.name).trim_start_matches('/').to_owned(),
        offset: r.offset,
        len: r.len,
    };
    Ok(Some(files.map(extent).collect()))
}

struct Record {
    name: String,
    offset: u64,
    len: u64,
    is_directory: bool,
}

impl Record {
    fn range(&self) -> Option<std::ops::Range<usize>> {
        let begin = usize::try_from(self.offset).ok()?;
        Some(begin..begin.checked_add(usize::try_from(self.len).ok()?)?)
    }
}

/// The entries of a directory, without itself and its parent.
fn records(extent: &[u8]) -> Vec<Record> {
    let mut found = Vec::new();
    for sector in extent.chunks(SECTOR as usize) {
        let mut rest = sector;
        // A length of zero: no further record in this sector.
        while let Some(&len) = rest.first().filter(|&&len| len > 0) {
            let len = usize::from(len).min(rest.len());
            let is_own = matches!(rest.get(32..34), Some([1, 0 | 1]));
            found.extend(record(&rest[..len]).filter(|_| !is_own));
            rest = &rest[len..];
        }
    }
    found
}

/// One directory record, 9.1.
fn record(bytes: &[u8]) -> Option<Record> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let id_len = usize::from(*bytes.get(32)?);
    let id = bytes.get(33..33 + id_len)?;
    let system_use = bytes.get((33 + id_len).next_multiple_of(2)..);
    let name = system_use.and_then(rock_ridge_name).unwrap_or(id);
    Some(Record {
        name: String::from_utf8_lossy(name).into_owned(),
        offset: u64::from(number(2)?) * SECTOR,
        len: u64::from(number(10)?),
        is_directory: bytes.get(25)? & FLAG_DIRECTORY != 0,
    })
}

/// The NM field, RRIP 4.1.4: signature, length, version, flags, name.
fn rock_ridge_name(mut fields: &[u8]) -> Option<&[u8]> {
    while let [a, b, len, ..] = *fields {
        let field = fields.get(..usize::from(len)).filter(|f| f.len() >= 4)?;
        if [a, b] == *b"NM" {
            return field.get(5..);
        }
        fields = &fields[field.len()..];
    }
    None
}
