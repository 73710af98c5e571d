//! The examples, built once per test run.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{command, root, shared, store, text};

/// How the status of a success begins.
pub(crate) const SUCCESS: &str = "exit status: 0";

/// What pipeline.sh made of an example.
#[derive(Debug)]
pub struct Example {
    /// The output directory.
    pub dir: PathBuf,
    /// The hybrid ISO.
    pub iso: PathBuf,
    /// The disk image.
    pub raw: PathBuf,
    /// The package list.
    pub packages: PathBuf,
    /// The lock.
    pub lock: PathBuf,
    /// The manifest.
    pub manifest: Value,
}

impl Example {
    /// The least RAM in MiB that ram-check stated.
    pub fn least_ram_mib(&self) -> u64 {
        self.manifest["verdict"]["least_ram_mib"].as_u64().unwrap()
    }

    /// The least RAM in MiB that it stated for a RAM store.
    pub fn least_ram_with(&self, store: &str) -> u64 {
        self.store(store)["least_ram_mib"].as_u64().unwrap()
    }

    /// What it stated for a RAM store.
    pub fn store(&self, name: &str) -> &Value {
        let stores = self.manifest["verdict"]["stores"].as_array().unwrap();
        let one = stores.iter().find(|s| s["store"] == name);
        one.unwrap_or_else(|| panic!("no {name} in the verdict"))
    }

    /// Offset and length in bytes of the disk's partition with a role.
    pub fn partition(&self, role: &str) -> (u64, u64) {
        let all = self.manifest["disk"]["partitions"].as_array().unwrap();
        let one = all.iter().find(|p| p["role"] == role).unwrap();
        (
            one["offset"].as_u64().unwrap(),
            one["size"].as_u64().unwrap(),
        )
    }
}

/// Builds `examples/NAME`, or takes what another test of this run has built.
///
/// # Panics
/// Where the pipeline fails; every later call of the run fails with the same text.
pub fn example(name: &str) -> Example {
    variant(name, name, &[])
}

/// The same with an initramfs that is ram-deploy alone.
///
/// # Panics
/// As [`example`].
pub fn native(name: &str) -> Example {
    let options = [("INITRD_INJECT", "--base native")];
    variant(name, &format!("{name}-native"), &options)
}

/// The same description without the dracut package: nothing but ram-deploy brings it up.
///
/// # Panics
/// As [`example`].
pub fn without_dracut(name: &str) -> Example {
    let is_dracut = |line: &&str| line.contains("<package name=\"dracut");
    changed(name, &format!("{name}-bare"), &[], |text| {
        assert!(text.lines().any(|line| is_dracut(&line)));
        let lines: Vec<_> = text.lines().filter(|line| !is_dracut(line)).collect();
        lines.join("\n")
    })
}

/// The same description with another RAM store, on `base`: `dracut` or `native`.
///
/// # Panics
/// As [`example`].
pub fn with_store(name: &str, store: &str, base: &str) -> Example {
    let options = format!("--base {base}");
    let id = format!("{name}-{store}-{base}");
    changed(name, &id, &[("INITRD_INJECT", &options)], |text| {
        let line = "kernelcmdline=\"rd.kiwi.ramdisk ";
        assert!(text.contains(line));
        text.replace(line, &format!("{line}rd.ramforge.store={store} "))
    })
}

/// Debian 13 with the root as EROFS: `tests/soft-reboot/description`, from the Debian mirror that this host's own package
/// sources name.
///
/// # Panics
/// As [`example`], and where they name none.
pub fn debian_13() -> Example {
    let targets = ["indextargets", "--format", "$(REPO_URI)"];
    let output = command("apt-get").args(targets).output().unwrap();
    let uris = text(&output);
    let mirror = uris.lines().find(|uri| uri.ends_with("/debian/"));
    let mirror = mirror.unwrap_or_else(|| panic!("no Debian mirror in apt's sources: {uris}"));
    let from = root().join("tests/soft-reboot/description");
    copied(&from, "debian-13", &[], |text| {
        let placeholder = "https://debian.example.org/debian/";
        assert!(text.contains(placeholder));
        text.replace(placeholder, mirror)
    })
}

/// debian-vm without dracut in whose system something answers at TCP port 8080.
///
/// # Panics
/// As [`example`].
pub fn answering() -> Example {
    with_units("answering", |units| {
        let wanted = units.join("sockets.target.wants");
        std::fs::create_dir_all(&wanted).unwrap();
        let socket = "[Socket]\nListenStream=8080\nAccept=yes\n";
        std::fs::write(units.join("hello.socket"), socket).unwrap();
        let service = "[Service]\nExecStart=/bin/echo hello\nStandardOutput=socket\n";
        std::fs::write(units.join("hello@.service"), service).unwrap();
        std::os::unix::fs::symlink("../hello.socket", wanted.join("hello.socket")).unwrap();
    })
}

/// debian-vm without dracut in whose system a service holds 300 MiB in a tmpfs before anybody can log in. The disk is
/// another one in every run of the tests: what an earlier run has measured is not known.
///
/// # Panics
/// As [`example`].
pub fn holding() -> Example {
    before_login(
        "holding",
        "mkdir /run/held && mount -t tmpfs -o size=320m held /run/held && head -c 300M /dev/zero >/run/held/data",
    )
}

/// The same with a service that writes 160 MiB to the root, which do not compress.
///
/// # Panics
/// As [`example`].
pub fn writing() -> Example {
    before_login(
        "writing",
        "mkdir -p /var/held && head -c 160M /dev/urandom >/var/held/data && sync",
    )
}

/// debian-vm without dracut with a command before anybody can log in; where it fails or takes longer than 90 s, the machine
/// goes off.
fn before_login(id: &str, command: &str) -> Example {
    with_units(id, |units| {
        let needs = units.join("serial-getty@ttyS0.service.requires");
        std::fs::create_dir_all(&needs).unwrap();
        let service = format!(
            "# {}\n[Unit]\nBefore=serial-getty@ttyS0.service\nFailureAction=poweroff-force\n\
             [Service]\nType=oneshot\nRemainAfterExit=yes\nTimeoutStartSec=90\n\
             ExecStart=/bin/sh -c '{command}'\n",
            this_run()
        );
        std::fs::write(units.join("before.service"), service).unwrap();
        std::os::unix::fs::symlink("../before.service", needs.join("before.service")).unwrap();
    })
}

/// debian-vm on the native base with more units in its system.
fn with_units(id: &str, write: impl FnOnce(&Path)) -> Example {
    let description = shared().join(format!("{id}-description"));
    let from = root().join("examples/debian-vm");
    let options = [("INITRD_INJECT", "--base native")];
    built(&description, id, &options, || {
        let _ = std::fs::remove_dir_all(&description);
        crate::run("cp", &[&"-a", &from, &description]);
        let units = description.join("root/etc/systemd/system");
        std::fs::create_dir_all(&units).unwrap();
        write(&units);
    })
}

/// Builds a copy of `examples/NAME` whose config.xml is changed.
fn changed(
    name: &str,
    id: &str,
    environment: &[(&str, &str)],
    change: impl Fn(&str) -> String,
) -> Example {
    copied(&root().join("examples").join(name), id, environment, change)
}

/// Builds a copy of the description in `from` whose config.xml is changed.
fn copied(
    from: &Path,
    id: &str,
    environment: &[(&str, &str)],
    change: impl Fn(&str) -> String,
) -> Example {
    let description = shared().join(format!("{id}-description"));
    built(&description, id, environment, || {
        let _ = std::fs::remove_dir_all(&description);
        crate::run("cp", &[&"-a", &from, &description]);
        let config = description.join("config.xml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, change(&text)).unwrap();
    })
}

/// debian-vm on `base` that asks before it writes and reads back what it wrote (oem-unattended and oem-skip-verify are
/// false); with `keys`, a private and a public one, signed and only to be booted so.
///
/// # Panics
/// As [`example`].
pub fn strict(base: &str, keys: Option<(&Path, &Path)>) -> Example {
    let mut inject = format!("--base {base}");
    let mut options = Vec::new();
    let sign;
    if let Some((private, public)) = keys {
        inject += &format!(" --public-key {}", public.display());
        sign = format!("--sign {}", private.display());
        options.push(("ISO_PACK", &*sign));
    }
    options.push(("INITRD_INJECT", &*inject));
    changed("debian-vm", &format!("strict-{base}"), &options, |text| {
        let mut text = text.to_owned();
        for name in ["oem-unattended", "oem-skip-verify"] {
            let (yes, no) = (format!("<{name}>true<"), format!("<{name}>false<"));
            assert!(text.contains(&yes));
            text = text.replace(&yes, &no);
        }
        text
    })
}

/// A private and a public key for [`strict`]: another try of a test finds those that its image was signed with.
///
/// # Panics
/// Where openssl cannot make them.
pub fn signing_keys() -> (PathBuf, PathBuf) {
    let [private, public] =
        ["private", "public"].map(|kind| shared().join(format!("{kind}-{}.pem", this_run())));
    if !public.exists() {
        let make = ["genpkey", "-algorithm", "ed25519", "-out"];
        crate::run(
            "openssl",
            &[&make[0], &make[1], &make[2], &make[3], &private],
        );
        let also: [&dyn AsRef<std::ffi::OsStr>; 6] =
            [&"pkey", &"-in", &private, &"-pubout", &"-out", &public];
        crate::run("openssl", &also);
    }
    (private, public)
}

/// Builds `examples/NAME` with variables of the environment into the directory `id`.
fn variant(name: &str, id: &str, environment: &[(&str, &str)]) -> Example {
    built(&root().join("examples").join(name), id, environment, || ())
}

/// Builds a description that `prepare` has made, once in a run of the tests.
fn built(
    description: &Path,
    id: &str,
    environment: &[(&str, &str)],
    prepare: impl FnOnce(),
) -> Example {
    let dir = shared().join(id);
    let lock = File::create(shared().join(format!("{id}.lock"))).unwrap();
    lock.lock().unwrap();
    let note = shared().join(format!("{id}.run"));
    let noted = std::fs::read_to_string(&note).unwrap_or_default();
    let said = match noted.split_once('\n') {
        Some((run, said)) if run == this_run() => said.to_owned(),
        _ => {
            prepare();
            let said = build(description, &dir, environment);
            std::fs::write(&note, format!("{}\n{said}", this_run())).unwrap();
            said
        }
    };
    assert!(
        said.starts_with(SUCCESS),
        "pipeline.sh {}: {said}",
        description.display()
    );
    read(&dir)
}

/// pipeline.sh with the tests' store.
pub(crate) fn pipeline(out: &Path) -> Command {
    let mut command = command(root().join("pipeline.sh"));
    command.env("RAMFORGE_STORE", store()).arg("-o").arg(out);
    command
}

fn build(description: &Path, dir: &Path, environment: &[(&str, &str)]) -> String {
    let made = make();
    if !made.starts_with(SUCCESS) {
        return made;
    }
    // Left over from another version, files would be judged that this one did not make.
    let _ = std::fs::remove_dir_all(dir);
    let output = pipeline(dir)
        .envs(environment.iter().copied())
        .arg(description)
        .output()
        .unwrap();
    format!("{}\n{}", output.status, text(&output))
}

/// The programs in target/release, as pipeline.sh takes them. RAMFORGE_BUILT says that the caller made them.
pub(crate) fn make() -> String {
    if std::env::var_os("RAMFORGE_BUILT").is_some() {
        return SUCCESS.to_owned();
    }
    let output = command("make")
        .arg("-C")
        .arg(root())
        .arg("build")
        .output()
        .unwrap();
    format!("{}\nmake build:\n{}", output.status, text(&output))
}

/// One word for this run of the tests: the same in all its processes, another one next time.
pub fn this_run() -> String {
    let nextest = std::env::var("NEXTEST_RUN_ID");
    nextest.unwrap_or_else(|_| {
        rustix::process::getppid()
            .map_or(0, |p| p.as_raw_nonzero().get())
            .to_string()
    })
}

fn read(dir: &Path) -> Example {
    let manifest = std::fs::read_to_string(dir.join("manifest.json")).unwrap();
    Example {
        dir: dir.to_owned(),
        iso: only(dir, ".install.iso"),
        raw: only(dir, ".raw"),
        packages: only(dir, ".packages"),
        lock: only(dir, ".lock.json"),
        manifest: serde_json::from_str(&manifest).unwrap(),
    }
}

fn only(dir: &Path, suffix: &str) -> PathBuf {
    let files = std::fs::read_dir(dir).unwrap().flatten().map(|e| e.path());
    let found: Vec<_> = files
        .filter(|p| p.to_string_lossy().ends_with(suffix))
        .collect();
    assert!(
        found.len() == 1,
        "one *{suffix} in {}: {found:?}",
        dir.display()
    );
    found[0].clone()
}
