//! The journal: facts, in order, as JSON Lines. State is a fold over them; time lives here alone.
//!
//! ```text
//! {"at":"2026-01-01T00:00:00.000000Z","event":"run-started","prev":"…","seq":0,…}
//! ```
//!
//! One file per run, shared by all its processes. A line is at most 4 KiB and one `write(2)` with
//! `O_APPEND`, made under a lock; it carries a sequence number, a time (RFC 3339, UTC) and the BLAKE3
//! of the line before it, so that a missing or changed line shows. Longer payloads are objects that
//! the line names.
//!
//! *Not here:* anything that decides about the result of a build.

mod error;
mod event;
mod fold;
mod reader;
mod writer;

pub use error::{Error, Result};
pub use event::{Event, Line};
pub use fold::{Boot, Booted, Measurement, RunState, StageState, fold};
pub use reader::{read, runs};
pub use writer::{Journal, MAX_LINE, new_run_id};
