//! What the initramfs of the medium and that of the disk are made of: kernel modules, segments, their compression.
//!
//! An initramfs is a chain of segments. One that dracut made is read, never changed; what `ram-deploy` needs is
//! appended. One without dracut has the same segments and nothing before them.
//!
//! *Not here:* what a segment contains; that is `ram_deploy::segment`.

mod base;
mod compression;
mod kernel;
mod modules;

pub use base::{Base, read, unpacked};
pub use compression::{Method, choose};
pub use kernel::{Config, Kernel};
pub use modules::{Carried, EROFS, Extras, carry};

use manifest::Object;
use serde_json::json;
use stage::{Context, Result};
use store::Store;
use store::tree::{Kind, Tree};

/// Where a segment begins the kernel looks at multiples of four bytes.
const ALIGNMENT: u64 = 4;
/// The version of how a segment is compressed. Changelog. 1: the first. 2: with a checksum. 3: zstd level 10.
const VERSION: u32 = 3;

/// A segment, compressed, as an object; that of an earlier image, or of another stage, where it had the same.
///
/// # Errors
/// Those of the store.
pub fn packed(cx: &Context, method: Method, archive: &[u8]) -> Result<Object> {
    let facts = json!({
        "version": VERSION,
        "archive": Object::of(archive),
        "method": format!("{method:?}"),
        "zstd": zstd::zstd_safe::version_number(),
    });
    cx.shared("initramfs", "segment", &facts, || {
        Ok(cx.store().put(&compression::pack(method, archive)?)?)
    })
}

/// The segments as one object, each padded. The store has them all, so nothing is copied.
///
/// # Errors
/// Exit code 6 where one is damaged, 130 after a signal.
pub fn join(store: &Store, segments: &[Object]) -> Result<Object> {
    let mut parts = Vec::new();
    for segment in segments {
        parts.push(*segment);
        match (segment.size.next_multiple_of(ALIGNMENT) - segment.size) as usize {
            0 => {}
            missing => parts.push(store.put(&[0; ALIGNMENT as usize][..missing])?),
        }
    }
    let mut step = || stage::interrupted().map_err(std::io::Error::other);
    let made = store.put_parts(&parts, &mut step);
    stage::interrupted()?;
    Ok(made?)
}

/// The content of a file of the tree, links followed. `None` where there is no such file.
pub(crate) fn content(store: &Store, tree: &Tree, path: &str) -> Result<Option<Vec<u8>>> {
    let Some(path) = tree.resolve(path) else {
        return Ok(None);
    };
    let kind = tree.get(&path).map(|entry| &entry.kind);
    let object = match kind {
        Some(Kind::Hardlink(to)) => match tree.get(to).map(|entry| &entry.kind) {
            Some(Kind::File(object)) => *object,
            _ => return Ok(None),
        },
        Some(Kind::File(object)) => *object,
        _ => return Ok(None),
    };
    Ok(Some(store.get(&object)?))
}
