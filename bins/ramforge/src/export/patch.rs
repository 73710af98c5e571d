//! An earlier export of the disk image, changed where it differs.
//!
//! Most of a disk stays the same when a file of it changes. Where nobody else has the earlier file, it is taken out of
//! sight, changed, and put back as the new one: at its place stands a whole file or none. Who has it open, or has
//! another name for it, keeps what he has: then a new file is written beside it.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use manifest::Object;
use rustix::fs::{CWD, FallocateFlags, OFlags, RenameFlags};
use rustix::io::Errno;
use stage::{At, Result};
use store::Store;
use store::chunk_map::{Chunk, ChunkMap};
use tempfile::TempPath;

use super::disk_image::{PAGE, read, same_chunks, write_chunk};
use super::{UNFINISHED, mark};

/// A file is changed where at most one chunk in so many differs.
const SHARE: usize = 4;

/// Makes the earlier export at `path` the image of `map`; `false`, and nothing changed, where that is not possible.
///
/// # Errors
/// Exit code 6 where a frame is damaged, 1 where the file cannot be written, 130 after a signal: the earlier image stays
/// then, unless its own frames are gone from the store.
pub(super) fn patch(store: &Store, map: &Object, path: &Path) -> Result<bool> {
    let Some((earlier, _)) = mark::held(path) else {
        return Ok(false);
    };
    // The same image: it is there, and is not touched.
    if earlier == *map {
        return Ok(false);
    }
    let (object, map) = (map, read(store, map)?);
    let Ok(before) = read(store, &earlier) else {
        return Ok(false);
    };
    let same = same_chunks(&map, &before);
    let differs = |chunk: &&Chunk| !same.contains(&chunk.at);
    let changed: Vec<&Chunk> = map.chunks.iter().filter(differs).collect();
    if map.chunk_size != before.chunk_size || changed.len() * SHARE > map.chunks.len() {
        return Ok(false);
    }
    for chunk in &changed {
        stage::interrupted()?;
        store.verify(&chunk.frame)?;
    }
    let Some((hidden, file)) = out_of_sight(path, &earlier)? else {
        return Ok(false);
    };
    let written = clear(&file, &map, &before, &same)
        .and_then(|()| file.set_len(map.size))
        .at(path)
        .and_then(|()| {
            changed
                .iter()
                .try_for_each(|c| write_chunk(store, &map, c, &file))
        });
    if let Err(error) = written {
        return Err(match undo(store, &map, &before, &same, &file) {
            Ok(()) => {
                put_back(&hidden, path).at(path)?;
                mark::set(&file, &earlier);
                error
            }
            Err(_) => error.advice("the earlier image was changed and is gone; run the same again"),
        });
    }
    hidden.persist(path).map_err(|e| e.error).at(path)?;
    mark::set(&file, object);
    Ok(true)
}

/// Makes the earlier image of it again.
fn undo(
    store: &Store,
    map: &ChunkMap,
    before: &ChunkMap,
    same: &HashSet<u64>,
    file: &File,
) -> Result<()> {
    let path = Path::new("the earlier image");
    clear(file, map, before, same).at(path)?;
    file.set_len(before.size).at(path)?;
    let differs = |chunk: &&Chunk| !same.contains(&chunk.at);
    let mut chunks = before.chunks.iter().filter(differs);
    chunks.try_for_each(|chunk| write_chunk(store, before, chunk, file))
}

/// Makes holes of what the new image has not, or has otherwise.
fn clear(file: &File, map: &ChunkMap, before: &ChunkMap, same: &HashSet<u64>) -> io::Result<()> {
    let changed = map.chunks.iter().map(|c| (c.at, map.chunk_len(c.at)));
    let gone = before.chunks.iter().map(|c| (c.at, before.chunk_len(c.at)));
    for (at, length) in changed.chain(gone).filter(|(at, _)| !same.contains(at)) {
        punch(file, at * map.chunk_size, length)?;
    }
    Ok(())
}

fn punch(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(file, flags, offset, length)?)
}

/// The file at `path` under a name of its own, opened for writing and locked; `None`, and everything as it was, where it
/// is not that of `earlier` any more, somebody else has it, or its file system knows no holes.
fn out_of_sight(path: &Path, earlier: &Object) -> Result<Option<(TempPath, File)>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    // What cannot be changed is not moved either. The lock keeps the file from being swept.
    let Ok(file) = options.open(path) else {
        return Ok(None);
    };
    if !is_owned(&file, earlier) || file.try_lock().is_err() {
        return Ok(None);
    }
    let dir = path.parent().unwrap_or(Path::new("."));
    let hidden = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(dir)
        .at(dir)?
        .into_temp_path();
    match fs::rename(path, &hidden) {
        // Another export was faster.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        done => done.at(path)?,
    }
    // Until it was out of sight another export could replace it, and anybody open it.
    if is_same(&file, &hidden) && is_owned(&file, earlier) && has_holes(&file) {
        return Ok(Some((hidden, file)));
    }
    put_back(&hidden, path).at(path)?;
    Ok(None)
}

/// Whether the open file is that of `earlier`, and nobody else has it.
fn is_owned(file: &File, earlier: &Object) -> bool {
    file.metadata().is_ok_and(|meta| meta.nlink() == 1)
        && mark::holds(file, earlier)
        && sys::lease::is_only_opener(file)
}

/// Whether the open file is the one at `path`.
fn is_same(file: &File, path: &Path) -> bool {
    let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
    let there = fs::symlink_metadata(path).map(id).ok();
    there.is_some() && there == file.metadata().map(id).ok()
}

/// Whether the file's file system knows holes. The mark may be void afterwards: the time of writing changes.
fn has_holes(file: &File) -> bool {
    let behind = file
        .metadata()
        .map(|m| m.len().next_multiple_of(PAGE as u64));
    behind.and_then(|at| punch(file, at, PAGE as u64)).is_ok()
}

/// Puts the file back, unless another export has put its own there meanwhile.
fn put_back(hidden: &Path, path: &Path) -> io::Result<()> {
    let flags = RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(CWD, hidden, CWD, path, flags) {
        Err(Errno::EXIST) => Ok(()),
        // A file system that does not know how.
        Err(Errno::INVAL) => fs::rename(hidden, path),
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::Digest;
    use store::chunk_map::FORMAT;

    const CHUNK: usize = 8192;

    /// Images, and the file of one of them.
    struct Place {
        home: tempfile::TempDir,
        store: Store,
    }

    impl Place {
        /// Not in /tmp: a tmpfs of older kernels has no attributes.
        fn new() -> Self {
            let home = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
            let store = Store::open(&home.path().join("store")).unwrap();
            Self { home, store }
        }

        fn path(&self) -> std::path::PathBuf {
            self.home.path().join("disk.raw")
        }

        fn map(&self, bytes: &[u8]) -> Object {
            let chunks = bytes.chunks(CHUNK).enumerate();
            let chunks = chunks.filter(|(_, c)| c.iter().any(|&b| b != 0));
            let map = ChunkMap {
                format: FORMAT,
                size: bytes.len() as u64,
                chunk_size: CHUNK as u64,
                chunks: chunks
                    .map(|(at, plain)| Chunk {
                        at: at as u64,
                        blake3: Digest::of(plain),
                        frame: self
                            .store
                            .put(&zstd::encode_all(plain, 3).unwrap())
                            .unwrap(),
                    })
                    .collect(),
            };
            map.write(&self.store).unwrap()
        }

        fn export(&self, bytes: &[u8]) {
            fs::write(self.path(), bytes).unwrap();
            let file = File::open(self.path()).unwrap();
            mark::set(&file, &self.map(bytes));
        }
    }

    /// Twenty chunks, each of another byte.
    fn image() -> Vec<u8> {
        (1..=20_u8).flat_map(|n| vec![n; CHUNK]).collect()
    }

    /// The image with one chunk less, another one, a hole, and another length.
    fn other() -> Vec<u8> {
        let mut bytes = image();
        bytes.truncate(19 * CHUNK + 4096);
        bytes[CHUNK..2 * CHUNK].fill(0);
        bytes[5 * CHUNK..][..4096].fill(0);
        bytes[7 * CHUNK] = 99;
        bytes
    }

    #[test]
    fn an_earlier_file_is_changed_where_it_differs() {
        let place = Place::new();
        place.export(&image());
        let inode = fs::metadata(place.path()).unwrap().ino();
        let map = place.map(&other());
        assert!(patch(&place.store, &map, &place.path()).unwrap());
        assert!(fs::read(place.path()).unwrap() == other());
        let meta = fs::metadata(place.path()).unwrap();
        assert_eq!(meta.ino(), inode);
        assert_eq!(mark::held(&place.path()).map(|h| h.0), Some(map));
        assert_eq!(fs::read_dir(place.home.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_image_that_is_there_is_not_touched() {
        let place = Place::new();
        place.export(&image());
        let before = fs::metadata(place.path()).unwrap();
        let map = place.map(&image());
        assert!(!patch(&place.store, &map, &place.path()).unwrap());
        let after = fs::metadata(place.path()).unwrap();
        assert_eq!(before.ctime_nsec(), after.ctime_nsec());
    }

    #[test]
    fn a_file_that_another_export_put_there_meanwhile_is_not_changed() {
        let place = Place::new();
        place.export(&image());
        let earlier = mark::held(&place.path()).unwrap().0;
        place.export(&other());
        assert!(out_of_sight(&place.path(), &earlier).unwrap().is_none());
        assert!(fs::read(place.path()).unwrap() == other());
        fs::remove_file(place.path()).unwrap();
        assert!(out_of_sight(&place.path(), &earlier).unwrap().is_none());
    }

    #[test]
    fn what_somebody_has_is_left_to_him() {
        let place = Place::new();
        place.export(&image());
        let map = place.map(&other());
        let reader = File::open(place.path()).unwrap();
        assert!(!patch(&place.store, &map, &place.path()).unwrap());
        drop(reader);
        let name = place.home.path().join("kept.raw");
        fs::hard_link(place.path(), &name).unwrap();
        assert!(!patch(&place.store, &map, &place.path()).unwrap());
        fs::remove_file(name).unwrap();
        assert!(fs::read(place.path()).unwrap() == image());
        assert!(patch(&place.store, &map, &place.path()).unwrap());
    }

    #[test]
    fn a_damaged_frame_is_found_before_anything_is_changed() {
        let place = Place::new();
        place.export(&image());
        let map = place.map(&other());
        let frame = read(&place.store, &map).unwrap().chunks[6].frame;
        let path = place.store.object_path(&frame);
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"damaged").unwrap();
        let error = patch(&place.store, &map, &place.path()).unwrap_err();
        assert_eq!(error.exit(), stage::Exit::Damaged);
        assert!(fs::read(place.path()).unwrap() == image());
    }

    #[test]
    fn an_image_that_is_being_changed_is_not_swept() {
        let place = Place::new();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        let left = place.home.path().join(".ramforge-left");
        fs::write(&left, b"half").unwrap();
        File::open(&left).unwrap().set_modified(long_ago).unwrap();
        fs::write(place.path(), image()).unwrap();
        let file = File::open(place.path()).unwrap();
        file.set_modified(long_ago).unwrap();
        let earlier = place.map(&image());
        mark::set(&file, &earlier);
        drop(file);
        let (hidden, file) = out_of_sight(&place.path(), &earlier).unwrap().unwrap();
        file.set_modified(long_ago).unwrap();
        super::super::sweep(place.home.path());
        assert!(hidden.exists() && !left.exists());
    }

    #[test]
    fn what_cannot_be_finished_is_undone() {
        let place = Place::new();
        place.export(&image());
        let mut map = read(&place.store, &place.map(&other())).unwrap();
        // A whole frame, of other bytes than the map says.
        map.chunks[6].blake3 = Digest::of(b"others");
        let map = map.write(&place.store).unwrap();
        let error = patch(&place.store, &map, &place.path()).unwrap_err();
        assert_eq!(error.exit(), stage::Exit::Damaged);
        assert!(fs::read(place.path()).unwrap() == image());
        let earlier = place.map(&image());
        assert_eq!(mark::held(&place.path()).map(|h| h.0), Some(earlier));
    }

    #[test]
    fn a_file_that_was_touched_or_is_mostly_another_is_not_changed() {
        let place = Place::new();
        place.export(&image());
        let map = place.map(&vec![50; 20 * CHUNK]);
        assert!(!patch(&place.store, &map, &place.path()).unwrap());
        fs::write(place.path(), b"mine").unwrap();
        assert!(!patch(&place.store, &map, &place.path()).unwrap());
        assert_eq!(fs::read(place.path()).unwrap(), b"mine");
    }
}
