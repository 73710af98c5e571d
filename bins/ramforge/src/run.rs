//! Runs: their beginning, their end, and facts from stages of other people.

use journal::{Event, Journal, new_run_id};
use serde_json::Value;
use stage::{Error, Exit, Result};
use store::Store;

use crate::print;

pub(crate) fn start(store: &Store, arguments: Vec<String>) -> Result<()> {
    let run = new_run_id();
    Journal::open(&store.journal_dir(), &run)?.append(Event::RunStarted { arguments })?;
    print(&run);
    Ok(())
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

fn current(store: &Store) -> Result<Journal> {
    let run = std::env::var("RAMFORGE_RUN").map_err(|_| {
        Error::new(Exit::Usage, "RAMFORGE_RUN is not set")
            .advice("export RAMFORGE_RUN=$(ramforge start-run)")
    })?;
    Ok(Journal::open(&store.journal_dir(), &run)?)
}
