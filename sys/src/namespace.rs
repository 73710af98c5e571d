//! A sandbox for a worker process: namespaces(7), entered by the worker itself.
//!
//! ```text
//! stage ──spawns──▶ worker ──unshare──▶ says "ready" ──▶ stage writes the uid map
//!                     │ becomes uid 0 of the namespace, forks
//!                     └──▶ pid 1 of the namespace: does the work; its end ends everything inside
//! ```
//!
//! The worker must be a fresh process with one thread. It calls [`enter`], which returns in pid 1 alone.
//! When the stage dies, for whatever reason, the kernel kills the worker, then pid 1, then with it every
//! process inside; the mounts go with the last of them.
//!
//! *Not done:* cgroups, seccomp.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions};
use rustix::thread::UnshareFlags;

/// Where the worker's power inside comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// A user namespace, whose uid 0 is the calling user.
    UserNamespace,
    /// The caller is root already: no user namespace is made.
    Root,
}

/// What the programs inside can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// What the host reaches: scripts of a description may fetch things.
    Host,
    /// Nothing: a network namespace without an interface that is up.
    None,
}

/// Leaves the host's namespaces and returns as pid 1, uid 0 of new ones, with private mounts.
///
/// `mapped` is called between; when it returns, the stage has written the uid and gid maps.
///
/// # Errors
/// The step that failed and what the system said. `unshare` is the one that hosts forbid.
pub fn enter(
    power: Power,
    network: Network,
    mapped: impl FnOnce() -> io::Result<()>,
) -> Result<(), Refusal> {
    let mut flags =
        UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if power == Power::UserNamespace {
        flags |= UnshareFlags::NEWUSER;
    }
    if network == Network::None {
        flags |= UnshareFlags::NEWNET;
    }
    // SAFETY: no file descriptor table is unshared, and this process has one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(|e| Refusal::new("unshare", e))?;
    mapped().map_err(|e| Refusal::new("uid map", e))?;
    if power == Power::UserNamespace {
        become_root().map_err(|e| Refusal::new("setuid", e))?;
    }
    forgo_device_nodes().map_err(|e| Refusal::new("capabilities", e))?;
    die_with_parent().map_err(|e| Refusal::new("prctl", e))?;
    fork_init().map_err(|e| Refusal::new("fork", e))?;
    die_with_parent().map_err(|e| Refusal::new("prctl", e))?;
    // Scripts write the host's name into files; this one is nobody's.
    rustix::system::sethostname(b"localhost").map_err(|e| Refusal::new("sethostname", e))?;
    crate::mount::make_private().map_err(|e| Refusal::new("private mounts", e))
}

/// A step of [`enter`] that the system refused.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub struct Refusal {
    /// The step.
    pub step: &'static str,
    /// What the system said.
    pub source: io::Error,
}

impl Refusal {
    fn new(step: &'static str, source: impl Into<io::Error>) -> Self {
        Self {
            step,
            source: source.into(),
        }
    }
}

fn become_root() -> rustix::io::Result<()> {
    use rustix::process::{Gid, Uid};
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

/// A user namespace cannot make device nodes. Root does without too, so that both make the same tree.
fn forgo_device_nodes() -> rustix::io::Result<()> {
    rustix::thread::remove_capability_from_bounding_set(rustix::thread::CapabilitySet::MKNOD)
}

/// Has the kernel kill this process when its parent dies. A change of uid clears this.
fn die_with_parent() -> rustix::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
}

/// Forks pid 1 of the new namespace. The parent waits for it and ends as it ended.
fn fork_init() -> io::Result<()> {
    // SAFETY: this process has one thread, so the child may do anything a process may.
    let child = unsafe { libc::fork() };
    match Pid::from_raw(child) {
        None if child == 0 => Ok(()),
        None => Err(io::Error::last_os_error()),
        Some(pid) => std::process::exit(wait_for(pid)),
    }
}

fn wait_for(pid: Pid) -> i32 {
    loop {
        match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) | Ok(None) => {}
            Ok(Some((_, status))) => return status.exit_status().unwrap_or(1),
            Err(_) => return 1,
        }
    }
}

/// Kills every other process of the PID namespace. For its pid 1 only.
///
/// # Errors
/// When the caller is not pid 1 of its namespace, or the system refuses.
pub fn kill_all_others() -> io::Result<()> {
    if std::process::id() != 1 {
        return Err(io::Error::other("not pid 1 of a namespace"));
    }
    // SAFETY: a system call without memory.
    if unsafe { libc::kill(-1, libc::SIGKILL) } != 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ESRCH) => Ok(()),
            _ => Err(error),
        };
    }
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) | Ok(_) => {}
            Err(_) => return Ok(()),
        }
    }
}

/// Makes `command` run in a session and mount namespace of its own, without what is mounted at `hidden`, and with that
/// network.
///
/// # Errors
/// When the path holds a NUL byte.
pub fn hide_from(command: &mut Command, hidden: &Path, network: Network) -> io::Result<()> {
    let mut flags = UnshareFlags::NEWNS;
    if network == Network::None {
        flags |= UnshareFlags::NEWNET;
    }
    let hidden = CString::new(hidden.as_os_str().as_bytes())?;
    let prepare = move || {
        rustix::process::setsid()?;
        // SAFETY: no file descriptor table is unshared.
        unsafe { rustix::thread::unshare_unsafe(flags)? };
        Ok(rustix::mount::unmount(
            hidden.as_c_str(),
            rustix::mount::UnmountFlags::DETACH,
        )?)
    };
    // SAFETY: between fork and exec the closure makes system calls only and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    Ok(())
}
