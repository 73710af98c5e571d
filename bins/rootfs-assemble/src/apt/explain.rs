//! What apt said, in the words of the description: which repository, which package, where it was asked
//! for, and the way out.

use manifest::{Packages, Repository};
use stage::{Context, Error};

use super::{HOST_SOURCES, source_uri};

/// `appliance.kiwi:41:9: `, or nothing where the place is unknown.
pub fn origin(cx: &Context, pointer: &str) -> String {
    cx.origin(pointer).map_or_else(String::new, |o| {
        format!("{}:{}:{}: ", o.file, o.line, o.column)
    })
}

pub fn unknown_uri(origin: &str, uri: &str) -> Error {
    Error::refused(format!(
        "{origin}repository {uri}: apt cannot read this kind of source"
    ))
    .advice("use http:, https:, ftp:, file: or dir: with a path, or obsrepositories:/ for the host's own sources")
}

pub fn no_directory(origin: &str, repository: &Repository, path: &str) -> Error {
    Error::failed(format!(
        "{origin}repository {}: there is no directory {path}",
        repository.alias
    ))
    .advice("correct the path, or override the repositories with desc-parse --set-repo")
}

/// What is wrong with a repository, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Full,
    WrongSignature,
    UnknownKey,
    Unreachable,
    Expired,
    Unsigned,
    Other,
}

const SIGNS: [(&str, Fault); 18] = [
    ("No space left on device", Fault::Full),
    ("BADSIG", Fault::WrongSignature),
    ("signatures were invalid", Fault::WrongSignature),
    ("Splitting up", Fault::WrongSignature),
    ("Clearsigned file isn't valid", Fault::WrongSignature),
    ("Hash Sum mismatch", Fault::WrongSignature),
    ("unexpected size", Fault::WrongSignature),
    ("NO_PUBKEY", Fault::UnknownKey),
    ("Missing key", Fault::UnknownKey),
    ("Could not resolve", Fault::Unreachable),
    ("Temporary failure resolving", Fault::Unreachable),
    ("Could not connect", Fault::Unreachable),
    ("Unable to connect", Fault::Unreachable),
    ("Connection ", Fault::Unreachable),
    ("404 ", Fault::Unreachable),
    ("File not found", Fault::Unreachable),
    ("is expired", Fault::Expired),
    ("is not signed", Fault::Unsigned),
];
/// Signs that stand in lines of their own, after everything else was tried.
const LATE_SIGNS: [(&str, Fault); 3] = [
    ("does not have a Release file", Fault::Unsigned),
    ("not valid yet", Fault::Expired),
    ("Failed to fetch", Fault::Unreachable),
];

/// Finds out from what `apt-get update` said whether it failed, and for which repository.
pub fn update_failure(said: &str, repositories: &[Repository]) -> Option<Error> {
    let named = |line: &str| repositories.iter().find(|r| mentions(line, &r.uri));
    let (fault, line) = said
        .lines()
        .filter(|line| is_complaint(line))
        .filter_map(|line| Some((fault_of(line)?, line)))
        .min_by_key(|(fault, line)| (*fault, named(line).is_none()))?;
    let host = repositories.iter().any(|r| r.uri == HOST_SOURCES);
    let name = match named(line) {
        Some(r) => format!("repository {} ({})", r.alias, r.uri),
        None if host => format!("the host's package sources ({HOST_SOURCES})"),
        None => "a repository".to_owned(),
    };
    Some(match fault {
        Fault::Full => full(line.trim()),
        _ => report(fault, &name, line),
    })
}

/// The store's file system is full.
pub fn full(said: &str) -> Error {
    Error::failed(said).advice(
        "free some space, or set RAMFORGE_STORE to a larger file system; the next run goes on from here",
    )
}

fn is_complaint(line: &str) -> bool {
    ["E:", "W:", "Err:", "  "]
        .iter()
        .any(|p| line.starts_with(p))
}

fn fault_of(line: &str) -> Option<Fault> {
    let find = |signs: &[(&str, Fault)]| {
        let sign = signs.iter().find(|(words, _)| line.contains(words));
        sign.map(|(_, fault)| *fault)
    };
    find(&SIGNS)
        .or_else(|| find(&LATE_SIGNS))
        .or_else(|| line.starts_with("E:").then_some(Fault::Other))
}

fn mentions(line: &str, uri: &str) -> bool {
    // Of a local directory apt sometimes names the path alone.
    let spelled = |uri: String| {
        let uri = uri.trim_end_matches('/').to_owned();
        let path = uri.strip_prefix("file:").unwrap_or(&uri);
        line.contains(&uri) || line.contains(path)
    };
    uri != HOST_SOURCES && source_uri(uri).is_some_and(spelled)
}

fn report(fault: Fault, name: &str, line: &str) -> Error {
    const UNCHECKED: &str =
        "or set repository_gpgcheck=\"false\" on the <repository> to use it unverified";
    let said = line
        .trim()
        .trim_start_matches("E: ")
        .trim_start_matches("W: ");
    let (fact, advice) = match fault {
        Fault::WrongSignature => (
            "its signature or a checksum is wrong",
            format!("something changed it on the way: try another mirror; {UNCHECKED}"),
        ),
        Fault::UnknownKey => (
            "it is signed by a key that is not known here",
            format!("name the key with <signing key=\"…\"/> in its <source>, {UNCHECKED}"),
        ),
        Fault::Unreachable => (
            "it cannot be reached",
            "check the address and the network (http_proxy is honoured); desc-parse --set-repo names another one"
                .to_owned(),
        ),
        Fault::Expired => (
            "its metadata is out of date, or this host's clock is wrong",
            format!("check the clock, try another mirror; {UNCHECKED}"),
        ),
        Fault::Unsigned => (
            "it is not signed",
            format!("use a signed repository, {UNCHECKED}"),
        ),
        Fault::Full | Fault::Other => ("apt cannot use it", "see what apt said".to_owned()),
    };
    Error::failed(format!("{name}: {fact}\n  apt said: {said}")).advice(advice)
}

/// What apt said when it could not choose packages.
pub fn solve_failure(cx: &Context, said: &str, packages: &Packages) -> Error {
    let missing: Vec<String> = said.lines().filter_map(missing_package).collect();
    if missing.is_empty() {
        let text: Vec<&str> = said.lines().filter(|l| is_informative(l)).collect();
        return Error::failed(format!(
            "the packages cannot be installed together:\n{}",
            text.join("\n")
        ))
        .advice("remove one of the packages that contradict each other, or add the repository that has the missing one");
    }
    let mut facts: Vec<String> = missing
        .iter()
        .map(|name| {
            let place = place(packages, name).map(|pointer| origin(cx, &pointer));
            let fact = match providers(said, name) {
                list if list.is_empty() => format!("the repositories have no package {name}"),
                list => format!(
                    "{name} is no package but a name that these bring: {}",
                    list.join(", ")
                ),
            };
            place.unwrap_or_default() + &fact
        })
        .collect();
    facts.dedup();
    Error::failed(facts.join("\n  ")).advice(
        "check the spelling (apt-cache search finds names), name one package of those that bring it, or add the repository that has it",
    )
}

/// Packages that a message names.
const SHOWN: usize = 8;

/// The packages that bring a virtual one, from what apt says of it:
///
/// ```text
/// Package awk is a virtual package provided by:
///   mawk 1.3.4.20200120-3.1
///   gawk 1:5.2.1-2
/// You should explicitly select one to install.
/// ```
fn providers(said: &str, name: &str) -> Vec<String> {
    let title = format!("Package {name} is a virtual package provided by:");
    let lines = said.lines().skip_while(|line| line.trim() != title).skip(1);
    lines
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
        .take(SHOWN)
        .collect()
}

fn missing_package(line: &str) -> Option<String> {
    let rest = line.strip_prefix("E: ")?;
    let name = rest
        .strip_prefix("Unable to locate package ")
        .or_else(|| {
            rest.strip_prefix("Package '")?
                .split_once("' has no installation candidate")
                .map(|(name, _)| name)
        })
        .or_else(|| {
            let quoted = rest.strip_prefix("Couldn't find any package by ")?;
            quoted.split('\'').nth(1)
        })?;
    Some(name.to_owned())
}

fn is_informative(line: &str) -> bool {
    !line.starts_with("Reading ") && !line.starts_with("Building ") && !line.trim().is_empty()
}

/// The pointer of the package in the plan.
fn place(packages: &Packages, name: &str) -> Option<String> {
    let lists = [
        ("image", &packages.image),
        ("bootstrap", &packages.bootstrap),
    ];
    lists.iter().find_map(|(list, packages)| {
        let index = packages.iter().position(|p| p.name == name)?;
        Some(format!("/packages/{list}/{index}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(alias: &str, uri: &str) -> Repository {
        Repository {
            uri: uri.into(),
            kind: "apt-deb".into(),
            alias: alias.into(),
            priority: 0,
            distribution: None,
            components: None,
            signature_check: true,
            imageinclude: false,
            imageonly: false,
            keys: Vec::new(),
        }
    }

    #[test]
    fn a_full_disk_is_no_fault_of_the_network() {
        let said = "E: Failed to fetch http://example.org/x/Packages  Write error - write (28: No space left on device)\n";
        let error = update_failure(said, &[]).unwrap().to_string();
        assert!(
            error.contains("RAMFORGE_STORE") && !error.contains("network"),
            "{error}"
        );
    }

    #[test]
    fn a_failure_names_the_repository_and_the_worst_fault() {
        let repositories = [
            repository("good", "http://example.org/good"),
            repository("bad", "dir:///srv/bad"),
        ];
        let said = "Get:1 http://example.org/good ./ InRelease\n\
            W: GPG error: file:/srv/bad ./ InRelease: The following signatures were invalid: BADSIG 0123\n\
            E: The repository 'file:/srv/bad ./ InRelease' is not signed.\n";
        let error = update_failure(said, &repositories).unwrap().to_string();
        assert!(error.contains("repository bad"), "{error}");
        assert!(
            error.contains("signature or a checksum is wrong"),
            "{error}"
        );
        assert!(error.contains("repository_gpgcheck"), "{error}");
        let fine = "Get:1 http://example.org/good ./ InRelease\nReading package lists...\n";
        assert!(update_failure(fine, &repositories).is_none());
    }

    #[test]
    fn a_virtual_package_is_told_from_a_missing_one() {
        let said = "Reading package lists...\nPackage awk is a virtual package provided by:\n  \
            original-awk 1:20220912-2\n  gawk 1:5.2.1-2\nYou should explicitly select one to install.\n\n\
            E: Package 'awk' has no installation candidate\n";
        assert_eq!(providers(said, "awk"), ["original-awk", "gawk"]);
        assert!(providers(said, "nosuch").is_empty());
    }

    #[test]
    fn missing_packages_are_recognised() {
        for line in [
            "E: Unable to locate package nosuch",
            "E: Package 'nosuch' has no installation candidate",
            "E: Couldn't find any package by glob 'nosuch'",
        ] {
            assert_eq!(missing_package(line).as_deref(), Some("nosuch"));
        }
        assert_eq!(missing_package("E: Broken packages"), None);
    }
}
