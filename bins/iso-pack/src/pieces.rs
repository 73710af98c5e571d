//! The medium as a list of objects: what is written anew, and what the store has already.
//!
//! Kernel, initrd, chunk map and frames are a hundred times what is written anew, and the store has them all. So the
//! ISO is kept as the list of its pieces ([`Store::put_parts`]); whoever needs it as a file exports it.

use image::iso9660::{Part, Sink};
use manifest::Object;
use store::Store;

/// Collects the pieces of an image from its first byte to its last.
pub(crate) struct Pieces<'a> {
    store: &'a Store,
    objects: Vec<Object>,
    /// Bytes since the last piece that the store has.
    fresh: Vec<u8>,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self {
            store,
            objects: Vec::new(),
            fresh: Vec::new(),
        }
    }

    /// The pieces in order.
    pub(crate) fn finish(mut self) -> image::Result<Vec<Object>> {
        self.flush()?;
        Ok(self.objects)
    }

    fn flush(&mut self) -> image::Result<()> {
        if !self.fresh.is_empty() {
            let object = self.store.put(&self.fresh).map_err(failed)?;
            self.objects.push(object);
            self.fresh.clear();
        }
        Ok(())
    }
}

impl Sink for Pieces<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> image::Result<()> {
        self.fresh.extend_from_slice(bytes);
        Ok(())
    }

    fn part(&mut self, part: &Part) -> image::Result<()> {
        self.flush()?;
        let object = self.store.object_at(&part.path).ok_or_else(|| {
            let fact = "it is no object of the store";
            image::Error::unfit(part.path.display(), fact, "a path that the store gave")
        })?;
        self.objects.push(Object {
            size: part.len,
            ..object
        });
        Ok(())
    }
}

fn failed(error: store::Error) -> image::Error {
    image::Error::Io {
        what: "the medium's pieces".to_owned(),
        source: std::io::Error::other(error),
    }
}
