//! The tool of the store and the journal: for people, for `pipeline.sh`, and for stages written in shell.
//!
//! stdout carries the answer, stderr what people should know. Exit codes are those of the stages.

mod arguments;
mod export;
mod gc;
mod inspect;
mod measured;
mod objects;
mod pin;
mod rebuild;
mod run;
mod stats;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use stage::Exit;

use crate::arguments::{Arguments, Verb};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed stdout is no failure of --help.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Done.into()
            };
        }
    };
    match run(arguments.verb) {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "ramforge: error: {error}");
            error.exit().into()
        }
    }
}

fn run(verb: Verb) -> stage::Result<()> {
    stage::listen();
    let store = store::Store::open_default()?;
    match verb {
        Verb::Put { file } => objects::put(store, file.as_deref()),
        Verb::Get { object, output } => objects::get(&store, &object, output.as_deref()),
        Verb::Verify { repair } => verify::verify(&store, repair),
        Verb::Gc {
            keep_days,
            max_size,
            dry_run,
        } => gc::gc(&store, keep_days, max_size, dry_run),
        Verb::Rebuild { check, store: dir } => rebuild::check(&store, &check, dir.as_deref()),
        Verb::Pin { name, manifest } => pin::pin(&store, &name, manifest.as_deref()),
        Verb::Unpin { name } => pin::unpin(&store, &name),
        Verb::StoreStats { json } => stats::stats(&store, json),
        Verb::Export { manifest, output } => export::export(&store, manifest.as_deref(), &output),
        Verb::StartRun { arguments } => run::start(&store, arguments),
        Verb::FinishRun { code } => run::finish(&store, code),
        Verb::Event { stage, name, data } => run::event(&store, stage, name, &data),
        Verb::Report { run } => inspect::report(&store, run.as_deref()),
        Verb::Why { stage } => inspect::why(&store, stage.as_deref()),
    }
}

/// Prints one line; a reader that went away is no failure.
fn print(line: &str) -> stage::Result<()> {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(stage::Error::failed(format!("stdout: {e}")))
        }
        _ => Ok(()),
    }
}
