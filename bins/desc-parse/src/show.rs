//! What people and programs read on stderr: findings, and the plan in words.

use std::io::{IsTerminal, Write};

use description::{Diagnostic, Report, Severity, Span};
use journal::Event;
use manifest::{Package, Plan};
use serde_json::{Value, json};
use stage::{Context, Result};

use crate::options::Format;

/// Every finding goes to stderr, every warning into the journal too.
///
/// # Errors
/// Exit code 1 where the journal cannot be written.
pub fn findings(cx: &Context, report: &Report, format: Format) -> Result<()> {
    let stderr = std::io::stderr();
    let colour = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
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
    for repository in &plan.repositories {
        let release = repository.distribution.as_deref().unwrap_or("");
        lines.push(line(
            "packages of",
            &format!("{} {release} ({})", repository.uri, repository.alias),
        ));
    }
    let p = &plan.packages;
    lines.extend([
        line("bootstrap", &packages(&p.bootstrap)),
        line("install", &packages(&p.image)),
        line(
            "remove",
            &packages(&[p.delete.as_slice(), p.uninstall.as_slice()].concat()),
        ),
        line("users", &join(plan.users.iter().map(|u| u.name.as_str()))),
    ]);
    for (name, value) in [
        ("locale", &plan.locale),
        ("keytable", &plan.keytable),
        ("time zone", &plan.timezone),
    ] {
        lines.push(line(name, value.as_deref().unwrap_or("")));
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

/// A named line; nothing where there is nothing to say.
fn line(name: &str, text: &str) -> String {
    match text.trim() {
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
