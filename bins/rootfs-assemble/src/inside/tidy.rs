//! Traces of the build out of the tree: what differs from host to host, from day to day, or is of no use.

use std::fs;
use std::io;
use std::path::Path;

use stage::{At, Result};

use super::accounts::Accounts;
use super::{files, settings, warn};

/// Directories that begin empty; those among them that lie in another stay.
const EMPTIED: [&str; 7] = [
    "/tmp",
    "/var/tmp",
    "/var/lib/apt/lists",
    "/var/lib/apt/lists/partial",
    "/var/cache/apt/archives",
    "/var/cache/apt/archives/partial",
    "/var/cache/ldconfig",
];
/// Files that go: caches, locks, backups and logs that tools make anew.
const REMOVED: [&str; 19] = [
    "/etc/.pwd.lock",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/subuid-",
    "/etc/subgid-",
    "/root/.bash_history",
    "/var/cache/apt/pkgcache.bin",
    "/var/cache/apt/srcpkgcache.bin",
    "/var/cache/debconf/config.dat-old",
    "/var/cache/debconf/templates.dat-old",
    "/var/lib/dpkg/available",
    "/var/lib/dpkg/lock",
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/triggers/Lock",
    "/var/lib/dpkg/status-old",
    "/var/lib/dpkg/diversions-old",
    "/var/lib/dpkg/statoverride-old",
];
/// More of them, made by programs at run time.
const REMOVED_STATE: [&str; 3] = [
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/urandom/random-seed",
];

/// Cleans the tree.
///
/// # Errors
/// Exit code 1 with the path.
pub fn tidy(epoch: u64) -> Result<()> {
    for dir in EMPTIED {
        empty(Path::new(dir)).at(Path::new(dir))?;
    }
    for file in REMOVED.iter().chain(&REMOVED_STATE) {
        files::remove(file)?;
    }
    logs(Path::new("/var/log"))?;
    machine_id()?;
    host_keys()?;
    days(epoch)
}

/// Keys that a package made would be the same in every copy of the image.
fn host_keys() -> Result<()> {
    let is_key = |p: &Path| {
        let name = p.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("ssh_host_") && name.contains("_key")
    };
    let entries = fs::read_dir("/etc/ssh").into_iter().flatten().flatten();
    let keys: Vec<_> = entries.map(|e| e.path()).filter(|p| is_key(p)).collect();
    if keys.is_empty() {
        return Ok(());
    }
    if !Path::new("/usr/lib/systemd/system/sshd-keygen.service").exists() {
        warn(
            "every copy of the image will have the same SSH host keys: have config.sh remove \
             /etc/ssh/ssh_host_* and a unit make them at first boot",
        );
        return Ok(());
    }
    keys.iter().try_for_each(files::remove)
}

/// Empties the directories for temporary files once more.
///
/// # Errors
/// Exit code 1 with the path.
pub fn empty_temporary() -> Result<()> {
    for dir in ["/tmp", "/var/tmp"] {
        empty(Path::new(dir)).at(Path::new(dir))?;
    }
    Ok(())
}

fn empty(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry?;
        if EMPTIED.iter().any(|kept| entry.path() == Path::new(kept)) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Logs: those that only report the build go, others are emptied, because their owner and mode matter.
fn logs(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.at(dir)?.path();
        let kind = fs::symlink_metadata(&path).at(&path)?.file_type();
        if kind.is_dir() {
            logs(&path)?;
        } else if kind.is_file() {
            match path.extension() {
                Some(extension) if extension == "log" || extension == "xz" => files::remove(&path)?,
                _ => fs::File::create(&path).map(|_| ()).at(&path)?,
            }
        }
    }
    Ok(())
}

/// An empty machine id lets systemd make one at boot; "uninitialized" asks for first-boot units and stays.
fn machine_id() -> Result<()> {
    let path = Path::new("/etc/machine-id");
    match fs::read_to_string(path) {
        Ok(text) if text.trim() == "uninitialized" => {}
        Ok(_) => files::write(path, "", 0o444)?,
        Err(_) => {}
    }
    let dbus = Path::new("/var/lib/dbus/machine-id");
    if dbus.is_file() && !dbus.is_symlink() {
        files::remove(dbus)?;
    }
    Ok(())
}

fn days(epoch: u64) -> Result<()> {
    let etc = Path::new("/etc");
    if !etc.join("shadow").exists() {
        return Ok(());
    }
    let mut accounts = Accounts::read(etc)?;
    accounts.set_days(settings::day(i64::try_from(epoch).unwrap_or(0)));
    accounts.write(etc)
}
