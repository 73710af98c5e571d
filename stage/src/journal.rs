//! The journal of the run that this stage belongs to, shared with the thread that hears signals.

use std::sync::{Arc, Mutex, PoisonError};

use ::journal::{Event, Journal};
use store::Store;

use crate::error::Result;

/// Bytes of a message that go into a journal line; what is longer is cut.
const MESSAGE_LIMIT: usize = 1600;

/// A journal that may be written from two threads.
#[derive(Debug, Clone)]
pub(crate) struct Log(Arc<Mutex<Journal>>);

impl Log {
    /// Opens the journal of the run that RAMFORGE_RUN names, or of a new one.
    pub(crate) fn open(store: &Store) -> Result<Self> {
        let run = std::env::var("RAMFORGE_RUN").unwrap_or_else(|_| ::journal::new_run_id());
        Ok(Self(Arc::new(Mutex::new(Journal::open(
            &store.journal_dir(),
            &run,
        )?))))
    }

    /// Appends one event.
    pub(crate) fn append(&self, event: Event) -> Result<()> {
        Ok(self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .append(event)?)
    }
}

/// The beginning of `text` that fits into a journal line.
pub(crate) fn cut(text: &str) -> String {
    if text.len() <= MESSAGE_LIMIT {
        return text.to_owned();
    }
    let end = (0..=MESSAGE_LIMIT)
        .rev()
        .find(|&i| text.is_char_boundary(i))
        .unwrap_or(0);
    format!("{}…", &text[..end])
}
