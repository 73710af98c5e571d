//! `ram-check`: says how much RAM a system takes that runs from RAM, and proves it.
//!
//! stdin: a manifest with `plan`, `rootfs`, `disk`, `initrd` and `media`. stdout: the same with `verdict`.
//! stderr: a table of the terms and of the RAM stores. Needs nothing; with `--boot` or `--least` QEMU, and OVMF for `--firmware uefi`.
//! Exit code 4 where the verdict is negative; the manifest is written all the same.

use std::process::ExitCode;

use ram_check::check::{Input, check, identity, show, tools};
use stage::Stage;

/// Stage version. Changelog. 1: the first. 2: less for the processes of the initramfs, as measured.
/// 3: zram. 4: tmpfs. 5: erofs. 6: what is left for applications, and the store that would do.
/// 7: lists of machines. 8: measurements; what means up, figures and the screen of a proof.
/// 9: what the command line reserves. 10: smaller watermarks, which ram-deploy sets.
/// 11: of the targets only the system's own mean up; figures that were asked for are there;
/// crash kernels and huge pages as the kernel counts them; says that nothing was booted.
/// 12: the accelerator of a proof; counts what ram-deploy demands, and the working set as measured; the recommended machine.
/// 13: counts free pages that the kernel does not offer; huge pages and octal sizes of the command line; warnings.
/// 14: with auto the store that a machine takes; more again for an initramfs with a system; steps of 16 MiB, so that the
/// stated machine itself is measured.
const VERSION: u32 = 14;

fn main() -> ExitCode {
    let about = "Says how much RAM the system takes and, with --boot, proves it in QEMU";
    let stage = Stage::new("ram-check", env!("CARGO_PKG_VERSION"), VERSION, about)
        .tools(tools)
        .narrow(Input::narrow)
        .identity(|_, options, input| identity(options, input))
        .judge(|verdict: &manifest::Verdict| verdict.ok)
        .show(show);
    stage::main(stage, check)
}
