//! What is looked at before any work begins, so that nothing is found missing in the middle of it.

use std::path::Path;

use stage::{Error, Result, find_program};

use crate::ids::Maps;
use crate::input::{Options, PlanInput};

/// Finds out what is missing before any work begins.
///
/// # Errors
/// Exit code 3 for a package manager that is not supported, 5 for what this host lacks.
pub fn check(options: &Options, plan: &PlanInput) -> Result<Option<Maps>> {
    if plan.package_manager != "apt" {
        return Err(Error::refused(format!(
            "<packagemanager>{}</packagemanager>: expected apt",
            plan.package_manager
        )));
    }
    if find_program("gpgv").is_none() && find_program("sqv").is_none() {
        return Err(Error::missing(
            "host program not found: gpgv, by which apt verifies signatures",
        )
        .advice("on Debian and Ubuntu: apt-get install gpgv"));
    }
    check_architecture(&plan.arch)?;
    let root = rustix::process::geteuid().is_root();
    match (root, options.as_root) {
        (true, _) => Ok(None),
        (false, true) => Err(Error::missing("--as-root: this user is not root")
            .advice("run it with sudo, and RAMFORGE_STORE set to the same store")),
        (false, false) => Maps::of_caller().map(Some),
    }
}

/// Programs of the tree must be able to run here.
fn check_architecture(arch: &str) -> Result<()> {
    let same = |a: &str| a == std::env::consts::ARCH;
    let family = match arch {
        "i586" | "i686" => same("x86") || same("x86_64"),
        "armv7l" => same("arm") || same("aarch64"),
        "ppc64le" => same("powerpc64"),
        other => same(other),
    };
    let foreign = format!("/proc/sys/fs/binfmt_misc/qemu-{arch}");
    if family || Path::new(&foreign).exists() {
        return Ok(());
    }
    Err(Error::missing(format!(
        "the image is for {arch}, and this {} machine cannot run its programs",
        std::env::consts::ARCH
    ))
    .advice("on Debian and Ubuntu: apt-get install qemu-user-static binfmt-support"))
}
