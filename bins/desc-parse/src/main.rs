//! `desc-parse DESCRIPTION`: a KIWI description in, a manifest with section `plan` out.
//!
//! stdin is not read. stdout gets the manifest, on one line. stderr gets every error and warning with
//! file, line, column and the line itself. The overlay, scripts, archives and signing keys become
//! objects in the store. Needs no privilege, no network and no outside program.

mod archive;
mod contents;
mod directory;
mod mend;
mod options;
mod overlay;
mod show;

use std::io::Write;
use std::process::ExitCode;

use description::{Report, code};
use manifest::Plan;
use options::Options;
use stage::{Context, Error, Exit, Result, Stage};

/// The stage version. Changelog. 1: the first. 2: plan format 2. 3: plan format 3. 4: a single file keeps its mode.
/// 5: a filter of devices or network cards, and unknown words `rd.kiwi.`, are told.
/// 6: words `rd.ramforge.` are judged. 7: `rd.ramforge.reserve` is one.
const VERSION: u32 = 7;

const PROGRAM: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

fn main() -> ExitCode {
    if let Some(code) = asked_code() {
        return explain(&code);
    }
    let about = "Reads a KIWI description, checks it, and writes what shall be built as a manifest";
    stage::source(
        Stage::new("desc-parse", env!("CARGO_PKG_VERSION"), VERSION, about),
        parse,
    )
}

/// Reads the description and resolves it with the options.
fn parse(cx: &mut Context, options: &Options) -> Result<Plan> {
    let choice = options.choice(PROGRAM.to_owned(), source_date_epoch()?);
    let mut report = Report::default();
    let mut draft = read(cx, options, &choice, &mut report)?;
    if options.fix && mend::mend(cx, options, &report)? {
        report = Report::default();
        draft = read(cx, options, &choice, &mut report)?;
    }
    show::findings(cx, &report, options.message_format)?;
    match draft {
        Some(draft) if !report.has_errors() => {
            if options.explain_plan {
                show::plan(&draft.plan);
            }
            Ok(draft.plan)
        }
        _ => Err(refusal(cx, &report)),
    }
}

fn refusal(cx: &Context, report: &Report) -> Error {
    let more = report.left_out();
    if more > 0 {
        cx.say(&format!("{more} more findings are not shown"));
    }
    let count = report.errors();
    let plural = if count == 1 { "" } else { "s" };
    let thing = match report.errors_in_options() == count {
        true => "the options have",
        false => "the description has",
    };
    Error::refused(format!("{thing} {count} error{plural}"))
        .advice("desc-parse --explain CODE says more about each")
}

fn read(
    cx: &Context,
    options: &Options,
    choice: &description::Choice,
    report: &mut Report,
) -> Result<Option<description::Draft>> {
    let Some((directory, name)) = directory::find(&options.description, report) else {
        return Ok(None);
    };
    let Some(document) = description::read(&directory, &name, report) else {
        return Ok(None);
    };
    let mut draft = description::resolve(&document, choice, report);
    contents::gather(cx, &directory, &mut draft, report)?;
    advise(&draft.plan, &document, report);
    Ok(Some(draft))
}

/// Nobody can log in: known only when overlay and scripts are.
fn advise(plan: &Plan, document: &description::Document, report: &mut Report) {
    let usable = |p: &String| !p.starts_with(['!', '*']);
    let somebody = plan
        .users
        .iter()
        .any(|u| u.password.as_ref().is_some_and(usable));
    if somebody || plan.overlay.is_some() || plan.scripts.config.is_some() {
        return;
    }
    let fact = "nobody can log in";
    let label = "expected a <user> with a password, or a key in the overlay";
    report.add(description::warning(
        code::NO_LOGIN,
        document.image.span,
        fact,
        label,
    ));
}

fn source_date_epoch() -> Result<Option<u64>> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|v| !v.is_empty()) else {
        return Ok(None);
    };
    let parsed = value.to_str().and_then(|v| v.parse().ok());
    parsed.map(Some).ok_or_else(|| {
        let fact = format!("SOURCE_DATE_EPOCH is {value:?}; expected seconds since 1970");
        Error::new(Exit::Usage, fact).advice("set it to a whole number, or unset it")
    })
}

/// The code of `--explain CODE`, which needs no description.
fn asked_code() -> Option<String> {
    let arguments = std::env::args_os().skip(1);
    // A path may be no UTF-8 text.
    let mut arguments = arguments.map(|a| a.to_string_lossy().into_owned());
    let first = arguments.next()?;
    match first.strip_prefix("--explain=") {
        Some(code) => Some(code.to_owned()),
        None if first == "--explain" => arguments.next(),
        None => None,
    }
}

fn explain(asked: &str) -> ExitCode {
    let found = code::Code::parse(asked).and_then(|c| Some((c, c.explanation()?)));
    let Some((code, (title, text))) = found else {
        let _ = writeln!(
            std::io::stderr(),
            "desc-parse: error: there is no code {asked:?}; expected one such as R0101"
        );
        return Exit::Usage.into();
    };
    // A closed pipe is success.
    let _ = writeln!(std::io::stdout(), "{code}: {title}\n\n{text}");
    Exit::Done.into()
}
