//! What counts: profiles, machines, and the image type.

use crate::choice::Choice;
use crate::code;
use crate::diagnostic::{Diagnostic, Report, error, nearest, quoted, warning};
use crate::node::Node;
use crate::source::Span;

/// Longest row of profiles that require each other.
const LONGEST_CHAIN: usize = 200;

/// The conditions under which elements count.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// Profiles in force, with the place that brought them.
    pub profiles: Vec<(String, Span)>,
    /// The machine's name.
    pub machine: String,
}

impl Conditions {
    /// Whether an element counts, by its `profiles=` and `arch=`.
    pub fn hold(&self, node: &Node) -> bool {
        let in_force = |name: &str| self.profiles.iter().any(|p| p.0 == name);
        // Blanks count: KIWI compares the names as they stand between the commas.
        self.machine_fits(node)
            && node
                .attribute("profiles")
                .filter(|a| !a.value.trim().is_empty())
                .is_none_or(|names| names.value.split(',').any(in_force))
    }

    fn machine_fits(&self, node: &Node) -> bool {
        // <machine arch=…> describes a virtual machine and is no condition.
        node.name == "machine"
            || node
                .value("arch")
                .is_none_or(|machines| machines.split(',').any(|m| m.trim() == self.machine))
    }
}

/// Finds the profiles in force: those asked for with what they require, else those marked `import`.
pub fn conditions(image: &Node, choice: &Choice, report: &mut Report) -> Conditions {
    let mut conditions = Conditions {
        profiles: Vec::new(),
        machine: choice.machine.clone(),
    };
    let declared: Vec<&Node> = image
        .all("profiles")
        .flat_map(|p| p.all("profile"))
        .filter(|p| conditions.machine_fits(p))
        .collect();
    for asked in &choice.profiles {
        let span = report.sources.add_option(format!("--profile {asked}"));
        let mut way = Vec::new();
        require(asked, span, &declared, &mut conditions, &mut way, report);
    }
    if choice.profiles.is_empty() {
        let imported = declared.iter().filter(|p| p.is_true("import"));
        let named =
            imported.filter_map(|p| Some((p.value("name")?.to_owned(), p.value_span("name"))));
        conditions.profiles = named.collect();
    }
    warn_of_twins(&declared, report);
    check_references(image, report);
    conditions
}

fn warn_of_twins(declared: &[&Node], report: &mut Report) {
    for (index, profile) in declared.iter().enumerate() {
        let name = profile.value("name");
        let later = declared[index + 1..]
            .iter()
            .find(|p| p.value("name") == name);
        if let (Some(name), Some(later)) = (name, later) {
            let fact = format!("two profiles are called {}", quoted(name));
            let span = later.value_span("name");
            let found = warning(code::PROFILE_TWICE, span, fact, "the last one counts");
            report.add(found.and(profile.value_span("name"), "this one does not"));
        }
    }
}

/// Brings a profile into force, then what it requires, depth first, as KIWI does.
fn require<'a>(
    name: &str,
    span: Span,
    declared: &[&'a Node],
    conditions: &mut Conditions,
    way: &mut Vec<&'a str>,
    report: &mut Report,
) {
    // Of two with one name the last one counts, as in KIWI.
    let Some(profile) = declared.iter().rfind(|p| p.value("name") == Some(name)) else {
        report.add(unknown(name, span, declared, &conditions.machine));
        return;
    };
    if let Some(found) = too_far(name, span, way) {
        report.add(found);
        return;
    }
    if conditions.profiles.iter().any(|p| p.0 == name) {
        return;
    }
    conditions.profiles.push((name.to_owned(), span));
    way.push(profile.value("name").unwrap_or_default());
    for needed in profile.all("requires") {
        if let Some(next) = needed
            .value("profile")
            .filter(|_| conditions.machine_fits(needed))
        {
            require(
                next,
                needed.value_span("profile"),
                declared,
                conditions,
                way,
                report,
            );
        }
    }
    way.pop();
}

fn unknown(name: &str, span: Span, declared: &[&Node], machine: &str) -> Diagnostic {
    let fact = format!("no profile {} is declared for {machine}", quoted(name));
    let names: Vec<&str> = declared.iter().filter_map(|p| p.value("name")).collect();
    error(
        code::UNKNOWN_PROFILE,
        span,
        fact,
        known_profiles(name, &names),
    )
}

/// A circle, or a row without end.
fn too_far(name: &str, span: Span, way: &[&str]) -> Option<Diagnostic> {
    if way.contains(&name) {
        let fact = format!(
            "profile {name} requires itself: {} → {name}",
            way.join(" → ")
        );
        return Some(error(code::PROFILE_CYCLE, span, fact, "expected no circle"));
    }
    (way.len() >= LONGEST_CHAIN).then(|| {
        let fact = format!("more than {LONGEST_CHAIN} profiles require each other in a row");
        error(code::LIMIT, span, fact, "one too many")
    })
}

fn known_profiles(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None if known.is_empty() => "the description declares no profiles".to_owned(),
        None => format!("expected one of: {}", known.join(", ")),
    }
}

/// Conditions on profiles that nobody declares, and on machine names that no machine has.
fn check_references(image: &Node, report: &mut Report) {
    let mut names: Vec<&str> = image
        .all("profiles")
        .flat_map(|p| p.all("profile"))
        .filter_map(|p| p.value("name"))
        .collect();
    names.dedup();
    let mut rest: Vec<&Node> = image.children.iter().collect();
    while let Some(node) = rest.pop().filter(|_| !report.is_full()) {
        rest.extend(&node.children);
        warn_of_blanks(node, report);
        for name in node
            .value("profiles")
            .into_iter()
            .flat_map(|v| v.split(','))
        {
            if !names.contains(&name.trim()) && !report.is_full() {
                let fact = format!("no profile {} is declared", quoted(name.trim()));
                let label = known_profiles(name.trim(), &names);
                let span = node.value_span("profiles");
                report.add(warning(code::UNKNOWN_PROFILE, span, fact, label));
            }
        }
        warn_of_aliases(node, report);
    }
}

/// A blank beside a comma makes a name that no profile has.
fn warn_of_blanks(node: &Node, report: &mut Report) {
    let Some(names) = node.attribute("profiles") else {
        return;
    };
    let mut parts = names.value.split(',');
    if let Some(name) = parts.find(|p| p.trim() != *p && !p.trim().is_empty()) {
        let fact = format!(
            "profiles names {}, with a blank that no profile has",
            quoted(name)
        );
        let label = "KIWI compares the blank too: this name never holds";
        let tidy: Vec<&str> = names.value.split(',').map(str::trim).collect();
        let edit = vec![(names.value_span, tidy.join(","))];
        report.add(warning(code::NEVER_MATCHES, names.value_span, fact, label).fix(edit, false));
    }
}

fn warn_of_aliases(node: &Node, report: &mut Report) {
    let Some(machines) = node.value("arch").filter(|_| node.name != "machine") else {
        return;
    };
    for (alias, name) in [("amd64", "x86_64"), ("arm64", "aarch64")] {
        let listed: Vec<&str> = machines.split(',').map(str::trim).collect();
        if listed.contains(&alias) && !listed.contains(&name) {
            let fact = format!("arch=\"{alias}\" is never the name of a machine");
            let label = format!("did you mean {name}?");
            let span = node.value_span("arch");
            let edit = vec![(span, machines.replace(alias, name))];
            report.add(warning(code::NEVER_MATCHES, span, fact, label).fix(edit, false));
        }
    }
}

/// The `<type>` that is built: the one asked for, else the primary one, else the first.
pub fn image_type<'a>(
    preferences: &[&'a Node],
    choice: &Choice,
    image: &Node,
    report: &mut Report,
) -> Option<(&'a Node, Option<Span>)> {
    let types: Vec<&Node> = preferences.iter().flat_map(|p| p.all("type")).collect();
    let known = || {
        types
            .iter()
            .filter_map(|t| t.value("image"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(asked) = &choice.image_type {
        let span = report.sources.add_option(format!("--type {asked}"));
        let found = types.iter().find(|t| t.value("image") == Some(asked));
        if found.is_none() {
            let fact = format!("no type {} is in force", quoted(asked));
            report.add(error(
                code::NO_TYPE,
                span,
                fact,
                format!("there is: {}", known()),
            ));
        }
        return found.map(|t| (*t, Some(span)));
    }
    let primary = types.iter().find(|t| t.is_true("primary"));
    let found = primary.or(types.first());
    if found.is_none() {
        let fact = "none of the <preferences> in force has a <type>";
        let label = "expected <type image=\"oem\" …>";
        let mut diagnostic = error(code::NO_TYPE, image.span, fact, label);
        if let Some(hidden) = image.all("preferences").find(|p| p.child("type").is_some()) {
            diagnostic = diagnostic
                .and(hidden.span, "these do not count now")
                .help("choose a profile with --profile NAME");
        }
        report.add(diagnostic);
    }
    found.map(|t| (*t, None))
}
