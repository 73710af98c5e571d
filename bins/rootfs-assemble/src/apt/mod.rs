//! The host's own apt, working for the image: a private configuration, nothing installed, nothing of the
//! host's packages, hooks or caches. It verifies signatures, solves dependencies and fetches files.

mod config;
mod explain;
mod fetch;
pub mod host;
mod local;
mod metadata;
mod solve;

pub use config::{Apt, debian_architecture, keyring_extension, source_uri, stanza};
pub use fetch::{HELPER, fetch, fetched};
pub use local::fingerprint;
pub use metadata::{Metadata, update};
pub use solve::{check_name, solve};

/// The URI of a description that means the build host's own package sources.
pub const HOST_SOURCES: &str = "obsrepositories:/";
