//! Journals of the tests' runs.

use std::path::Path;

use journal::Event;
use manifest::{Lock, Object, package_key};
use store::Store;

use crate::store;

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

/// Puts the packages of a lock, and nothing else, into an empty store.
///
/// # Panics
/// Where one is not in the tests' store.
pub fn packages_only(lock: &Lock, to: &Path) {
    let (from, to) = (Store::open(&store()).unwrap(), Store::open(to).unwrap());
    for package in &lock.packages {
        let key = package_key(&package.sha256).unwrap();
        let value = from.action(&key).unwrap().unwrap();
        let object: Object = serde_json::from_value(value.clone()).unwrap();
        let bytes = from.get(&object).unwrap();
        assert_eq!(to.put(&bytes).unwrap(), object);
        to.record_action(&key, &value).unwrap();
    }
}
