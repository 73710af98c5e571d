//! What people and programs read on stderr: findings, and the plan in words.

use std::io::{IsTerminal, Write};

use description::{Diagnostic, Report, Severity, Span, visible};
use journal::Event;
use manifest::{Package, Plan, Repository, User};
use serde_json::{Value, json};
use stage::{Context, Result};

use crate::options::Format;

/// Every finding goes to stderr, every warning into the journal too.
///
/// # Errors
/// Exit code 1 where the journal cannot be written.
pub fn findings(cx: &Context, report: &Report, format: Format) -> Result<()> {
    let stderr = std::io::stderr();
    let is_plain = std::env::var_os("NO_COLOR").is_some()
        || std::env::var_os("TERM").is_some_and(|t| t == "dumb");
    let colour = stderr.is_terminal() && !is_plain;
    for diagnostic in report.diagnostics() {
        let text = match format {
            Format::Human => report.render(diagnostic, colour) + "\n",
            Format::Json => to_json(report, diagnostic).to_string(),
        };
        // A closed stderr is no reason to stop the work.
        let _ = writeln!(stderr.lock(), "{text}");
        if diagnostic.severity == Severity::Warning {
            let text = format!("{}: {}", diagnostic.code, diagnostic.message);
            let stage = cx.stage().to_owned();
            cx.journal(Event::Warning { stage, text })?;
        }
    }
    Ok(())
}

/// One finding for programs. Lines and columns count from 1, columns in characters; bytes from 0.
fn to_json(report: &Report, diagnostic: &Diagnostic) -> Value {
    let place = |place: &(Span, String)| -> Option<Value> {
        let mut place_json = range(report, place.0)?;
        place_json["label"] = json!(place.1);
        Some(place_json)
    };
    let fix = diagnostic.fix.as_ref().map(|fix| {
        let edits = fix.edits.iter().filter_map(|(span, new)| {
            let mut edit = range(report, *span)?;
            edit["replacement"] = json!(new);
            Some(edit)
        });
        json!({"safe": fix.safe, "edits": edits.collect::<Vec<_>>()})
    });
    json!({
        "code": diagnostic.code.to_string(),
        "severity": match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "message": diagnostic.message,
        "place": diagnostic.place.as_ref().and_then(place),
        "other": diagnostic.other.as_ref().and_then(place),
        "also": diagnostic.also.iter().filter_map(|span| range(report, *span)).collect::<Vec<_>>(),
        "help": diagnostic.help,
        "fix": fix,
    })
}

fn range(report: &Report, span: Span) -> Option<Value> {
    let source = report.sources.get(span)?;
    if source.is_option() {
        return Some(json!({"option": source.text}));
    }
    let (start, end) = (source.position(span.start), source.position(span.end));
    Some(json!({
        "file": source.shown,
        "byte_start": span.start, "byte_end": span.end,
        "line_start": start.line, "column_start": start.column,
        "line_end": end.line, "column_end": end.column,
    }))
}

/// The plan as a person reads it.
pub fn plan(plan: &Plan) {
    let mut lines = vec![
        line(
            "image",
            &format!("{} {} for {}", plan.name, plan.version, plan.arch),
        ),
        line(
            "profiles",
            &join(plan.profiles.iter().map(|p| p.name.as_str())),
        ),
        line("runs from", &runs_from(plan)),
        line("disk", &disk(plan)),
        line("media", &media(plan)),
        line(
            "boot menu",
            &format!(
                "{:?} after {} s",
                plan.bootloader.title, plan.bootloader.timeout
            ),
        ),
        line("kernel", &plan.kernelcmdline),
    ];
    lines.push(contents(plan));
    let _ = write!(std::io::stderr().lock(), "{}", lines.concat());
}

/// What comes into the system.
fn contents(plan: &Plan) -> String {
    let mut lines = Vec::new();
    lines.extend(
        plan.repositories
            .iter()
            .map(|r| line("packages of", &source(r))),
    );
    let p = &plan.packages;
    lines.extend([
        line("bootstrap", &packages(&p.bootstrap)),
        line("install", &packages(&p.image)),
        line(
            "remove",
            &packages(&[p.delete.as_slice(), p.uninstall.as_slice()].concat()),
        ),
    ]);
    lines.extend(plan.users.iter().map(|u| line("user", &user(u))));
    let own = [
        (plan.overlay.is_some(), "overlay"),
        (plan.scripts.config.is_some(), "config.sh"),
        (plan.scripts.images.is_some(), "images.sh"),
    ];
    let own = own.into_iter().filter(|o| o.0).map(|o| o.1);
    lines.push(line("own files", &join(own)));
    for (name, value) in [
        ("locale", &plan.locale),
        ("keytable", &plan.keytable),
        ("time zone", &plan.timezone),
    ] {
        lines.push(line(name, value.as_deref().unwrap_or("")));
    }
    for (name, value) in [
        &plan.image_type.attributes,
        &plan.oem.elements,
        &plan.carried,
    ]
    .into_iter()
    .flatten()
    {
        lines.push(line(
            "not used",
            &format!("{name}: {}", value.replace('\n', ", ")),
        ));
    }
    for change in &plan.overrides {
        let replaced = change
            .replaced
            .as_ref()
            .map_or(String::new(), |old| format!(" instead of {old}"));
        lines.push(line("option", &format!("{}{replaced}", change.option)));
    }
    lines.concat()
}

/// A package source and what is particular about it.
fn source(r: &Repository) -> String {
    let mut facts = vec![r.alias.clone()];
    facts.extend((r.priority > 0).then(|| format!("priority {}", r.priority)));
    facts.extend((!r.keys.is_empty()).then(|| format!("own keys: {}", r.keys.len())));
    facts.extend((!r.signature_check).then(|| "signature not checked".to_owned()));
    facts.extend(r.imageinclude.then(|| "stays in the image".to_owned()));
    facts.extend(r.imageonly.then(|| "for the image only".to_owned()));
    let words = [&r.distribution, &r.components].into_iter().flatten();
    let words: Vec<&str> = words.map(String::as_str).collect();
    format!("{} {} ({})", r.uri, words.join(" "), facts.join(", "))
}

/// An account; of its password only whether there is one.
fn user(u: &User) -> String {
    let locked = |p: &String| p.starts_with(['!', '*']);
    let password = match &u.password {
        Some(p) if !locked(p) => "with a password",
        _ => "without a password",
    };
    let mut text = format!("{} {password}", u.name);
    for (name, value) in [
        ("id", u.id.map(|id| id.to_string())),
        ("groups", Some(u.groups.join(" ")).filter(|g| !g.is_empty())),
        ("home", u.home.clone()),
        ("shell", u.shell.clone()),
    ] {
        if let Some(value) = value {
            text += &format!(", {name} {value}");
        }
    }
    text
}

/// A named line; nothing where there is nothing to say. What a terminal would obey instead of showing it is
/// written as an escape.
fn line(name: &str, text: &str) -> String {
    match visible(text.trim()).as_str() {
        "" => String::new(),
        text => format!("{name:>12}  {text}\n"),
    }
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(" ")
}

fn packages(list: &[Package]) -> String {
    join(list.iter().map(|p| p.name.as_str()))
}

fn runs_from(plan: &Plan) -> String {
    match &plan.ramdisk {
        Some(ramdisk) => match ramdisk.size_kib {
            Some(kib) => format!("RAM: {} of {} MiB", ramdisk.device, kib / 1024),
            None => format!("RAM: {} as large as the image", ramdisk.device),
        },
        None => "the disk that it is deployed to".to_owned(),
    }
}

fn disk(plan: &Plan) -> String {
    let size = match &plan.disk.size {
        Some(size) if size.additive => format!("{} {:?}iB more than needed", size.value, size.unit),
        Some(size) => format!("{} {:?}iB", size.value, size.unit),
        None => "as small as it can be".to_owned(),
    };
    let grows = if plan.disk.resize {
        ", grows at first boot"
    } else {
        ""
    };
    format!("{}, {size}{grows}", plan.image_type.filesystem)
}

fn media(plan: &Plan) -> String {
    let iso = plan.image_type.installiso.then_some("ISO");
    let network = plan.image_type.installpxe.then_some("network boot set");
    join(iso.into_iter().chain(network))
}
