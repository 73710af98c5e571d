//! Repositories that cannot be used, and packages that are not there: what the user is told.
//!
//! A tiny repository is built and signed with a key made for the test, and served from a directory.
//! Needs gpg (gnupg), dpkg-deb (dpkg) and apt; as an ordinary user also a range of subordinate ids.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A directory with a repository, keys and a store.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("repo")).unwrap();
        let place = Self { dir };
        place.package("apt", "Essential: yes\n");
        place.package("tool", "Depends: apt\n");
        place.index();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn package(&self, name: &str, more: &str) {
        let control = format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\n{more}Description: test\n"
        );
        let tree = self.path(&format!("tree-{name}"));
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        let deb = self.path(&format!("repo/{name}_1_all.deb"));
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "-b"])
            .args([&tree, &deb]));
    }

    /// Writes Packages and Release.
    fn index(&self) {
        let mut packages = String::new();
        for name in ["apt", "tool"] {
            let control = fs::read_to_string(self.path(&format!("tree-{name}/DEBIAN/control")));
            let bytes = fs::read(self.path(&format!("repo/{name}_1_all.deb"))).unwrap();
            packages += &format!(
                "{}Filename: ./{name}_1_all.deb\nSize: {}\nSHA256: {}\n\n",
                control.unwrap(),
                bytes.len(),
                hex(&bytes)
            );
        }
        fs::write(self.path("repo/Packages"), &packages).unwrap();
        let release = format!(
            "Suite: test\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {} {} Packages\n",
            hex(packages.as_bytes()),
            packages.len()
        );
        fs::write(self.path("repo/Release"), release).unwrap();
    }

    /// Makes a key; gives its public half.
    fn key(&self, name: &str) -> Vec<u8> {
        let home = self.path(name);
        fs::create_dir(&home).unwrap();
        run(Command::new("chmod").arg("700").arg(&home));
        let user = format!("{name} <{name}@example.org>");
        run(gpg(&home).args([
            "--passphrase",
            "",
            "--quick-gen-key",
            &user,
            "ed25519",
            "sign",
            "never",
        ]));
        run(gpg(&home).args(["--armor", "--export"])).stdout
    }

    fn sign(&self, key: &str) {
        let (release, signed) = (self.path("repo/Release"), self.path("repo/InRelease"));
        run(gpg(&self.path(key))
            .args(["--digest-algo", "SHA512", "--clearsign", "--output"])
            .args([&signed, &release]));
    }

    /// Puts bytes into the store and names them.
    fn put(&self, bytes: &[u8]) -> Value {
        let store = store::Store::open(&self.path("store")).unwrap();
        json!(store.put(bytes).unwrap())
    }

    fn assemble(&self, repository: &Value, packages: &[&str]) -> (i32, String) {
        let manifest = manifest(repository, packages);
        let mut child = Command::new(env!("CARGO_BIN_EXE_rootfs-assemble"))
            .env("RAMFORGE_STORE", self.path("store"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(manifest.to_string().as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said)
    }

    fn repository(&self, keys: &[Value]) -> Value {
        let uri = format!("dir://{}", self.path("repo").display());
        let keys: Vec<Value> = keys
            .iter()
            .map(|object| json!({"object": object}))
            .collect();
        json!({
            "uri": uri, "type": "apt-deb", "alias": "local", "priority": 0,
            "signature_check": true, "imageinclude": false, "keys": keys,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // gpg leaves an agent behind for each home directory.
        for entry in fs::read_dir(self.dir.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.path().join("pubring.kbx").exists() {
                let _ = Command::new("gpgconf")
                    .arg("--homedir")
                    .arg(entry.path())
                    .args(["--kill", "all"])
                    .status();
            }
        }
    }
}

fn gpg(home: &Path) -> Command {
    let mut command = Command::new("gpg");
    command.arg("--homedir").arg(home).args([
        "--batch",
        "--yes",
        "--quiet",
        "--pinentry-mode",
        "loopback",
    ]);
    command
}

fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{:?}: {e}", command.get_program()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

fn manifest(repository: &Value, packages: &[&str]) -> Value {
    let image: Vec<Value> = packages.iter().map(|name| json!({"name": name})).collect();
    json!({"ramforge": 1, "plan": {
        "format": 1, "by": "test", "name": "test", "version": "1", "arch": std::env::consts::ARCH,
        "type": {"image": "oem", "filesystem": "ext4", "installiso": true, "installpxe": false,
            "initrd_system": "dracut", "volid": "INSTALL", "attributes": {}},
        "disk": {"root_label": "ROOT", "efi_mib": 20, "resize": true},
        "bootloader": {"name": "grub2", "timeout": 1, "console": "serial", "title": "test"},
        "kernelcmdline": "", "overrides": [],
        "oem": {"unattended": true, "skip_verify": true, "resize": true, "elements": {}},
        "profiles": [], "package_manager": "apt", "users": [], "scripts": {},
        "packages": {"bootstrap": [], "image": image, "delete": [], "uninstall": []},
        "repositories": [repository],
        "origins": {"/packages/image/1": {"file": "appliance.kiwi", "line": 7, "column": 5}},
    }})
}

#[test]
fn an_unsigned_repository_is_named_with_the_way_out() {
    let place = Place::new();
    let (code, said) = place.assemble(&place.repository(&[]), &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("repository local (dir://"), "{said}");
    assert!(said.contains("it is not signed"), "{said}");
    assert!(said.contains("repository_gpgcheck=\"false\""), "{said}");
}

#[test]
fn a_key_that_is_not_known_is_told_from_a_wrong_signature() {
    let place = Place::new();
    let other = place.put(&place.key("other"));
    place.key("signer");
    place.sign("signer");
    let (code, said) = place.assemble(&place.repository(&[other]), &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("a key that is not known here"), "{said}");
    assert!(said.contains("<signing key="), "{said}");
}

#[test]
fn a_wrong_signature_is_told() {
    let place = Place::new();
    let key = place.put(&place.key("signer"));
    place.sign("signer");
    let signed = place.path("repo/InRelease");
    let text = fs::read_to_string(&signed).unwrap();
    fs::write(&signed, text.replace("Suite: test", "Suite: tess")).unwrap();
    let (code, said) = place.assemble(&place.repository(&[key]), &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("its signature or a checksum is wrong"),
        "{said}"
    );
}

#[test]
fn metadata_that_is_not_what_was_signed_is_told() {
    let place = Place::new();
    let key = place.put(&place.key("signer"));
    place.sign("signer");
    let mut packages = fs::read(place.path("repo/Packages")).unwrap();
    packages[0] ^= 1;
    fs::write(place.path("repo/Packages"), packages).unwrap();
    let (code, said) = place.assemble(&place.repository(&[key]), &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("its signature or a checksum is wrong"),
        "{said}"
    );
}

#[test]
fn an_unreachable_repository_is_told() {
    let place = Place::new();
    let mut repository = place.repository(&[]);
    // Nobody listens on the discard port.
    repository["uri"] = json!("http://127.0.0.1:9/debian");
    repository["distribution"] = json!("stable");
    let (code, said) = place.assemble(&repository, &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("repository local (http://127.0.0.1:9/debian): it cannot be reached"),
        "{said}"
    );
    repository["uri"] = json!("dir:///no/such/directory");
    let (code, said) = place.assemble(&repository, &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("there is no directory /no/such/directory"),
        "{said}"
    );
}

#[test]
fn a_package_that_does_not_exist_is_named_with_its_place() {
    let place = Place::new();
    let key = place.put(&place.key("signer"));
    place.sign("signer");
    let (code, said) = place.assemble(&place.repository(&[key]), &["tool", "nosuch"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("appliance.kiwi:7:5: there is no package nosuch"),
        "{said}"
    );
}

#[test]
fn a_package_that_is_not_what_the_metadata_says_is_not_used() {
    let place = Place::new();
    let key = place.put(&place.key("signer"));
    place.sign("signer");
    let deb = place.path("repo/tool_1_all.deb");
    let mut bytes = fs::read(&deb).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&deb, bytes).unwrap();
    let (code, said) = place.assemble(&place.repository(&[key]), &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("package tool"), "{said}");
}

#[test]
fn other_package_managers_and_architectures_are_refused() {
    let place = Place::new();
    let repository = place.repository(&[]);
    let mut bad = manifest(&repository, &[]);
    bad["plan"]["package_manager"] = json!("zypper");
    let output = feed(&place, &bad);
    assert!(output.contains("expected apt"), "{output}");
    bad["plan"]["package_manager"] = json!("apt");
    bad["plan"]["arch"] = json!("s390x");
    let output = feed(&place, &bad);
    assert!(output.contains("the image is for s390x"), "{output}");
}

fn feed(place: &Place, manifest: &Value) -> String {
    let file = place.path("manifest.json");
    fs::write(&file, manifest.to_string()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_rootfs-assemble"))
        .env("RAMFORGE_STORE", place.path("store"))
        .arg("--manifest")
        .arg(&file)
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}
