//! What a `<user>` may say so that passwd(5), shadow(5) and group(5) can hold it.
//!
//! A field ends at a colon and a line at a line feed, so neither may stand in a value: it would become
//! another field, or another account.

use crate::code;
use crate::diagnostic::{Report, error, quoted};
use crate::node::Node;
use crate::source::Span;

/// Longest name of an account or group, in bytes: useradd(8).
const LONGEST_NAME: usize = 32;
/// The highest id that is one: the two above mean "none" to the kernel.
const HIGHEST_ID: u64 = 0xffff_fffd;
/// An id that old system calls take for "none".
const NO_ID: u64 = 0xffff;

/// Checks every field of an account. An absent field is none to check.
pub(super) fn check(node: &Node, report: &mut Report) {
    if let Some(name) = node.value("name").filter(|n| !is_name(n)) {
        let fact = format!("no account can be called {}", quoted(name));
        add(node.value_span("name"), fact, NAME, report);
    }
    let id = node.value("id").and_then(|v| v.parse::<u64>().ok());
    if let Some(id) = id.filter(|id| *id > HIGHEST_ID || *id == NO_ID) {
        let fact = format!("{id} is no user id");
        add(
            node.value_span("id"),
            fact,
            "expected 0 to 4294967293, and not 65535",
            report,
        );
    }
    for field in ["home", "shell"] {
        let path = node.value(field).filter(|p| !is_path(p));
        if let Some(path) = path {
            let fact = format!("{field} cannot be {}", quoted(path));
            let label = "expected an absolute path without .. and without a colon";
            add(node.value_span(field), fact, label, report);
        }
    }
    for field in ["realname", "password"] {
        let text = node.attribute(field).filter(|a| breaks_a_line(&a.value));
        // The value may be a secret: it is not repeated.
        if let Some(attribute) = text.filter(|_| field == "realname" || !is_plain(node)) {
            let fact = format!("{field} holds a colon or a control character");
            add(
                attribute.value_span,
                fact,
                "it would end the field in /etc/passwd or /etc/shadow",
                report,
            );
        }
    }
    check_groups(node, report);
}

const NAME: &str = "expected 1 to 32 letters, digits, _, - and ., not - first";

/// Checks the names and ids of groups.
pub(super) fn check_groups(node: &Node, report: &mut Report) {
    let span = node.value_span("groups");
    for group in node.value("groups").into_iter().flat_map(|v| v.split(',')) {
        let (name, id) = group.trim().split_once(':').unwrap_or((group.trim(), "0"));
        if !is_name(name) {
            add(
                span,
                format!("no group can be called {}", quoted(name)),
                NAME,
                report,
            );
        } else if id
            .parse()
            .is_ok_and(|id: u64| id > HIGHEST_ID || id == NO_ID)
        {
            add(
                span,
                format!("{id} is no group id"),
                "expected 0 to 4294967293, and not 65535",
                report,
            );
        }
    }
}

fn add(span: Span, fact: String, label: &str, report: &mut Report) {
    report.add(error(code::BAD_ACCOUNT, span, fact, label));
}

fn is_plain(node: &Node) -> bool {
    node.value("pwdformat") == Some("plain")
}

/// What Debian's useradd takes, and rootfs-assemble.
fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'$');
    (1..=LONGEST_NAME).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.starts_with('-')
        && name.bytes().all(fits)
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && !breaks_a_line(path) && !path.split('/').any(|part| part == "..")
}

fn breaks_a_line(text: &str) -> bool {
    text.chars().any(|c| c == ':' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_that_fit_a_line() {
        for name in ["root", "_apt", "Some.One", "a-b", "machine$"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "a b", "a:b", "..", "ü", &"a".repeat(33)] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_path("/home/x") && is_path("/"));
        for path in ["home", "", "/a:b", "/a\nb", "/a/../etc"] {
            assert!(!is_path(path), "{path}");
        }
    }
}
