//! Where two streams of bytes differ.

use std::fmt;
use std::io::{self, Read};

/// Bytes of each side that are shown.
const SHOWN: usize = 8;
/// Bytes that are compared at once.
const BLOCK: usize = 1 << 16;

/// The first byte that differs, and what stands from there on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) offset: u64,
    was: Vec<u8>,
    is: Vec<u8>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (was, is) = (hex(&self.was), hex(&self.is));
        write!(f, "differs from byte {}: was {was}, is {is}", self.offset)
    }
}

fn hex(bytes: &[u8]) -> String {
    match bytes {
        [] => "the end".to_owned(),
        bytes => bytes
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// The first difference; nothing where both are the same to the end.
///
/// # Errors
/// Those of the readers.
pub(crate) fn first(mut was: impl Read, mut is: impl Read) -> io::Result<Option<Difference>> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let mut offset = 0;
    loop {
        fill(&mut was, &mut a, BLOCK)?;
        fill(&mut is, &mut b, BLOCK)?;
        let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        if same == a.len() && same == b.len() {
            if same == 0 {
                return Ok(None);
            }
            offset += same as u64;
            a.clear();
            b.clear();
            continue;
        }
        a.drain(..same);
        b.drain(..same);
        fill(&mut was, &mut a, SHOWN)?;
        fill(&mut is, &mut b, SHOWN)?;
        a.truncate(SHOWN);
        b.truncate(SHOWN);
        let offset = offset + same as u64;
        return Ok(Some(Difference {
            offset,
            was: a,
            is: b,
        }));
    }
}

/// Reads on until there are `wanted` bytes, or no more.
fn fill(from: &mut impl Read, to: &mut Vec<u8>, wanted: usize) -> io::Result<()> {
    let missing = wanted.saturating_sub(to.len()) as u64;
    from.by_ref().take(missing).read_to_end(to).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(was: &[u8], is: &[u8]) -> Option<String> {
        first(was, is).unwrap().map(|d| d.to_string())
    }

    #[test]
    fn the_first_byte_is_found_wherever_it_is() {
        assert_eq!(found(b"same", b"same"), None);
        assert_eq!(
            found(b"one", b"once").unwrap(),
            "differs from byte 2: was 65, is 63 65"
        );
        assert_eq!(
            found(b"a", b"").unwrap(),
            "differs from byte 0: was 61, is the end"
        );
        for at in [0, BLOCK - 1, BLOCK, 3 * BLOCK + 7] {
            let was = vec![7; 4 * BLOCK];
            let mut is = was.clone();
            is[at] = 8;
            let found = first(&was[..], &is[..]).unwrap().unwrap();
            assert_eq!((found.offset, found.was.len()), (at as u64, SHOWN));
        }
    }
}
