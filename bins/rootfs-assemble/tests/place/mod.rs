//! A tiny repository, built and signed with a key made for the test, and served from a directory.
//!
//! Needs gpg (gnupg), dpkg-deb (dpkg) and apt; as an ordinary user also a range of subordinate ids.

#![allow(dead_code)] // not every test file needs everything

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A directory with a repository, keys and a store.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("repo")).unwrap();
        let place = Self { dir };
        place.package("apt", "1", "Essential: yes\n");
        place.package("tool", "1", "Depends: apt\n");
        place.index();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Builds a package; [`Place::index`] makes it known.
    pub fn package(&self, name: &str, version: &str, more: &str) {
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@example.org>\n{more}Description: test\n"
        );
        let tree = self.path(&format!("tree-{name}"));
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        let deb = self.path(&format!("repo/{name}_{version}_all.deb"));
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "-b"])
            .args([&tree, &deb]));
    }

    /// Writes Packages and Release for the packages that lie in the repository.
    pub fn index(&self) {
        let mut packages = String::new();
        let mut names: Vec<String> = fs::read_dir(self.path("repo"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".deb"))
            .collect();
        names.sort();
        for file in names {
            let path = self.path("repo").join(&file);
            let control = run(Command::new("dpkg-deb").arg("--field").arg(&path)).stdout;
            let bytes = fs::read(&path).unwrap();
            packages += &format!(
                "{}Filename: ./{file}\nSize: {}\nSHA256: {}\n\n",
                String::from_utf8(control).unwrap(),
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
    pub fn key(&self, name: &str) -> Vec<u8> {
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

    pub fn sign(&self, key: &str) {
        let (release, signed) = (self.path("repo/Release"), self.path("repo/InRelease"));
        run(gpg(&self.path(key))
            .args(["--digest-algo", "SHA512", "--clearsign", "--output"])
            .args([&signed, &release]));
    }

    /// Puts bytes into the store and names them.
    pub fn put(&self, bytes: &[u8]) -> Value {
        let store = store::Store::open(&self.path("store")).unwrap();
        json!(store.put(bytes).unwrap())
    }

    /// The program with this place's store; the manifest comes on stdin.
    pub fn program(&self) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_rootfs-assemble"));
        program.env("RAMFORGE_STORE", self.path("store"));
        program
    }

    pub fn assemble(&self, repository: &Value, packages: &[&str]) -> (i32, String) {
        self.assemble_with(&[], repository, packages)
    }

    pub fn assemble_with(
        &self,
        options: &[&str],
        repository: &Value,
        packages: &[&str],
    ) -> (i32, String) {
        let manifest = manifest(repository, packages);
        let mut child = self
            .program()
            .args(options)
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

    pub fn repository(&self, keys: &[Value]) -> Value {
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

pub fn run(command: &mut Command) -> Output {
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

/// A manifest with one repository, or an array of them.
pub fn manifest(repository: &Value, packages: &[&str]) -> Value {
    let repositories = match repository {
        Value::Array(several) => several.clone(),
        one => vec![one.clone()],
    };
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
        "repositories": repositories,
        "origins": {"/packages/image/1": {"file": "appliance.kiwi", "line": 7, "column": 5}},
    }})
}
