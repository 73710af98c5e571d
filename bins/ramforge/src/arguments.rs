//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use serde_json::Value;

/// Looks into the store and the journal, and serves stages written in shell.
#[derive(Debug, Parser)]
#[command(name = "ramforge", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Stores a file (or stdin) and prints its reference: {"blake3":"…","size":N}
    Put {
        /// The file; without it, stdin
        file: Option<PathBuf>,
    },
    /// Writes an object to stdout, after checking it
    Get {
        /// Its BLAKE3, or the whole reference
        object: String,
        /// Write to this file instead
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Writes what a finished manifest names as files: the ISO, the disk image, the package list
    Export {
        /// The manifest; without it, stdin
        #[arg(long, value_name = "FILE")]
        manifest: Option<PathBuf>,
        /// The directory that receives the files
        #[arg(short, long, value_name = "DIR", default_value = "out")]
        output: PathBuf,
    },
    /// Says why a stage and its parts ran again: what differs from the time before, in words
    Why {
        /// The stage, such as raw-image; without it, all of them
        stage: Option<String>,
    },
    /// Shows a run: stages, times, memory, warnings; and how much RAM all runs stated and measured
    Report {
        /// The run; without it, the newest
        run: Option<String>,
    },
    /// Reads every object and compares it with its name (exit code 6 where one differs)
    Verify {
        /// Remove what is damaged; the next run makes it again
        #[arg(long)]
        repair: bool,
    },
    /// Removes what no recent run led to, beside running builds; pins and running builds keep what they need
    Gc {
        /// Runs younger than this keep their results
        #[arg(long, value_name = "DAYS", default_value_t = crate::gc::KEEP_DAYS)]
        keep_days: u64,
        /// Remove the oldest runs' results until the objects take at most this: 500M, 20G; a number: bytes
        #[arg(long, value_name = "SIZE", value_parser = size)]
        max_size: Option<u64>,
        /// Say what would go, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Makes an image again from its lock and says where the two differ (exit code 4 where they do)
    Rebuild {
        /// The manifest of the image, as a run left it
        #[arg(long, value_name = "MANIFEST")]
        check: PathBuf,
        /// Make it in this directory, empty or not there, and keep it; without it, in a place that is removed
        #[arg(long, value_name = "DIR")]
        store: Option<PathBuf>,
    },
    /// Keeps what a manifest names, whatever gc is told
    Pin {
        /// A name for it: letters, digits, '-', '_', '.'
        name: String,
        /// The manifest; without it, stdin
        manifest: Option<PathBuf>,
    },
    /// Ends a pin
    Unpin {
        /// Its name
        name: String,
    },
    /// Counts objects, results and bytes: by kind, and by what keeps them
    StoreStats {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Begins a run in the journal and prints its id, for RAMFORGE_RUN
    StartRun {
        /// What was asked for
        arguments: Vec<String>,
    },
    /// Ends the run that RAMFORGE_RUN names
    FinishRun {
        /// Its exit code
        code: u8,
    },
    /// Adds a fact to the journal of the run that RAMFORGE_RUN names
    Event {
        /// The stage that says it
        stage: String,
        /// The event's name
        name: String,
        /// JSON; anything
        #[arg(default_value = "null", value_parser = json)]
        data: Value,
    },
}

/// A number of bytes: `20G`.
fn size(text: &str) -> Result<u64, String> {
    let expected = || format!("{text:?}: expected a number of bytes, or one with K, M, G or T");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(expected()),
    };
    let number: u64 = digits.parse().map_err(|_| expected())?;
    number.checked_mul(1 << shift).ok_or_else(expected)
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))
}
