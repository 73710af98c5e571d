//! Whether the store holds what its names say, and whether every recorded result is still whole.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use stage::{Error, Result, survey};
use store::Store;

use crate::print;

/// How often the progress is shown on a terminal.
const TICK: Duration = Duration::from_millis(200);

/// Reads every object, then follows every recorded result to the last object that it leads to.
pub(crate) fn verify(store: &Store, repair: bool) -> Result<()> {
    let terminal = std::io::stderr().is_terminal();
    let shown = Mutex::new(Instant::now());
    let show = |done: usize, count: usize| {
        if terminal
            && let Ok(mut shown) = shown.try_lock()
            && shown.elapsed() >= TICK
        {
            *shown = Instant::now();
            let text = format!("\r\x1b[Kramforge: {done} of {count} objects");
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
    };
    let found = survey(store, repair, &show)?;
    if terminal {
        let _ = std::io::stderr().lock().write_all(b"\r\x1b[K");
    }
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
