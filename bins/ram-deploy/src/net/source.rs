//! The payload of a boot set on mirrors, as a source of frames.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use store::chunk_map::ChunkMap;

use super::fetch::{Fetcher, Senders, Wanted};
use crate::config;
use crate::deploy::{AHEAD, Source};
use crate::payload::parts::{self, Part};

/// Reads whose mirror is remembered: frames that are not verified yet are among the last ones.
const READS: usize = 64;
/// Bytes that a new request costs more than: so many are read although they are had from elsewhere.
const WORTH: u64 = 1 << 20;
/// How far it is looked where a request may end.
const FAR: u64 = 64 << 20;

/// The payload files on mirrors.
#[derive(Debug)]
pub struct Remote<'a> {
    files: Vec<Part>,
    state: Mutex<State<'a>>,
}

#[derive(Debug)]
struct State<'a> {
    fetcher: Fetcher<'a>,
    /// Offset of the next byte that comes without a new request.
    next: u64,
    /// What is had from elsewhere, in order: no more than [`WORTH`] of it is read ahead.
    elsewhere: Vec<Range<u64>>,
    /// What was read ahead: offset and bytes, the oldest first.
    ahead: VecDeque<(u64, Vec<u8>)>,
    /// The last reads: offset and who sent what from there on.
    origins: VecDeque<(u64, Senders)>,
}

impl<'a> Remote<'a> {
    /// The payload of `map`.
    pub fn new(map: &ChunkMap, fetcher: Fetcher<'a>) -> Self {
        let mut start = 0;
        let part = |(n, length): (usize, u64)| {
            let name = config::frames_on_medium(n);
            start += length;
            Part {
                name,
                start: start - length,
                length,
            }
        };
        let groups = map.payload_files();
        let files = groups
            .iter()
            .map(|group| group.iter().map(|frame| frame.size).sum());
        Self {
            files: files.enumerate().map(part).collect(),
            state: Mutex::new(State {
                fetcher,
                next: 0,
                elsewhere: Vec::new(),
                ahead: VecDeque::new(),
                origins: VecDeque::new(),
            }),
        }
    }

    /// Notes what is had from elsewhere, in the order of the payload.
    pub fn without(&self, elsewhere: Vec<Range<u64>>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.elsewhere = elsewhere;
    }
}

impl State<'_> {
    /// Whether the bytes up to `offset` are read too, so that no new request is needed.
    fn reads_through(&self, offset: u64) -> bool {
        let gap = offset.saturating_sub(self.next);
        let is_small = gap <= WORTH || !self.is_elsewhere(self.next..offset);
        gap > 0 && gap <= AHEAD && is_small
    }

    /// Where a request that goes on at `from` ends: where more than [`WORTH`] is had from elsewhere. A server that is not
    /// told sends more than is taken, as much as the buffers on the way hold.
    fn until(&self, from: u64) -> u64 {
        let first = self.elsewhere.partition_point(|r| r.end <= from);
        let mut run = 0..0;
        for range in &self.elsewhere[first..] {
            if range.start > run.end {
                run.start = range.start.max(from);
            }
            run.end = range.end;
            if run.end - run.start > WORTH || run.end - from > FAR {
                return run.start;
            }
        }
        u64::MAX
    }

    /// Whether some of these bytes are had from elsewhere.
    fn is_elsewhere(&self, bytes: Range<u64>) -> bool {
        let next = self.elsewhere.partition_point(|r| r.end <= bytes.start);
        let found = self.elsewhere.get(next);
        found.is_some_and(|r| r.start < bytes.end)
    }

    fn remember(&mut self, offset: u64, senders: Senders) {
        self.origins.push_back((offset, senders));
        if self.origins.len() > READS {
            self.origins.pop_front();
        }
    }

    /// The mirrors that sent some of these bytes when they were read last.
    fn senders(&self, bytes: Range<u64>) -> Vec<usize> {
        let length = |senders: &Senders| -> u64 { senders.iter().map(|(_, n)| n).sum() };
        let holds = |(at, senders): &&(u64, Senders)| {
            *at <= bytes.start && bytes.end <= at + length(senders)
        };
        let Some((at, senders)) = self.origins.iter().rev().find(holds) else {
            return Vec::new();
        };
        let mut end = *at;
        let mut found: Vec<usize> = Vec::new();
        for (mirror, length) in senders {
            let start = end;
            end += length;
            if start < bytes.end && bytes.start < end && !found.contains(mirror) {
                found.push(*mirror);
            }
        }
        found
    }

    /// Takes bytes out of what was read ahead; whether they are there.
    fn take(&mut self, offset: u64, bytes: &mut [u8]) -> bool {
        let end = offset + bytes.len() as u64;
        let holds = |(at, held): &&(u64, Vec<u8>)| *at <= offset && end <= at + held.len() as u64;
        let Some((at, held)) = self.ahead.iter().find(holds) else {
            return false;
        };
        let from = (offset - at) as usize;
        bytes.copy_from_slice(&held[from..from + bytes.len()]);
        true
    }

    /// Room for so many bytes that are kept for later reads: with them no more than [`AHEAD`] are.
    fn make_room(&mut self, length: u64) -> Vec<u8> {
        let held = |ahead: &VecDeque<(u64, Vec<u8>)>| -> u64 {
            ahead.iter().map(|(_, b)| b.len() as u64).sum()
        };
        while !self.ahead.is_empty() && held(&self.ahead) + length > AHEAD {
            self.ahead.pop_front();
        }
        vec![0; length as usize]
    }
}

impl Remote<'_> {
    /// Fills `bytes` from the files.
    fn fill(&self, state: &mut State<'_>, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut senders = Senders::new();
        let end = offset + bytes.len() as u64;
        let until = state.until(end);
        let mut rest = bytes;
        for (part, from, length) in parts::pieces(&self.files, offset, rest.len() as u64) {
            let (now, later) = rest.split_at_mut(length as usize);
            let wanted = Wanted {
                file: &part.name,
                size: part.length,
                from,
                to: until.saturating_sub(part.start).min(part.length),
            };
            let filled = state.fetcher.fill(wanted, now);
            senders.extend(filled.map_err(io::Error::other)?);
            rest = later;
        }
        state.next = end;
        state.remember(offset, senders);
        match rest.is_empty() {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Source for Remote<'_> {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.take(offset, bytes) {
            return Ok(());
        }
        let next = state.next;
        if state.reads_through(offset) {
            let mut between = state.make_room(offset - next);
            self.fill(&mut state, next, &mut between)?;
            state.ahead.push_back((next, between));
        }
        self.fill(&mut state, offset, bytes)
    }

    /// Each mirror may have its turn.
    fn tries(&self) -> usize {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.fetcher.mirrors().max(1)
    }

    /// It is asked of another mirror from now on, where there is one.
    fn wrong(&self, offset: u64, length: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .ahead
            .retain(|(at, held)| at + held.len() as u64 <= offset || *at >= offset + length);
        let senders = state.senders(offset..offset + length);
        state.fetcher.distrust(&senders);
    }

    /// Nothing of it is cached by the system.
    fn forget(&self, _: u64, _: u64) {}

    fn place(&self, offset: u64) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let url = state.fetcher.url().map(ToString::to_string);
        let found = parts::pieces(&self.files, offset, 1).next();
        let place = found.map(|(part, at, _)| format!("{} offset {at}", part.name));
        url.unwrap_or_default() + &place.unwrap_or_else(|| format!("payload offset {offset}"))
    }

    fn remedy(&self) -> &'static str {
        "compare the files on the server with SHA256SUMS of the boot set, or name another server with rd.ramforge.url="
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fetch::{Patience, Tell};

    const NOBODY: &Tell<'static> = &|_: &str| ();

    /// A payload of nothing on no server.
    fn remote() -> Remote<'static> {
        let map = br#"{"chunk_size":4096,"chunks":[],"format":1,"size":4096}"#;
        let map = ChunkMap::parse(map).unwrap();
        let patience = Patience::default();
        let fetcher = Fetcher::new(Vec::new(), patience, Box::new(|_| Ok(Vec::new())), NOBODY);
        Remote::new(&map, fetcher)
    }

    #[test]
    fn what_is_had_from_elsewhere_is_known() {
        let remote = remote();
        let is_elsewhere = |range| remote.state.lock().unwrap().is_elsewhere(range);
        assert!(!is_elsewhere(0..99));
        remote.without(vec![10..20, 20..30, 50..60]);
        for (range, expected) in [
            (0..10, false),
            (0..11, true),
            (19..20, true),
            (30..50, false),
            (29..50, true),
            (40..70, true),
            (60..99, false),
        ] {
            assert_eq!(is_elsewhere(range.clone()), expected, "{range:?}");
        }
    }

    #[test]
    fn room_is_made_before_it_is_taken() {
        let remote = remote();
        let mut state = remote.state.lock().unwrap();
        for n in 0..9 {
            let bytes = state.make_room(AHEAD / 4 + 1);
            let held: usize = state.ahead.iter().map(|(_, b)| b.len()).sum();
            assert!((held + bytes.len()) as u64 <= AHEAD, "{n}");
            state.ahead.push_back((n, bytes));
        }
        let offsets: Vec<u64> = state.ahead.iter().map(|(at, _)| *at).collect();
        assert_eq!(offsets, [6, 7, 8]);
        assert_eq!(state.make_room(AHEAD).len() as u64, AHEAD);
        assert!(state.ahead.is_empty());
    }

    #[test]
    fn a_request_ends_where_much_is_had_from_elsewhere() {
        let remote = remote();
        let until = |ranges: &[Range<u64>], from| {
            remote.without(ranges.to_vec());
            remote.state.lock().unwrap().until(from)
        };
        assert_eq!(until(&[], 5), u64::MAX);
        // Two that touch are one; one that is small is read through.
        let touching = [10..20, 50..WORTH, WORTH..WORTH + 51, 2 * WORTH..9 * WORTH];
        assert_eq!(until(&touching, 5), 50);
        assert_eq!(until(&touching, 20), 50);
        assert_eq!(until(&touching[..2], 5), u64::MAX);
        // What is left of a run counts from where the reading is.
        assert_eq!(until(&touching, 60), 2 * WORTH);
        assert_eq!(until(&touching, 9 * WORTH), u64::MAX);
        // It is not looked for ever.
        let many: Vec<_> = (1..100).map(|n| n * WORTH..n * WORTH + 9).collect();
        assert_eq!(until(&many, 0), FAR);
    }

    #[test]
    fn small_gaps_are_read_through() {
        let remote = remote();
        remote.without(vec![0..WORTH, WORTH..2 * WORTH]);
        let mut state = remote.state.lock().unwrap();
        assert!(!state.reads_through(0));
        assert!(state.reads_through(WORTH));
        assert!(!state.reads_through(WORTH + 1));
        // Nothing from there on is had from elsewhere.
        state.next = 2 * WORTH;
        assert!(state.reads_through(2 * WORTH + AHEAD));
        assert!(!state.reads_through(2 * WORTH + AHEAD + 1));
        assert!(!state.reads_through(WORTH));
    }
}
