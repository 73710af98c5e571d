//! The kernel command line of the description: what of it concerns the RAM disk, and what stays.

use super::boot_words;
use crate::code;
use crate::diagnostic::{Report, error, quoted, warning};
use crate::kernel_line::{Word, split};
use crate::node::Node;
use crate::source::Span;

const WORD: &str = "rd.kiwi.ramdisk";
const SIZE: &str = "ramdisk_size";
const INSTALL_DEVICE: &str = "rd.kiwi.oem.installdevice";

/// KIWI's words that `ram-deploy` knows, beside `rd.kiwi.ramdisk`.
const KIWI: [&str; 4] = [
    INSTALL_DEVICE,
    "rd.kiwi.debug",
    "rd.kiwi.install.pxe",
    "rd.kiwi.install.image",
];

/// COMMAND_LINE_SIZE of x86 kernels, less what the medium adds, in bytes.
const LONGEST_LINE: usize = 1800;

/// What the kernel command line says about the RAM disk.
#[derive(Default)]
pub(super) struct Line {
    /// `rd.kiwi.ramdisk`.
    pub asks: bool,
    /// `ramdisk_size` in kB.
    pub size: Option<(u64, Span)>,
    /// `rd.kiwi.oem.installdevice`.
    pub device: Option<(String, Span)>,
    /// The words that stay.
    pub rest: Vec<String>,
}

/// Reads `kernelcmdline`.
pub(super) fn read_line(node: &Node, report: &mut Report) -> Line {
    let mut line = Line::default();
    let Some(attribute) = node.attribute("kernelcmdline") else {
        return line;
    };
    if attribute.value.len() > LONGEST_LINE {
        let fact = format!("kernelcmdline has {} bytes", attribute.value.len());
        let label = format!("expected at most {LONGEST_LINE}: the kernel cuts what is longer");
        report.add(error(
            code::BAD_COMMAND_LINE,
            attribute.value_span,
            fact,
            label,
        ));
        return line;
    }
    let (words, open) = split(&attribute.value);
    if open {
        let fact = "a double quote is not closed in kernelcmdline";
        let label = "the kernel takes everything behind the quote as one word";
        report.add(error(
            code::BAD_COMMAND_LINE,
            attribute.value_span,
            fact,
            label,
        ));
    }
    // What follows is for the system's init.
    let end = words.iter().position(|word| word.raw == "--");
    for (n, word) in words.iter().enumerate() {
        let span = place(word, attribute.value_span, &attribute.value, report);
        refuse_control(word, span, report);
        if end.is_none_or(|end| n < end) {
            boot_words::check(word, span, report);
        }
        if read_word(word, span, &mut line, report) {
            line.rest.push(word.raw.to_owned());
        }
    }
    line
}

/// A line feed or the like, from a reference: boot menus have one line for the whole command line.
fn refuse_control(word: &Word<'_>, span: Span, report: &mut Report) {
    if word.raw.contains(|c: char| c.is_control() && c != '\t') {
        let fact = format!(
            "kernelcmdline holds a control character: {}",
            quoted(word.raw)
        );
        let label = "expected one line: boot menus and the kernel take no other";
        report.add(error(code::BAD_COMMAND_LINE, span, fact, label));
    }
}

/// Reads one word. Says whether it stays on the command line of the image.
fn read_word(word: &Word<'_>, span: Span, line: &mut Line, report: &mut Report) -> bool {
    match (word.key(), word.value()) {
        (WORD, value) => {
            line.asks = value.is_none_or(|v| !is_off(v));
            return false;
        }
        (SIZE, value) => {
            let size = kilobytes(value.unwrap_or_default(), span, report);
            warn_of_two_sizes(size, line.size, report);
            line.size = size.or(line.size);
            return false;
        }
        ("root", Some(_)) => {
            let fact = format!("kernelcmdline says {}", word.raw);
            let label = "the boot loader passes the root that was made";
            report.add(warning(code::ROOT_IS_GIVEN, span, fact, label).help("take it out"));
        }
        (key, Some(value)) if needs_own_start(key, value) => {
            let fact = format!("{key} is refused");
            let label = "a RAM root boots by a plain mount and switch_root";
            report.add(error(code::REFUSED, span, fact, label));
        }
        (INSTALL_DEVICE, Some(device)) => line.device = Some((device.to_owned(), span)),
        (key, _) if key.starts_with("rd.kiwi.") && !KIWI.contains(&key) => {
            let fact = format!("{key} has no effect here");
            let label = format!("of KIWI's words at boot there are {}", KIWI.join(", "));
            report.add(warning(code::IGNORED, span, fact, &label).help("take it out"));
        }
        _ => {}
    }
    true
}

/// Words of dracut that name a root which needs a start of its own.
fn needs_own_start(key: &str, value: &str) -> bool {
    ["rd.luks.", "rd.lvm.", "rd.md.uuid", "rd.dm.uuid"]
        .iter()
        .any(|p| key.starts_with(p))
        && !is_off(value)
}

/// How dracut reads a switch.
fn is_off(value: &str) -> bool {
    matches!(value, "0" | "no" | "off")
}

/// The place of one word; of the whole value where entities make the text differ from the value.
fn place(word: &Word<'_>, value_span: Span, value: &str, report: &Report) -> Span {
    if report.sources.text(value_span) != Some(value) {
        return value_span;
    }
    Span {
        start: value_span.start + word.range.start as u32,
        end: value_span.start + word.range.end as u32,
        ..value_span
    }
}

/// A number of kB, or an error that says how to write it.
pub(super) fn kilobytes(text: &str, span: Span, report: &mut Report) -> Option<(u64, Span)> {
    let parsed = text
        .trim()
        .parse::<u64>()
        .ok()
        .filter(|kib| *kib > 0 && *kib < 1 << 43);
    if parsed.is_none() {
        let fact = format!("the RAM disk's size cannot be {}", quoted(text));
        let meant = with_unit(text);
        let label = match meant {
            Some(kib) => format!("expected a number of kB: {kib}"),
            None => "expected a number of kB, such as 2048000".to_owned(),
        };
        let mut found = error(code::BAD_RAMDISK_SIZE, span, fact, label);
        // The number is the end of the word, or all of it; not so where entities stand in it.
        let start = span.end.saturating_sub(text.len() as u32);
        let written = report.sources.text(Span { start, ..span }) == Some(text);
        if let Some(kib) = meant.filter(|_| written) {
            found = found.fix(vec![(Span { start, ..span }, kib.to_string())], true);
        }
        report.add(found);
    }
    parsed.map(|kib| (kib, span))
}

/// The kB that somebody means by `2G`.
fn with_unit(text: &str) -> Option<u64> {
    let number: u64 = text
        .trim_end_matches(|c: char| c.is_ascii_alphabetic())
        .parse()
        .ok()?;
    let unit = text
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .to_ascii_uppercase();
    let shift = match unit.as_str() {
        "K" | "KB" | "KIB" => 0,
        "M" | "MB" | "MIB" => 10,
        "G" | "GB" | "GIB" => 20,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// Two sizes: which of them counts.
pub(super) fn warn_of_two_sizes(
    wins: Option<(u64, Span)>,
    loses: Option<(u64, Span)>,
    report: &mut Report,
) {
    let (Some((counts, here)), Some((other, there))) = (wins, loses) else {
        return;
    };
    if counts != other {
        let fact = format!("two sizes of the RAM disk: {counts} kB and {other} kB");
        let found = warning(code::DUPLICATE_RAMDISK_SIZE, here, fact, "this one counts");
        report.add(found.and(there, "this one does not"));
    }
}
