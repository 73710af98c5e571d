//! The journal of the run that this stage belongs to, shared with the thread that hears signals.

use std::sync::{Arc, Mutex, PoisonError};

use ::journal::{Event, Journal};
use store::Store;

use crate::error::Result;

/// Bytes of a message that go into a journal line; what is longer is cut.
const MESSAGE_LIMIT: usize = 1600;

/// A journal that may be written from two threads; or none, for a question that is no part of a run.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    run: Arc<str>,
    journal: Option<Arc<Mutex<Journal>>>,
}

impl Log {
    /// Opens the journal of the run that RAMFORGE_RUN names, or of a new one.
    pub(crate) fn open(store: &Store) -> Result<Self> {
        let run = std::env::var("RAMFORGE_RUN").unwrap_or_else(|_| ::journal::new_run_id());
        let journal = Journal::open(&store.journal_dir(), &run)?;
        Ok(Self {
            run: run.into(),
            journal: Some(Arc::new(Mutex::new(journal))),
        })
    }

    /// Keeps nothing.
    pub(crate) fn silent() -> Self {
        Self {
            run: "".into(),
            journal: None,
        }
    }

    /// The run's name.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// Appends one event.
    pub(crate) fn append(&self, event: Event) -> Result<()> {
        match &self.journal {
            None => Ok(()),
            Some(journal) => Ok(journal
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .append(event)?),
        }
    }
}

/// The beginning of `text` that fits into a journal line, where JSON escapes some characters.
pub(crate) fn cut(text: &str) -> String {
    let mut room = MESSAGE_LIMIT;
    let mut fits = |c: char| {
        let length = if c.is_control() || c == '"' || c == '\\' {
            6
        } else {
            c.len_utf8()
        };
        room = room.checked_sub(length)?;
        Some(c)
    };
    let begin: String = text.chars().map_while(&mut fits).collect();
    if begin.len() < text.len() {
        begin + "…"
    } else {
        begin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_control_characters_fits_into_a_line() {
        assert_eq!(cut("short \"text\""), "short \"text\"");
        let cut = cut(&"\u{1}".repeat(5000));
        assert!(serde_json::to_string(&cut).unwrap().len() < 2000 && cut.ends_with('…'));
    }
}
