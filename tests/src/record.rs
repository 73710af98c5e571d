//! Journals of the tests' runs.

use std::path::Path;

use journal::Event;

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
