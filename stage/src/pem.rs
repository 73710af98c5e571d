//! Files with one key in PEM (RFC 7468), as options name them.

use std::fs::File;
use std::io::Read;

/// No key is longer than this, in bytes.
const LONGEST: u64 = 64 << 10;
/// How a block begins.
const BEGIN: &str = "-----BEGIN ";

/// The text of a file that holds one block.
///
/// # Errors
/// The fact, for clap; `expected` where the file holds something else.
pub fn read_pem(path: &str, expected: &str) -> std::result::Result<String, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    let read = file.take(LONGEST + 1).read_to_end(&mut bytes);
    read.map_err(|e| e.to_string())?;
    if bytes.len() as u64 > LONGEST {
        return Err(expected.to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| expected.to_owned())?;
    match text.matches(BEGIN).count() {
        0 => Err(expected.to_owned()),
        1 => Ok(text),
        n => Err(format!(
            "it holds {n} blocks, expected one key in a file of its own"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let read = |bytes: &[u8]| {
            let path = dir.path().join("key");
            std::fs::write(&path, bytes).unwrap();
            read_pem(path.to_str().unwrap(), "no key")
        };
        let block = "-----BEGIN PUBLIC KEY-----\nMCo=\n-----END PUBLIC KEY-----\n";
        assert_eq!(read(block.as_bytes()).unwrap(), block);
        let two = read(block.repeat(2).as_bytes()).unwrap_err();
        assert!(two.contains("2 blocks"), "{two}");
        for other in [&b""[..], b"\x30\x2a\xff", &vec![b'-'; 70_000]] {
            assert_eq!(read(other).unwrap_err(), "no key");
        }
        assert!(
            read_pem("/no/such/key", "no key")
                .unwrap_err()
                .contains("No such file")
        );
        assert_eq!(read_pem("/dev/zero", "no key").unwrap_err(), "no key");
    }
}
