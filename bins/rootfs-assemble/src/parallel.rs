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

/// Applies `work`, on all cores, to what `feed` hands over, while that goes on. The results come in no order. What
/// `feed` is given says whether more is wanted: not after an error.
///
/// # Errors
/// The first error of `work`, or that of `feed`. What was handed over and not begun by then is left.
pub fn pipe<T: Send, R: Send>(
    feed: impl FnOnce(&dyn Fn(T) -> bool) -> Result<()>,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (receiver, done) = (Mutex::new(receiver), Mutex::new(Ok(Vec::new())));
    let run = || {
        loop {
            let item = locked(&receiver).recv();
            let (Ok(item), true) = (item, locked(&done).is_ok()) else {
                return;
            };
            let result = work(item);
            let mut done = locked(&done);
            match (result, done.as_mut()) {
                (Ok(result), Ok(all)) => all.push(result),
                (Err(error), Ok(_)) => *done = Err(error),
                (_, Err(_)) => {}
            }
        }
    };
    let fed = std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(run);
        }
        // The channel ends with the feeding, and the threads with the channel.
        let sender = sender;
        feed(&|item| sender.send(item).is_ok() && locked(&done).is_ok())
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    fed.map(|()| done)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn what_is_fed_is_done_and_an_error_ends_it() {
        let feed = |next: &dyn Fn(u32) -> bool| {
            (0..1000).all(next);
            Ok(())
        };
        let mut doubled = pipe(feed, |n| Ok(n * 2)).unwrap();
        doubled.sort_unstable();
        assert_eq!(doubled, (0..1000).map(|n| n * 2).collect::<Vec<_>>());
        let failed = pipe(feed, |n| match n {
            500 => Err(Error::failed("500")),
            _ => Ok(n),
        });
        assert_eq!(failed.unwrap_err().to_string(), "500");
        let unfed = pipe(|_: &dyn Fn(u32) -> bool| Err(Error::failed("no more")), Ok);
        assert_eq!(unfed.unwrap_err().to_string(), "no more");
    }

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
