//! `<packages>`: packages, archives and single files by the moment they come or go.

use manifest::{Package, Plan};

use super::Resolution;
use crate::code;
use crate::diagnostic::{Report, error, quoted, warning};
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
    /// Permission bits, where they are given.
    pub mode: Option<u32>,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Where it is named.
    pub span: Span,
}

/// Lists of the plan: pointer, the types that fill it, the option that adds to it.
const LISTS: [(&str, &[&str]); 4] = [
    ("bootstrap", &["bootstrap"]),
    ("image", &["image", "oem"]),
    ("delete", &["delete"]),
    ("uninstall", &["uninstall"]),
];

/// Whether a `<packages>` section has a part in an oem image.
pub(super) fn counts(section: &Node) -> bool {
    let kind = section.value("type").unwrap_or_default();
    LISTS.iter().any(|(_, types)| types.contains(&kind))
}

pub(super) fn fill(plan: &mut Plan, image: &Node, r: &mut Resolution<'_>, report: &mut Report) {
    let sections: Vec<&Node> = image
        .all("packages")
        .filter(|s| r.conditions.hold(s) && counts(s))
        .collect();
    for (list, types) in LISTS {
        let of = |s: &&&Node| s.value("type").is_some_and(|t| types.contains(&t));
        for section in sections.iter().filter(of) {
            add_section(plan, section, list, r, report);
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
        ("--delete-package", "delete", &choice.delete_package),
    ];
    for (option, list, names) in options {
        for name in names {
            let span = r.apply(format!("{option} {name}"), None, report);
            add(plan, list, name.trim(), span, r, report);
        }
    }
}

/// Archives by name, as KIWI unpacks them: those of the bootstrap first. Then single files by name.
fn add_contents(sections: &[&Node], r: &mut Resolution<'_>, report: &mut Report) {
    for bootstrap in [true, false] {
        let these = sections.iter().filter(|s| {
            let kind = s.value("type").unwrap_or_default();
            (kind == "bootstrap") == bootstrap && matches!(kind, "bootstrap" | "image" | "oem")
        });
        let mut archives = Vec::new();
        let mut files = Vec::new();
        for section in these {
            archives.extend(section.all("archive").filter_map(|n| archive(n, report)));
            let counting = section.all("file").filter(|n| r.conditions.hold(n));
            files.extend(counting.filter_map(|n| file(n, report)));
        }
        archives.sort_by(|a, b| a.path.cmp(&b.path));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        r.wants.archives.extend(archives);
        r.wants.files.extend(files);
    }
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
    let base = path.rsplit('/').next().unwrap_or(&path).to_owned();
    let target = match node.value("target") {
        None => base,
        Some(dir) if dir.ends_with('/') => {
            let dir = destination(dir, node.value_span("target"), report)?;
            if dir.is_empty() {
                base
            } else {
                format!("{dir}/{base}")
            }
        }
        Some(name) => destination(name, node.value_span("target"), report)?,
    };
    Some(FileWanted {
        path,
        target,
        mode: node
            .value("permissions")
            .and_then(|text| mode(node, text, report)),
        owner: owner(node, report)?,
        span,
    })
}

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

fn check(plan: &Plan, image: &Node, r: &Resolution<'_>, report: &mut Report) {
    let packages = &plan.packages;
    if packages.image.is_empty() && packages.bootstrap.is_empty() {
        let fact = "no package is asked for";
        let label = "expected <packages type=\"image\"> with at least one <package>";
        report.add(error(code::NO_PACKAGES, image.span, fact, label));
        return;
    }
    for (list, removed) in [
        ("delete", &packages.delete),
        ("uninstall", &packages.uninstall),
    ] {
        for (index, package) in removed.iter().enumerate() {
            let Some(installed) = packages.image.iter().position(|p| p == package) else {
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
