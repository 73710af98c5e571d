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
    /// Shows a run: stages, times, memory, warnings
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
    /// Counts objects, actions and bytes
    StoreStats,
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

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))
}
