//! The chosen `<type>`: disk, boot loader, kernel command line.

use manifest::{Plan, Size, SizeUnit};

use super::{Resolution, oem, ramdisk, treat};
use crate::check::check_one;
use crate::code;
use crate::diagnostic::{Report, error, quoted, warning};
use crate::node::{Attribute, Node};
use crate::source::Span;
use crate::table::{Kind, Use};

/// Label of the root file system, as KIWI has it.
pub(super) const ROOT_LABEL: &str = "ROOT";
/// Volume id of an installation medium, as KIWI has it.
pub(super) const VOLUME_ID: &str = "INSTALL";
/// Size of the ESP in MiB, as KIWI has it.
pub(super) const EFI_MIB: u64 = 20;
/// Seconds until the boot menu goes on, as KIWI has it.
pub(super) const TIMEOUT: i64 = 10;

pub(super) fn fill(
    plan: &mut Plan,
    chosen: &Node,
    image: &Node,
    r: &mut Resolution<'_>,
    report: &mut Report,
) {
    let mut node = chosen.clone();
    for text in &r.choice.type_attributes {
        set_attribute(&mut node, text, r, report);
    }
    let node = &node;
    r.origin("/type", node.span);
    match node.value("image") {
        Some("oem") => {
            treat::treat(node, &r.conditions, report);
            values(plan, node, image, r, report);
        }
        kind => {
            plan.image_type.image = kind.unwrap_or_default().to_owned();
            not_oem(node, image, report);
            // Its values are read all the same; what Ramforge thinks of them is no news any more.
            values(plan, node, image, r, &mut report.clone());
        }
    }
}

fn values(plan: &mut Plan, node: &Node, image: &Node, r: &mut Resolution<'_>, report: &mut Report) {
    file_system(plan, node, r, report);
    firmware(plan, node, report);
    media(plan, node, r);
    carried(plan, node);
    disk(plan, node, r);
    boot_loader(plan, node, image, r, report);
    oem::fill(plan, node, r);
    ramdisk::fill(plan, node, r, report);
}

/// `--set-type-attr NAME=VALUE` becomes an attribute whose place is the command line.
fn set_attribute(node: &mut Node, text: &str, r: &mut Resolution<'_>, report: &mut Report) {
    let option = format!("--set-type-attr {text}");
    let Some((name, value)) = text.split_once('=') else {
        let span = r.apply(option, None, report);
        let fact = format!("{} sets nothing", quoted(text));
        report.add(error(code::BAD_OPTION, span, fact, "expected NAME=VALUE"));
        return;
    };
    let old = former(node, name);
    let span = r.apply(option, old, report);
    let attribute = Attribute {
        name: name.to_owned(),
        namespace: None,
        value: value.to_owned(),
        name_span: span,
        value_span: span,
    };
    node.attributes.retain(|a| a.name != name);
    if let Some(row) = node.row {
        check_one(row, &attribute, r.version, report);
    }
    node.attributes.push(attribute);
}

/// What an attribute was, for the plan. What is refused and may be any text may be a secret, as the
/// passphrase of `luks` is.
fn former(node: &Node, name: &str) -> Option<String> {
    let value = &node.attribute(name)?.value;
    let mut known = node.row?.attributes.iter();
    let is_secret =
        known.any(|a| a.name == name && a.kind == Kind::Free && matches!(a.does, Use::Refused(_)));
    Some(if is_secret {
        "…".to_owned()
    } else {
        value.clone()
    })
}

fn not_oem(node: &Node, image: &Node, report: &mut Report) {
    let kind = node.value("image").unwrap_or_default();
    let fact = format!("image type {} is not supported", quoted(kind));
    let mut diagnostic = error(
        code::NOT_OEM,
        node.value_span("image"),
        fact,
        "expected oem",
    );
    let types = image.all("preferences").flat_map(|p| p.all("type"));
    let other = types.into_iter().find(|t| t.value("image") == Some("oem"));
    diagnostic = match other {
        Some(oem) => diagnostic
            .and(oem.span, "the description has this one too")
            .help("choose it with --type oem (and --profile, where it stands under one)"),
        None => diagnostic.help("a disk image with an installation medium is <type image=\"oem\" installiso=\"true\" …>"),
    };
    report.add(diagnostic);
}

fn file_system(plan: &mut Plan, node: &Node, r: &mut Resolution<'_>, report: &mut Report) {
    let Some(name) = node.value("filesystem") else {
        let fact = "<type> has no filesystem";
        report.add(error(
            code::FILE_SYSTEM,
            node.span,
            fact,
            "expected filesystem=\"ext4\"",
        ));
        return;
    };
    let span = node.value_span("filesystem");
    r.origin("/type/filesystem", span);
    if name != "ext4" {
        let fact = format!("root file system {} is not supported", quoted(name));
        let help = "supported: ext4";
        report.add(error(code::FILE_SYSTEM, span, fact, "expected ext4").help(help));
    }
    plan.image_type.filesystem = name.to_owned();
}

fn firmware(plan: &mut Plan, node: &Node, report: &mut Report) {
    plan.image_type.firmware = node.value("firmware").map(str::to_owned);
    if let Some(name @ ("ec2" | "ofw" | "opal" | "custom")) = node.value("firmware") {
        let fact = format!("firmware {} is not supported", quoted(name));
        let span = node.value_span("firmware");
        report.add(error(
            code::REFUSED,
            span,
            fact,
            "expected bios, efi or uefi",
        ));
    }
    if let Some(name @ ("kiwi" | "none")) = node.value("initrd_system") {
        let fact = format!("initrd system {} is not supported", quoted(name));
        let span = node.value_span("initrd_system");
        let label = "expected dracut";
        report.add(error(code::REFUSED, span, fact, label));
    }
}

fn media(plan: &mut Plan, node: &Node, r: &mut Resolution<'_>) {
    let to = &mut plan.image_type;
    to.installiso = node.is_true("installiso") || node.is_true("installstick");
    to.installpxe = node.is_true("installpxe");
    to.installboot = node.value("installboot").map(str::to_owned);
    if let Some(volid) = node.value("volid") {
        to.volid = volid.to_owned();
        r.origin("/type/volid", node.value_span("volid"));
    }
}

/// Attributes for a custom stage.
fn carried(plan: &mut Plan, node: &Node) {
    let Some(row) = node.row else { return };
    for attribute in &node.attributes {
        let known = row.attributes.iter().find(|a| a.name == attribute.name);
        let known = known.filter(|a| a.until.is_none());
        if known.is_some_and(|a| matches!(a.does, Use::Carried(_) | Use::Ignored(_))) {
            let value = attribute.value.trim().to_owned();
            plan.image_type
                .attributes
                .insert(attribute.name.clone(), value);
        }
    }
}

fn disk(plan: &mut Plan, node: &Node, r: &mut Resolution<'_>) {
    if let Some(label) = node.value("rootfs_label") {
        plan.disk.root_label = label.to_owned();
        r.origin("/disk/root_label", node.value_span("rootfs_label"));
    }
    let mib = node.value("efipartsize").and_then(|v| v.parse().ok());
    // 0 is as if it were not there, as in KIWI.
    if let Some(mib) = mib.filter(|mib| *mib > 0) {
        plan.disk.efi_mib = mib;
        r.origin("/disk/efi_mib", node.value_span("efipartsize"));
    }
    let Some(size) = node.child("size") else {
        return;
    };
    plan.disk.size = size.words().and_then(|w| w.parse().ok()).map(|value| Size {
        value,
        unit: match size.value("unit") {
            Some("G") => SizeUnit::G,
            _ => SizeUnit::M,
        },
        additive: size.is_true("additive"),
    });
    r.origin("/disk/size", size.text_span);
}

fn boot_loader(
    plan: &mut Plan,
    node: &Node,
    image: &Node,
    r: &mut Resolution<'_>,
    report: &mut Report,
) {
    let display = image.value("displayname").or(image.value("name"));
    plan.bootloader.title = display.unwrap_or_default().to_owned();
    let title = node
        .child("oemconfig")
        .and_then(|c| c.child("oem-boot-title"));
    if let Some((title, span)) = title.and_then(|t| Some((t.words()?, t.text_span))) {
        plan.bootloader.title = title.to_owned();
        r.origin("/bootloader/title", span);
    }
    let Some(loader) = node.child("bootloader") else {
        return;
    };
    r.origin("/bootloader", loader.span);
    if let Some(name) = loader.value("name").filter(|n| *n != "grub2") {
        let fact = format!("boot loader {} is not supported", quoted(name));
        report.add(error(
            code::REFUSED,
            loader.value_span("name"),
            fact,
            "expected grub2",
        ));
    }
    if let Some(seconds) = loader.value("timeout").and_then(|v| v.parse().ok()) {
        plan.bootloader.timeout = seconds;
        r.origin("/bootloader/timeout", loader.value_span("timeout"));
    }
    plan.bootloader.console = consoles(loader, report);
    plan.bootloader.serial_line = loader.value("serial_line").map(str::to_owned);
}

/// GRUB's terminals: output, then what input adds. GRUB takes the list for both directions.
fn consoles(loader: &Node, report: &mut Report) -> String {
    let words = |name| loader.value(name).unwrap_or_default().split_whitespace();
    let mut list: Vec<&str> = Vec::new();
    for word in words("output_console").chain(words("input_console")) {
        if matches!(word, "console" | "serial" | "gfxterm") {
            if !list.contains(&word) {
                list.push(word);
            }
        } else if word != "none" {
            let of = |name: &str| loader.value(name).is_some_and(|v| v.contains(word));
            let name = if of("output_console") {
                "output_console"
            } else {
                "input_console"
            };
            let span: Span = loader.value_span(name);
            let fact = format!("GRUB terminal {word} is not set up");
            report.add(warning(
                code::IGNORED,
                span,
                fact,
                "console, serial and gfxterm are",
            ));
        }
    }
    list.join(" ")
}
