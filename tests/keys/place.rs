//! A place where descriptions are changed and stages are asked for their keys: nothing is built here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pipeline_tests::{command, example, root, run, scratch, store, text};
use serde_json::Value;
use tempfile::TempDir;

/// The stages that read a manifest.
pub const STAGES: [&str; 5] = [
    "rootfs-assemble",
    "raw-image",
    "initrd-inject",
    "iso-pack",
    "ram-check",
];

/// A store, a signed repository, and the manifest of an example whose later sections serve every plan.
pub struct Place {
    dir: TempDir,
    manifest: Value,
}

/// How the programs are called.
#[derive(Clone, Default)]
pub struct Call {
    /// The description: `config.xml`, `old.kiwi`.
    pub file: Option<&'static str>,
    /// Arguments of desc-parse.
    pub arguments: &'static [&'static str],
    /// Variables of all programs.
    pub environment: Vec<(&'static str, String)>,
    /// Options of a stage.
    pub options: Vec<(&'static str, String)>,
    /// The umask, in octal.
    pub umask: Option<&'static str>,
}

/// The facts of every stage, as `--key` tells them.
pub type Keys = BTreeMap<&'static str, Value>;

impl Place {
    pub fn new() -> Self {
        let dir = scratch();
        let manifest = example("debian-vm").manifest;
        let place = Self { dir, manifest };
        // What makes the key of a stage looks into the tree's listing.
        let tree: manifest::Object =
            serde_json::from_value(place.manifest["rootfs"]["tree"].clone()).unwrap();
        let from = store::Store::open(&store()).unwrap();
        let to = store::Store::open(&place.store()).unwrap();
        to.put(&from.get(&tree).unwrap()).unwrap();
        place.repository();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// A copy of the description under this name.
    pub fn description(&self, name: &str) -> PathBuf {
        let to = self.path(name);
        run("cp", &[&"-a", &root().join("tests/keys/description"), &to]);
        let repository = self.path("repository").display().to_string();
        for file in ["config.xml", "old.kiwi", "middle.kiwi"] {
            let text = fs::read_to_string(to.join(file)).unwrap();
            fs::write(to.join(file), text.replace("@REPOSITORY@", &repository)).unwrap();
        }
        for key in ["key.asc", "key.gpg"] {
            fs::copy(self.path(key), to.join(key)).unwrap();
        }
        archive(&to, "files.tar", "one");
        archive(&to, "others.tar", "two");
        to
    }

    /// The plan; or the exit code and what was said.
    pub fn plan(&self, description: &Path, call: &Call) -> Result<Value, (i32, String)> {
        let mut desc_parse = self.program("desc-parse", call);
        let file = description.join(call.file.unwrap_or("config.xml"));
        let [repository, own] = [&self.path("repository"), description];
        let own = own.display().to_string();
        let repository = format!("dir://{}", repository.display());
        let arguments = call.arguments.iter().map(|a| {
            a.replace("@REPOSITORY@", &repository)
                .replace("@DESCRIPTION@", &own)
        });
        let output = desc_parse.args(arguments).arg(file).output().unwrap();
        if !output.status.success() {
            return Err((output.status.code().unwrap(), text(&output)));
        }
        let mut manifest: Value = serde_json::from_slice(&output.stdout).unwrap();
        Ok(manifest["plan"].take())
    }

    /// What the stages' keys would be made of with this plan.
    pub fn keys(&self, plan: &Value, call: &Call) -> Keys {
        let mut manifest = self.manifest.clone();
        manifest["plan"] = plan.clone();
        let line = manifest.to_string();
        let key = |stage: &&'static str| (*stage, self.key(stage, &line, call));
        STAGES.iter().map(key).collect()
    }

    /// What a program says of its options.
    pub fn help(&self, name: &str) -> String {
        let output = self.program(name, &Call::default()).arg("--help").output();
        text(&output.unwrap())
    }

    fn key(&self, stage: &str, manifest: &str, call: &Call) -> Value {
        let mut program = self.program(stage, call);
        let options = call.options.iter().filter(|(of, _)| *of == stage);
        let mut child = program
            .arg("--key")
            .args(options.flat_map(|(_, words)| words.split(' ')))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(manifest.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{stage}: {}", text(&output));
        let mut told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["facts"].take()
    }

    fn program(&self, name: &str, call: &Call) -> Command {
        let file = root().join("target/release").join(name);
        let mut program = match call.umask {
            None => command(&file),
            Some(umask) => {
                let mut shell = command("sh");
                let script = format!("umask {umask} && exec \"$0\" \"$@\"");
                shell.args(["-c", &script]).arg(&file);
                shell
            }
        };
        program.env("RAMFORGE_STORE", self.store());
        // One journal for all: it says nothing here.
        program.env("RAMFORGE_RUN", "keys");
        program.envs(call.environment.iter().map(|(k, v)| (k, v)));
        program
    }

    /// A signed repository with two releases of two components each.
    fn repository(&self) {
        let key = self.path("gnupg");
        fs::create_dir(&key).unwrap();
        run("chmod", &[&"700", &key]);
        let user = "keys <keys@example.org>";
        let make = [
            "--passphrase",
            "",
            "--quick-gen-key",
            user,
            "ed25519",
            "sign",
            "never",
        ];
        self.gpg(&make);
        fs::write(self.path("key.asc"), self.gpg(&["--armor", "--export"])).unwrap();
        fs::write(self.path("key.gpg"), self.gpg(&["--export"])).unwrap();
        for release in ["stable", "testing"] {
            let dir = self.path("repository/dists").join(release);
            for component in ["main", "contrib"] {
                let dir = dir.join(component).join("binary-amd64");
                fs::create_dir_all(&dir).unwrap();
                fs::write(dir.join("Packages"), package(component)).unwrap();
            }
            self.release(&dir, &[("Suite", release), ("Components", "main contrib")]);
        }
        fs::write(self.path("repository/Packages"), package("flat")).unwrap();
        self.release(&self.path("repository"), &[]);
        // Used unverified.
        fs::remove_file(self.path("repository/InRelease")).unwrap();
    }

    /// Changes the repository's content.
    pub fn publish(&self) {
        let dir = self.path("repository/dists/stable");
        let packages = dir.join("main/binary-amd64/Packages");
        let text = fs::read_to_string(&packages).unwrap() + &package("published");
        fs::write(packages, text).unwrap();
        self.release(&dir, &[("Suite", "stable"), ("Components", "main contrib")]);
    }

    /// Writes and signs the index of a release.
    fn release(&self, dir: &Path, fields: &[(&str, &str)]) {
        let mut index = command("apt-ftparchive");
        for (name, value) in fields {
            index.arg(format!("-oAPT::FTPArchive::Release::{name}={value}"));
        }
        let output = index.arg("release").arg(dir).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        fs::write(dir.join("Release"), &output.stdout).unwrap();
        let (release, signed) = (dir.join("Release"), dir.join("InRelease"));
        let names = (release.to_str().unwrap(), signed.to_str().unwrap());
        self.gpg(&[
            "--digest-algo",
            "SHA512",
            "--clearsign",
            "--output",
            names.1,
            names.0,
        ]);
    }

    fn gpg(&self, arguments: &[&str]) -> Vec<u8> {
        let mut gpg = command("gpg");
        gpg.arg("--homedir").arg(self.path("gnupg"));
        gpg.args(["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback"]);
        let output = gpg.args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        output.stdout
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // gpg leaves an agent behind.
        let mut end = command("gpgconf");
        end.arg("--homedir").arg(self.path("gnupg"));
        let _ = end.args(["--kill", "all"]).status();
    }
}

fn package(name: &str) -> String {
    let sha = "0".repeat(64);
    format!(
        "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\n\
         Filename: pool/{name}_1_all.deb\nSize: 1\nSHA256: {sha}\nDescription: test\n\n"
    )
}

/// An archive of one file with this content; owner and time are always the same.
pub fn archive(dir: &Path, name: &str, content: &str) {
    fs::write(dir.join("archived"), content).unwrap();
    let mut tar = command("tar");
    tar.arg("-C")
        .arg(dir)
        .args(["--owner=0", "--group=0", "--mtime=@0", "-cf"]);
    let output = tar.arg(dir.join(name)).arg("archived").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    fs::remove_file(dir.join("archived")).unwrap();
}

/// Where two sets of facts differ, as `STAGE FIELD`; fields of the input by their name in the manifest.
pub fn differences(before: &Keys, after: &Keys) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for stage in STAGES {
        let (a, b) = (fields(&before[stage]), fields(&after[stage]));
        for name in a.keys().chain(b.keys()) {
            if a.get(name) != b.get(name) {
                found.insert(format!("{stage} {name}"));
            }
        }
    }
    found
}

/// The fields of facts with their values. Lists and references to objects are values.
pub fn fields(facts: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    collect("", facts, &mut found);
    found
}

fn collect(place: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    let is_reference = value.get("blake3").is_some();
    match value {
        Value::Null => {}
        Value::Object(children) if !is_reference => {
            for (name, child) in children {
                let place = match place {
                    "" | "input" => name.clone(),
                    place => format!("{place}.{name}"),
                };
                collect(&place, child, found);
            }
        }
        value => {
            found.insert(place.to_owned(), value.clone());
        }
    }
}
