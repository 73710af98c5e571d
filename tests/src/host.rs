//! Programs of the host. A test that needs one which is missing fails with its name.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Where a program lies, looked for as the stages do.
///
/// # Panics
/// Where it is missing.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("host program not found: {name}; run tools/setup.sh test"))
}

/// A command in an environment that says nothing of the developer's own.
pub fn command(name: impl AsRef<OsStr>) -> Command {
    let name = name.as_ref();
    let path = if Path::new(name).is_absolute() {
        name.into()
    } else {
        program(&name.to_string_lossy())
    };
    let mut command = Command::new(path);
    command.env("LC_ALL", "C.UTF-8").env_remove("RAMFORGE_RUN");
    // Machines run everywhere the same, whatever the host's KVM does.
    if std::env::var_os("RAMFORGE_ACCEL").is_none() {
        command.env("RAMFORGE_ACCEL", "tcg,thread=multi");
    }
    command.process_group(0);
    command
}

/// Runs a judge: it must succeed. Gives what it printed on both outputs.
///
/// # Panics
/// Where it fails.
pub fn run(name: &str, arguments: &[&dyn AsRef<OsStr>]) -> String {
    let output = command(name)
        .args(arguments.iter().map(|a| a.as_ref()))
        .output()
        .unwrap();
    let said = text(&output);
    let words: Vec<_> = arguments
        .iter()
        .map(|a| a.as_ref().to_string_lossy())
        .collect();
    assert!(
        output.status.success(),
        "{name} {}: {}\n{said}",
        words.join(" "),
        output.status
    );
    said
}

/// What a program printed, standard output first.
pub fn text(output: &Output) -> String {
    ascii(&output.stdout) + &ascii(&output.stderr)
}

/// Bytes as text, with what is not UTF-8 replaced.
pub fn ascii(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A directory that is removed at the end, on the file system of the target directory: /tmp may be small.
pub fn scratch() -> TempDir {
    tempfile::Builder::new()
        .prefix("scratch-")
        .tempdir_in(crate::shared())
        .unwrap()
}

/// Processes whose environment holds `NAME=value`.
pub fn find_process(name: &str, value: &str) -> Vec<String> {
    let wanted = format!("{name}={value}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment
            .split(|&b| b == 0)
            .any(|v| v == wanted.as_bytes())
        {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(ascii(&line).replace('\0', " "));
        }
    }
    found
}

/// A shell in a mount namespace of its own, where it may mount: as root, or as the root of a user namespace
/// with all of the user's subordinate ids.
pub fn isolated(script: &str) -> Command {
    let mut unshare = command("unshare");
    unshare.args(["--mount", "--propagation", "private"]);
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--map-root-user", "--map-auto"]);
    }
    unshare.args(["sh", "-c", script]);
    unshare
}
