//! How much RAM a system takes, and the virtual machine that proves it.
//!
//! The program `ram-check` adds the section `verdict` with [`check`]; [`model`] is its arithmetic; [`qemu`]
//! drives virtual machines, for `ram-check --boot` and for the tests of the whole pipeline.

#![deny(missing_docs)]

mod boot;
pub mod check;
mod choice;
mod figures;
mod here;
mod input;
mod judge;
mod known;
mod least;
mod login;
mod machines;
mod menu;
pub mod model;
mod options;
mod picture;
pub mod qemu;
mod reserved;
mod search;
mod table;
mod warning;
mod working;

pub use here::Host;
pub use login::Credentials;
pub use machines::{Machine, Machines};
pub use options::{FirmwareChoice, Options};
pub use picture::Picture;
