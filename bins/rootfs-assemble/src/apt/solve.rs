//! Which packages: the whole set, chosen in two steps as the peer's users know it.
//!
//! 1. everything `Essential`, apt, and the packages of the bootstrap list, with their dependencies;
//! 2. the packages of the image list, with those of step 1 taken as given.

use std::collections::BTreeSet;

use manifest::{LockedPackage, Packages};
use stage::{Context, Error, Result};

use super::fetch::listing_ahead;
use super::{Apt, explain};

/// Chooses from the repositories' metadata, which must be laid out. In the order in which apt would unpack.
///
/// # Errors
/// Exit code 1 with the package that is the reason.
pub fn solve(apt: &Apt<'_>, packages: &Packages) -> Result<Vec<LockedPackage>> {
    apt.cx.part("solve", || choose(apt, packages))
}

fn choose(apt: &Apt<'_>, packages: &Packages) -> Result<Vec<LockedPackage>> {
    let names = |list: &[manifest::Package]| list.iter().map(|p| p.name.clone()).collect();
    let mut first: Vec<String> = vec!["?essential".into(), "apt".into()];
    let bootstrap: Vec<String> = names(&packages.bootstrap);
    first.extend(bootstrap.iter().cloned());
    let base = run(apt, &first, packages)?;
    let essential: BTreeSet<String> = base.iter().map(|p| p.name.clone()).collect();
    let image: Vec<String> = names(&packages.image);
    let mut second: Vec<String> = essential.iter().cloned().collect();
    second.extend(image.iter().cloned());
    // apt is busy with one core.
    let chosen = listing_ahead(apt.cx.store(), &base, || -> Result<_> {
        Ok((run(apt, &second, packages)?, bases(apt)?))
    });
    let (mut all, bases) = chosen?;
    let asked: BTreeSet<&str> = bootstrap.iter().chain(&image).map(|n| bare(n)).collect();
    for package in &mut all {
        package.bootstrap = essential.contains(&package.name);
        package.requested = asked.contains(package.name.as_str()) || package.name == "apt";
        package.source = source(&bases, &package.uri);
    }
    Ok(all)
}

/// The name of a package without the version, suite or architecture that was asked for with it.
fn bare(name: &str) -> &str {
    name.split(['=', '/', ':']).next().unwrap_or(name)
}

fn run(apt: &Apt<'_>, names: &[String], packages: &Packages) -> Result<Vec<LockedPackage>> {
    let ask = |quiet: &str| {
        let words = [quiet, "-y", "--print-uris", "install", "--"];
        apt.tool("apt-get")?.args(words).args(names).run_any()
    };
    let output = ask("-qq")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        // Asked less quietly, it says what a virtual package is provided by.
        let said = ask("-q")?;
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        return Err(explain::solve_failure(apt.cx, &said, packages));
    }
    let lines = text.lines().filter(|l| l.starts_with('\''));
    lines.map(parse_line).collect()
}

/// `'URI' name_version_architecture.deb SIZE SHA256:HEX`
fn parse_line(line: &str) -> Result<LockedPackage> {
    let parse = || {
        let (uri, rest) = line.strip_prefix('\'')?.split_once("' ")?;
        let mut words = rest.split_whitespace();
        let file = words.next()?.strip_suffix(".deb")?;
        let size = words.next()?.parse().ok()?;
        let sha256 = words.next()?.strip_prefix("SHA256:")?;
        let mut parts = file.split('_').map(percent_decode);
        Some(LockedPackage {
            name: parts.next()?,
            version: parts.next()?,
            architecture: parts.next()?,
            sha256: sha256.to_owned(),
            uri: uri.to_owned(),
            size,
            source: String::new(),
            bootstrap: false,
            requested: false,
        })
    };
    parse().ok_or_else(|| {
        Error::failed(format!(
            "apt names a package without a SHA-256: {line}; expected 'URI' FILE SIZE SHA256:…"
        ))
        .advice("the repository's metadata has weaker checksums only: have it made anew with a current tool")
    })
}

fn percent_decode(text: &str) -> String {
    let bytes = store::tree::decode_path(text).unwrap_or_else(|| text.as_bytes().to_vec());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The base URI of each repository, with its alias in the plan.
fn bases(apt: &Apt<'_>) -> Result<Vec<(String, String)>> {
    let format = "$(SOURCESENTRY) $(REPO_URI)";
    let output = apt
        .tool("apt-get")?
        .args(["indextargets", "--format", format, "Created-By: Packages"])
        .run()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut bases: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| {
            // The path of an entry may have blanks, a URI has none.
            let (entry, uri) = line.rsplit_once(' ')?;
            let file = entry.rsplit('/').next()?;
            let index: usize = file.get(..3)?.parse().ok()?;
            let alias = apt.repositories.get(index)?.alias.clone();
            Some((uri.to_owned(), alias))
        })
        .collect();
    bases.sort_by_key(|(uri, _)| std::cmp::Reverse(uri.len()));
    bases.dedup();
    Ok(bases)
}

fn source(bases: &[(String, String)], uri: &str) -> String {
    let found = bases.iter().find_map(|(base, alias)| {
        let path = uri.strip_prefix(base.as_str())?;
        let path = path.trim_start_matches('/').trim_start_matches("./");
        Some(format!("{alias}:{}", percent_decode(path)))
    });
    found.unwrap_or_else(|| uri.to_owned())
}

/// Keeps a name from being read as an option or a pattern of apt.
///
/// # Errors
/// Exit code 1 with the name and its place.
pub fn check_name(cx: &Context, packages: &Packages, name: &str) -> Result<()> {
    let fine = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.:=~/_".contains(c))
        && !name.ends_with(['-', '+']);
    if fine || is_plus_name(name) {
        return Ok(());
    }
    let error =
        explain::solve_failure(cx, &format!("E: Unable to locate package {name}"), packages);
    Err(error)
}

/// Names like `g++` end in plus signs; apt reads one trailing sign of an unknown name as a command only.
fn is_plus_name(name: &str) -> bool {
    let stem = name.trim_end_matches('+');
    !stem.is_empty()
        && stem
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_apt_is_read() {
        let line = "'http://example.org/pool/d/dbus_1%3a2%2bb_amd64.deb' dbus_1%3a2+b_amd64.deb 12 SHA256:ab";
        let package = parse_line(line).unwrap();
        assert_eq!(package.name, "dbus");
        assert_eq!(package.version, "1:2+b");
        assert_eq!(package.architecture, "amd64");
        assert_eq!((package.size, package.sha256.as_str()), (12, "ab"));
        assert!(parse_line("'http://x' x_1_all.deb 12 MD5Sum:ab").is_err());
    }

    #[test]
    fn a_source_is_alias_and_path() {
        let bases = [("file:/srv/r/".to_owned(), "mine".to_owned())];
        assert_eq!(
            source(&bases, "file:/srv/r/./pool/x%2b.deb"),
            "mine:pool/x+.deb"
        );
        assert_eq!(source(&bases, "http://other/x.deb"), "http://other/x.deb");
    }
}
