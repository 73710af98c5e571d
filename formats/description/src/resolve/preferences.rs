//! `<version>`, `<packagemanager>`, `<locale>`, `<keytable>`, `<timezone>`: of several
//! `<preferences>` in force, the first that has the element counts.

use manifest::Plan;

use super::Resolution;
use crate::code;
use crate::diagnostic::{Report, error, quoted, warning};
use crate::node::Node;
use crate::source::Span;

pub(super) fn fill(
    plan: &mut Plan,
    sections: &[&Node],
    image: &Node,
    r: &mut Resolution<'_>,
    report: &mut Report,
) {
    version(plan, sections, image, r, report);
    package_manager(plan, sections, report);
    plan.locale = first(sections, "locale", "/locale", r);
    plan.keytable = first(sections, "keytable", "/keytable", r);
    plan.timezone = first(sections, "timezone", "/timezone", r);
    if let Some(release) = &r.choice.release_version {
        let old = find(sections, "release-version").map(|f| f.0);
        let span = r.apply(format!("--set-release-version {release}"), old, report);
        let why = "apt names a release per repository (distribution=)";
        report.add(warning(
            code::IGNORED,
            span,
            "--set-release-version has no effect",
            why,
        ));
    }
}

fn find(sections: &[&Node], name: &str) -> Option<(String, Span)> {
    let nodes = sections.iter().filter_map(|s| s.child(name));
    let mut texts = nodes.filter_map(|n| Some((n.words()?.to_owned(), n.text_span)));
    texts.next()
}

fn first(sections: &[&Node], name: &str, pointer: &str, r: &mut Resolution<'_>) -> Option<String> {
    let (text, span) = find(sections, name)?;
    r.origin(pointer, span);
    Some(text)
}

fn version(
    plan: &mut Plan,
    sections: &[&Node],
    image: &Node,
    r: &mut Resolution<'_>,
    report: &mut Report,
) {
    match first(sections, "version", "/version", r) {
        Some(version) => plan.version = version,
        None => {
            let span = sections.first().map_or(image.span, |s| s.span);
            let fact = "none of the <preferences> in force has a <version>";
            report.add(error(
                code::NO_VERSION,
                span,
                fact,
                "expected <version>1.0.0</version>",
            ));
        }
    }
}

fn package_manager(plan: &mut Plan, sections: &[&Node], report: &mut Report) {
    let Some((name, span)) = find(sections, "packagemanager") else {
        // KIWI's own default is dnf4, so a description for apt must say so.
        "dnf4".clone_into(&mut plan.package_manager);
        let Some(section) = sections.first() else {
            return;
        };
        let fact = "none of the <preferences> in force has a <packagemanager>";
        let label = "expected <packagemanager>apt</packagemanager>";
        let help = "KIWI's default is dnf4; this release builds from apt repositories only";
        report.add(error(code::PACKAGE_MANAGER, section.span, fact, label).help(help));
        return;
    };
    if name != "apt" {
        let fact = format!("package manager {} is not supported", quoted(&name));
        let label = "expected apt";
        let help = "this release builds Debian and Ubuntu systems, from apt repositories";
        report.add(error(code::PACKAGE_MANAGER, span, fact, label).help(help));
    }
    plan.package_manager = name;
}
