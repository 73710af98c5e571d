//! What the tests of the whole pipeline share: built examples, programs of the host, machines.
//!
//! ```text
//! target/pipeline-tests/
//! ├── store/              one store for all tests, so that nothing is built twice
//! ├── EXAMPLE/            what pipeline.sh made of examples/EXAMPLE
//! ├── EXAMPLE.run         the test run that made it, and the pipeline's stderr
//! ├── small/              the system that the fault tests disturb: see [`Small`]
//! └── logs/TEST.log       the serial line of a test's machine
//! ```
//!
//! Tests run in processes of their own (cargo-nextest) or in threads (cargo test): files with locks are all
//! they share.

#![deny(missing_docs)]
#![allow(clippy::unwrap_used, clippy::panic)] // only tests use this crate; a test fails by panicking

mod disturbed;
mod example;
mod exfat;
mod host;
mod machine;
mod media;
mod nginx;
mod points;
mod record;
mod small;

pub use disturbed::{Disturbed, Process, succeed};
pub use example::{
    Example, answering, debian_13, example, holding, native, signing_keys, strict, this_run,
    with_store, without_dracut, writing,
};
pub use exfat::exfat;
pub use host::{ascii, command, find_process, isolated, program, run, scratch, text};
pub use machine::{Booted, Running, boot, slot, start};
pub use media::{Area, areas, flip, iso_disk, sparse_copy, with_words};
pub use nginx::{Nginx, free_port};
pub use points::Points;
pub use record::{events, packages_only};
pub use small::{Phase, Small, files, small};

use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The directory of everything that tests make and may use again.
pub fn shared() -> PathBuf {
    let dir = root().join("target/pipeline-tests");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// The store that all tests share.
pub fn store() -> PathBuf {
    shared().join("store")
}
