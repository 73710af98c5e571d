//! What every stage shares: stdin → key → cache → verb → stdout.
//!
//! A stage's `main` names itself and its verb; [`main()`] does the rest:
//!
//! 1. read the manifest from stdin (or `--manifest FILE`), refuse what is damaged or newer;
//! 2. take from it exactly what the stage's `Input` type names, find the outside programs, and make
//!    the stage key of these, the options and the stage version;
//! 3. on a cache hit, add the recorded section; otherwise run the verb and record its section;
//! 4. write the manifest, on one line, to stdout.
//!
//! So a verb cannot read what is not in its key. `--key` prints the key and what it is made of, and does
//! nothing else. stderr is for people; facts go into the journal.

mod arguments;
mod context;
mod error;
mod exit;
mod interrupt;
mod journal;
mod memory;
mod pem;
mod repair;
mod run;
mod tool;

pub use ::journal::Event;
pub use context::Context;
pub use error::{At, Error, Result};
pub use exit::Exit;
pub use interrupt::{interrupted, listen};
pub use memory::{peak_kib, report_peak};
pub use pem::read_pem;
pub use repair::{Repaired, Survey, leads_to_all, survey};
pub use run::{Nothing, Stage, main, source};
pub use tool::{Command, Output, Tool, find_program};
