//! Objects: written once, read often.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use manifest::{Digest, Object};
use tempfile::NamedTempFile;

use crate::damage::Damage;
use crate::error::{At, Error, Result};
use crate::layout::Store;
use crate::recipe::PartsReader;

/// Objects are read-only: their name is their content.
const OBJECT_MODE: u32 = 0o444;
/// Buffer for copies in bytes.
const COPY_BUFFER: usize = 1 << 18;
/// What Linux says of a sector that cannot be read.
const EIO: i32 = rustix::io::Errno::IO.raw_os_error();

impl Store {
    /// Whether the object is here with its full length, or can be made of parts that are. Its bytes are not read.
    pub fn has(&self, object: &Object) -> bool {
        self.has_plain(object) || self.has_parts(object)
    }

    /// Whether the object is here as it is.
    pub(crate) fn has_plain(&self, object: &Object) -> bool {
        fs::metadata(self.object_path(object)).is_ok_and(|m| m.len() == object.size)
    }

    /// As [`Store::has`], for an object that a recorded result names: what is missing is noted as damage.
    pub fn expects(&self, object: &Object) -> bool {
        // Asked twice: somebody may put it there just now.
        if self.has(object) || self.has(object) {
            return true;
        }
        let found = fs::metadata(self.object_path(object)).map(|meta| meta.len());
        self.damaged(object, &misfit(found.ok(), object));
        false
    }

    /// Stores `bytes`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put(&self, bytes: &[u8]) -> Result<Object> {
        let object = Object::of(bytes);
        if self.claim(&object)? {
            return Ok(object);
        }
        let mut writer = self.writer()?;
        writer.write_all(bytes).at(&self.tmp_dir())?;
        writer.finish()
    }

    /// Stores everything that `reader` gives. Constant memory.
    ///
    /// # Errors
    /// [`Error::Io`], with the store's path where the store failed or `reader` did.
    pub fn put_reader(&self, reader: &mut dyn Read) -> Result<Object> {
        let mut writer = self.writer()?;
        let mut buffer = vec![0; COPY_BUFFER];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return writer.finish(),
                Ok(n) => writer.write_all(&buffer[..n]).at(&self.tmp_dir())?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).at(&self.tmp_dir()),
            }
        }
    }

    /// A nameless file in `tmp/` for a writer that needs a real one; [`Store::adopt`] makes it an object.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn draft(&self) -> Result<NamedTempFile> {
        let tmp = self.tmp_dir();
        tempfile::Builder::new()
            .prefix("object-")
            .tempfile_in(&tmp)
            .at(&tmp)
    }

    /// Makes a finished draft an object: it is read once, for its name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn adopt(&self, draft: NamedTempFile) -> Result<Object> {
        let mut file = File::open(draft.path()).at(draft.path())?;
        let object = hash(&mut file).at(draft.path())?;
        self.publish(draft, object)
    }

    /// An object to be written piece by piece.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn writer(&self) -> Result<ObjectWriter> {
        Ok(ObjectWriter {
            store: self.clone(),
            file: self.draft()?,
            hasher: blake3::Hasher::new(),
            size: 0,
        })
    }

    /// Reads a whole object and checks its digest: for small ones.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Damaged`] where it is not what its name says.
    pub fn get(&self, object: &Object) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(object.size).unwrap_or(0));
        let mut reader = self.open_object(object)?;
        reader
            .read_to_end(&mut bytes)
            .map_err(|e| unwrapped(e, &self.object_path(object)))?;
        Ok(bytes)
    }

    /// Opens an object for reading. Its bytes are hashed as they pass, and the last ones only come out
    /// when the digest is right; where it is made of parts, this holds for each of them.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Damaged`] where it is not there or its length is wrong.
    pub fn open_object(&self, object: &Object) -> Result<ObjectReader> {
        if !self.object_path(object).exists()
            && let Some(parts) = self.open_parts(object)?
        {
            return Ok(ObjectReader(Source::Parts(parts)));
        }
        self.open_plain(object)
    }

    /// Opens an object that is kept as it is.
    pub(crate) fn open_plain(&self, object: &Object) -> Result<ObjectReader> {
        let path = self.object_path(object);
        let file = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => self.damaged(object, &misfit(None, object)),
            _ => Error::Io {
                path: path.clone(),
                source,
            },
        })?;
        let length = file.metadata().at(&path)?.len();
        if length != object.size {
            return Err(self.damaged(object, &misfit(Some(length), object)));
        }
        Ok(ObjectReader(Source::File(Box::new(Checked {
            store: self.clone(),
            file,
            object: *object,
            hasher: blake3::Hasher::new(),
            left: object.size,
        }))))
    }

    /// Notes the damage; gives it as an error.
    pub(crate) fn damaged(&self, object: &Object, fact: &str) -> Error {
        let (object, fact) = (*object, fact.to_owned());
        self.note_damage(Damage {
            object,
            fact: fact.clone(),
        });
        let path = self.object_path(&object);
        Error::Damaged { path, fact }
    }

    /// Reads an object through and compares it with its name.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Damaged`] where it is not what its name says.
    pub fn verify(&self, object: &Object) -> Result<()> {
        let path = self.object_path(object);
        let mut reader = self.open_object(object)?;
        if let Source::File(_) = reader.0 {
            let read = reader.pour(&mut io::sink());
            return read.map_err(|e| unwrapped(e, &path));
        }
        let mut hasher = blake3::Hasher::new();
        reader.pour(&mut hasher).map_err(|e| unwrapped(e, &path))?;
        if Digest::from(hasher.finalize()) == object.blake3 {
            return Ok(());
        }
        Err(self.damaged_recipe(object, "its parts do not make the object"))
    }

    /// Moves a finished file of `tmp/` to its name. What lay there with another length was damaged.
    fn publish(&self, file: NamedTempFile, object: Object) -> Result<Object> {
        let path = self.object_path(&object);
        let pass = self.enter()?;
        pass.note_object(&object)?;
        if self.has(&object) {
            return Ok(object);
        }
        match fs::metadata(&path).map(|meta| meta.len()) {
            // Somebody has put it there just now.
            Ok(length) if length == object.size => return Ok(object),
            Ok(length) => drop(self.damaged(&object, &misfit(Some(length), &object))),
            Err(_) => {}
        }
        let dir = path.parent().unwrap_or(&path);
        fs::create_dir_all(dir).at(dir)?;
        file.as_file()
            .set_permissions(Permissions::from_mode(OBJECT_MODE))
            .at(file.path())?;
        file.persist(&path).map_err(|e| e.error).at(&path)?;
        self.unsynced.note(&path);
        Ok(object)
    }
}

/// An object being read: its digest is checked before its last bytes come out.
///
/// The error of a wrong digest is an [`io::Error`] around [`Error::Damaged`].
#[derive(Debug)]
pub struct ObjectReader(Source);

impl ObjectReader {
    /// Gives everything that is left to `to`, in large pieces.
    ///
    /// # Errors
    /// Those of reading and of `to`.
    pub fn pour(&mut self, to: &mut dyn Write) -> io::Result<()> {
        let left = match &self.0 {
            Source::File(file) => usize::try_from(file.left).unwrap_or(COPY_BUFFER),
            Source::Parts(_) => COPY_BUFFER,
        };
        let mut buffer = vec![0; left.clamp(1, COPY_BUFFER)];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => to.write_all(&buffer[..n])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

#[derive(Debug)]
enum Source {
    File(Box<Checked>),
    Parts(PartsReader),
}

#[derive(Debug)]
struct Checked {
    store: Store,
    file: File,
    object: Object,
    hasher: blake3::Hasher,
    left: u64,
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Source::File(file) => file.read(buffer),
            Source::Parts(parts) => parts.read(buffer),
        }
    }
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let damaged = |fact: &str| io::Error::other(self.store.damaged(&self.object, fact));
        let read = match self.file.read(buffer) {
            // The disk has lost it.
            Err(e) if e.raw_os_error() == Some(EIO) => return Err(damaged(&e.to_string())),
            read => read?,
        };
        self.hasher.update(&buffer[..read]);
        let wrong = match self.left.checked_sub(read as u64) {
            Some(0) => self.left > 0 && Digest::from(self.hasher.finalize()) != self.object.blake3,
            Some(_) => read == 0 && !buffer.is_empty(),
            None => true,
        };
        if wrong {
            return Err(damaged("its bytes do not match its name"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// What is wrong with an object of another length, or none.
fn misfit(length: Option<u64>, object: &Object) -> String {
    match length {
        Some(length) => format!("it has {length} bytes, expected {}", object.size),
        None => "the object is not there".to_owned(),
    }
}

/// Reads to the end, for the reference to what was read.
pub(crate) fn hash(reader: &mut dyn Read) -> io::Result<Object> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; COPY_BUFFER];
    let mut size = 0;
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            n => {
                hasher.update(&buffer[..n]);
                size += n as u64;
            }
        }
    }
    let blake3 = Digest::from(hasher.finalize());
    Ok(Object { blake3, size })
}

/// The store's own error out of an [`io::Error`] that carries one.
pub(crate) fn unwrapped(error: io::Error, path: &Path) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(source) => Error::Io {
            path: path.to_owned(),
            source,
        },
    }
}

/// An object in the making: hashed while it is written, gone when dropped before [`finish`].
///
/// [`finish`]: ObjectWriter::finish
#[derive(Debug)]
pub struct ObjectWriter {
    store: Store,
    file: NamedTempFile,
    hasher: blake3::Hasher,
    size: u64,
}

impl ObjectWriter {
    /// Makes the object visible under its name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self) -> Result<Object> {
        let blake3 = Digest::from(self.hasher.finalize());
        self.store.publish(
            self.file,
            Object {
                blake3,
                size: self.size,
            },
        )
    }
}

impl Write for ObjectWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.as_file_mut().write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

/// Writes a small file that may be replaced: whole or not at all.
pub(crate) fn write_whole(store: &Store, path: &Path, bytes: &[u8]) -> Result<()> {
    let tmp = store.tmp_dir();
    let mut file = tempfile::Builder::new()
        .prefix("whole-")
        .tempfile_in(&tmp)
        .at(&tmp)?;
    file.write_all(bytes).at(file.path())?;
    file.as_file()
        .set_permissions(Permissions::from_mode(0o644))
        .at(file.path())?;
    file.persist(path).map_err(|e| e.error).at(path)?;
    store.unsynced.note(path);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    #[test]
    fn an_object_is_read_back_and_cannot_be_written() {
        let (_dir, store) = store();
        let object = store.put(b"content").unwrap();
        assert_eq!(store.get(&object).unwrap(), b"content");
        assert_eq!(store.put_reader(&mut &b"content"[..]).unwrap(), object);
        let mode = fs::metadata(store.object_path(&object))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o444);
    }

    #[test]
    fn a_writer_that_is_dropped_leaves_nothing() {
        let (_dir, store) = store();
        let mut writer = store.writer().unwrap();
        writer.write_all(b"half").unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(store.tmp_dir()).unwrap().count(), 0);
        assert!(!store.has(&Object::of(b"half")));
    }

    #[test]
    fn damage_is_named() {
        let (_dir, store) = store();
        let object = store.put(b"content").unwrap();
        let path = store.object_path(&object);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, b"c0ntent").unwrap();
        assert!(matches!(store.get(&object), Err(Error::Damaged { .. })));
        assert!(matches!(store.verify(&object), Err(Error::Damaged { .. })));
        fs::write(&path, b"short").unwrap();
        assert!(!store.has(&object));
        assert!(matches!(
            store.open_object(&object),
            Err(Error::Damaged { .. })
        ));
    }
}
