//! How much RAM a system takes, and the virtual machine that proves it.
//!
//! The program `ram-check` adds the section `verdict`; [`qemu`] is its driver for QEMU, which the tests of
//! the whole pipeline use too.

#![deny(missing_docs)]

pub mod qemu;
