//! The private key that signs the chunk map: PEM, as `openssl genpkey -algorithm ed25519` writes it.

use std::fmt;
use std::path::Path;

use ed25519_compact::KeyPair;
use serde::{Serialize, Serializer};

/// A private key. What is shown or serialised of it, and so what enters the stage's key, is its public key.
#[derive(Clone)]
pub(crate) struct SigningKey(KeyPair);

impl SigningKey {
    /// Reads a PEM file.
    ///
    /// # Errors
    /// The fact and the expectation.
    pub(crate) fn read(path: &str) -> Result<Self, String> {
        let pem = std::fs::read_to_string(Path::new(path)).map_err(|e| e.to_string())?;
        KeyPair::from_pem(&pem).map(Self).map_err(|_| {
            "this is no private key of Ed25519 in PEM; openssl genpkey -algorithm ed25519 -out FILE makes one"
                .to_owned()
        })
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
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
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
    fn other_files_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = SigningKey::read(file.path().to_str().unwrap()).unwrap_err();
        assert!(refused.contains("openssl genpkey"), "{refused}");
        assert!(SigningKey::read("/no/such/key").is_err());
    }
}
