//! Journals of the tests' runs.

use std::path::{Path, PathBuf};

use journal::Event;

use crate::{Example, store};

/// The events of the newest run in a store whose arguments end with `description`.
///
/// # Panics
/// Where there is none.
pub fn events(store: &Path, description: &str) -> Vec<Event> {
    let mut runs = journal::runs(&store.join("journal")).unwrap();
    runs.sort_by_key(|path| path.metadata().and_then(|m| m.modified()).ok());
    runs.iter()
        .rev()
        .map(|path| {
            let lines = journal::read(path).unwrap();
            lines.into_iter().map(|line| line.event).collect::<Vec<_>>()
        })
        .find(|events| {
            matches!(events.first(), Some(Event::RunStarted { arguments })
                if arguments.last().is_some_and(|last| last == description))
        })
        .unwrap_or_else(|| panic!("no run of {description} in {}", store.display()))
}

/// The journal of the run that made an example in the tests' store: the first that names its medium.
///
/// # Panics
/// Where there is none.
pub fn journal_of(example: &Example) -> PathBuf {
    let medium = example.manifest["media"]["iso"]["blake3"].as_str().unwrap();
    let mut runs = journal::runs(&store().join("journal")).unwrap();
    runs.sort();
    let names_it = |path: &PathBuf| std::fs::read_to_string(path).unwrap().contains(medium);
    runs.into_iter().find(names_it).unwrap()
}
