//! Packages that bring the same path: whose it is does not depend on which one was unpacked first.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use manifest::Object;
use pipeline_tests::{Small, command, program, root, run, small, text};
use serde_json::Value;
use store::Store;
use store::tree::{Kind, Tree};

/// A package under construction.
struct Package {
    name: &'static str,
    dir: PathBuf,
}

impl Package {
    /// Begins one; `fields` are more lines of its control file.
    fn new(place: &Path, name: &'static str, fields: &str) -> Self {
        let dir = place.join(name);
        fs::create_dir_all(dir.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\n\
             {fields}Description: shares paths with others\n"
        );
        fs::write(dir.join("DEBIAN/control"), control).unwrap();
        Self { name, dir }
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = self.dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn file(self, path: &str) -> Self {
        fs::write(self.path(path), self.name).unwrap();
        self
    }

    fn link(self, path: &str, to: &str) -> Self {
        symlink(to, self.path(path)).unwrap();
        self
    }

    fn hard_link(self, path: &str, to: &str) -> Self {
        fs::hard_link(self.path(to), self.path(path)).unwrap();
        self
    }

    fn build(self, repository: &Path) {
        run(
            "dpkg-deb",
            &[&"--root-owner-group", &"-b", &self.dir, &repository],
        );
    }
}

/// Four packages; the names say which come first.
fn repository(place: &Path) -> PathBuf {
    let repository = place.join("repository");
    fs::create_dir(&repository).unwrap();
    let package = |name, fields| Package::new(place, name, fields);
    package("a-link", "")
        .link("usr/share/order", "order.real")
        .file("usr/share/order.real/a")
        .file("usr/lib/order/taken")
        .hard_link("usr/lib/order/kept", "usr/lib/order/taken")
        .build(&repository);
    package("b-dir", "Depends: a-link\nReplaces: a-link\n")
        .file("usr/share/order/b")
        .file("usr/lib/order/taken")
        .build(&repository);
    package("c-dir", "")
        .file("usr/share/other/c")
        .build(&repository);
    package("d-link", "Depends: c-dir\n")
        .link("usr/share/other", "other.real")
        .file("usr/share/other.real/d")
        .build(&repository);
    for (what, name) in [("packages", "Packages"), ("release", "Release")] {
        let output = std::process::Command::new(program("apt-ftparchive"))
            .current_dir(&repository)
            .args([what, "."])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        fs::write(repository.join(name), output.stdout).unwrap();
    }
    repository
}

/// The tree of the small system with all four.
fn tree(small: &Small, work: &Path) -> (Store, Tree) {
    let repository = format!(
        "dir://{},apt-deb,shared,,,,,,,false",
        repository(work).display()
    );
    let script =
        "set -o pipefail; target/release/desc-parse \"$@\" | target/release/rootfs-assemble";
    let mut bash = command("bash");
    bash.current_dir(root())
        .env("RAMFORGE_STORE", work.join("store"))
        .args(["-c", script, "bash"])
        .args(["--set-repo", &small.repository(), "--add-repo", &repository]);
    for name in ["b-dir", "d-link"] {
        bash.args(["--add-package", name]);
    }
    let output = bash.arg("tests/faults/description").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let manifest: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tree: Object = serde_json::from_value(manifest["rootfs"]["tree"].clone()).unwrap();
    let store = Store::open(&work.join("store")).unwrap();
    let tree = Tree::read(&store, &tree).unwrap();
    (store, tree)
}

#[test]
fn shared_paths_are_as_dpkg_has_them() {
    let small = small();
    let work = small.work();
    let (store, tree) = tree(&small, work.path());
    let kind = |path: &str| &tree.get(path).unwrap_or_else(|| panic!("no {path}")).kind;
    let content = |path: &str| match kind(path) {
        Kind::File(object) => String::from_utf8(store.get(object).unwrap()).unwrap(),
        other => panic!("{path}: {other:?}"),
    };
    // The first one's link stays, and the other's files go where it leads.
    assert_eq!(*kind("usr/share/order"), Kind::Symlink("order.real".into()));
    assert_eq!(content("usr/share/order.real/b"), "b-dir");
    // The first one's directory stays.
    assert_eq!(*kind("usr/share/other"), Kind::Dir);
    assert_eq!(content("usr/share/other/c"), "c-dir");
    assert_eq!(content("usr/share/other.real/d"), "d-link");
    // A file that was taken over keeps its content under its other name.
    assert_eq!(content("usr/lib/order/taken"), "b-dir");
    assert_eq!(content("usr/lib/order/kept"), "a-link");
}
