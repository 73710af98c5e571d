//! Mounts inside a mount namespace of the caller's own. Nothing here touches the host's.

use std::ffi::CString;
use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// Keeps mounts made from here on from spreading to the host.
pub(crate) fn make_private() -> rustix::io::Result<()> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags)
}

/// Mounts a tmpfs with `options` (`mode=755,size=50%`).
///
/// # Errors
/// What the system said.
pub fn tmpfs(target: &Path, options: &str) -> io::Result<()> {
    let options = CString::new(options)?;
    let flags = MountFlags::NODEV;
    Ok(rustix::mount::mount(
        "tmpfs",
        target,
        "tmpfs",
        flags,
        Some(options.as_c_str()),
    )?)
}

/// Mounts a new procfs of the caller's PID namespace.
///
/// # Errors
/// What the system said: EPERM where the host hides parts of its own /proc.
pub fn proc(target: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount("proc", target, "proc", flags, None)?)
}

/// Mounts a new instance of devpts.
///
/// # Errors
/// What the system said.
pub fn devpts(target: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let options = c"newinstance,ptmxmode=0666,mode=0620";
    Ok(rustix::mount::mount(
        "devpts",
        target,
        "devpts",
        flags,
        Some(options),
    )?)
}

/// Shows `source` (a file or a directory) at `target` too, without what is mounted below it.
///
/// # Errors
/// What the system said.
pub fn bind(source: &Path, target: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount_bind(source, target)?)
}

/// Unmounts what lies at `target`, now or when its last user is gone.
///
/// # Errors
/// What the system said.
pub fn detach(target: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(target, UnmountFlags::DETACH)?)
}

/// Makes the mount at `new` the root directory and lets go of the old one.
///
/// # Errors
/// What the system said.
pub fn pivot(new: &Path) -> io::Result<()> {
    std::env::set_current_dir(new)?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")
}
