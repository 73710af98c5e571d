//! The mark of an exported file: which object it holds, and how the file was when that was true.
//!
//! An extended attribute, so that it goes where the file goes and vanishes with it. Whoever changes the file changes
//! its time, and then the mark says nothing any more.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use manifest::Object;

const ATTRIBUTE: &str = "user.ramforge.object";
/// The version of how files are exported. Changelog. 1: the first. 2: the mark has the object's size. 3: it holds until
/// the machine starts again.
const VERSION: u32 = 3;
/// Names the time from one start of the kernel to the next: what was written in an earlier one may not have reached the
/// disk, though the mark has.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The object that the file at `path` holds, and the file; `None` where it has no mark or was touched since.
pub(super) fn held(path: &Path) -> Option<(Object, File)> {
    let file = File::open(path).ok()?;
    let mut value = [0; 256];
    let length = rustix::fs::fgetxattr(&file, ATTRIBUTE, &mut value).ok()?;
    let found = std::str::from_utf8(value.get(..length)?).ok()?;
    let mut words = found.split(' ').skip(1);
    let object = Object {
        blake3: words.next()?.parse().ok()?,
        size: words.next()?.parse().ok()?,
    };
    (mark(&file, &object)? == found).then_some((object, file))
}

/// Whether the open file holds that object, and was not touched since it was marked.
pub(super) fn holds(file: &File, object: &Object) -> bool {
    let mut value = [0; 256];
    let length = rustix::fs::fgetxattr(file, ATTRIBUTE, &mut value).unwrap_or(0);
    mark(file, object).is_some_and(|m| value.get(..length) == Some(m.as_bytes()))
}

/// Marks a file that was just written.
pub(super) fn set(file: &File, object: &Object) {
    if let Some(mark) = mark(file, object) {
        // Without attributes on this file system the file is written again next time.
        let flags = rustix::fs::XattrFlags::empty();
        let _ = rustix::fs::fsetxattr(file, ATTRIBUTE, mark.as_bytes(), flags);
    }
}

fn mark(file: &File, object: &Object) -> Option<String> {
    let meta = file.metadata().ok()?;
    let (length, seconds, nanos) = (meta.len(), meta.mtime(), meta.mtime_nsec());
    let Object { blake3, size } = object;
    let boot = std::fs::read_to_string(BOOT).ok()?;
    Some(format!(
        "{VERSION} {blake3} {size} {length} {seconds}.{nanos} {}",
        boot.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touched_file_holds_nothing_that_is_known() {
        // Not in /tmp: a tmpfs of older kernels has no such attributes.
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let object = Object::of(b"x");
        assert!(held(file.path()).is_none());
        set(file.as_file(), &object);
        assert_eq!(held(file.path()).map(|h| h.0), Some(object));
        std::fs::write(file.path(), b"y").unwrap();
        assert!(held(file.path()).is_none());
    }
}
