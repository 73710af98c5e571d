//! `ram-check`: says how much RAM a system takes that runs from RAM, and proves it.
//!
//! stdin: a manifest with `plan`, `rootfs`, `disk`, `initrd` and `media`. stdout: the same with `verdict`.
//! stderr: a table of the terms and of the RAM stores. Needs nothing; with `--boot`, `--least` or `--measure` QEMU, and OVMF
//! for `--firmware uefi`.
//! Exit code 4 where the verdict is negative; the manifest is written all the same.

use std::process::ExitCode;

use ram_check::check::{Input, VERSION, check, found, identity, show, tools};
use stage::Stage;

fn main() -> ExitCode {
    let about = "Says how much RAM the system takes and, with --boot, proves it in QEMU";
    let stage = Stage::new("ram-check", env!("CARGO_PKG_VERSION"), VERSION, about)
        .tools(tools)
        .narrow(Input::narrow)
        .identity(identity)
        .judge(|verdict: &manifest::Verdict| verdict.ok)
        .found(found)
        .show(show);
    stage::main(stage, check)
}
