//! `<repository>`, with `--set-repo`, `--add-repo` and `--ignore-repos`.

use manifest::{Plan, Repository, without_credentials};

use super::Resolution;
use crate::check::check_one;
use crate::choice::{Choice, RepoOption};
use crate::code;
use crate::diagnostic::{Diagnostic, Report, error, nearest, quoted};
use crate::files::{FileError, relative};
use crate::node::{Attribute, Node, boolean};
use crate::source::{Source, Span};
use crate::table::find;

/// A signing key that a repository names.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyWanted {
    /// Index of the repository in the plan.
    pub repository: usize,
    /// Where the key is.
    pub path: String,
    /// Whether the path is the user's own, from the command line: then it may lie anywhere. Otherwise it
    /// is relative to the description.
    pub from_option: bool,
    /// Where it is named.
    pub span: Span,
}

/// Schemes of package sources that the plan may hold.
const SCHEMES: &[&str] = &[
    "http",
    "https",
    "ftp",
    "file",
    "dir",
    "obs",
    "obsrepositories",
];

pub(super) fn fill(plan: &mut Plan, image: &Node, r: &mut Resolution<'_>, report: &mut Report) {
    let in_force = image.all("repository").filter(|n| r.conditions.hold(n));
    let (mut nodes, forgotten): (Vec<Node>, Vec<Node>) =
        in_force.cloned().partition(|n| !is_ignored(n, r.choice));
    for (option, given) in [
        ("--ignore-repos", r.choice.ignore_repos),
        (
            "--ignore-repos-used-for-build",
            r.choice.ignore_repos_used_for_build,
        ),
    ] {
        if given {
            let uris = forgotten
                .iter()
                .filter_map(|n| Some(without_credentials(n.child("source")?.value("path")?)));
            let replaced = uris.collect::<Vec<_>>().join(" ");
            let span = r.apply(option.to_owned(), Some(replaced), report);
            r.origin("/repositories", span);
        }
    }
    if let Some(text) = &r.choice.set_repo {
        set_first(&mut nodes, text, r, report);
    }
    for text in &r.choice.add_repo {
        if let Some((option, span)) = read_option("--add-repo", text, None, r, report) {
            let mut node = empty_repository(span);
            change(&mut node, &option, span, r, report);
            nodes.push(node);
        }
    }
    for node in &nodes {
        add(plan, node, r, report);
    }
    for path in &r.choice.signing_keys {
        trust(plan, path, r, report);
    }
    if plan.repositories.iter().all(|r| r.imageonly) && !report.has_errors() {
        let fact = match plan.repositories.is_empty() {
            true => "no <repository> is in force",
            false => "every <repository> in force is for the image only",
        };
        let label = "expected a package source";
        let help = "add <repository><source path=\"obsrepositories:/\"/></repository> for the build host's own sources, or use --set-repo URI";
        report.add(error(code::NO_REPOSITORY, image.span, fact, label).help(help));
    }
}

/// Whether an option makes a repository of the description count no more.
fn is_ignored(node: &Node, choice: &Choice) -> bool {
    choice.ignore_repos || (choice.ignore_repos_used_for_build && !node.is_true("imageonly"))
}

fn read_option(
    name: &str,
    text: &str,
    replaced: Option<String>,
    r: &mut Resolution<'_>,
    report: &mut Report,
) -> Option<(RepoOption, Span)> {
    let span = r.apply(format!("{name} {text}"), replaced, report);
    match RepoOption::parse(text) {
        Ok(option) => Some((option, span)),
        Err(fact) => {
            let label = "expected URI,TYPE,ALIAS,PRIORITY,… with empty parts left out";
            report.add(error(
                code::BAD_OPTION,
                span,
                format!("{name}: {fact}"),
                label,
            ));
            None
        }
    }
}

/// `--set-repo` changes the first repository in force; where there is none, it is the first.
fn set_first(nodes: &mut Vec<Node>, text: &str, r: &mut Resolution<'_>, report: &mut Report) {
    let old = nodes
        .first()
        .and_then(|n| Some(without_credentials(n.child("source")?.value("path")?)));
    let Some((option, span)) = read_option("--set-repo", text, old, r, report) else {
        return;
    };
    if nodes.is_empty() {
        nodes.push(empty_repository(span));
    }
    if let Some(first) = nodes.first_mut() {
        change(first, &option, span, r, report);
    }
}

fn empty_repository(span: Span) -> Node {
    let source = Node {
        name: "source".to_owned(),
        span,
        row: find("repository", "source"),
        ..Node::default()
    };
    Node {
        name: "repository".to_owned(),
        span,
        children: vec![source],
        row: find("image", "repository"),
        ..Node::default()
    }
}

fn change(
    node: &mut Node,
    option: &RepoOption,
    span: Span,
    r: &Resolution<'_>,
    report: &mut Report,
) {
    node.span = span;
    for (name, value) in &option.attributes {
        set(node, name, value, span);
        if let (Some(row), Some(attribute)) = (node.row, node.attribute(name)) {
            check_one(row, attribute, r.version, report);
        }
    }
    if let Some(source) = node.children.iter_mut().find(|c| c.name == "source") {
        set(source, "path", &option.uri, span);
        if !option.keys.is_empty() {
            source.children.clear();
        }
        for key in &option.keys {
            let mut signing = Node {
                name: "signing".to_owned(),
                span,
                ..Node::default()
            };
            set(&mut signing, "key", key, span);
            source.children.push(signing);
        }
    }
}

fn set(node: &mut Node, name: &str, value: &str, span: Span) {
    node.attributes.retain(|a| a.name != name);
    node.attributes.push(Attribute {
        name: name.to_owned(),
        namespace: None,
        value: value.to_owned(),
        name_span: span,
        value_span: span,
    });
}

fn add(plan: &mut Plan, node: &Node, r: &mut Resolution<'_>, report: &mut Report) {
    let Some(source) = node.child("source") else {
        return;
    };
    let Some(uri) = source.value("path") else {
        return;
    };
    let index = plan.repositories.len();
    let uri_span = source.value_span("path");
    check_uri(uri, uri_span, report);
    check_kind(node, report);
    let repository = Repository {
        uri: with_scheme(uri),
        kind: node.value("type").unwrap_or("apt-deb").to_owned(),
        alias: alias(plan, node, index, report),
        priority: priority(node, report),
        distribution: node.value("distribution").map(str::to_owned),
        components: components(node),
        signature_check: node
            .value("repository_gpgcheck")
            .and_then(boolean)
            .unwrap_or(true),
        imageinclude: node.is_true("imageinclude"),
        imageonly: node.is_true("imageonly"),
        keys: Vec::new(),
    };
    plan.repositories.push(repository);
    r.origin(format!("/repositories/{index}"), node.span);
    r.origin(format!("/repositories/{index}/uri"), uri_span);
    for signing in source.all("signing") {
        if let Some((path, from_option)) = key_path(signing, report) {
            let span = signing.value_span("key");
            r.wants.keys.push(KeyWanted {
                repository: index,
                path,
                from_option,
                span,
            });
        }
    }
}

/// A path without a scheme is a directory, as in KIWI.
fn with_scheme(uri: &str) -> String {
    if uri.starts_with('/') {
        format!("dir://{uri}")
    } else {
        uri.to_owned()
    }
}

fn check_uri(uri: &str, span: Span, report: &mut Report) {
    if uri.starts_with('/') {
        return;
    }
    let scheme = uri.split(':').next().unwrap_or_default();
    if uri.contains(':') && SCHEMES.contains(&scheme) {
        let rest = uri.split_once("://").map(|parts| parts.1);
        let host = rest.and_then(|r| r.split('/').next()).unwrap_or_default();
        if without_credentials(uri) != uri {
            let fact = "the URI holds credentials";
            let label = "expected a URI without user and password";
            let help = "a manifest is no place for secrets: apt takes them from /etc/apt/auth.conf.d (apt_auth.conf(5)), or from the file that rootfs-assemble --auth names";
            report.add(error(code::BAD_URI, span, fact, label).help(help));
        } else if matches!(scheme, "http" | "https" | "ftp") && !is_server(host) {
            let fact = format!("{} names no server", quoted(uri));
            let label = format!("expected {scheme}://SERVER/PATH or {scheme}://SERVER:PORT/PATH");
            report.add(error(code::BAD_URI, span, fact, label));
        }
        return;
    }
    report.add(bad_uri(uri, scheme, span));
}

/// Whether it is a name, and what follows a colon a port.
fn is_server(host: &str) -> bool {
    match host.rsplit_once(':') {
        Some((_, port)) if !host.ends_with(']') => port.bytes().all(|b| b.is_ascii_digit()),
        _ => !host.is_empty(),
    }
}

fn bad_uri(uri: &str, scheme: &str, span: Span) -> Diagnostic {
    let fact = format!("{} is no package source that can be fetched", quoted(uri));
    if scheme == "this" {
        let help = "name the directory by its own path: dir:///PATH, or --set-repo dir:///PATH";
        return error(
            code::BAD_URI,
            span,
            fact,
            "repositories inside the description are not read",
        )
        .help(help);
    }
    if scheme == "iso" {
        let help =
            "mount it, then name the directory: mount -o loop,ro FILE.iso /mnt, and dir:///mnt";
        return error(code::BAD_URI, span, fact, "ISO images are not opened").help(help);
    }
    let label = match nearest(scheme, SCHEMES.iter().copied()).filter(|_| uri.contains(':')) {
        Some(near) => format!("did you mean {near}:?"),
        None => "expected http:, https:, ftp:, file:, dir:, obs: or obsrepositories:".to_owned(),
    };
    error(code::BAD_URI, span, fact, label)
}

fn check_kind(node: &Node, report: &mut Report) {
    if let Some(kind) = node.value("type").filter(|k| *k != "apt-deb") {
        let fact = format!("repository type {} is not supported", quoted(kind));
        let label = "expected apt-deb";
        report.add(error(
            code::REPOSITORY_TYPE,
            node.value_span("type"),
            fact,
            label,
        ));
    }
    if let Some(kind @ ("metalink" | "mirrorlist")) = node.value("sourcetype") {
        let fact = format!("sourcetype {} is not supported", quoted(kind));
        let label = "apt knows baseurl only";
        report.add(error(
            code::REPOSITORY_TYPE,
            node.value_span("sourcetype"),
            fact,
            label,
        ));
    }
}

fn alias(plan: &Plan, node: &Node, index: usize, report: &mut Report) -> String {
    let Some(alias) = node.value("alias") else {
        let taken = |name: &String| plan.repositories.iter().any(|p| p.alias == *name);
        let mut names = (index + 1..).map(|n| format!("repository-{n}"));
        return names.find(|name| !taken(name)).unwrap_or_default();
    };
    if plan.repositories.iter().any(|p| p.alias == alias) {
        let fact = format!("the alias {} is taken", quoted(alias));
        let label = "expected another name";
        report.add(error(
            code::DUPLICATE_ALIAS,
            node.value_span("alias"),
            fact,
            label,
        ));
    }
    alias.to_owned()
}

fn priority(node: &Node, report: &mut Report) -> u64 {
    let Some(number) = node.value("priority").and_then(|v| v.parse::<i64>().ok()) else {
        return 0;
    };
    u64::try_from(number).unwrap_or_else(|_| {
        let fact = "a repository's priority is below 0";
        let label = "expected 0 (unset) or more; apt prefers the higher number";
        report.add(error(
            code::BAD_VALUE,
            node.value_span("priority"),
            fact,
            label,
        ));
        0
    })
}

fn components(node: &Node) -> Option<String> {
    let words = node.value("components")?.split_whitespace();
    Some(words.collect::<Vec<_>>().join(" "))
}

/// `--signing-key FILE` counts for every repository but the host's own, which have theirs. The plan
/// gets the file's name only: its directory is the user's affair.
fn trust(plan: &Plan, path: &str, r: &mut Resolution<'_>, report: &mut Report) {
    let name = path.rsplit('/').next().unwrap_or(path);
    let span = r.apply(format!("--signing-key {name}"), None, report);
    for (repository, source) in plan.repositories.iter().enumerate() {
        if !source.uri.starts_with("obsrepositories:") {
            r.origin(format!("/repositories/{repository}/keys"), span);
            r.wants.keys.push(KeyWanted {
                repository,
                path: path.to_owned(),
                from_option: true,
                span,
            });
        }
    }
}

/// The key's file, and whether the command line names it. A plan is made without a network, and a
/// description reads nothing but itself; who types a path may mean any file.
fn key_path(signing: &Node, report: &mut Report) -> Option<(String, bool)> {
    let key = signing.value("key")?;
    let span = signing.value_span("key");
    let is_option = report.sources.get(span).is_some_and(Source::is_option);
    if key.starts_with("http") || key.starts_with("ftp") {
        let fact = format!("the key {} is not part of the description", quoted(key));
        let label = "expected this://FILE";
        let help = "save the key beside the description; a key that is fetched anew each time proves nothing";
        report.add(error(code::REMOTE_KEY, span, fact, label).help(help));
        return None;
    }
    if is_option && !key.starts_with("this:") {
        let path = key.strip_prefix("file://").or(key.strip_prefix("file:"));
        return Some((path.unwrap_or(key).to_owned(), true));
    }
    match relative(key) {
        Ok(path) => Some((path, false)),
        Err(FileError::Missing) => {
            let fact = "the key has no name";
            report.add(error(
                code::MISSING_FILE,
                span,
                fact,
                "expected this://FILE",
            ));
            None
        }
        Err(_) => {
            let fact = format!("the key {} lies outside the description", quoted(key));
            let help = "copy the key into the description and name it this://FILE";
            report.add(error(code::OUTSIDE, span, fact, "expected this://FILE").help(help));
            None
        }
    }
}
