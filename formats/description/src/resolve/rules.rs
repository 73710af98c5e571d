//! What a whole plan must make sense of: values that fit each alone and not together, or not a RAM system.
//!
//! Errors are what a later stage would refuse; warnings what may well be meant. Warnings wait until there
//! are no errors.

use manifest::Plan;

use super::Resolution;
use crate::code;
use crate::diagnostic::{Report, error, quoted, warning};
use crate::kernel_line::split;
use crate::node::Node;
use crate::source::Span;

/// Longest label of an ext4 file system in bytes.
const LONGEST_LABEL: usize = 16;

/// Init systems that give a serial console no login by themselves.
const WITHOUT_GETTY: &[&str] = &["sysvinit-core", "runit-init", "openrc", "finit-sysv"];

/// Shells that are packages of their own, by the last part of their path.
const SHELLS: &[&str] = &[
    "zsh", "fish", "ksh", "mksh", "tcsh", "csh", "yash", "elvish",
];

/// Judges the plan. `chosen` is its `<type>`.
pub(super) fn check(plan: &Plan, chosen: Option<&Node>, r: &Resolution<'_>, report: &mut Report) {
    let places = Places { r, chosen };
    names(plan, &places, report);
    label(plan, &places, report);
    if report.has_errors() {
        return;
    }
    serial(plan, &places, report);
    memory(plan, &places, report);
    shells(plan, &places, report);
}

/// Where a value of the plan stands.
struct Places<'a> {
    r: &'a Resolution<'a>,
    chosen: Option<&'a Node>,
}

impl Places<'_> {
    /// The place of a value, else of the type.
    fn of(&self, pointer: &str) -> Span {
        let of_type = self.chosen.map(|t| t.span).unwrap_or_default();
        self.r.origins.get(pointer).copied().unwrap_or(of_type)
    }
}

/// The place of one word of the kernel command line.
fn word_span(word: &str, places: &Places<'_>, report: &Report) -> Span {
    let line = places.of("/kernelcmdline");
    let at = report.sources.text(line).and_then(|text| text.find(word));
    at.map_or(line, |at| Span {
        start: line.start + at as u32,
        end: line.start + (at + word.len()) as u32,
        ..line
    })
}

/// Names that become part of a path in the image.
fn names(plan: &Plan, places: &Places<'_>, report: &mut Report) {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-+./".contains(c);
    for (thing, value, example) in [
        ("keytable", &plan.keytable, "us or de-latin1"),
        ("timezone", &plan.timezone, "UTC or Europe/Berlin"),
    ] {
        let odd = |v: &&String| v.starts_with('/') || v.contains("..") || !v.chars().all(fits);
        if let Some(value) = value.as_ref().filter(odd) {
            let fact = format!("<{thing}> cannot be {}", quoted(value));
            let label = format!("expected a name such as {example}");
            report.add(error(
                code::BAD_SETTING,
                places.of(&format!("/{thing}")),
                fact,
                label,
            ));
        }
    }
}

fn label(plan: &Plan, places: &Places<'_>, report: &mut Report) {
    let label = &plan.disk.root_label;
    if label.len() > LONGEST_LABEL || label.chars().any(char::is_control) {
        let fact = format!("the root file system cannot be labelled {}", quoted(label));
        let span = places.of("/disk/root_label");
        let expected = format!("it has {} bytes, ext4 keeps {LONGEST_LABEL}", label.len());
        report.add(error(code::BAD_LABEL, span, fact, expected));
    }
}

/// Menu, kernel and login on a serial line: one without the others is seldom meant.
fn serial(plan: &Plan, places: &Places<'_>, report: &mut Report) {
    let (words, _) = split(&plan.kernelcmdline);
    let serial = |w: &&crate::kernel_line::Word<'_>| {
        let names = ["ttyS", "ttyAMA", "hvc"];
        w.key() == "console"
            && w.value()
                .is_some_and(|v| names.iter().any(|n| v.starts_with(n)))
    };
    let on_serial = words.iter().find(serial);
    let menu = plan
        .bootloader
        .console
        .split_whitespace()
        .any(|t| t == "serial");
    if menu && on_serial.is_none() {
        let fact = "the boot menu is on the serial line, the kernel is not";
        let label = "expected console=ttyS0 in kernelcmdline";
        let loader = places.chosen.and_then(|t| t.child("bootloader"));
        let span = loader.map_or(places.of("/bootloader"), |l| l.value_span("output_console"));
        report.add(warning(code::HALF_SERIAL, span, fact, label));
    }
    let listed = |name: &&&str| plan.packages.image.iter().any(|p| p.name == **name);
    if let (Some(word), Some(init)) = (on_serial, WITHOUT_GETTY.iter().find(listed)) {
        let fact = format!("{} has no login with {init}", word.raw);
        let label = "expected a getty on it";
        let help = "systemd starts one by itself; for another init write its line into an overlay, such as root/etc/inittab";
        let span = word_span(word.raw, places, report);
        report.add(warning(code::NO_GETTY, span, fact, label).help(help));
    }
}

/// Words of the kernel that leave the RAM disk no room, or nothing to do.
fn memory(plan: &Plan, places: &Places<'_>, report: &mut Report) {
    let Some(ramdisk) = &plan.ramdisk else { return };
    let (words, _) = split(&plan.kernelcmdline);
    for word in &words {
        let Some(value) = word.value() else { continue };
        let span = word_span(word.raw, places, report);
        match (word.key(), kernel_bytes(value), ramdisk.size_kib) {
            ("mem", Some(bytes), Some(kib)) if bytes / 1024 <= kib => {
                let fact = format!("{} is no more than the RAM disk of {kib} kB", word.raw);
                let label = "the kernel takes no memory above it: nothing is left for the system";
                report.add(warning(code::NO_ROOM, span, fact, label));
            }
            ("resume", _, _) => {
                let fact = format!("{} has no effect", word.raw);
                let label = "a system in RAM has no swap partition to resume from";
                report.add(warning(code::NO_RESUME, span, fact, label).help("take it out"));
            }
            _ => {}
        }
    }
}

/// A size as the kernel reads it: a number with K, M or G.
fn kernel_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn shells(plan: &Plan, places: &Places<'_>, report: &mut Report) {
    let p = &plan.packages;
    let listed = |name: &str| p.image.iter().chain(&p.bootstrap).any(|p| p.name == name);
    for (index, user) in plan.users.iter().enumerate() {
        let shell = user.shell.as_deref().and_then(|s| s.rsplit('/').next());
        let Some(shell) = shell.filter(|s| SHELLS.contains(s) && !listed(s)) else {
            continue;
        };
        let fact = format!(
            "the shell of {} is {shell}, and no package of that name is asked for",
            quoted(&user.name)
        );
        let label = format!("expected <package name=\"{shell}\"/>");
        let help =
            "without its shell nobody can log in; ignore this where another package brings it";
        let span = places.of(&format!("/users/{index}"));
        report.add(warning(code::NO_SHELL, span, fact, label).help(help));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_kernels() {
        assert_eq!(kernel_bytes("512M"), Some(512 << 20));
        assert_eq!(kernel_bytes("2g"), Some(2 << 30));
        assert_eq!(kernel_bytes("4096"), Some(4096));
        assert_eq!(kernel_bytes("nopentium"), None);
        assert_eq!(kernel_bytes("99999999999G"), None);
    }
}
