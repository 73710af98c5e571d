//! Progress that is told also while nothing comes: a scratched disc may take a minute for a sector, and whoever waits must
//! see that it is waited for.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::console::{Console, Progress};

/// How often it is told.
const TICK: Duration = Duration::from_secs(1);

/// Work on the consoles: how far it is, and since when nothing was added to it.
#[derive(Debug)]
pub(crate) struct Ticker<'a> {
    console: &'a Console,
    total: u64,
    begin: Instant,
    /// Bytes that are done, and when the last of them were.
    last: Mutex<(u64, Instant)>,
}

impl<'a> Ticker<'a> {
    /// Work of `total` bytes that begins now.
    pub(crate) fn new(total: u64, console: &'a Console) -> Self {
        let begin = Instant::now();
        Self {
            console,
            total,
            begin,
            last: Mutex::new((0, begin)),
        }
    }

    /// Takes note of the bytes that are done, from any thread.
    pub(crate) fn done(&self, done: u64) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (done.max(last.0), Instant::now());
        drop(last);
        self.tell();
    }

    /// How long it takes so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Does the work, and tells every second how far it is.
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let (over, bell) = (Mutex::new(false), Condvar::new());
        let lock = || over.lock().unwrap_or_else(PoisonError::into_inner);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut is_over = lock();
                while !*is_over {
                    let waited = bell.wait_timeout(is_over, TICK);
                    is_over = waited.unwrap_or_else(PoisonError::into_inner).0;
                    self.tell();
                }
            });
            let done = work();
            *lock() = true;
            bell.notify_all();
            done
        })
    }

    fn tell(&self) {
        self.console.progress(|| self.progress());
    }

    fn progress(&self) -> Progress {
        let (done, when) = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        Progress {
            // Files that have holes count more bytes than the chunks that they lie in.
            done: done.min(self.total),
            total: self.total,
            time: self.begin.elapsed(),
            idle: when.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_stands_still_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let console = Console::to_file(file.reopen().unwrap());
        let ticker = Ticker::new(100 << 20, &console);
        ticker.done(40 << 20);
        ticker.done(30 << 20);
        // Nothing is added, and still something is told.
        ticker.during(|| std::thread::sleep(3 * TICK));
        let told = std::fs::read_to_string(file.path()).unwrap();
        assert!(told.contains("ramforge:  40 % of 100 MiB"), "{told}");
        let progress = ticker.progress();
        assert!(progress.idle >= 3 * TICK && progress.time >= progress.idle);
    }
}
