//! From a checked document and the options to a plan.
//!
//! Nothing here touches a file: what must be read besides the document (keys, archives, single
//! files) is handed back as [`Wants`], each with its place.

mod account;
mod boot_words;
mod carried;
mod command_line;
mod image_type;
mod oem;
mod packages;
mod preferences;
mod ramdisk;
mod repositories;
mod rules;
mod select;
mod treat;
mod users;

use std::collections::{BTreeMap, BTreeSet};

use manifest::{
    Bootloader, DiskPlan, OemConfig, Override, Packages, Plan, Profile, Scripts, TypePlan,
};

pub use boot_words::boot_words;
pub use packages::{ArchiveWanted, FileWanted};
pub use repositories::KeyWanted;

use crate::choice::{Applied, Choice};
use crate::code;
use crate::diagnostic::{Report, error, quoted};
use crate::document::Document;
use crate::node::Node;
use crate::source::Span;
use select::Conditions;

/// The machine that the stages make images for.
const MACHINE: &str = "x86_64";

/// What must be read besides the document.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wants {
    /// Signing keys.
    pub keys: Vec<KeyWanted>,
    /// Archives, in the order in which they are unpacked.
    pub archives: Vec<ArchiveWanted>,
    /// Single files, in the order in which they are placed.
    pub files: Vec<FileWanted>,
}

/// A plan and what it still lacks. With errors in the report the plan is not to be used.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The plan without the objects that [`Wants`] names.
    pub plan: Plan,
    /// What must be read besides the document.
    pub wants: Wants,
}

/// What the parts of the resolution share.
struct Resolution<'a> {
    choice: &'a Choice,
    conditions: Conditions,
    /// The chosen image type, which decides what `<packages>` count.
    image_type: String,
    applied: Vec<Applied>,
    origins: BTreeMap<String, Span>,
    wants: Wants,
    /// Packages that stand in the plan: `list/name`.
    listed: BTreeSet<String>,
    version: crate::table::Version,
}

impl Resolution<'_> {
    fn origin(&mut self, pointer: impl Into<String>, span: Span) {
        self.origins.insert(pointer.into(), span);
    }

    /// Registers an option as in force.
    fn apply(&mut self, option: String, replaced: Option<String>, report: &mut Report) -> Span {
        let span = report.sources.add_option(option.clone());
        self.applied.push(Applied {
            option,
            span,
            replaced,
        });
        span
    }
}

/// Resolves a document. Whatever is wrong is added to the report.
pub fn resolve(document: &Document, choice: &Choice, report: &mut Report) -> Draft {
    let image = &document.image;
    let conditions = select::conditions(image, choice, report);
    let sections: Vec<&Node> = image
        .all("preferences")
        .filter(|p| conditions.hold(p))
        .collect();
    let chosen = select::image_type(&sections, choice, image, report);
    let kind = chosen.map(|c| c.0);
    let mut r = Resolution {
        choice,
        conditions,
        image_type: kind
            .and_then(|t| t.value("image"))
            .unwrap_or("oem")
            .to_owned(),
        applied: Vec::new(),
        origins: BTreeMap::new(),
        wants: Wants::default(),
        listed: BTreeSet::new(),
        version: document.version,
    };
    treat_sections(image, &r, report);
    let mut plan = empty_plan(image, choice);
    r.origin("/name", image.value_span("name"));
    profiles(&mut plan, &mut r);
    machine(&mut plan, image, &mut r, report);
    preferences::fill(&mut plan, &sections, image, &mut r, report);
    carried::fill(&mut plan, image, &sections, kind, &mut r);
    if let Some((chosen, asked)) = chosen {
        if let Some(span) = asked {
            let option = format!(
                "--type {}",
                choice.image_type.as_deref().unwrap_or_default()
            );
            r.applied.push(Applied {
                option,
                span,
                replaced: None,
            });
        }
        image_type::fill(&mut plan, chosen, image, &mut r, report);
    }
    repositories::fill(&mut plan, image, &mut r, report);
    packages::fill(&mut plan, image, &mut r, report);
    users::fill(&mut plan, image, &mut r, report);
    rules::check(&plan, kind, &r, report);
    finish(&mut plan, &r, report);
    Draft {
        plan,
        wants: r.wants,
    }
}

/// Refusals and warnings of everything that counts, but of no `<type>`: one is still to be chosen.
fn treat_sections(image: &Node, r: &Resolution<'_>, report: &mut Report) {
    let conditions = &r.conditions;
    for section in image.children.iter().filter(|c| conditions.hold(c)) {
        match section.name.as_str() {
            "preferences" => {
                for setting in section.children.iter().filter(|c| c.name != "type") {
                    treat::treat(setting, conditions, report);
                }
            }
            "packages" if !packages::counts(section, &r.image_type) => {}
            _ => treat::treat(section, conditions, report),
        }
    }
}

fn profiles(plan: &mut Plan, r: &mut Resolution<'_>) {
    for (index, (name, span)) in r.conditions.profiles.clone().into_iter().enumerate() {
        r.origin(format!("/profiles/{index}"), span);
        if r.choice.profiles.contains(&name) {
            let option = format!("--profile {name}");
            r.applied.push(Applied {
                option,
                span,
                replaced: None,
            });
        }
        plan.profiles.push(Profile { name });
    }
}

fn machine(plan: &mut Plan, image: &Node, r: &mut Resolution<'_>, report: &mut Report) {
    plan.arch = match r.choice.machine.as_str() {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
    .to_owned();
    let span = match r.choice.machine_was_given {
        true => r.apply(format!("--target-arch {}", r.choice.machine), None, report),
        false => image.span,
    };
    if r.choice.machine_was_given {
        r.origin("/arch", span);
    }
    if !crate::table::MACHINES.contains(&r.choice.machine.as_str()) {
        let fact = format!("{} is no machine", quoted(&r.choice.machine));
        let label = "expected x86_64, aarch64, …";
        report.add(error(code::BAD_OPTION, span, fact, label));
    } else if plan.arch != MACHINE {
        let fact = format!("machine {} is not supported", plan.arch);
        let help =
            "this release makes disks and media for x86_64; choose it with --target-arch x86_64";
        report.add(error(code::MACHINE, span, fact, "expected x86_64").help(help));
    }
}

fn empty_plan(image: &Node, choice: &Choice) -> Plan {
    Plan {
        format: <Plan as manifest::Section>::FORMAT,
        by: choice.program.clone(),
        name: image.value("name").unwrap_or_default().to_owned(),
        version: String::new(),
        arch: String::new(),
        profiles: Vec::new(),
        image_type: empty_type(),
        disk: DiskPlan {
            size: None,
            root_label: image_type::ROOT_LABEL.to_owned(),
            efi_mib: image_type::EFI_MIB,
            resize: true,
        },
        bootloader: Bootloader {
            name: "grub2".to_owned(),
            timeout: image_type::TIMEOUT,
            console: String::new(),
            serial_line: None,
            title: String::new(),
        },
        kernelcmdline: String::new(),
        ramdisk: None,
        oem: OemConfig {
            unattended: false,
            unattended_id: None,
            skip_verify: false,
            resize: true,
            elements: BTreeMap::new(),
        },
        packages: Packages::default(),
        repositories: Vec::new(),
        package_manager: "apt".to_owned(),
        users: Vec::new(),
        locale: None,
        keytable: None,
        timezone: None,
        overlay: None,
        scripts: Scripts::default(),
        source_date_epoch: choice.source_date_epoch,
        overrides: Vec::new(),
        carried: BTreeMap::new(),
        origins: BTreeMap::new(),
    }
}

fn empty_type() -> TypePlan {
    TypePlan {
        image: "oem".to_owned(),
        filesystem: String::new(),
        firmware: None,
        installiso: false,
        installpxe: false,
        installboot: None,
        initrd_system: "dracut".to_owned(),
        volid: image_type::VOLUME_ID.to_owned(),
        attributes: BTreeMap::new(),
    }
}

/// Origins become places; an override is found again by the place that it gave to a value.
fn finish(plan: &mut Plan, r: &Resolution<'_>, report: &Report) {
    let origins = r.origins.iter();
    let place =
        |(pointer, span): (&String, &Span)| Some((pointer.clone(), report.sources.origin(*span)?));
    plan.origins = origins.filter_map(place).collect();
    for applied in &r.applied {
        let place = r.origins.iter().find(|(_, span)| **span == applied.span);
        plan.overrides.push(Override {
            option: applied.option.clone(),
            place: place.map(|p| p.0.clone()).unwrap_or_default(),
            replaced: applied.replaced.clone(),
        });
    }
}
