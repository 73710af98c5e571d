//! Directory records and path tables (ECMA-119 chapter 9) with their Rock Ridge fields.
//!
//! Rock Ridge is announced as RRIP_1991A, the version that every kernel and boot loader knows.

use super::descriptor::{both16, both32, record_date};
use super::tree::{Directory, Node, Tree};
use super::{Places, Plan, SECTOR};

/// File flag of a directory, 9.1.6.
const FLAG_DIRECTORY: u8 = 0x02;
/// POSIX file modes: everything may be read, nothing written.
const MODE_DIRECTORY: u32 = 0o040_555;
const MODE_FILE: u32 = 0o100_444;

/// Identification, description and source that RRIP 4.3 prescribes for the ER field.
const ER_ID: &[u8] = b"RRIP_1991A";
const ER_DESCRIPTION: &[u8] =
    b"THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS";
const ER_SOURCE: &[u8] = b"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION.";

/// What a directory record describes.
struct Record<'a> {
    id: &'a [u8],
    extent: u32,
    len: u32,
    flags: u8,
    system_use: Vec<u8>,
}

/// The root's record in the primary volume descriptor, 34 bytes.
pub(super) fn root_record(plan: &Plan<'_>, at: &Places) -> Vec<u8> {
    record(plan, &directory_record(plan, at, 0, b"\0", Vec::new()))
}

/// The extent of one directory, whole sectors long.
pub(super) fn directory(plan: &Plan<'_>, at: &Places, number: usize) -> Vec<u8> {
    let mut extent = Vec::new();
    for record in records(plan, at, number) {
        // A record does not cross the end of a sector, 6.8.1.1.
        let left = SECTOR as usize - extent.len() % SECTOR as usize;
        if record.len() > left {
            extent.resize(extent.len() + left, 0);
        }
        extent.extend(record);
    }
    extent.resize(extent.len().next_multiple_of(SECTOR as usize), 0);
    extent
}

/// All records of a directory: itself, its parent, its entries.
fn records(plan: &Plan<'_>, at: &Places, number: usize) -> Vec<Vec<u8>> {
    let tree = &plan.tree.directories;
    let this = &tree[number];
    let mut own_fields = px(MODE_DIRECTORY, links(this));
    if number == 0 {
        own_fields = [sp(), own_fields, ce(at.continuation, er().len() as u32)].concat();
    }
    let parent_fields = px(MODE_DIRECTORY, links(&tree[this.parent]));
    let own = directory_record(plan, at, number, b"\0", own_fields);
    let parent = directory_record(plan, at, this.parent, b"\x01", parent_fields);
    let entries = this.entries.iter().map(|entry| {
        let id = entry.id.as_bytes();
        match entry.node {
            Node::Directory(number) => {
                let fields = [px(MODE_DIRECTORY, links(&tree[number])), nm(&entry.name)].concat();
                directory_record(plan, at, number, id, fields)
            }
            Node::File(number) => Record {
                id,
                extent: at.file(number),
                len: plan.files[number].len as u32, // below 4 GiB, checked by `Plan::new`
                flags: 0,
                system_use: [px(MODE_FILE, 1), nm(&entry.name)].concat(),
            },
        }
    });
    [own, parent]
        .into_iter()
        .chain(entries)
        .map(|r| record(plan, &r))
        .collect()
}

fn directory_record<'a>(
    plan: &Plan<'_>,
    at: &Places,
    number: usize,
    id: &'a [u8],
    system_use: Vec<u8>,
) -> Record<'a> {
    Record {
        id,
        extent: at.directory(number),
        len: directory_size(&plan.tree.directories[number], number),
        flags: FLAG_DIRECTORY,
        system_use,
    }
}

/// Directory record, 9.1.
fn record(plan: &Plan<'_>, of: &Record<'_>) -> Vec<u8> {
    let mut r = vec![0]; //                                  1 length of directory record, below
    r.push(0); //                                            2 extended attribute record length
    r.extend(both32(of.extent)); //                          3 location of extent
    r.extend(both32(of.len)); //                            11 data length
    r.extend(record_date(plan.image.epoch)); //             19 recording date and time
    r.push(of.flags); //                                    26 file flags
    r.extend([0, 0]); //                                    27 file unit size, interleave gap size
    r.extend(both16(1)); //                                 29 volume sequence number
    r.push(of.id.len() as u8); //                           33 length of file identifier
    r.extend(of.id); //                                     34 file identifier
    r.resize(r.len().next_multiple_of(2), 0); //               padding field
    r.extend(&of.system_use); //                               system use
    r.resize(r.len().next_multiple_of(2), 0);
    r[0] = r.len() as u8;
    r
}

/// Length of a directory's extent in bytes, which its records in other directories state.
fn directory_size(directory: &Directory, number: usize) -> u32 {
    let px = px(0, 0).len();
    let own = if number == 0 {
        sp().len() + px + ce(0, 0).len()
    } else {
        px
    };
    let entries = directory
        .entries
        .iter()
        .map(|e| (e.id.len(), px + nm(&e.name).len()));
    let lengths = [(1, own), (1, px)].into_iter().chain(entries);
    let mut size = 0;
    for (id, system_use) in lengths {
        let record = ((33 + id).next_multiple_of(2) + system_use).next_multiple_of(2);
        let left = SECTOR as usize - size % SECTOR as usize;
        size += if record > left { left + record } else { record };
    }
    size.next_multiple_of(SECTOR as usize) as u32
}

/// One path table, 9.4, in the byte order of the two functions.
pub(super) fn path_table(
    tree: &Tree,
    at: &Places,
    order16: fn(u16) -> [u8; 2],
    order32: fn(u32) -> [u8; 4],
) -> Vec<u8> {
    let mut table = Vec::new();
    for (number, directory) in tree.directories.iter().enumerate() {
        let id = if number == 0 {
            b"\0"
        } else {
            directory.id.as_bytes()
        };
        table.push(id.len() as u8); //                               1 length of directory identifier
        table.push(0); //                                            2 extended attribute record length
        table.extend(order32(at.directory(number))); //              3 location of extent
        table.extend(order16(directory.parent as u16 + 1)); //       7 parent directory number
        table.extend(id); //                                         9 directory identifier
        table.resize(table.len().next_multiple_of(2), 0); //           padding field
    }
    table
}

/// Bytes of a path table.
pub(super) fn path_table_size(tree: &Tree) -> u32 {
    path_table(tree, &Places::default(), u16::to_le_bytes, u32::to_le_bytes).len() as u32
}

/// The continuation area of the root's own record: the one field that does not fit there.
pub(super) fn continuation_area() -> Vec<u8> {
    er()
}

fn links(directory: &Directory) -> u32 {
    let inner = directory
        .entries
        .iter()
        .filter(|e| matches!(e.node, Node::Directory(_)));
    2 + inner.count() as u32
}

/// Sharing protocol indicator, SUSP 5.3.
fn sp() -> Vec<u8> {
    b"SP\x07\x01\xbe\xef\x00".to_vec()
}

/// Continuation area, SUSP 5.1.
fn ce(sector: u32, len: u32) -> Vec<u8> {
    let mut e = b"CE\x1c\x01".to_vec();
    e.extend(both32(sector)); //    block location
    e.extend(both32(0)); //         offset
    e.extend(both32(len)); //       length
    e
}

/// Extensions reference, SUSP 5.5.
fn er() -> Vec<u8> {
    let lengths = [ER_ID.len(), ER_DESCRIPTION.len(), ER_SOURCE.len()];
    let total = 8 + lengths.iter().sum::<usize>();
    let mut e = vec![b'E', b'R', total as u8, 1];
    e.extend(lengths.map(|len| len as u8));
    e.push(1); //                   extension version
    e.extend([ER_ID, ER_DESCRIPTION, ER_SOURCE].concat());
    e
}

/// POSIX file attributes, RRIP 4.1.1.
fn px(mode: u32, links: u32) -> Vec<u8> {
    let mut e = b"PX\x24\x01".to_vec();
    e.extend(both32(mode)); //      st_mode
    e.extend(both32(links)); //     st_nlink
    e.extend(both32(0)); //         st_uid
    e.extend(both32(0)); //         st_gid
    e
}

/// Alternate name, RRIP 4.1.4.
fn nm(name: &str) -> Vec<u8> {
    let mut e = vec![b'N', b'M', 5 + name.len() as u8, 1];
    e.push(0); //                   flags: the name ends here
    e.extend(name.as_bytes());
    e
}
