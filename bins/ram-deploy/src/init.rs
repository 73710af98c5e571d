//! `ram-deploy` as `/init`: the whole initramfs, without dracut, udev, systemd or a shell.
//!
//! The kernel starts it as process 1 with nothing mounted. It mounts what a deployment needs, deploys (or, on a disk
//! that the image was written to by hand, waits for that), mounts the root and hands over to the system's own init.
//! Kernel modules are loaded by the ids of the devices that are there.
//!
//! *Not done:* file system checks (a root that was just written into RAM needs none, that of a disk is checked by the
//! system itself while it is still read-only), `root=` (the configuration knows the root), roots of other kinds than
//! ext4, `rd.break` and the other words of dracut.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, unmount};

use crate::cmdline::Cmdline;
use crate::config;
use crate::console::Console;
use crate::kernel_log;
use crate::policy;
use crate::root;
use crate::run;
use crate::stop::{Result, Stop};
use crate::switch_root::{find_init, switch_root};

/// What is mounted first: file system, place, flags, options.
const MOUNTS: [(&str, &str, MountFlags, &str); 4] = [
    ("devtmpfs", "/dev", MountFlags::NOSUID, "mode=755"),
    ("proc", "/proc", SAFE, ""),
    ("sysfs", "/sys", SAFE, ""),
    ("tmpfs", "/run", TMP, "mode=755"),
];
const SAFE: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);
const TMP: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Brings the system up. Process 1 must not end, so a failure ends in [`policy::stop`].
pub fn main() -> ! {
    if let Err(stop) = mount_all() {
        policy::stop(&stop, &Cmdline::default(), &Console::open(false));
    }
    let cmdline = match Cmdline::of_kernel() {
        Ok(cmdline) => cmdline,
        Err(stop) => policy::stop(&stop, &Cmdline::default(), &Console::open(false)),
    };
    let console = Console::open(cmdline.switch("rd.kiwi.debug"));
    let init = policy::insist(&cmdline, &console, || bring_up(&cmdline, &console));
    console.log("handing over to the system's init");
    // From here on nothing can be tried again: the initramfs is gone.
    let stop = switch_root(Path::new(root::SYSROOT), &init);
    policy::stop(&stop, &cmdline, &console);
}

/// Mounts the root; gives the path of its init.
fn bring_up(cmdline: &Cmdline, console: &Console) -> Result<String> {
    // On a disk there is nothing to deploy: the root is there already.
    let find_init = || find_init(Path::new(root::SYSROOT), cmdline.value("init"));
    if Path::new("/").join(config::DEPLOY_FILE).exists() {
        run::deploy(cmdline, console)?;
        return find_init();
    }
    if let Some(warning) = kernel_log::check_unpacked()? {
        console.say(warning);
    }
    root::mount_device(&run::own_disk(cmdline, console)?, cmdline)?;
    find_init().inspect_err(|_| {
        // Another try mounts it again; where it cannot be unmounted that try says so.
        let _ = unmount(root::SYSROOT, UnmountFlags::DETACH);
    })
}

fn mount_all() -> Result<()> {
    for (kind, place, flags, options) in MOUNTS {
        let mounted = mount_new(Path::new(kind), kind, Path::new(place), flags, options);
        // The kernel has mounted devtmpfs itself.
        let there = |e: &io::Error| Errno::from_io_error(e) == Some(Errno::BUSY);
        let mounted = mounted.or_else(|e| if there(&e) { Ok(()) } else { Err(e) });
        mounted.map_err(|e| {
            Stop::new(
                format!("{kind} cannot be mounted at {place}: {e}"),
                "build the kernel with it: CONFIG_DEVTMPFS, CONFIG_PROC_FS, CONFIG_SYSFS, CONFIG_TMPFS",
            )
        })?;
    }
    Ok(())
}

/// Mounts a file system at `place`, which is made where it is not there.
///
/// # Errors
/// What the system says.
pub(crate) fn mount_new(
    source: &Path,
    kind: &str,
    place: &Path,
    flags: MountFlags,
    options: &str,
) -> io::Result<()> {
    fs::create_dir_all(place)?;
    let options = CString::new(options)?;
    let options = Some(options.as_c_str());
    Ok(rustix::mount::mount(source, place, kind, flags, options)?)
}
