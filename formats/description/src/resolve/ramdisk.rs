//! What makes the image run from RAM. Three spellings mean the same:
//!
//! ```text
//! kernelcmdline="rd.kiwi.ramdisk ramdisk_size=KB"        the kernel's words
//! <oem-ramdisk-size>KB</oem-ramdisk-size>, …              elements of <oemconfig>
//! kernelcmdline="ramdisk_size=KB"                         the size alone
//! ```

use manifest::{Plan, Ramdisk};

use super::Resolution;
use crate::code;
use crate::diagnostic::{Report, error, quoted, warning};
use crate::kernel_line::{Word, split};
use crate::node::{Node, boolean};
use crate::source::Span;

const DEVICE: &str = "/dev/ram1";
const WORD: &str = "rd.kiwi.ramdisk";
const SIZE: &str = "ramdisk_size";
const INSTALL_DEVICE: &str = "rd.kiwi.oem.installdevice";

/// COMMAND_LINE_SIZE of x86 kernels, less what the medium adds, in bytes.
const LONGEST_LINE: usize = 1800;

/// What the kernel command line says about the RAM disk.
#[derive(Default)]
struct Line {
    asks: bool,
    size: Option<(u64, Span)>,
    device: Option<(String, Span)>,
    rest: String,
}

pub(super) fn fill(plan: &mut Plan, node: &Node, r: &mut Resolution<'_>, report: &mut Report) {
    let line = read_line(node, report);
    plan.kernelcmdline.clone_from(&line.rest);
    if node.attribute("kernelcmdline").is_some() {
        r.origin("/kernelcmdline", node.value_span("kernelcmdline"));
    }
    let config = node.child("oemconfig");
    let element = config.and_then(|c| c.child("oem-ramdisk-size"));
    let size_element = element.and_then(|e| kilobytes(e.words()?, e.text_span, report));
    let target = target(plan, config, &line);
    let ram_target = target.as_ref().is_some_and(|(device, _)| is_ram(device));
    if !(line.asks || line.size.is_some() || element.is_some() || ram_target) {
        return;
    }
    if let Some((device, span)) = target.as_ref().filter(|t| !is_ram(&t.0)) {
        let fact = format!(
            "the image is deployed to {}, but it asks for a RAM disk",
            quoted(device)
        );
        report.add(error(
            code::CONTRADICTION,
            *span,
            fact,
            "expected /dev/ram1",
        ));
    }
    let size = line.size.or(size_element);
    warn_of_two_sizes(line.size, size_element, report);
    let device = target.map_or(DEVICE.to_owned(), |t| t.0);
    r.origin("/ramdisk", size.map_or(node.span, |s| s.1));
    plan.ramdisk = Some(Ramdisk {
        size_kib: size.map(|s| s.0),
        device: device.clone(),
    });
    let flag = |name: &str| {
        config
            .and_then(|c| c.child(name))
            .and_then(|n| boolean(&n.text))
    };
    plan.oem.unattended = flag("oem-unattended").unwrap_or(true);
    plan.oem.skip_verify = flag("oem-skip-verify").unwrap_or(true);
    plan.oem.unattended_id = Some(device);
    check_size(plan, node, size, report);
    check_medium(plan, node, report);
}

fn is_ram(device: &str) -> bool {
    device
        .strip_prefix("/dev/ram")
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// The device that receives the image: the command line wins over `oem-unattended-id`.
fn target(plan: &Plan, config: Option<&Node>, line: &Line) -> Option<(String, Span)> {
    let element = config.and_then(|c| c.child("oem-unattended-id"));
    let named = || Some((plan.oem.unattended_id.clone()?, element?.text_span));
    line.device.clone().or_else(named)
}

fn read_line(node: &Node, report: &mut Report) -> Line {
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
    let mut rest = Vec::new();
    for word in &words {
        let span = place(word, attribute.value_span, &attribute.value, report);
        match (word.key(), word.value()) {
            (WORD, value) => line.asks = value.is_none_or(|v| v != "0" && v != "no"),
            (SIZE, value) => {
                let size = kilobytes(value.unwrap_or_default(), span, report);
                warn_of_two_sizes(size, line.size, report);
                line.size = size.or(line.size);
            }
            (INSTALL_DEVICE, Some(device)) => {
                line.device = Some((device.to_owned(), span));
                rest.push(word.raw);
            }
            _ => rest.push(word.raw),
        }
    }
    line.rest = rest.join(" ");
    line
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

fn kilobytes(text: &str, span: Span, report: &mut Report) -> Option<(u64, Span)> {
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

fn warn_of_two_sizes(wins: Option<(u64, Span)>, loses: Option<(u64, Span)>, report: &mut Report) {
    let (Some((counts, here)), Some((other, there))) = (wins, loses) else {
        return;
    };
    if counts != other {
        let fact = format!("two sizes of the RAM disk: {counts} kB and {other} kB");
        let found = warning(code::DUPLICATE_RAMDISK_SIZE, here, fact, "this one counts");
        report.add(found.and(there, "this one does not"));
    }
}

fn check_size(plan: &Plan, node: &Node, size: Option<(u64, Span)>, report: &mut Report) {
    let (Some((kib, span)), Some(disk)) = (size, &plan.disk.size) else {
        return;
    };
    let needed = disk.bytes().div_ceil(1024);
    if disk.additive || needed <= kib {
        return;
    }
    let unit = format!("{:?}", disk.unit);
    let fact = format!(
        "the RAM disk of {kib} kB cannot hold the image of {}{unit} ({needed} kB)",
        disk.value
    );
    let mut found = error(
        code::RAMDISK_TOO_SMALL,
        span,
        fact,
        format!("expected at least {needed}"),
    );
    if let Some(element) = node.child("size") {
        found = found.and(element.text_span, "the image's own size");
    }
    report.add(found.help(
        "raise ramdisk_size, or lower <size>; without <size> the image is as small as it can be",
    ));
}

fn check_medium(plan: &Plan, node: &Node, report: &mut Report) {
    if report.has_errors() {
        return;
    }
    let says_no = |name| node.value(name).is_none_or(|v| boolean(v) == Some(false));
    if says_no("installiso") && says_no("installpxe") && !plan.image_type.installiso {
        let fact = "a RAM disk is asked for, but no medium that deploys it";
        let label = "expected installiso=\"true\" or installpxe=\"true\"";
        report.add(warning(code::NO_MEDIUM, node.span, fact, label));
    }
}
