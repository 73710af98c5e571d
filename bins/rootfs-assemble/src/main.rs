//! `rootfs-assemble`: from packages to a root tree.
//!
//! On stdin a manifest with the section `plan`, on stdout the same with the section `rootfs`: the lock of
//! all packages, the tree as a listing of objects, the kernel, and the base initramfs when the tree has
//! dracut.
//!
//! ```text
//! plan ─▶ resolve ─▶ fetch ─┬─▶ unpack ─▶ configure ─▶ overlay, settings ─▶ scripts ─▶ initramfs ─▶ capture
//!         the host's apt    │   in a sandbox: user, mount, PID, IPC and UTS namespaces of a worker process
//!                           └ package files, and the files in them, become objects, once
//! ```
//!
//! It needs apt (the host's own, with a private configuration) and, unless it runs as root, newuidmap and a
//! range of subordinate ids. Nothing is mounted outside the sandbox, and no loop device is used.
//!
//! *Not done:* package managers other than apt, foreign architectures without binfmt_misc.

mod apt;
mod assemble;
mod choose;
mod contents;
mod deb;
mod ids;
mod input;
mod inside;
mod job;
mod packages_file;
mod parallel;
mod preflight;
mod sandbox;
mod sources;

use std::process::ExitCode;

use stage::{Stage, Tool};

/// The stage version. Changelog. 1: the first. 2: the lock. 3: sources of packages in a store whose path has a blank.
const STAGE_VERSION: u32 = 3;

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|a| a == sandbox::WORKER)
    {
        return inside::main();
    }
    let stage = Stage::new(
        "rootfs-assemble",
        env!("CARGO_PKG_VERSION"),
        STAGE_VERSION,
        "Install packages, overlay and settings into a root tree",
    )
    .tools(|_: &input::Options| apt_tools())
    .narrow(input::Input::narrow)
    .identity(sources::identity);
    stage::main(stage, assemble::assemble)
}

fn apt_tools() -> Vec<Tool> {
    let tool = |name| Tool {
        name,
        package: "apt",
    };
    vec![tool("apt-get"), tool("apt-config"), tool(apt::HELPER)]
}
