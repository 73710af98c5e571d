//! What `ram-deploy` does, as a library: the program itself, and what `initrd-inject` and `raw-image`
//! put into an initramfs for it.
//!
//! ```text
//! in the initramfs                    on the medium (ISO 9660)
//! /etc/ramforge/deploy.json           /ramforge/map          chunk map, named by digest in deploy.json
//! /etc/ramforge/modules.json          /ramforge/frames.000   distinct frames, back to back, in the
//! /usr/lib/ramforge/modules/*.ko      /ramforge/frames.001   order of first use in the map
//! /usr/bin/ram-deploy + unit + hooks  …                      each shorter than 4 GiB
//!                                     /ramforge/map.sig      the map's signature, where it has one
//! or, without dracut, /init
//! ```
//!
//! The initramfs is trusted, the medium is not: the map counts when its digest is the one in
//! `deploy.json`, a chunk is written when its BLAKE3 is the one in the map.

#![deny(missing_docs)]

pub mod cmdline;
pub mod config;
pub mod console;
pub mod deploy;
pub mod devices;
pub mod ext4;
pub mod grow;
pub mod host;
pub mod init;
pub mod kernel_log;
pub mod medium;
pub mod modules;
pub mod net;
pub mod pages;
pub mod payload;
pub mod policy;
pub mod program;
pub mod ram;
pub mod ramdisk;
pub mod read_back;
pub mod root;
pub mod run;
mod seen;
pub mod segment;
pub mod signature;
mod stop;
pub mod store;
mod switch_root;
pub mod target;
mod ticker;
pub mod volume;
pub mod watermarks;

pub use stop::{Result, Stop};
