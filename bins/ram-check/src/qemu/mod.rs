//! Virtual machines that boot a medium and are watched, asked and switched off over a serial line.
//!
//! ```text
//! Machine ──start──▶ Guest ──wait_until──▶ Outcome::Login ──login, run, remove_medium──▶ power_off
//!                      └─ reader thread: serial line → log without terminal control, marks with times
//! ```
//!
//! A guest is killed when it is dropped, when its cancel function says so, and when this process dies.
//! Sticks can be plugged in and keys pressed while it runs, and a port of the guest can be reached. *Not here:* networks of
//! several machines.

mod accelerator;
mod error;
mod guest;
mod machine;
mod monitor;
mod serial;
mod shell;
mod up;
mod version;
mod wait;

pub use accelerator::Accelerator;
pub use error::{Error, Result};
pub use guest::Guest;
pub use machine::{
    Board, Bus, Firmware, Machine, QEMU, QEMU_PACKAGE, SETPRIV, SETPRIV_PACKAGE, find_ovmf,
    find_seabios,
};
pub use serial::{LOGIN, Mark};
pub use shell::Answer;
pub use up::Up;
pub use version::demand as demand_version;
pub use wait::Outcome;
