//! The uid and gid maps of the sandbox, and why a host may refuse them.
//!
//! uid 0 inside is the calling user, so the worker may write to the store; 1 and up are the subordinate
//! ids of subuid(5).

use std::fs;
use std::path::Path;
use std::process::Command;

use stage::{Error, Result, find_program};

/// Ids that a Debian system uses: up to `nobody`, 65534.
const NEEDED: u64 = 65_535;
const SUBUID: &str = "/etc/subuid";
const SUBGID: &str = "/etc/subgid";

/// The maps of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maps {
    uid: u32,
    gid: u32,
    first_subuid: u64,
    first_subgid: u64,
}

impl Maps {
    /// The maps of the calling user. Everything that may be missing is found out here.
    ///
    /// # Errors
    /// Exit code 5 with the commands that mend it.
    pub fn of_caller() -> Result<Self> {
        check_kernel(Path::new("/proc/sys"))?;
        for program in ["newuidmap", "newgidmap"] {
            if find_program(program).is_none() {
                return Err(Error::missing(format!("host program not found: {program}"))
                    .advice("on Debian and Ubuntu: apt-get install uidmap"));
            }
        }
        let uid = rustix::process::getuid().as_raw();
        let name = user_name(&fs::read_to_string("/etc/passwd").unwrap_or_default(), uid);
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let (uids, gids) = (read(SUBUID), read(SUBGID));
        match (range(&uids, &name, uid), range(&gids, &name, uid)) {
            (Some(first_subuid), Some(first_subgid)) => Ok(Self {
                uid,
                gid: rustix::process::getgid().as_raw(),
                first_subuid,
                first_subgid,
            }),
            (has_uids, has_gids) => Err(no_ranges(
                &name,
                free_range(&uids).max(free_range(&gids)),
                (has_uids.is_none(), has_gids.is_none()),
            )),
        }
    }

    /// Writes the maps of the process `pid`, which has made a user namespace.
    ///
    /// # Errors
    /// Exit code 5 with what newuidmap or newgidmap said.
    pub fn write(&self, pid: u32) -> Result<()> {
        write_map("newuidmap", pid, self.uid, self.first_subuid)?;
        write_map("newgidmap", pid, self.gid, self.first_subgid)
    }
}

fn write_map(program: &str, pid: u32, own: u32, first: u64) -> Result<()> {
    let path = find_program(program)
        .ok_or_else(|| Error::missing(format!("host program not found: {program}")))?;
    let output = Command::new(path)
        .env_clear()
        .arg(pid.to_string())
        .args(["0", &own.to_string(), "1"])
        .args(["1", &first.to_string(), &NEEDED.to_string()])
        .output()
        .map_err(|e| Error::missing(format!("{program}: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::missing(format!("{program}: {}", said.trim())).advice(
        "newuidmap and newgidmap must be set-uid root and /etc/subuid, /etc/subgid must name this user; \
         or run with --as-root",
    ))
}

fn user_name(passwd: &str, uid: u32) -> String {
    let line = passwd
        .lines()
        .find(|l| l.split(':').nth(2) == Some(&uid.to_string()));
    line.and_then(|l| l.split(':').next())
        .map_or_else(|| uid.to_string(), str::to_owned)
}

/// The first id of a range that is long enough.
fn range(text: &str, name: &str, uid: u32) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let first: u64 = fields.next()?.parse().ok()?;
        let count: u64 = fields.next()?.parse().ok()?;
        let ours = owner == name || owner == uid.to_string();
        (ours && count >= NEEDED).then_some(first)
    })
}

/// The first id that no range holds, where useradd would begin or later.
fn free_range(text: &str) -> u64 {
    let end = |line: &str| {
        let mut numbers = line.trim().split(':').skip(1).map(str::parse::<u64>);
        Some(numbers.next()?.ok()? + numbers.next()?.ok()?)
    };
    text.lines().filter_map(end).fold(100_000, u64::max)
}

fn no_ranges(name: &str, first: u64, missing: (bool, bool)) -> Error {
    let files = match missing {
        (true, true) => "/etc/subuid and /etc/subgid",
        (true, false) => SUBUID,
        _ => SUBGID,
    };
    let last = first + NEEDED;
    Error::missing(format!(
        "user {name} has no range of {NEEDED} subordinate ids in {files}; a root tree has files of many owners"
    ))
    .advice(format!(
        "sudo usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {name}\n  \
         which adds the line {name}:{first}:65536 to {files}; or run with --as-root"
    ))
}

/// Looks at the settings by which hosts forbid user namespaces.
fn check_kernel(sys: &Path) -> Result<()> {
    match forbidding(sys) {
        Some((setting, fix)) => Err(forbidden(&setting, &fix)),
        None => Ok(()),
    }
}

fn forbidding(sys: &Path) -> Option<(String, String)> {
    let value = |name: &str| {
        let text = fs::read_to_string(sys.join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    if value("kernel/unprivileged_userns_clone") == Some(0) {
        let name = "kernel.unprivileged_userns_clone";
        return Some((format!("{name} = 0"), format!("{name}=1")));
    }
    if value("user/max_user_namespaces") == Some(0) {
        let name = "user.max_user_namespaces";
        return Some((format!("{name} = 0"), format!("{name}=15000")));
    }
    None
}

fn forbidden(setting: &str, fix: &str) -> Error {
    Error::missing(format!("this host forbids user namespaces: {setting}")).advice(format!(
        "sudo sysctl -w {fix} (and a line in /etc/sysctl.d to keep it), or run with --as-root"
    ))
}

/// Why a step of the sandbox was refused, as far as the host's settings tell.
pub fn refusal(step: &str, message: &str, root: bool) -> Error {
    if root {
        return Error::missing(format!("this root may not make namespaces: {message}")).advice(
            "CAP_SYS_ADMIN is missing (a container?): run outside, or give the container that capability",
        );
    }
    let apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    if fs::read_to_string(apparmor).is_ok_and(|v| v.trim() == "1") {
        let name = "kernel.apparmor_restrict_unprivileged_userns";
        return forbidden(&format!("{name} = 1 (AppArmor)"), &format!("{name}=0"));
    }
    if step == "proc" {
        return Error::missing(format!("no /proc of its own for the sandbox: {message}")).advice(
            "the host hides parts of its own /proc, as containers do: run outside the container",
        );
    }
    Error::missing(format!("this host refuses user namespaces: {message}")).advice(
        "a container's seccomp profile may be the reason: run outside, or run with --as-root",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_or_number_and_short_ones_do_not_count() {
        let text = "other:1:65536\nme:100000:1000\nme:200000:65536\n1001:300000:65536\n";
        assert_eq!(range(text, "me", 1000), Some(200_000));
        assert_eq!(range(text, "x", 1001), Some(300_000));
        assert_eq!(range(text, "x", 1002), None);
    }

    #[test]
    fn missing_ranges_name_the_command() {
        let first = free_range("other:100000:65536\nbroken\n");
        let text = no_ranges("me", first, (true, true)).to_string();
        assert!(
            text.contains("usermod --add-subuids 165536-231071"),
            "{text}"
        );
        assert!(text.contains("me:165536:65536"), "{text}");
        assert_eq!(free_range(""), 100_000);
    }

    #[test]
    fn forbidding_settings_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, value: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        };
        assert!(check_kernel(dir.path()).is_ok());
        write("user/max_user_namespaces", "0\n");
        let text = check_kernel(dir.path()).unwrap_err().to_string();
        assert!(text.contains("user.max_user_namespaces = 0"), "{text}");
        write("kernel/unprivileged_userns_clone", "0\n");
        let text = check_kernel(dir.path()).unwrap_err().to_string();
        assert!(
            text.contains("kernel.unprivileged_userns_clone=1"),
            "{text}"
        );
    }

    #[test]
    fn names_come_from_passwd() {
        assert_eq!(user_name("root:x:0:0::/:\nme:x:7:7::/:\n", 7), "me");
        assert_eq!(user_name("", 7), "7");
    }
}
