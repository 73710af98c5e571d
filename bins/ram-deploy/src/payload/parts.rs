//! A payload as files back to back.

/// A payload file.
#[derive(Debug)]
pub struct Part {
    /// Its name on the medium.
    pub name: String,
    /// Where it begins in the payload.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// The parts of a range that lie in each of `files`: file, offset in it, length.
pub fn pieces<T: AsRef<Part>>(
    files: &[T],
    offset: u64,
    length: u64,
) -> impl Iterator<Item = (&T, u64, u64)> {
    files.iter().filter_map(move |file| {
        let part = file.as_ref();
        let start = offset.max(part.start);
        let end = (offset + length).min(part.start + part.length);
        (start < end).then(|| (file, start - part.start, end - start))
    })
}

impl AsRef<Self> for Part {
    fn as_ref(&self) -> &Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_the_files() {
        let part = |start, length| Part {
            name: format!("{start}"),
            start,
            length,
        };
        let files = [part(0, 10), part(10, 5), part(15, 1)];
        let cut = |offset, length| -> Vec<(u64, u64, u64)> {
            let found = pieces(&files, offset, length);
            found.map(|(f, at, n)| (f.start, at, n)).collect()
        };
        assert_eq!(cut(0, 10), [(0, 0, 10)]);
        assert_eq!(cut(9, 7), [(0, 9, 1), (10, 0, 5), (15, 0, 1)]);
        assert_eq!(cut(12, 2), [(10, 2, 2)]);
        assert!(cut(16, 4).is_empty() && cut(3, 0).is_empty());
    }
}
