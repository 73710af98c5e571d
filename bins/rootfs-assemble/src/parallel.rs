//! The same work on many things, on all cores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use stage::{Error, Result};

/// Applies `work` to every item; the results come in the items' order. The first error ends the work.
///
/// # Errors
/// The error of the first item, in the items' order, that failed.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let run = || {
        while let Some((index, item)) = take(&next, items) {
            let result = work(item);
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((index, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads().min(items.len()) {
            scope.spawn(run);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    let results: Vec<R> = done.into_iter().map(|(_, r)| r).collect::<Result<_>>()?;
    if results.len() == items.len() {
        Ok(results)
    } else {
        Err(Error::failed("a working thread was lost"))
    }
}

fn take<'a, T>(next: &AtomicUsize, items: &'a [T]) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    items.get(index).map(|item| (index, item))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_errors_end_the_work() {
        let items: Vec<u32> = (0..1000).collect();
        let doubled = map(&items, |n| Ok(n * 2)).unwrap();
        assert_eq!(doubled[999], 1998);
        let failed = map(&items, |n| {
            if *n >= 10 {
                Err(Error::failed(format!("{n}")))
            } else {
                Ok(*n)
            }
        });
        assert_eq!(failed.unwrap_err().to_string(), "10");
    }
}
