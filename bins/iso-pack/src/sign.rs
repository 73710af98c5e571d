//! The private key that signs the chunk map: PEM, as `openssl genpkey -algorithm ed25519` writes it.

use std::fmt;

use ed25519_compact::KeyPair;
use manifest::Digest;
use serde::{Serialize, Serializer};
use stage::{Error, Result};

/// A private key. What is shown or serialised of it, and so what enters the stage's key, is its public key.
#[derive(Clone)]
pub(crate) struct SigningKey(KeyPair);

impl SigningKey {
    /// Reads a PEM file.
    ///
    /// # Errors
    /// The fact and the expectation.
    pub(crate) fn read(path: &str) -> std::result::Result<Self, String> {
        let expected = "this is no private key of Ed25519 in PEM; openssl genpkey -algorithm ed25519 -out FILE makes one";
        let pem = stage::read_pem(path, expected)?;
        let pair = KeyPair::from_pem(&pem);
        pair.map(Self).map_err(|_| expected.to_owned())
    }

    /// Compares the key of a medium with the one that its initramfs asks for: what can never boot is not made. Gives a
    /// warning where the other half is missing.
    ///
    /// # Errors
    /// Both public keys, where they differ.
    pub(crate) fn judge(
        key: Option<&Self>,
        asked: Option<&Digest>,
    ) -> Result<Option<&'static str>> {
        match (key.map(Self::public), asked.map(Digest::to_string)) {
            (Some(ours), Some(theirs)) if ours != theirs => Err(Error::refused(format!(
                "--sign: the public key is {ours}, the initramfs starts only what {theirs} signed"
            ))
            .advice("give initrd-inject the --public-key that openssl pkey -in KEY -pubout writes of this one")),
            (None, Some(_)) => Ok(Some(
                "the initramfs starts only a signed chunk map, and this one is not: sign it with --sign KEY",
            )),
            (Some(_), None) => Ok(Some(
                "nothing at boot looks at the signature: give initrd-inject --public-key KEY",
            )),
            _ => Ok(None),
        }
    }

    /// The signature of `bytes`: the same each time.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.sk.sign(bytes, None).to_vec()
    }

    fn public(&self) -> String {
        self.0.pk.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey of {}", self.public())
    }
}

impl Serialize for SigningKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn openssl(arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("openssl").args(arguments).output();
        let output = output.expect("openssl (package openssl)");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// OpenSSL makes the key and judges the signature.
    #[test]
    fn openssl_accepts_the_signature() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let (key, public) = (path("key"), path("public"));
        let (map, signature) = (path("map"), path("signature"));
        openssl(&["genpkey", "-algorithm", "ed25519", "-out", &key]);
        openssl(&["pkey", "-in", &key, "-pubout", "-out", &public]);
        let read = SigningKey::read(&key).unwrap();
        std::fs::write(&map, "map").unwrap();
        std::fs::write(&signature, read.sign(b"map")).unwrap();
        openssl(&[
            "pkeyutl", "-verify", "-pubin", "-inkey", &public, "-rawin", "-in", &map, "-sigfile",
            &signature,
        ]);
        let shown = serde_json::to_string(&read).unwrap() + &format!("{read:?}");
        let text = openssl(&["pkey", "-in", &key, "-noout", "-text"]);
        let text = String::from_utf8(text)
            .unwrap()
            .replace([':', ' ', '\n'], "");
        let (private, public) = text.split_once("pub").unwrap();
        assert!(public.contains(&read.public()) && shown.contains(&read.public()));
        let private = private.split_once("priv").unwrap().1;
        assert!(private.len() == 64 && !shown.contains(private));
    }

    #[test]
    fn the_initramfs_must_ask_for_the_same_key() {
        let key = SigningKey(KeyPair::from_seed(ed25519_compact::Seed::new([7; 32])));
        let (own, other) = (key.public().parse().unwrap(), Digest::of(b"another"));
        let judge = |key, asked| SigningKey::judge(key, asked);
        assert_eq!(judge(Some(&key), Some(&own)).unwrap(), None);
        assert_eq!(judge(None, None).unwrap(), None);
        let refused = judge(Some(&key), Some(&other)).unwrap_err().to_string();
        assert!(refused.contains(&other.to_string()), "{refused}");
        assert!(
            judge(None, Some(&own))
                .unwrap()
                .unwrap()
                .contains("--sign KEY")
        );
        let unread = judge(Some(&key), None).unwrap().unwrap();
        assert!(unread.contains("--public-key KEY"), "{unread}");
    }

    #[test]
    fn other_files_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = SigningKey::read(file.path().to_str().unwrap()).unwrap_err();
        assert!(refused.contains("openssl genpkey"), "{refused}");
        assert!(SigningKey::read("/no/such/key").is_err());
    }
}
