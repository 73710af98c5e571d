//! Whether the store holds what its names say, and whether every recorded result is still whole.

use stage::{Error, Result, survey};
use store::Store;

use crate::print;

/// Reads every object, then follows every recorded result to the last object that it leads to.
pub(crate) fn verify(store: &Store, repair: bool) -> Result<()> {
    let found = survey(store, repair)?;
    for path in &found.damaged {
        print(&format!("damaged: {}", path.display()))?;
    }
    let (damaged, incomplete) = (found.damaged.len(), found.results.len());
    print(&format!(
        "{} objects read, {damaged} damaged; {incomplete} results lead to what is not there",
        found.objects
    ))?;
    match (damaged + incomplete, repair) {
        (0, _) => Ok(()),
        (_, true) => print("what was damaged is removed; the next run makes again what it needs"),
        (_, false) => Err(Error::damaged(format!(
            "{damaged} objects are damaged, {incomplete} results incomplete"
        ))
        .advice("ramforge verify --repair removes them, and the next run makes them again")),
    }
}
