//! The root is mounted where the initramfs expects it, whichever RAM store it is in.

use std::path::Path;

use rustix::mount::MountFlags;

use crate::cmdline::Cmdline;
use crate::devices::Device;
use crate::init::mount_new;
use crate::stop::{Result, Stop};

/// Where the root is mounted until it becomes the root.
pub const SYSROOT: &str = "/sysroot";

/// Mounts the root as the command line says: read-only unless `rw` is there; the system's fstab decides later. Where the
/// device gives RAM back that is discarded, files that are removed give theirs back.
///
/// # Errors
/// A sentence.
pub fn mount_device(root: &Device, cmdline: &Cmdline) -> Result<()> {
    let flags = match read_only(cmdline) {
        true => MountFlags::RDONLY,
        false => MountFlags::empty(),
    };
    let mut options: Vec<&str> = cmdline.value("rootflags").into_iter().collect();
    if in_ram(root) && discards(root) {
        options.insert(0, "discard");
    }
    let mounted = root.node().and_then(|node| {
        let options = options.join(",");
        mount_new(&node, "ext4", Path::new(SYSROOT), flags, &options)
    });
    mounted.map_err(|e| {
        Stop::new(
            format!("the root /dev/{} cannot be mounted: {e}", root.name),
            "look at the kernel's log and at rootflags= on the command line",
        )
    })
}

fn in_ram(device: &Device) -> bool {
    ["ram", "zram"].iter().any(|p| device.name.starts_with(p))
}

fn discards(device: &Device) -> bool {
    let disk = match device.partition() {
        Some(_) => device.disk(),
        None => Some(device.clone()),
    };
    let most = disk.and_then(|disk| disk.attribute("queue/discard_max_bytes"));
    most.is_some_and(|bytes| bytes != "0")
}

/// The last of `ro` and `rw` counts; without them the root is read-only.
fn read_only(cmdline: &Cmdline) -> bool {
    match (cmdline.position("ro"), cmdline.position("rw")) {
        (_, None) => true,
        (ro, rw) => ro > rw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_decides_whether_the_root_is_writable() {
        let ro = |line: &str| read_only(&Cmdline::parse(line));
        assert!(ro("") && ro("ro") && ro("rw ro"));
        assert!(!ro("rw") && !ro("ro rw"));
    }
}
