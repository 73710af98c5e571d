//! GUIDs as UEFI stores them (UEFI 2.10, appendix A).
//!
//! The first three groups are little endian on disk, the rest is in the order it is printed.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A GUID, kept in the order of its bytes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(pub [u8; 16]);

/// Position on disk of each byte in the printed order.
const PRINTED: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl Guid {
    /// All zero: an unused partition entry.
    pub const ZERO: Guid = Guid([0; 16]);

    /// From sixteen bytes in the printed order, such as those of an RFC 9562 UUID.
    pub const fn from_printed(printed: [u8; 16]) -> Guid {
        let mut disk = [0; 16];
        let mut i = 0;
        while i < 16 {
            disk[PRINTED[i]] = printed[i];
            i += 1;
        }
        Guid(disk)
    }

    /// A UUID of version 8 (RFC 9562 §5.8) made of the first sixteen bytes of a digest, so that
    /// equal input gives an equal GUID.
    pub const fn from_digest(mut digest: [u8; 16]) -> Guid {
        digest[6] = digest[6] & 0x0f | 0x80;
        digest[8] = digest[8] & 0x3f | 0x80;
        Guid::from_printed(digest)
    }

    /// The sixteen bytes in the printed order, as a file system stores its UUID.
    pub fn printed(&self) -> [u8; 16] {
        PRINTED.map(|at| self.0[at])
    }
}

impl fmt::Display for Guid {
    /// Lower case with hyphens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.printed().iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Guid {
    type Err = Error;

    /// Reads 32 hexadecimal digits of either case, with or without hyphens.
    fn from_str(text: &str) -> Result<Guid> {
        let wrong = || {
            Error::unfit(
                format!("GUID {text:?}"),
                "malformed",
                "32 hexadecimal digits",
            )
        };
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
        if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(wrong());
        }
        let mut printed = [0; 16];
        for (byte, pair) in printed.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Guid::from_printed(printed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_disk_order() {
        let esp: Guid = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B".parse().unwrap();
        assert_eq!(esp.0[..8], [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11]);
        assert_eq!(esp.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        assert_eq!(Guid::from_printed(esp.printed()), esp);
    }

    #[test]
    fn a_digest_becomes_a_version_8_uuid() {
        let guid = Guid::from_digest([0xff; 16]).to_string();
        assert_eq!(guid, "ffffffff-ffff-8fff-bfff-ffffffffffff");
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in [
            "",
            "c12a7328",
            "g12a7328-f81f-11d2-ba4b-00a0c93ec93b",
            "é12a7328-f81f-11d2-ba4b-00a0c93ec93",
        ] {
            assert!(text.parse::<Guid>().is_err(), "{text}");
        }
    }
}
