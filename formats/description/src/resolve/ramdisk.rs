//! What makes the image run from RAM. Three spellings mean the same:
//!
//! ```text
//! kernelcmdline="rd.kiwi.ramdisk ramdisk_size=KB"        the kernel's words
//! <oem-ramdisk-size>KB</oem-ramdisk-size>, …              elements of <oemconfig>
//! kernelcmdline="ramdisk_size=KB"                         the size alone
//! ```

use manifest::{Plan, Ramdisk};

use super::Resolution;
use super::command_line::{Line, kilobytes, read_line, warn_of_two_sizes};
use crate::code;
use crate::diagnostic::{Diagnostic, Report, error, quoted, warning};
use crate::node::{Node, boolean};
use crate::source::Span;

const DEVICE: &str = "/dev/ram1";

/// The highest number of a RAM disk that ram-deploy makes.
const MAX_NUMBER: u32 = 63;

/// No disk with an ESP and a kernel is smaller; who writes less has MiB in mind.
const LEAST_KIB: u64 = 32 << 10;

pub(super) fn fill(plan: &mut Plan, node: &Node, r: &mut Resolution<'_>, report: &mut Report) {
    let line = read_line(node, report);
    plan.kernelcmdline = line.rest.join(" ");
    if node.attribute("kernelcmdline").is_some() {
        r.origin("/kernelcmdline", node.value_span("kernelcmdline"));
    }
    let config = node.child("oemconfig");
    let element = config.and_then(|c| c.child("oem-ramdisk-size"));
    let size_element = element.and_then(|e| kilobytes(e.words()?, e.text_span, report));
    let target = target(plan, config, &line, report);
    let ram_target = target.as_ref().is_some_and(|(device, _)| names_ram(device));
    if !(line.asks || line.size.is_some() || element.is_some() || ram_target) {
        if !report.has_errors() {
            report.add(none(node));
        }
        return;
    }
    check_target(target.as_ref(), report);
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

/// No medium can be made, which the stages that make it say after minutes.
fn none(node: &Node) -> Diagnostic {
    let fact = "nothing makes the system run from RAM, so no medium can be made";
    let label = "expected rd.kiwi.ramdisk ramdisk_size=KIB in kernelcmdline";
    warning(
        code::NO_RAMDISK,
        node.value_span("kernelcmdline"),
        fact,
        label,
    )
}

fn check_target(target: Option<&(String, Span)>, report: &mut Report) {
    if let Some((device, span)) = target.filter(|t| !is_ram(&t.0)) {
        let thing = quoted(device);
        let fact = if names_ram(device) {
            format!("the image is deployed to {thing}, which is no name of a RAM disk")
        } else {
            format!("the image is deployed to {thing}, but it asks for a RAM disk")
        };
        let label = "expected /dev/ram1, or another of /dev/ram0 to /dev/ram63";
        report.add(error(code::CONTRADICTION, *span, fact, label));
    }
}

/// Whether a RAM disk is meant.
fn names_ram(device: &str) -> bool {
    device
        .strip_prefix("/dev/ram")
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether the deployment takes the device: the same rule as ram-deploy's.
fn is_ram(device: &str) -> bool {
    let digits = device.strip_prefix("/dev/ram").unwrap_or_default();
    let number: Option<u32> = digits.parse().ok();
    number.is_some_and(|n| n <= MAX_NUMBER && digits == n.to_string())
}

/// The device that receives the image: the command line wins over `oem-unattended-id`.
fn target(
    plan: &Plan,
    config: Option<&Node>,
    line: &Line,
    report: &mut Report,
) -> Option<(String, Span)> {
    let element = config.and_then(|c| c.child("oem-unattended-id"));
    let named = || Some((plan.oem.unattended_id.clone()?, element?.text_span));
    if let (Some((wins, here)), Some((loses, there))) = (&line.device, named())
        && *wins != loses
    {
        let fact = format!("two devices for the deployment: {wins} and {loses}");
        let found = warning(code::TWO_TARGETS, *here, fact, "this one counts");
        report.add(found.and(there, "this one does not"));
    }
    line.device.clone().or_else(named)
}

fn check_size(plan: &Plan, node: &Node, size: Option<(u64, Span)>, report: &mut Report) {
    let Some((kib, span)) = size else { return };
    if kib < LEAST_KIB {
        let fact = format!("a RAM disk of {kib} kB holds no system");
        let label = format!("expected kB: {kib} MiB are {}", kib * 1024);
        report.add(error(code::BAD_RAMDISK_SIZE, span, fact, label));
        return;
    }
    if let Some(found) = no_room(plan, node, kib, span) {
        report.add(found);
        return;
    }
    let Some(disk) = &plan.disk.size else { return };
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

/// An ESP that takes the whole RAM disk.
fn no_room(plan: &Plan, node: &Node, kib: u64, span: Span) -> Option<Diagnostic> {
    let mib = plan.disk.efi_mib;
    let esp = mib.saturating_mul(1024);
    let fact = format!("the RAM disk of {kib} kB has no room beside an ESP of {mib} MiB");
    let label = format!("expected more than {esp}");
    let found = error(code::RAMDISK_TOO_SMALL, span, fact, label);
    (esp >= kib).then(|| found.and(node.value_span("efipartsize"), "the ESP"))
}

fn check_medium(plan: &Plan, node: &Node, report: &mut Report) {
    if plan.image_type.installboot.as_deref() == Some("harddisk") {
        let span = node.value_span("installboot");
        let fact = "the boot menu would choose the hard disk, not the RAM disk";
        let label = "expected install";
        report.add(warning(code::BOOTS_ELSEWHERE, span, fact, label));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ram_deploy_takes_is_a_ram_disk() {
        for device in ["/dev/ram0", "/dev/ram1", "/dev/ram63"] {
            assert!(is_ram(device), "{device}");
        }
        for device in [
            "/dev/ram64",
            "/dev/ram01",
            "/dev/ram+1",
            "/dev/ram",
            "/dev/sda",
        ] {
            assert!(!is_ram(device), "{device}");
        }
    }
}
