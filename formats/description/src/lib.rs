//! KIWI image descriptions: the language as a table, and the document it reads.
//!
//! ```text
//! text ─▶ node ─▶ include ─▶ upgrade ─▶ check (table) ─▶ resolve ─▶ plan + what must still be read
//! ```
//!
//! [`read`] makes a checked [`Document`] of the files of a description; [`resolve`] makes a plan of it,
//! with the options of the command line. Whatever is wrong on the way becomes a [`Diagnostic`] in a
//! [`Report`]: code, file, line, column, the line itself, what was expected. Both functions go on
//! after an error, so that one run shows all of them.
//!
//! *Not here:* reading directories, archives and keys (that is `desc-parse`); descriptions in YAML or
//! JSON, which KIWI reads with an optional module; the network.

mod check;
mod choice;
pub mod code;
mod diagnostic;
mod document;
mod encoding;
mod files;
mod fits;
mod fix;
mod kernel_line;
mod malformed;
mod node;
mod password;
mod render;
mod resolve;
mod source;
pub mod table;
mod upgrade;

pub use choice::{Applied, Choice, RepoOption};
pub use code::Code;
pub use diagnostic::{
    Diagnostic, Fix, Report, Severity, error, error_nowhere, nearest, quoted, visible, warning,
};
pub use document::{Document, read, words as file_error_words};
pub use files::{FileError, Files, relative};
pub use fix::{Mended, mended};
pub use node::{Attribute, MAX_BYTES, Node};
pub use resolve::{ArchiveWanted, Draft, FileWanted, KeyWanted, Wants, boot_words, resolve};
pub use source::{Position, Source, Sources, Span};
