//! dpkg's database: what dpkg itself would have written after unpacking.
//!
//! ```text
//! /var/lib/dpkg/status             a paragraph per package, "install ok unpacked"
//! /var/lib/dpkg/info/format        "1": names of co-installable packages carry the architecture
//! /var/lib/dpkg/info/NAME.list     every path
//! /var/lib/dpkg/info/NAME.*        the members of control.tar
//! /var/lib/dpkg/triggers/File      "PATH PACKAGE" for each file trigger
//! /var/lib/dpkg/triggers/NAME      packages that wait for the trigger NAME
//! /var/lib/apt/extended_states     packages that came as dependencies
//! ```
//!
//! *Not written:* `available` (nobody needs it), `diversions`, `statoverride` (scripts make them).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use stage::{At, Error, Result};

use super::files;
use super::unpack::Unpacked;
use crate::deb::Control;
use crate::deb::control::Paragraph;

const ADMIN: &str = "/var/lib/dpkg";

/// The configuration files that a package marks, as absolute paths.
pub fn conffiles(control: &Control) -> Vec<String> {
    let text = control.text("conffiles").unwrap_or_default();
    let lines = text.lines().map(str::trim);
    lines
        .filter(|l| l.starts_with('/'))
        .map(str::to_owned)
        .collect()
}

/// Collects what is known of the unpacked packages, then writes it all.
#[derive(Default)]
pub struct Database {
    status: String,
    triggers: BTreeMap<String, Vec<String>>,
}

impl Database {
    /// Adds an unpacked package and writes its files of `info`.
    ///
    /// # Errors
    /// Exit code 1 with the path.
    pub fn add(&mut self, control: &Control, unpacked: &Unpacked) -> Result<()> {
        let name = info_name(&control.fields);
        for (member, (mode, bytes)) in &control.files {
            if member != "control" {
                files::write(format!("{ADMIN}/info/{name}.{member}"), bytes, mode & 0o755)?;
            }
        }
        let list: String = unpacked.paths.iter().map(|p| format!("{p}\n")).collect();
        files::write(format!("{ADMIN}/info/{name}.list"), list, 0o644)?;
        let conffiles = conffiles(control);
        if !control.files.contains_key("md5sums") {
            files::write(
                format!("{ADMIN}/info/{name}.md5sums"),
                md5sums(unpacked, &conffiles),
                0o644,
            )?;
        }
        self.add_triggers(&name, control);
        self.status += &paragraph(&control.fields, &conffiles, unpacked).to_string();
        self.status += "\n";
        Ok(())
    }

    fn add_triggers(&mut self, package: &str, control: &Control) {
        let text = control.text("triggers").unwrap_or_default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some(directive), Some(trigger)) = (words.next(), words.next()) else {
                continue;
            };
            let waiter = match directive {
                "interest" | "interest-await" => package.to_owned(),
                "interest-noawait" => format!("{package}/noawait"),
                _ => continue,
            };
            if trigger.starts_with('/') {
                let line = format!("{trigger} {waiter}");
                self.triggers
                    .entry("File".to_owned())
                    .or_default()
                    .push(line);
            } else {
                self.triggers
                    .entry(trigger.to_owned())
                    .or_default()
                    .push(waiter);
            }
        }
    }

    /// Writes what concerns all packages.
    ///
    /// # Errors
    /// Exit code 1 with the path.
    pub fn write(&self) -> Result<()> {
        for dir in ["updates", "triggers", "parts", "alternatives"] {
            let dir = Path::new(ADMIN).join(dir);
            fs::create_dir_all(&dir).at(&dir)?;
        }
        files::write(format!("{ADMIN}/info/format"), "1\n", 0o644)?;
        files::write(format!("{ADMIN}/status"), &self.status, 0o644)?;
        files::write(format!("{ADMIN}/available"), "", 0o644)?;
        for (name, lines) in &self.triggers {
            let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
            files::write(format!("{ADMIN}/triggers/{name}"), text, 0o644)?;
        }
        Ok(())
    }
}

/// The name under which dpkg keeps a package's files.
pub fn info_name(fields: &Paragraph) -> String {
    let name = fields.get("Package").unwrap_or_default();
    match (fields.get("Multi-Arch"), fields.get("Architecture")) {
        (Some("same"), Some(architecture)) => format!("{name}:{architecture}"),
        _ => name.to_owned(),
    }
}

fn md5sums(unpacked: &Unpacked, conffiles: &[String]) -> String {
    let mut text = String::new();
    for (path, sum) in unpacked.md5.iter().filter(|(p, _)| !conffiles.contains(p)) {
        // A String takes every write.
        let _ = writeln!(text, "{sum}  {}", path.trim_start_matches('/'));
    }
    text
}

fn paragraph(fields: &Paragraph, conffiles: &[String], unpacked: &Unpacked) -> Paragraph {
    let mut paragraph = fields.clone();
    paragraph.set("Status", "install ok unpacked");
    let mut sums = String::new();
    for path in conffiles {
        let sum = unpacked.md5.iter().find(|(p, _)| p == path);
        if let Some((_, sum)) = sum {
            let _ = write!(sums, "\n {path} {sum}");
        }
    }
    if !sums.is_empty() {
        paragraph.set("Conffiles", &sums);
    }
    paragraph
}

/// Notes which packages came as dependencies only, so that `apt autoremove` knows.
///
/// # Errors
/// Exit code 1 with the path.
pub fn write_automatic(packages: &[(String, String)]) -> Result<()> {
    let text: String = packages
        .iter()
        .map(|(name, architecture)| {
            format!("Package: {name}\nArchitecture: {architecture}\nAuto-Installed: 1\n\n")
        })
        .collect();
    files::write("/var/lib/apt/extended_states", text, 0o644)
}

/// Name, version and architecture of every installed package, sorted.
///
/// # Errors
/// Exit code 1 where a package is left half installed.
pub fn installed() -> Result<Vec<(String, String, String)>> {
    let path = Path::new(ADMIN).join("status");
    let text = fs::read_to_string(&path).at(&path)?;
    let mut installed = Vec::new();
    for fields in Paragraph::parse_all(&text) {
        let field = |name: &str| fields.get(name).unwrap_or_default().to_owned();
        match field("Status").rsplit(' ').next() {
            Some("installed") => {
                installed.push((field("Package"), field("Version"), field("Architecture")));
            }
            Some("not-installed" | "config-files") => {}
            state => {
                return Err(Error::failed(format!(
                    "package {} is left {}; expected installed",
                    field("Package"),
                    state.unwrap_or("in an unknown state")
                )));
            }
        }
    }
    installed.sort();
    Ok(installed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(fields: &str, files: &[(&str, &str)]) -> Control {
        Control {
            fields: Paragraph::parse_all(fields).remove(0),
            files: files
                .iter()
                .map(|(n, t)| ((*n).to_owned(), (0o644, t.as_bytes().to_vec())))
                .collect(),
        }
    }

    #[test]
    fn a_paragraph_says_unpacked_and_names_conffiles() {
        let control = control(
            "Package: a\nVersion: 1\n",
            &[("conffiles", "/etc/a\nremove-on-upgrade /etc/b\n")],
        );
        let unpacked = Unpacked {
            paths: Vec::new(),
            md5: vec![
                ("/etc/a".into(), "d41d8cd98f00b204e9800998ecf8427e".into()),
                ("/usr/a".into(), "1".into()),
            ],
        };
        let conffiles = conffiles(&control);
        let text = paragraph(&control.fields, &conffiles, &unpacked).to_string();
        assert_eq!(
            text,
            "Package: a\nVersion: 1\nStatus: install ok unpacked\nConffiles:\n /etc/a d41d8cd98f00b204e9800998ecf8427e\n"
        );
        assert_eq!(md5sums(&unpacked, &conffiles), "1  usr/a\n");
    }

    #[test]
    fn triggers_are_sorted_into_files() {
        let mut database = Database::default();
        let control = control(
            "Package: a\n",
            &[(
                "triggers",
                "# c\ninterest-noawait /usr/share/x\ninterest ldconfig\nactivate y\n",
            )],
        );
        database.add_triggers("a", &control);
        assert_eq!(database.triggers["File"], ["/usr/share/x a/noawait"]);
        assert_eq!(database.triggers["ldconfig"], ["a"]);
        assert_eq!(database.triggers.len(), 2);
    }

    #[test]
    fn co_installable_packages_carry_the_architecture() {
        let fields = |text: &str| Paragraph::parse_all(text).remove(0);
        let same = fields("Package: libc6\nArchitecture: amd64\nMulti-Arch: same\n");
        assert_eq!(info_name(&same), "libc6:amd64");
        let foreign = fields("Package: dpkg\nArchitecture: amd64\nMulti-Arch: foreign\n");
        assert_eq!(info_name(&foreign), "dpkg");
    }
}
