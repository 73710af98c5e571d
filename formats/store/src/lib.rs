//! The store: immutable objects named by their bytes, and the index of finished work.
//!
//! ```text
//! $RAMFORGE_STORE (default $XDG_CACHE_HOME/ramforge, else ~/.cache/ramforge)
//! ├── CACHEDIR.TAG
//! ├── store.json                 version and hash of the layout
//! ├── objects/ab/cdef…           immutable, 0444, named by the BLAKE3 of the bytes
//! ├── recipes/ab/cdef…           an object as the list of its parts
//! ├── actions/ab/cdef…           stage key → the section that stage produced
//! ├── refs/NAME                  a manifest that garbage collection keeps
//! ├── holds/RUN, gate            what running builds need: see [`Store::hold`]
//! ├── tmp/                       same file system; what a crash leaves here is swept
//! ├── journal/RUN.jsonl          one file per run, append only
//! └── journal/RUN.keys           the keys of the results that the run used, once it has ended
//! ```
//!
//! An object is written to `tmp/` while it is hashed, then renamed; a target that exists is success. So
//! any process may die at any instruction, and several may share one store at once. [`Store::sync`]
//! flushes them all at once before a stage's section refers to them; an object that a power cut left
//! shorter than its reference says counts as absent.
//!
//! Two formats are made of objects: a [`tree`] (a root file system as a listing) and a
//! [`chunk_map`] (a disk image as compressed chunks).
//!
//! *Not here:* garbage collection, which also reads the journal (`ramforge gc`), and remote stores. The
//! interface of a store is has, get and put of objects and actions; whatever offers those can stand in for it.

pub mod chunk_map;
mod copy;
mod damage;
mod error;
mod hold;
mod layout;
mod objects;
mod recipe;
mod scratch;
mod sync;
pub mod tree;

pub use damage::Damage;
pub use error::{Error, Result};
pub use hold::{Gate, HOLD_LASTS};
pub use layout::{LAYOUT_VERSION, Store};
pub use objects::{ObjectReader, ObjectWriter};
pub use scratch::Scratch;
