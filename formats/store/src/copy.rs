//! An object as a file outside of the store.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use manifest::Object;

use crate::error::{At, Error, Result};
use crate::layout::Store;
use crate::objects::unwrapped;

/// Bytes that are read at once.
const BUFFER: usize = 1 << 20;

impl Store {
    /// Writes the object's bytes, each checked on the way, to an empty file, on all processors where it is made of
    /// parts. `step` is called now and then, from any thread, and may end the work.
    ///
    /// # Errors
    /// [`Error::Damaged`] where a part is not what its name says; [`Error::Io`] with the object's path, also where
    /// `file` cannot be written or `step` fails.
    pub fn copy_to(
        &self,
        object: &Object,
        file: &File,
        step: &(dyn Fn() -> io::Result<()> + Sync),
    ) -> Result<()> {
        let parts = self.parts(object)?;
        let mut end = 0;
        let starts: Vec<u64> = parts
            .iter()
            .map(|part| {
                let start = end;
                end += part.size;
                start
            })
            .collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut buffer = vec![0; BUFFER];
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let (Some(part), Some(start)) = (parts.get(n), starts.get(n)) else {
                    return Ok(());
                };
                self.copy_part(part, file, *start, &mut buffer, step)?;
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads.min(parts.len()))
                .map(|_| scope.spawn(work))
                .collect();
            workers.into_iter().try_for_each(|worker| {
                let lost = |_| Err(io::Error::other("a copying thread was lost")).at(self.root());
                worker.join().unwrap_or_else(lost)
            })
        })
    }

    fn copy_part(
        &self,
        part: &Object,
        file: &File,
        start: u64,
        buffer: &mut [u8],
        step: &(dyn Fn() -> io::Result<()> + Sync),
    ) -> Result<()> {
        let path = self.object_path(part);
        let mut reader = self.open_plain(part)?;
        let mut at = start;
        loop {
            step().at(&path)?;
            let n = reader.read(buffer).map_err(|e| unwrapped(e, &path))?;
            if n == 0 {
                return Ok(());
            }
            let written = file.write_all_at(&buffer[..n], at);
            written.map_err(|source| Error::Copy {
                object: path.clone(),
                source,
            })?;
            at += n as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_bytes_of_all_parts() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let bytes: Vec<Vec<u8>> = (0..50_u8).map(|n| vec![n; 1000 * usize::from(n)]).collect();
        let parts: Vec<Object> = bytes.iter().map(|b| store.put(b).unwrap()).collect();
        let whole = store.put_parts(&parts, &mut || Ok(())).unwrap();
        let path = dir.path().join("copy");
        let file = File::create(&path).unwrap();
        store.copy_to(&whole, &file, &|| Ok(())).unwrap();
        assert!(std::fs::read(&path).unwrap() == bytes.concat());
        let stop = || Err(io::Error::other("stop"));
        assert!(store.copy_to(&whole, &file, &stop).is_err());
    }
}
