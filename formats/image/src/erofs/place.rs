//! Where inodes lie in the metadata: what belongs to one must not cross a block with its inline bytes.

use super::format::{BLOCK, SLOT};

/// Gaps that are remembered: small inodes fill what large ones left.
const GAPS: usize = 256;

/// Gives inodes their places.
#[derive(Debug)]
pub(super) struct Places {
    end: usize,
    /// Free ranges before the end.
    gaps: Vec<(usize, usize)>,
}

impl Places {
    /// Everything from `begin` on is free.
    pub(super) fn new(begin: usize) -> Self {
        Self {
            end: begin,
            gaps: Vec::new(),
        }
    }

    /// A place for `fixed` bytes and `inline` ones behind them.
    pub(super) fn take(&mut self, fixed: usize, inline: usize) -> usize {
        let length = fixed + inline;
        let fitting = self.gaps.iter().position(|&(begin, end)| {
            let at = fit(begin, fixed, inline);
            at + length <= end
        });
        let Some(n) = fitting else {
            let at = fit(self.end, fixed, inline);
            self.remember(self.end, at);
            self.end = (at + length).next_multiple_of(SLOT);
            return at;
        };
        let (begin, end) = self.gaps.remove(n);
        let at = fit(begin, fixed, inline);
        self.remember(begin, at);
        self.remember((at + length).next_multiple_of(SLOT), end);
        at
    }

    /// Bytes up to the end of the last one.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    fn remember(&mut self, begin: usize, end: usize) {
        if begin + 2 * SLOT <= end {
            self.gaps.push((begin, end));
        }
        if self.gaps.len() > GAPS {
            self.gaps.remove(0);
        }
    }
}

/// The first place from `begin` on at which `inline` bytes behind `fixed` ones lie in one block.
fn fit(begin: usize, fixed: usize, inline: usize) -> usize {
    let in_one = |at: usize| (at + fixed) % BLOCK + inline <= BLOCK;
    if inline == 0 || in_one(begin) {
        return begin;
    }
    // The inline bytes begin in the next block, as early as the slots allow.
    let next = (begin + fixed).next_multiple_of(BLOCK);
    (next - fixed).next_multiple_of(SLOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_bytes_stay_in_a_block_and_gaps_are_filled() {
        let mut places = Places::new(64);
        assert_eq!(places.take(64, 0), 64);
        // Behind its 64 bytes lie 4000, which begin where a block does.
        assert_eq!(places.take(64, 4000), BLOCK - 64);
        assert_eq!(places.take(64, 100), 128);
        assert_eq!(places.take(64, 0), 128 + 192);
        assert_eq!(places.end(), 2 * BLOCK - 96);
        for fixed in [64, 80, 2048, 5000, 8192] {
            for inline in [1, 31, 4000, 4064] {
                let at = places.take(fixed, inline);
                assert!(at.is_multiple_of(SLOT));
                assert_eq!((at + fixed) / BLOCK, (at + fixed + inline - 1) / BLOCK);
            }
        }
    }
}
