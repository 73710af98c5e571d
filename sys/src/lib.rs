//! The only crate with unsafe code: what the standard library does not offer of the Linux system calls.

pub mod block;
pub mod lease;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod process;
pub mod watch;
