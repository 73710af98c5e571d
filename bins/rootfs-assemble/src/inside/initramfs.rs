//! The base initramfs: one run of the tree's own dracut, at the very end.
//!
//! It is made for any machine (`--no-hostonly`), of the same bytes every time (`--reproducible`), and holds
//! what a plain root on ext4 needs. Where the tree has no dracut, none is made.

use stage::Result;

use super::guest::{Guest, find};
use super::kernel::Found;
use super::part;

/// Modules that dracut must not leave out, whatever it finds in the sandbox.
const FILE_SYSTEMS: &str = "ext4";

/// Makes the initramfs; gives its path in the tree.
///
/// # Errors
/// Exit code 1 with what dracut said.
pub fn make(guest: &Guest, kernel: &Found) -> Result<Option<String>> {
    if find("dracut").is_none() {
        return Ok(None);
    }
    let path = kernel.initramfs();
    part("initramfs", || {
        let target = format!("/{path}");
        let compress = compression();
        let args = [
            "--force",
            "--no-hostonly",
            "--no-hostonly-cmdline",
            "--reproducible",
            "--add-drivers",
            FILE_SYSTEMS,
            "--filesystems",
            FILE_SYSTEMS,
            compress,
            target.as_str(),
            kernel.release.as_str(),
        ];
        guest.must("dracut", &args)
    })?;
    Ok(Some(path))
}

/// The compressor: one that the tree has.
fn compression() -> &'static str {
    if find("zstd").is_some() {
        "--zstd"
    } else {
        "--gzip"
    }
}
