//! Pages: what a RAM store keeps, and the memory that direct input and output wants.

use std::ops::Range;

/// Bytes in a page of every RAM store.
pub const PAGE: usize = 4096;

static ZERO: [u8; PAGE] = [0; PAGE];

/// The runs of pages in `bytes` that are not all zero, as ranges of bytes. The last page may be short.
pub fn runs(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (n, page) in bytes.chunks(PAGE).enumerate() {
        if page == &ZERO[..page.len()] {
            continue;
        }
        let (start, end) = (n * PAGE, n * PAGE + page.len());
        match runs.last_mut() {
            Some(run) if run.end == start => run.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
}

/// `bytes` rounded up to whole pages.
pub fn round_up(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE as u64)
}

/// Whether `bytes` are whole pages.
pub fn is_whole(bytes: u64) -> bool {
    bytes.is_multiple_of(PAGE as u64)
}

/// A buffer that begins at a page's boundary, as O_DIRECT demands.
#[derive(Debug)]
pub struct Aligned {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// A zeroed buffer of `length` bytes.
    pub fn new(length: usize) -> Self {
        let memory = vec![0; length + PAGE];
        let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
        Self {
            memory,
            start,
            length,
        }
    }

    /// A buffer with those bytes.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = Self::new(bytes.len());
        buffer.whole().copy_from_slice(bytes);
        buffer
    }

    /// The first `length` bytes, or all there are.
    pub fn slice(&self, length: usize) -> &[u8] {
        &self.memory[self.start..self.start + length.min(self.length)]
    }

    /// The whole buffer.
    pub fn whole(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_leave_out_zero_pages() {
        let mut bytes = vec![0; 5 * PAGE + 10];
        assert!(runs(&bytes).is_empty());
        bytes[PAGE - 1] = 1;
        bytes[PAGE] = 1;
        bytes[3 * PAGE] = 1;
        bytes[5 * PAGE + 9] = 1;
        let expected = [0..2 * PAGE, 3 * PAGE..4 * PAGE, 5 * PAGE..5 * PAGE + 10];
        assert_eq!(runs(&bytes), expected);
        assert!(runs(&[]).is_empty());
    }

    #[test]
    fn sizes_are_rounded_to_pages() {
        assert_eq!(round_up(0), 0);
        assert_eq!(round_up(1), 4096);
        assert_eq!(round_up(8192), 8192);
    }

    #[test]
    fn buffers_are_aligned() {
        let mut buffer = Aligned::new(10_000);
        assert_eq!(buffer.whole().as_ptr().align_offset(PAGE), 0);
        assert_eq!(buffer.slice(10_000).len(), 10_000);
        assert_eq!(buffer.slice(7).len(), 7);
    }
}
