//! Everything that is read besides the document: files of the description, the environment, options, programs of
//! the host, repositories. Which fields of which keys differ when it changes, and no others.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use pipeline_tests::program;

use crate::place::{Call, Place, archive};

/// One change of what is read.
pub struct Row {
    pub name: &'static str,
    /// Changes the description in this directory, the place, or how the programs are called.
    pub change: fn(&Place, &Path, &mut Call),
    pub expect: &'static [&'static str],
}

const fn row(
    name: &'static str,
    change: fn(&Place, &Path, &mut Call),
    expect: &'static [&'static str],
) -> Row {
    Row {
        name,
        change,
        expect,
    }
}

const NOTHING: &[&str] = &[];
const OVERLAY: &[&str] = &["rootfs-assemble plan.overlay"];
const KEYS: &[&str] = &["rootfs-assemble plan.repositories"];

// A table: one row a line.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("an overlay file's content", |_, dir, _| write(dir, "root/etc/motd", "goodbye\n"), OVERLAY),
    row("an overlay file's mode", |_, dir, _| chmod(dir, "root/etc/motd", 0o600), OVERLAY),
    row("an overlay directory's mode", |_, dir, _| chmod(dir, "root/etc", 0o700), OVERLAY),
    row("a new overlay file", |_, dir, _| write(dir, "root/etc/issue", "hello\n"), OVERLAY),
    row("a new overlay directory", |_, dir, _| fs::create_dir(dir.join("root/srv")).unwrap(), OVERLAY),
    row("an overlay file that is gone", |_, dir, _| fs::remove_file(dir.join("root/etc/motd")).unwrap(), OVERLAY),
    row("an overlay link's target", |_, dir, _| relink(dir, "root/etc/greeting", "issue"), OVERLAY),
    row("an overlay file's time", |_, dir, _| touch(dir, "root/etc/motd"), NOTHING),
    row("the time of everything", |_, dir, _| ["config.xml", "config.sh", "key.asc", "files.tar"].iter().for_each(|f| touch(dir, f)), NOTHING),
    row("a profile's own overlay", |_, dir, _| write(dir, "base/etc/base", "x"), OVERLAY),
    row("the overlay of a profile that is not in force", |_, dir, _| write(dir, "spare/etc/spare", "x"), NOTHING),
    row("an archive's content", |_, dir, _| archive(dir, "files.tar", "three"), OVERLAY),
    row("an archive that is not named", |_, dir, _| archive(dir, "others.tar", "three"), NOTHING),
    row("a single file's content", |_, dir, _| write(dir, "extra.txt", "more"), OVERLAY),
    row("config.sh", |_, dir, _| write(dir, "config.sh", "false"), &["rootfs-assemble plan.scripts.config"]),
    row("images.sh", |_, dir, _| write(dir, "images.sh", "false"), &["rootfs-assemble plan.scripts.images"]),
    row("config.sh that is gone", |_, dir, _| fs::remove_file(dir.join("config.sh")).unwrap(), &["rootfs-assemble plan.scripts.config"]),
    row("no script at all", no_scripts, &[
        "rootfs-assemble identity.network", "rootfs-assemble plan.profiles", "rootfs-assemble plan.scripts.config",
        "rootfs-assemble plan.scripts.images", "rootfs-assemble plan.version",
    ]),
    row("config.sh's mode", |_, dir, _| chmod(dir, "config.sh", 0o755), NOTHING),
    row("a signing key", |_, dir, _| { fs::copy(dir.join("key.gpg"), dir.join("key.asc")).unwrap(); }, KEYS),
    row("an included document", |_, dir, _| { fs::copy(dir.join("other.xml"), dir.join("more.xml")).unwrap(); }, &["rootfs-assemble plan.packages.image"]),
    row("a file that nothing names", |_, dir, _| write(dir, "README", "x"), NOTHING),

    row("SOURCE_DATE_EPOCH", |_, _, call| call.environment.push(("SOURCE_DATE_EPOCH", "1700000000".into())), &["rootfs-assemble plan.source_date_epoch"]),
    row("language, time zone and home", |_, _, call| call.environment.extend([("LC_ALL", "de_DE.UTF-8".into()), ("TZ", "Asia/Tokyo".into()), ("HOME", "/nowhere".into())]), NOTHING),
    row("the umask", |_, _, call| call.umask = Some("077"), NOTHING),
    row("the accelerator without --boot", |_, _, call| call.environment.push(("RAMFORGE_ACCEL", "kvm".into())), NOTHING),

    row("rootfs-assemble --as-root", |_, _, call| call.options = vec![("rootfs-assemble", "--as-root".into())], NOTHING),
    row("rootfs-assemble --offline, with scripts", |_, _, call| call.options = vec![("rootfs-assemble", "--offline".into())], &["rootfs-assemble identity.network"]),
    row("rootfs-assemble --lock", lock, &["rootfs-assemble identity.lock", "rootfs-assemble identity.metadata"]),
    row("initrd-inject --base", |_, _, call| call.options = vec![("initrd-inject", "--base native".into())], &["initrd-inject options.base"]),
    row("initrd-inject --public-key", |_, dir, call| call.options = vec![("initrd-inject", format!("--public-key {}", keys(dir).1))], &["initrd-inject options.public_key"]),
    row("iso-pack --sign", |_, dir, call| call.options = vec![("iso-pack", format!("--sign {}", keys(dir).0))], &["iso-pack options.sign"]),
    row("raw-image --level", |_, _, call| call.options = vec![("raw-image", "--level 3".into())], &["raw-image options.level"]),
    row("ram-check --ram", |_, _, call| call.options = vec![("ram-check", "--ram 4G".into())], &["ram-check options.ram"]),
    row("ram-check --leave", |_, _, call| call.options = vec![("ram-check", "--ram 4G --leave 1G".into())], &["ram-check options.leave", "ram-check options.ram"]),
    row("ram-check --here", |_, _, call| call.options = vec![("ram-check", "--here".into())], &["ram-check options.ram"]),
    row("ram-check --store", |_, _, call| call.options = vec![("ram-check", "--store zram".into())], &["ram-check options.store"]),
    row("ram-check --machines", machines, &["ram-check options.machines"]),
    row("ram-check --picture and --svg, which show what is recorded", |_, _, call| call.options = vec![("ram-check", "--picture --svg /dev/null".into())], NOTHING),
    row("ram-check --timeout and --firmware without --boot", |_, _, call| call.options = vec![("ram-check", "--timeout 5 --firmware uefi".into())], NOTHING),
    row("ram-check --boot", |_, _, call| call.options = vec![("ram-check", "--boot".into())], BOOT),
    row("ram-check --least", |_, _, call| call.options = vec![("ram-check", "--least".into())], LEAST),
    row("ram-check --boot --up and --login", boot_and_login, BOOT_AND_LOGIN),
    row("ram-check --measure", measure, MEASURE),
    row("rootfs-assemble: where the tree lives, how old metadata may be, where credentials are", |_, _, call| call.options = vec![("rootfs-assemble", "--build-tree disk --max-age 1 --auth /dev/null".into())], NOTHING),
    row("rootfs-assemble --refresh of what has not changed", |_, _, call| call.options = vec![("rootfs-assemble", "--refresh".into())], NOTHING),

    row("desc-parse --profile", |_, _, call| call.arguments = &["--profile", "base", "--profile", "amd", "--profile", "more"], &["rootfs-assemble plan.profiles"]),
    row("desc-parse --type and --target-arch of what it is anyway", |_, _, call| call.arguments = &["--type", "oem", "--target-arch", "x86_64"], NOTHING),
    row("desc-parse --set-repo", |_, _, call| call.arguments = &["--set-repo", "@REPOSITORY@,apt-deb,set,5,true,,,main,testing"], SOURCES),
    row("desc-parse --add-repo", |_, _, call| call.arguments = &["--add-repo", "@REPOSITORY@,apt-deb,added,,,,,,,false"], SOURCES),
    row("desc-parse --ignore-repos", |_, _, call| call.arguments = &["--ignore-repos", "--add-repo", "@REPOSITORY@,apt-deb,added,,,,,,,false"], SOURCES),
    row("desc-parse --ignore-repos-used-for-build", |_, _, call| call.arguments = &["--ignore-repos-used-for-build", "--add-repo", "@REPOSITORY@,apt-deb,added,,,,,,,false"], SOURCES),
    row("desc-parse --add-package", |_, _, call| call.arguments = &["--add-package", "vim"], &["rootfs-assemble plan.packages.image"]),
    row("desc-parse --add-bootstrap-package", |_, _, call| call.arguments = &["--add-bootstrap-package", "vim"], &["rootfs-assemble plan.packages.bootstrap"]),
    row("desc-parse --delete-package", |_, _, call| call.arguments = &["--delete-package", "vim"], &["rootfs-assemble plan.packages.uninstall"]),
    row("desc-parse --set-release-version", |_, _, call| call.arguments = &["--set-release-version", "13"], NOTHING),
    row("desc-parse --set-type-attr", |_, _, call| call.arguments = &["--set-type-attr", "rootfs_label=OTHER"], &["raw-image plan.disk.root_label"]),
    row("desc-parse --signing-key", |_, dir, call| { fs::copy(dir.join("key.gpg"), dir.join("more.gpg")).unwrap(); call.arguments = &["--signing-key", "@DESCRIPTION@/more.gpg"]; }, KEYS),
    row("desc-parse: how it speaks", |_, _, call| call.arguments = &["--explain-plan", "--message-format", "json"], NOTHING),

    row("the host's grub-mkimage", |place, _, call| disguise(place, call, "grub-mkimage"), &["iso-pack tools.grub-mkimage", "raw-image tools.grub-mkimage"]),
    row("the host's apt-get", |place, _, call| disguise(place, call, "apt-get"), &["rootfs-assemble tools.apt-get"]),
    row("the host's apt-config", |place, _, call| disguise(place, call, "apt-config"), &["rootfs-assemble tools.apt-config"]),
    row("a program that no stage runs", |place, _, call| disguise(place, call, "tar"), NOTHING),
];

/// Options that ask for something else than a plan or a section, or that write the description.
pub const NO_INPUT: &[&str] = &[
    "--manifest",
    "--key",
    "--help",
    "--version",
    "--explain",
    "--fix",
];

const SOURCES: &[&str] = &[
    "rootfs-assemble plan.repositories",
    "rootfs-assemble identity.metadata",
];

const BOOT: &[&str] = &[
    "ram-check identity.accelerator",
    "ram-check identity.firmware",
    "ram-check media.iso",
    "ram-check options.boot",
    "ram-check options.firmware",
    "ram-check options.timeout",
    "ram-check options.up",
    "ram-check tools.qemu-system-x86_64",
    "ram-check tools.setpriv",
];

const BOOT_AND_LOGIN: &[&str] = &[
    "ram-check identity.accelerator",
    "ram-check identity.firmware",
    "ram-check media.iso",
    "ram-check options.boot",
    "ram-check options.firmware",
    "ram-check options.login",
    "ram-check options.timeout",
    "ram-check options.up",
    "ram-check tools.qemu-system-x86_64",
    "ram-check tools.setpriv",
];

const LEAST: &[&str] = &[
    "ram-check identity.accelerator",
    "ram-check identity.firmware",
    "ram-check media.iso",
    "ram-check options.firmware",
    "ram-check options.least",
    "ram-check options.timeout",
    "ram-check options.up",
    "ram-check tools.qemu-system-x86_64",
    "ram-check tools.setpriv",
];

const MEASURE: &[&str] = &[
    "ram-check identity.accelerator",
    "ram-check identity.firmware",
    "ram-check media.iso",
    "ram-check options.firmware",
    "ram-check options.login",
    "ram-check options.measure",
    "ram-check options.timeout",
    "ram-check options.up",
    "ram-check tools.qemu-system-x86_64",
    "ram-check tools.setpriv",
];

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn chmod(dir: &Path, name: &str, mode: u32) {
    fs::set_permissions(dir.join(name), Permissions::from_mode(mode)).unwrap();
}

fn relink(dir: &Path, name: &str, target: &str) {
    fs::remove_file(dir.join(name)).unwrap();
    symlink(target, dir.join(name)).unwrap();
}

fn touch(dir: &Path, name: &str) {
    let file = fs::File::options()
        .write(true)
        .open(dir.join(name))
        .unwrap();
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    file.set_modified(time).unwrap();
}

/// A private key and its public one, as files that the description does not name.
fn keys(dir: &Path) -> (String, String) {
    let path = |name: &str| dir.join(name).display().to_string();
    let (private, public) = (path("private.pem"), path("public.pem"));
    let words: [&[&str]; 2] = [
        &["genpkey", "-algorithm", "ed25519", "-out", &private],
        &["pkey", "-in", &private, "-pubout", "-out", &public],
    ];
    for arguments in words {
        let arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = arguments
            .iter()
            .map(|a| a as &dyn AsRef<std::ffi::OsStr>)
            .collect();
        pipeline_tests::run("openssl", &arguments);
    }
    (private, public)
}

/// A lock of no package at all for what the description asks for.
fn lock(place: &Place, _: &Path, call: &mut Call) {
    let names = |names: &[&str]| {
        let package = |name: &&str| manifest::Package {
            name: (*name).to_owned(),
        };
        names.iter().map(package).collect()
    };
    let packages = manifest::Packages {
        bootstrap: names(&["ca-certificates"]),
        image: names(&["dracut", "linux-image-amd64", "systemd-sysv"]),
        ..manifest::Packages::default()
    };
    let lock = manifest::Lock::new("x86_64", &packages, &[]);
    let file = place.path("lock.json");
    fs::write(&file, manifest::to_canonical(&lock).unwrap()).unwrap();
    call.options = vec![("rootfs-assemble", format!("--lock {}", file.display()))];
}

/// A list of machines, which the description does not name.
fn machines(place: &Place, _: &Path, call: &mut Call) {
    let file = place.path("machines");
    fs::write(&file, "kiosk 4G 1G\n").unwrap();
    call.options = vec![("ram-check", format!("--machines {}", file.display()))];
}

/// Somebody who logs in; the name alone is in the key.
fn boot_and_login(place: &Place, _: &Path, call: &mut Call) {
    with_login(place, call, "--boot --up target:multi-user");
}

fn measure(place: &Place, _: &Path, call: &mut Call) {
    with_login(place, call, "--measure");
}

fn with_login(place: &Place, call: &mut Call, options: &str) {
    let file = place.path("login");
    fs::write(&file, "root:linux\n").unwrap();
    let options = format!("{options} --login {}", file.display());
    call.options = vec![("ram-check", options)];
}

fn no_scripts(_: &Place, dir: &Path, _: &mut Call) {
    for name in ["config.sh", "images.sh"] {
        fs::remove_file(dir.join(name)).unwrap();
    }
}

/// Puts another program of the same name before the host's own in `$PATH`.
fn disguise(place: &Place, call: &mut Call, name: &str) {
    let bin = place.path(&format!("bin-{name}"));
    fs::create_dir_all(&bin).unwrap();
    let text = format!("#!/bin/sh\nexec {} \"$@\"\n", program(name).display());
    write(&bin, name, &text);
    chmod(&bin, name, 0o755);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    call.environment.push(("PATH", path));
}
