//! The lock: exactly the packages of an image, so that it can be made again later.
//!
//! A JSON file for people and version control, one package a line. `rootfs-assemble` writes it with every
//! tree and takes it back with `--lock`: then no repository is asked what there is, only for the files.
//!
//! *Not in it:* what a description's scripts fetch by themselves, and the description itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::canonical::to_canonical;
use crate::plan::{Package, Packages};

/// The version of the lock's shape. Changelog. 1: the first.
const FORMAT: u64 = 1;

/// The packages of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The version of this shape.
    pub format: u64,
    /// The machine architecture in the kernel's spelling.
    pub arch: String,
    /// What the description asked for when the packages were chosen.
    pub request: Request,
    /// The packages, in the order in which they are unpacked.
    pub packages: Vec<LockedPackage>,
}

/// The names that a description asks for, each once, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Installed first.
    pub bootstrap: BTreeSet<String>,
    /// Installed by the image's own package manager.
    pub image: BTreeSet<String>,
}

/// A package that will be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its full version.
    pub version: String,
    /// Its architecture in the distribution's spelling.
    pub architecture: String,
    /// SHA-256 of the file, 64 hexadecimal digits, from the verified metadata.
    pub sha256: String,
    /// Where the file was.
    pub uri: String,
    /// Length of the file in bytes.
    pub size: u64,
    /// `alias:path` of the file in its repository.
    pub source: String,
    /// Whether the first programs in the tree need it.
    pub bootstrap: bool,
    /// Whether the description asks for it, rather than another package.
    pub requested: bool,
}

/// Why a lock is refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidLock(String);

impl Request {
    /// The names in a plan.
    pub fn of(packages: &Packages) -> Self {
        let names = |list: &[Package]| list.iter().map(|p| p.name.clone()).collect();
        Self {
            bootstrap: names(&packages.bootstrap),
            image: names(&packages.image),
        }
    }
}

impl Lock {
    /// The lock of packages that were chosen for a plan.
    pub fn new(arch: &str, packages: &Packages, chosen: &[LockedPackage]) -> Self {
        Self {
            format: FORMAT,
            arch: arch.to_owned(),
            request: Request::of(packages),
            packages: chosen.to_vec(),
        }
    }

    /// Reads a lock.
    ///
    /// # Errors
    /// [`InvalidLock`] with line and column, or with the package that is wrong.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, InvalidLock> {
        #[derive(Deserialize)]
        struct Version {
            format: u64,
        }
        let invalid = |e: serde_json::Error| {
            InvalidLock(format!("{e}; expected a lock as Ramforge writes it"))
        };
        let version: Version = serde_json::from_slice(bytes).map_err(invalid)?;
        if version.format != FORMAT {
            let found = version.format;
            return Err(InvalidLock(format!(
                "format {found}, this program knows {FORMAT}; use the release that wrote it, or build without a lock"
            )));
        }
        let lock: Self = serde_json::from_slice(bytes).map_err(invalid)?;
        let digits = |p: &&LockedPackage| {
            p.sha256.len() != 64 || !p.sha256.bytes().all(|b| b.is_ascii_hexdigit())
        };
        match lock.packages.iter().find(digits) {
            Some(package) => Err(InvalidLock(format!(
                "package {}: sha256 {:?}; expected 64 hexadecimal digits",
                package.name, package.sha256
            ))),
            None => Ok(lock),
        }
    }

    /// Says how the lock was made for something else than this plan; empty: it was not.
    pub fn differences(&self, arch: &str, packages: &Packages) -> Vec<String> {
        let mut found = Vec::new();
        if self.arch != arch {
            found.push(format!("it is for {}, the image for {arch}", self.arch));
        }
        let asked = Request::of(packages);
        for (list, locked, asked) in [
            ("image", &self.request.image, &asked.image),
            ("bootstrap", &self.request.bootstrap, &asked.bootstrap),
        ] {
            let lacks = asked.difference(locked);
            found.extend(lacks.map(|name| format!("it lacks the {list} package {name}")));
            let gone = locked.difference(asked);
            found.extend(gone.map(|name| {
                format!("it has the {list} package {name}, which the description does not name")
            }));
        }
        found
    }

    /// The text: JSON with one package a line.
    ///
    /// # Errors
    /// As [`to_canonical`].
    pub fn to_text(&self) -> crate::Result<String> {
        let lines: Vec<String> = self
            .packages
            .iter()
            .map(to_canonical)
            .collect::<crate::Result<_>>()?;
        Ok(format!(
            "{{\"format\":{},\"arch\":{},\n\"request\":{},\n\"packages\":[\n{}\n]}}\n",
            self.format,
            to_canonical(&self.arch)?,
            to_canonical(&self.request)?,
            lines.join(",\n")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> LockedPackage {
        LockedPackage {
            name: name.into(),
            version: "1:2-3".into(),
            architecture: "all".into(),
            sha256: "ab".repeat(32),
            uri: format!("http://example.org/{name}.deb"),
            size: 12,
            source: format!("main:{name}.deb"),
            bootstrap: false,
            requested: true,
        }
    }

    fn packages(names: &[&str]) -> Packages {
        let named = |name: &&str| Package {
            name: (*name).into(),
        };
        Packages {
            image: names.iter().map(named).collect(),
            ..Packages::default()
        }
    }

    #[test]
    fn a_lock_reads_back_and_has_a_line_for_each_package() {
        let lock = Lock::new("x86_64", &packages(&["a"]), &[package("a"), package("b")]);
        let text = lock.to_text().unwrap();
        assert_eq!(Lock::parse(text.as_bytes()).unwrap(), lock);
        assert_eq!(text.lines().filter(|l| l.contains("sha256")).count(), 2);
    }

    #[test]
    fn a_lock_of_something_else_says_what_differs() {
        let lock = Lock::new("x86_64", &packages(&["a", "b"]), &[package("a")]);
        assert!(
            lock.differences("x86_64", &packages(&["b", "a", "a"]))
                .is_empty()
        );
        let found = lock.differences("aarch64", &packages(&["b", "c"]));
        assert_eq!(
            found,
            [
                "it is for x86_64, the image for aarch64",
                "it lacks the image package c",
                "it has the image package a, which the description does not name",
            ]
        );
    }

    #[test]
    fn what_is_no_lock_is_refused_with_its_place() {
        let refused = |text: &str| Lock::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(refused("{\n\"format\": ,}").contains("line 2 column"));
        assert!(refused("{\"format\":9}").contains("format 9, this program knows 1"));
        let lock = Lock::new("x86_64", &packages(&[]), &[package("a")]);
        let short = lock.to_text().unwrap().replace(&"ab".repeat(32), "ab");
        assert!(refused(&short).contains("package a: sha256"));
    }
}
