//! Runs: their beginning, their end, and facts from stages of other people.

use journal::{Event, Journal, new_run_id};
use manifest::without_credentials;
use serde_json::Value;
use stage::{Error, Exit, Result};
use store::Store;

use crate::print;

/// Bytes of a run's arguments that go into the journal; what is longer is left out.
const ROOM: usize = 600;

pub(crate) fn start(store: &Store, arguments: Vec<String>) -> Result<()> {
    let run = new_run_id();
    let mut room = ROOM;
    let mut arguments: Vec<String> = arguments.iter().map(|a| without_secret(a)).collect();
    arguments.retain(|a| {
        let fits = a.len() <= room;
        room -= if fits { a.len() } else { 0 };
        fits
    });
    Journal::open(&store.journal_dir(), &run)?.append(Event::RunStarted { arguments })?;
    print(&run)
}

/// An argument as the journal keeps it. desc-parse refuses passwords, but the run begins before it reads them.
fn without_secret(argument: &str) -> String {
    for passphrase in ["luks=", "--set-type-attr=luks="] {
        if argument.starts_with(passphrase) {
            return format!("{passphrase}…");
        }
    }
    without_credentials(argument)
}

pub(crate) fn finish(store: &Store, code: u8) -> Result<()> {
    let (run, mut journal) = current(store)?;
    journal.append(Event::RunFinished { code })?;
    Ok(store.release(&run)?)
}

pub(crate) fn event(store: &Store, stage: String, name: String, data: &Value) -> Result<()> {
    let data = data.clone();
    let (_, mut journal) = current(store)?;
    Ok(journal.append(Event::Custom { stage, name, data })?)
}

/// Adds events to the journal of the run that RAMFORGE_RUN names.
pub(crate) fn append(store: &Store, events: impl Iterator<Item = Event>) -> Result<()> {
    let (_, mut journal) = current(store)?;
    for event in events {
        journal.append(event)?;
    }
    Ok(())
}

/// The store with a hold: of the run that RAMFORGE_RUN names, else of a new one, which lasts a day.
pub(crate) fn held(store: Store) -> Result<Store> {
    let run = std::env::var("RAMFORGE_RUN").unwrap_or_else(|_| new_run_id());
    Ok(store.hold(&run)?)
}

/// Does what needs objects for a moment: in the hold of the run that RAMFORGE_RUN names, else in one that ends with it.
pub(crate) fn holding<T>(store: &Store, work: impl FnOnce(&Store) -> Result<T>) -> Result<T> {
    let given = std::env::var("RAMFORGE_RUN").ok();
    let run = given.clone().unwrap_or_else(new_run_id);
    let held = store.clone().hold(&run)?;
    let done = work(&held);
    drop(held);
    if given.is_none() {
        store.release(&run)?;
    }
    done
}

/// The run that RAMFORGE_RUN names, which must have begun.
fn current(store: &Store) -> Result<(String, Journal)> {
    let run = std::env::var("RAMFORGE_RUN").map_err(|_| {
        Error::new(Exit::Usage, "RAMFORGE_RUN is not set")
            .advice("export RAMFORGE_RUN=$(ramforge start-run)")
    })?;
    let journal = Journal::open_existing(&store.journal_dir(), &run)?;
    Ok((run, journal))
}
