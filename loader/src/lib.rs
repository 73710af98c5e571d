//! GRUB images for the disk and for the media.
//!
//! A core image is GRUB's kernel with the modules and the first configuration built in, so that no
//! module has to be found at boot. The modules come from the root tree where it has them, else from the
//! build host. Signed loaders (shim and GRUB) are taken from the tree as they are.
//!
//! *Not here:* platforms other than 64-bit x86.

mod core;
mod menu;
mod modules;
mod signed;

pub use crate::core::{Core, TOOL, build};
pub use menu::{Entry, Menu};
pub use modules::{Modules, Platform, host_identity};
pub use signed::{Signed, signed};
