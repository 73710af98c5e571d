//! The chunk map's signature: Ed25519 (RFC 8032) over the map's bytes, 64 bytes in `/ramforge/map.sig` of the medium.
//!
//! An initramfs with a public key starts nothing whose map is not signed with the key that belongs to it. So whoever signs
//! the kernel and the initramfs decides once, with the key, which builds of the image may run.
//!
//! *Not here:* the private key, which only `iso-pack` reads.

use ed25519_compact::{PublicKey, Signature};
use manifest::Digest;

/// The signature on the medium, from its root.
pub const SIGNATURE_ON_MEDIUM: &str = "ramforge/map.sig";
/// Length of a signature in bytes.
pub const SIGNATURE_BYTES: usize = Signature::BYTES;

/// Whether `signature` is one of `map` with the private key that belongs to `key`, the 32 bytes of a public key.
pub fn verify(key: &Digest, map: &[u8], signature: &[u8]) -> bool {
    let verified = PublicKey::from_slice(key.as_bytes())
        .and_then(|key| key.verify(map, &Signature::from_slice(signature)?));
    verified.is_ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// RFC 8032, 7.1, test 3: key, message and signature.
    pub(crate) fn vector() -> (Digest, [u8; 2], Vec<u8>) {
        let bytes = |hex: &str| -> Vec<u8> {
            let byte = |n: usize| u8::from_str_radix(&hex[n..n + 2], 16).unwrap();
            (0..hex.len()).step_by(2).map(byte).collect()
        };
        let key = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025";
        let key: Digest = serde_json::from_str(&format!("\"{key}\"")).unwrap();
        let signature = bytes(
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
             18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        );
        (key, [0xaf, 0x82], signature)
    }

    #[test]
    fn the_vector_of_the_standard_is_verified() {
        let (key, message, signature) = vector();
        assert!(verify(&key, &message, &signature));
        assert!(!verify(&key, &[0xaf, 0x83], &signature));
        assert!(!verify(&Digest::of(b"other"), &message, &signature));
        for short in [&signature[..63], &[]] {
            assert!(!verify(&key, &message, short));
        }
    }
}
