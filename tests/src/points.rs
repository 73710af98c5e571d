//! Seeded points: the same every time, others on demand, each one repeatable.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use fastrand::Rng;

/// Runs at a time: each waits for the disk or for one program most of the time.
const WORKERS: usize = 2;

/// The points of one test.
#[derive(Debug)]
pub struct Points {
    seed: u64,
    indices: Vec<usize>,
}

impl Points {
    /// `count` points, or what `RAMFORGE_FAULT_SEED`, `RAMFORGE_FAULT_POINTS` (how many) and
    /// `RAMFORGE_FAULT_POINT` (only this one) say.
    ///
    /// # Panics
    /// Where a variable is no number.
    pub fn new(count: usize) -> Self {
        Self::all(variable("RAMFORGE_FAULT_POINTS").unwrap_or(count))
    }

    /// As [`Points::new`], where there are no more than `count`.
    ///
    /// # Panics
    /// Where a variable is no number.
    pub fn all(count: usize) -> Self {
        let indices = match variable("RAMFORGE_FAULT_POINT") {
            Some(point) => vec![point],
            None => (0..count).collect(),
        };
        let seed = variable("RAMFORGE_FAULT_SEED").unwrap_or(0) as u64;
        Self { seed, indices }
    }

    /// Does `work` at every point, with random numbers of the point's own; prints what it says of each.
    ///
    /// # Panics
    /// After the last point, where one of them panicked.
    pub fn each(&self, work: impl Fn(usize, &mut Rng) -> String + Sync) {
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    while let Some(&index) = self.indices.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        if let Err(why) = self.one(index, &work) {
                            failed.lock().unwrap().push((index, why));
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().unwrap();
        let (seed, count) = (self.seed, self.indices.len());
        let why: String = failed
            .iter()
            .map(|(n, why)| format!("\n{n}: {why}"))
            .collect();
        assert!(
            failed.is_empty(),
            "{} of {count} points failed; each can be repeated: \
             RAMFORGE_FAULT_SEED={seed} RAMFORGE_FAULT_POINT=N{why}",
            failed.len()
        );
    }

    fn one(
        &self,
        index: usize,
        work: &(impl Fn(usize, &mut Rng) -> String + Sync),
    ) -> Result<(), String> {
        let begin = Instant::now();
        let mut rng = Rng::with_seed((self.seed << 32) ^ index as u64);
        let done = catch_unwind(AssertUnwindSafe(|| work(index, &mut rng)));
        let time = begin.elapsed().as_secs_f64();
        let done = done.map_err(|panic| message(&*panic));
        let said = done.as_deref().unwrap_or("FAILED, see the end");
        println!("seed {} point {index}: {said} ({time:.1} s)", self.seed);
        done.map(drop)
    }
}

/// What a panic says.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").to_owned()
}

fn variable(name: &str) -> Option<usize> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|e| panic!("{name}={text}: {e}; expected a number")))
}
