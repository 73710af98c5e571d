//! Runs: their beginning, their end, and facts from stages of other people.

use journal::{Event, Journal, new_run_id};
use serde_json::Value;
use stage::{Error, Exit, Result};
use store::Store;

use crate::print;

/// Bytes of a run's arguments that go into the journal; what is longer is left out.
const ROOM: usize = 600;

pub(crate) fn start(store: &Store, mut arguments: Vec<String>) -> Result<()> {
    let run = new_run_id();
    let mut room = ROOM;
    arguments.retain(|a| {
        let fits = a.len() <= room;
        room -= if fits { a.len() } else { 0 };
        fits
    });
    Journal::open(&store.journal_dir(), &run)?.append(Event::RunStarted { arguments })?;
    print(&run)
}

pub(crate) fn finish(store: &Store, code: u8) -> Result<()> {
    Ok(current(store)?.append(Event::RunFinished { code })?)
}

pub(crate) fn event(store: &Store, stage: String, name: String, data: &Value) -> Result<()> {
    Ok(current(store)?.append(Event::Custom {
        stage,
        name,
        data: data.clone(),
    })?)
}

/// Adds events to the journal of the run that RAMFORGE_RUN names.
pub(crate) fn append(store: &Store, events: impl Iterator<Item = Event>) -> Result<()> {
    let mut journal = current(store)?;
    for event in events {
        journal.append(event)?;
    }
    Ok(())
}

fn current(store: &Store) -> Result<Journal> {
    let run = std::env::var("RAMFORGE_RUN").map_err(|_| {
        Error::new(Exit::Usage, "RAMFORGE_RUN is not set")
            .advice("export RAMFORGE_RUN=$(ramforge start-run)")
    })?;
    Ok(Journal::open(&store.journal_dir(), &run)?)
}
