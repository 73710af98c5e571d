//! `<packages>`: packages, archives and single files by the moment they come or go.

use std::collections::BTreeMap;

use manifest::{Package, Plan};

use super::Resolution;
use crate::code;
use crate::diagnostic::{Diagnostic, Report, error, quoted, warning};
use crate::files::{FileError, relative};
use crate::node::Node;
use crate::source::Span;

/// An archive to unpack over the packages.
#[derive(Debug, Clone, PartialEq)]
pub struct ArchiveWanted {
    /// Where it is, relative to the description.
    pub path: String,
    /// The directory to unpack into, relative to the root; empty: the root.
    pub target: String,
    /// Where it is named.
    pub span: Span,
}

/// A single file to place over everything else.
#[derive(Debug, Clone, PartialEq)]
pub struct FileWanted {
    /// Where it is, relative to the description.
    pub path: String,
    /// Where it goes, relative to the root.
    pub target: String,
    /// Permission bits, where they are given; otherwise those of the file.
    pub mode: Option<u32>,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Where it is named.
    pub span: Span,
}

impl FileWanted {
    /// The same file under its own name in the directory that its target is.
    #[must_use]
    pub fn below_target(mut self) -> Self {
        let base = self.path.rsplit('/').next().unwrap_or_default();
        self.target = match self.target.as_str() {
            "" => base.to_owned(),
            directory => format!("{directory}/{base}"),
        };
        self
    }
}

/// The lists of the plan. Each is filled by the sections of its name, `image` also by those of the image type.
const LISTS: [&str; 4] = ["bootstrap", "image", "delete", "uninstall"];

/// The list of the plan that a `<packages>` section fills, where it has a part in the image.
fn list_filled_by(section: &Node, image_type: &str) -> Option<&'static str> {
    let kind = section.value("type").unwrap_or_default();
    match LISTS.into_iter().find(|list| *list == kind) {
        None if kind == image_type => Some("image"),
        found => found,
    }
}

/// Whether a `<packages>` section has a part in the image.
pub(super) fn counts(section: &Node, image_type: &str) -> bool {
    list_filled_by(section, image_type).is_some()
}

pub(super) fn fill(plan: &mut Plan, image: &Node, r: &mut Resolution<'_>, report: &mut Report) {
    let sections: Vec<&Node> = image
        .all("packages")
        .filter(|s| r.conditions.hold(s) && counts(s, &r.image_type))
        .collect();
    for list in LISTS {
        for section in &sections {
            if list_filled_by(section, &r.image_type) == Some(list) {
                add_section(plan, section, list, r, report);
            }
        }
    }
    add_from_options(plan, r, report);
    add_contents(&sections, r, report);
    check(plan, image, r, report);
}

fn list_of<'a>(plan: &'a mut Plan, list: &str) -> &'a mut Vec<Package> {
    match list {
        "bootstrap" => &mut plan.packages.bootstrap,
        "image" => &mut plan.packages.image,
        "delete" => &mut plan.packages.delete,
        _ => &mut plan.packages.uninstall,
    }
}

fn add_section(
    plan: &mut Plan,
    section: &Node,
    list: &str,
    r: &mut Resolution<'_>,
    report: &mut Report,
) {
    let installs = matches!(list, "bootstrap" | "image");
    if installs && section.value("patternType") == Some("plusRecommended") {
        let fact = "recommended packages are not installed";
        let label = "list those that are wanted";
        report.add(warning(
            code::IGNORED,
            section.value_span("patternType"),
            fact,
            label,
        ));
    }
    let conditions = r.conditions.clone();
    for node in section.all("package").filter(|n| conditions.hold(n)) {
        if let Some(name) = node.value("name") {
            add(plan, list, name, node.value_span("name"), r, report);
        }
    }
}

fn add(
    plan: &mut Plan,
    list: &str,
    name: &str,
    span: Span,
    r: &mut Resolution<'_>,
    report: &mut Report,
) {
    if !is_package_name(name) {
        let fact = format!("no package can be called {}", quoted(name));
        let label = "expected a name without blanks that does not begin with -";
        report.add(error(code::BAD_PACKAGE, span, fact, label));
        return;
    }
    if !r.listed.insert(format!("{list}/{name}")) {
        return;
    }
    let packages = list_of(plan, list);
    packages.push(Package {
        name: name.to_owned(),
    });
    let index = packages.len() - 1;
    r.origin(format!("/packages/{list}/{index}"), span);
}

/// Whether a package manager can be called with it: not as nothing, not as two names, not as an option.
fn is_package_name(name: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control();
    !name.is_empty() && !name.starts_with('-') && !name.contains(odd)
}

fn add_from_options(plan: &mut Plan, r: &mut Resolution<'_>, report: &mut Report) {
    let choice = r.choice;
    let options = [
        (
            "--add-bootstrap-package",
            "bootstrap",
            &choice.add_bootstrap_package,
        ),
        ("--add-package", "image", &choice.add_package),
        // KIWI's option is not the force of <packages type="delete">: what depends on it goes too.
        ("--delete-package", "uninstall", &choice.delete_package),
    ];
    for (option, list, names) in options {
        for name in names {
            let span = r.apply(format!("{option} {name}"), None, report);
            add(plan, list, name.trim(), span, r, report);
        }
    }
}

/// Archives by name, those of the bootstrap first. Then single files by name, those of the bootstrap last, so that
/// they win where two go to one place: all as KIWI does it.
fn add_contents(sections: &[&Node], r: &mut Resolution<'_>, report: &mut Report) {
    let image_type = r.image_type.clone();
    for list in ["bootstrap", "image"] {
        let nodes = filling(list, sections, &image_type).flat_map(|s| s.all("archive"));
        let named = nodes.filter_map(|node| Some((own_name(node), archive(node, report)?)));
        let archives: Named<ArchiveWanted> = named.collect();
        r.wants.archives.extend(settled_archives(archives, report));
    }
    for list in ["image", "bootstrap"] {
        let mut files = Named::new();
        for node in filling(list, sections, &image_type).flat_map(|s| s.all("file")) {
            if !r.conditions.hold(node) {
                report.add(of_another_machine(node));
                continue;
            }
            files.extend(file(node, report).map(|f| (own_name(node), f)));
        }
        r.wants.files.extend(settled_files(files, report));
    }
}

/// The sections that fill a list.
fn filling<'a>(
    list: &'static str,
    sections: &'a [&'a Node],
    image_type: &'a str,
) -> impl Iterator<Item = &'a Node> {
    let fills = move |s: &&Node| list_filled_by(s, image_type) == Some(list);
    sections.iter().copied().filter(fills)
}

/// KIWI's schema has `arch` at a file, and its builder does not look at it.
fn of_another_machine(node: &Node) -> Diagnostic {
    let fact = "the file is for another machine and left out";
    let label = "KIWI places it on every machine";
    warning(code::FILE_ELSEWHERE, node.value_span("arch"), fact, label)
}

/// Archives or files by the names that the description has for them.
type Named<T> = Vec<(String, T)>;

fn own_name(node: &Node) -> String {
    node.value("name").unwrap_or_default().to_owned()
}

/// An archive that is named several times is unpacked as often, each time where the last one says, as in
/// KIWI.
fn settled_archives(mut named: Named<ArchiveWanted>, report: &mut Report) -> Vec<ArchiveWanted> {
    let last: BTreeMap<String, ArchiveWanted> = named.iter().cloned().collect();
    for (name, archive) in &mut named {
        let Some(wins) = last.get(name).filter(|l| l.target != archive.target) else {
            continue;
        };
        report.add(named_twice("archive", name, archive.span, wins.span));
        archive.target.clone_from(&wins.target);
    }
    let mut archives: Vec<ArchiveWanted> = named.into_iter().map(|n| n.1).collect();
    archives.sort_by(|a, b| a.path.cmp(&b.path));
    archives
}

/// Of a file that is named several times the last one counts, as in KIWI.
fn settled_files(named: Named<FileWanted>, report: &mut Report) -> Vec<FileWanted> {
    let last: BTreeMap<String, FileWanted> = named.iter().cloned().collect();
    for (name, file) in &named {
        if let Some(wins) = last.get(name).filter(|l| l.target != file.target) {
            report.add(named_twice("file", name, file.span, wins.span));
        }
    }
    let mut files: Vec<FileWanted> = last.into_values().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn named_twice(thing: &str, name: &str, loses: Span, wins: Span) -> Diagnostic {
    let fact = format!("the {thing} {} shall go to two places", quoted(name));
    let found = warning(
        code::TWO_PLACES,
        loses,
        fact,
        "KIWI takes the place of the last one",
    );
    found
        .and(wins, "this one counts")
        .help("give one of them another name, such as that of a symbolic link")
}

fn archive(node: &Node, report: &mut Report) -> Option<ArchiveWanted> {
    let span = node.value_span("name");
    let path = inside(node.value("name")?, span, report)?;
    let target = match node.value("target_dir") {
        Some(dir) => destination(dir, node.value_span("target_dir"), report)?,
        None => String::new(),
    };
    Some(ArchiveWanted { path, target, span })
}

fn file(node: &Node, report: &mut Report) -> Option<FileWanted> {
    let span = node.value_span("name");
    let path = inside(node.value("name")?, span, report)?;
    let target = match node.value("target") {
        None => String::new(),
        Some(name) => destination(name, node.value_span("target"), report)?,
    };
    let asks = node.value("target").is_some_and(|t| t.ends_with('/'));
    let is_directory = target.is_empty() || asks || DIRECTORIES.contains(&target.as_str());
    let wanted = FileWanted {
        path,
        target,
        mode: node
            .value("permissions")
            .and_then(|text| mode(node, text, report)),
        owner: owner(node, report)?,
        span,
    };
    Some(match is_directory {
        true => wanted.below_target(),
        false => wanted,
    })
}

/// Directories that every system has (FHS 3.0): a file whose target is one of them goes into it, as in KIWI.
const DIRECTORIES: &[&str] = &[
    "bin",
    "boot",
    "dev",
    "etc",
    "home",
    "lib",
    "lib64",
    "media",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "srv",
    "sys",
    "tmp",
    "usr",
    "usr/bin",
    "usr/include",
    "usr/lib",
    "usr/libexec",
    "usr/local",
    "usr/local/bin",
    "usr/local/etc",
    "usr/local/lib",
    "usr/local/sbin",
    "usr/local/share",
    "usr/sbin",
    "usr/share",
    "usr/src",
    "var",
    "var/cache",
    "var/lib",
    "var/log",
    "var/opt",
    "var/spool",
    "var/tmp",
];

fn inside(name: &str, span: Span, report: &mut Report) -> Option<String> {
    match relative(name) {
        Ok(path) => Some(path),
        Err(FileError::Missing) => None,
        Err(_) => {
            let fact = format!("{} lies outside the description", quoted(name));
            let label = "expected a path relative to the description";
            let help = "copy the file into the description";
            report.add(error(code::OUTSIDE, span, fact, label).help(help));
            None
        }
    }
}

/// A path in the image, without its leading slash.
fn destination(name: &str, span: Span, report: &mut Report) -> Option<String> {
    let parts: Vec<&str> = name
        .split('/')
        .filter(|p| !p.is_empty() && *p != ".")
        .collect();
    if parts.contains(&"..") {
        let fact = format!("{} leads out of the image", quoted(name));
        report.add(error(
            code::OUTSIDE,
            span,
            fact,
            "expected a path without ..",
        ));
        return None;
    }
    Some(parts.join("/"))
}

fn mode(node: &Node, text: &str, report: &mut Report) -> Option<u32> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o7777);
    if mode.is_none() {
        let fact = format!("permissions cannot be {}", quoted(text));
        let label = "expected an octal mode such as 0644";
        report.add(error(
            code::BAD_VALUE,
            node.value_span("permissions"),
            fact,
            label,
        ));
    }
    mode
}

fn owner(node: &Node, report: &mut Report) -> Option<(u32, u32)> {
    let Some(text) = node.value("owner") else {
        return Some((0, 0));
    };
    let id = |name: &str| match name {
        "root" => Some(0),
        number => number.parse::<u32>().ok(),
    };
    let (user, group) = text.split_once(':').unwrap_or((text, "root"));
    let found = id(user).zip(id(group));
    if found.is_none() {
        let fact = format!("the owner {} cannot be known yet", quoted(text));
        let label = "expected numbers such as 0:0, or root";
        let help = "user names exist only in the finished system; chown in config.sh";
        report.add(error(code::FILE_OWNER, node.value_span("owner"), fact, label).help(help));
    }
    found
}

fn has_type(section: &Node) -> bool {
    let known = section
        .row
        .and_then(|row| row.attributes.iter().find(|a| a.name == "type"));
    let value = section.value("type").unwrap_or_default();
    known.is_some_and(|known| known.kind.fits(value))
}

fn check(plan: &Plan, image: &Node, r: &Resolution<'_>, report: &mut Report) {
    let packages = &plan.packages;
    if packages.image.is_empty() && packages.bootstrap.is_empty() {
        // Whose type is misspelt was told already, and is no want of packages.
        if image.all("packages").any(|section| !has_type(section)) {
            return;
        }
        let fact = "no package is asked for";
        let label = "expected <packages type=\"image\"> with at least one <package>";
        report.add(error(code::NO_PACKAGES, image.span, fact, label));
        return;
    }
    let named = packages.image.iter().enumerate();
    let image_places: BTreeMap<&Package, usize> = named.map(|(n, p)| (p, n)).collect();
    for (list, removed) in [
        ("delete", &packages.delete),
        ("uninstall", &packages.uninstall),
    ] {
        for (index, package) in removed.iter().enumerate() {
            let Some(installed) = image_places.get(package) else {
                continue;
            };
            let place = |pointer: String| r.origins.get(&pointer).copied().unwrap_or(image.span);
            let span = place(format!("/packages/{list}/{index}"));
            let fact = format!("package {} is installed and removed", package.name);
            let found = warning(code::CONFLICTING_PACKAGES, span, fact, "removal comes last");
            report.add(found.and(
                place(format!("/packages/image/{installed}")),
                "installed here",
            ));
        }
    }
    advise(plan, image, report);
}

/// What a system cannot do without. Meta packages may bring both, so these are warnings, and where there
/// are errors they can wait.
fn advise(plan: &Plan, image: &Node, report: &mut Report) {
    if report.has_errors() {
        return;
    }
    let packages = &plan.packages;
    let names: Vec<&str> = packages
        .image
        .iter()
        .chain(&packages.bootstrap)
        .map(|p| p.name.as_str())
        .collect();
    let kernel =
        |n: &&str| n.contains("linux-image") || n.contains("kernel") || is_ubuntu_kernel(n);
    if !names.iter().any(kernel) {
        let fact = "no package looks like a kernel";
        let label = "expected linux-image-amd64, linux-image-generic or the like";
        report.add(warning(code::NO_KERNEL, image.span, fact, label));
    }
    const INITS: [&str; 6] = [
        "systemd-sysv",
        "sysvinit-core",
        "init",
        "runit-init",
        "openrc",
        "finit-sysv",
    ];
    if !names.iter().any(|n| INITS.contains(n)) {
        let fact = "no package looks like an init system";
        let label = "expected systemd-sysv or the like";
        report.add(warning(code::NO_INIT, image.span, fact, label));
    }
}

/// Ubuntu's meta packages: `linux-generic`, `linux-virtual`, `linux-kvm`, …
fn is_ubuntu_kernel(name: &str) -> bool {
    let flavours = [
        "generic",
        "virtual",
        "kvm",
        "lowlatency",
        "aws",
        "azure",
        "gcp",
        "oracle",
    ];
    name.strip_prefix("linux-")
        .is_some_and(|rest| flavours.iter().any(|f| rest.starts_with(f)))
}
