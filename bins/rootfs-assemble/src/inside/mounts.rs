//! The build tree as root directory: mounts that exist in the worker's namespace only.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use stage::{At, Result};

use crate::job::Job;

/// Where the store lies inside.
pub const STORE: &str = "/run/ramforge/store";
/// Where the tree is seen without the mounts on it.
pub const TREE: &str = "/run/ramforge/tree";
/// Room for files of the worker that programs inside may see.
pub const WORK: &str = "/run/ramforge/work";

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Mounts everything and makes the tree the root directory. Says which step failed.
pub fn build(job: &Job) -> std::result::Result<(), (&'static str, io::Error)> {
    let root = Path::new(&job.root);
    let step = |name| move |e| (name, e);
    match job.ram {
        Some(bytes) => sys::mount::tmpfs(root, &format!("mode=755,size={bytes},nr_inodes=0")),
        None => sys::mount::bind(root, root),
    }
    .map_err(step("tmpfs"))?;
    directories(root).map_err(step("directories"))?;
    sys::mount::proc(&root.join("proc")).map_err(step("proc"))?;
    devices(&root.join("dev")).map_err(step("dev"))?;
    runtime(&root.join("run"), job).map_err(step("run"))?;
    sys::mount::pivot(root).map_err(step("pivot_root"))?;
    sys::mount::bind(Path::new("/"), Path::new(TREE)).map_err(step("bind"))
}

fn directories(root: &Path) -> io::Result<()> {
    for name in ["dev", "proc", "run", "sys", "tmp"] {
        fs::create_dir(root.join(name))?;
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))
}

fn devices(dev: &Path) -> io::Result<()> {
    sys::mount::tmpfs(dev, "mode=755,size=64k")?;
    for name in DEVICES {
        fs::File::create(dev.join(name))?;
        sys::mount::bind(&Path::new("/dev").join(name), &dev.join(name))?;
    }
    for (target, name) in DEVICE_LINKS {
        symlink(target, dev.join(name))?;
    }
    for name in ["shm", "pts"] {
        fs::create_dir(dev.join(name))?;
    }
    fs::set_permissions(dev.join("shm"), fs::Permissions::from_mode(0o1777))?;
    sys::mount::devpts(&dev.join("pts"))
}

fn runtime(run: &Path, job: &Job) -> io::Result<()> {
    sys::mount::tmpfs(run, "mode=755,size=90%")?;
    let inside = |path: &str| run.join(path.trim_start_matches("/run/"));
    for path in [STORE, TREE, WORK, "/run/lock"] {
        fs::create_dir_all(inside(path))?;
    }
    fs::set_permissions(run.join("lock"), fs::Permissions::from_mode(0o1777))?;
    if job.ram.is_none() {
        sys::mount::bind(Path::new(&job.work), &inside(WORK))?;
    }
    sys::mount::bind(Path::new(&job.store), &inside(STORE))
}

/// Removes the tree from the disk: outside, its files of other owners are out of the user's reach.
///
/// # Errors
/// Exit code 1 with the path.
pub fn clear_tree() -> Result<()> {
    let tree = Path::new(TREE);
    for entry in fs::read_dir(tree).at(tree)? {
        let path = entry.at(tree)?.path();
        let is_dir = fs::symlink_metadata(&path).at(&path)?.is_dir();
        let mounted = path
            .strip_prefix(tree)
            .is_ok_and(|p| is_mounted(&Path::new("/").join(p)));
        match (is_dir, mounted) {
            // What is mounted on keeps its own, empty directory.
            (true, true) => {}
            (true, false) => fs::remove_dir_all(&path).at(&path)?,
            (false, _) => fs::remove_file(&path).at(&path)?,
        }
    }
    Ok(())
}

/// Whether something is mounted at `path`, so that the directory below it is out of reach.
pub fn is_mounted(path: &Path) -> bool {
    let name = path.to_str().and_then(|p| p.strip_prefix('/'));
    name.is_some_and(|n| {
        ["dev", "proc", "run"].contains(&n) || n.starts_with("run/") || n.starts_with("dev/")
    })
}
