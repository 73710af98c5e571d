//! Every field of a key that a description, a file, an option or a program can change, changed in a real build:
//! exactly these parts of these stages are made again, everything else comes from the store.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use journal::Event;
use manifest::Lock;
use pipeline_tests::{command, example, packages_only, program, root, run, scratch, text};
use serde_json::Value;
use tempfile::TempDir;

use crate::page;
use crate::place::STAGES;

/// A field changed in the description `examples/debian-vm`, and what is made again.
pub struct Row {
    /// The fields of keys: `STAGE FIELD`, as in [`crate::fields`].
    pub of: &'static [&'static str],
    pub change: Change,
    /// Stage and the parts of it that are made again. A stage that is not here finds its result in the store.
    pub again: &'static [(&'static str, &'static [&'static str])],
    /// Words that `ramforge why` says.
    pub why: &'static str,
}

/// What is changed.
pub enum Change {
    /// Text of `config.xml` that stands there once, and its replacement.
    Text(&'static str, &'static str),
    /// A file of the description, and its content.
    File(&'static str, &'static str),
    /// A file of the description, and what stands at its end.
    Append(&'static str, &'static str),
    /// A variable.
    Variable(&'static str, &'static str),
    /// Options of a stage.
    Option(&'static str, &'static str),
    /// A program of the host.
    Program(&'static str),
}

use Change::{Append, File, Option, Program, Text, Variable};

const ROOTFS: &str = "rootfs-assemble";
const RAW: &str = "raw-image";
const INITRD: &str = "initrd-inject";
const ISO: &str = "iso-pack";
const CHECK: &str = "ram-check";

/// What another tree or disk leads to behind it. GRUB's first act is to look for this medium by its id.
const MEDIUM: (&str, &[&str]) = (ISO, &["grub-i386-pc-eltorito", "grub-x86_64-efi"]);
const DISK: (&str, &[&str]) = (RAW, &["file system"]);
/// Another UUID of the root, which the disk's initramfs names.
const ANOTHER_DISK: (&str, &[&str]) = (RAW, &["segment", "file system"]);
/// The same disk with the root as EROFS, too.
const EROFS: (&str, &[&str]) = (RAW, &["file system", "erofs"]);
const SEGMENT: (&str, &[&str]) = (INITRD, &["zram"]);
/// What changes nothing but the configuration in the initrd.
const CONFIGURATION: (&str, &[&str]) = (INITRD, &[]);
const SIZES: (&str, &[&str]) = (CHECK, &[]);
/// Sizes may be the same or not: one page of a file, one digit of a number.
const PERHAPS: (&str, &[&str]) = (CHECK, &[OR_NOT]);
/// Stands among the parts of a stage that may as well find its result in the store.
pub const OR_NOT: &str = "or not";

const fn row(
    of: &'static [&'static str],
    change: Change,
    again: &'static [(&'static str, &'static [&'static str])],
    why: &'static str,
) -> Row {
    Row {
        of,
        change,
        again,
        why,
    }
}

/// What needs no other packages.
// A table: one row a line.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(&["iso-pack plan.bootloader.timeout"], Text("timeout=\"1\"", "timeout=\"5\""), &[(ISO, &[])],
        "iso-pack ran again: the boot menu's timeout was 1, is 5 (config.xml:16:47)"),
    row(&["iso-pack plan.bootloader.console"], Text("output_console=\"console serial\"", "output_console=\"serial\""), &[(ISO, &[])],
        "the boot menu's console was"),
    row(&["iso-pack plan.bootloader.serial_line"], Text("timeout=\"1\"", "timeout=\"1\" serial_line=\"serial --unit=1\""), &[(ISO, &[])],
        "the boot menu's serial line was not set, is \"serial --unit=1\""),
    row(&["iso-pack plan.bootloader.title"], Text("Debian in RAM", "Debian"), &[(ISO, &[])],
        "the boot menu's title was \"Debian in RAM\", is \"Debian\""),
    row(&["iso-pack plan.type.installboot"], Text("installboot=\"install\"", "installboot=\"failsafe-install\""), &[(ISO, &[])],
        "the boot menu's preselected entry was"),
    row(&["initrd-inject plan.type.installpxe", "iso-pack plan.type.installpxe"], Text("initrd_system", "installpxe=\"true\" initrd_system"),
        &[(INITRD, &["segment"]), (ISO, &["grub-i386-pc-pxe", "grub-x86_64-efi-net"]), SIZES],
        "whether a network boot set is wanted (installpxe) was no, is yes"),
    row(&["initrd-inject plan.type.volid", "iso-pack plan.type.volid"], Text("initrd_system", "volid=\"KEYBOOT\" initrd_system"), &[CONFIGURATION, (ISO, &[]), PERHAPS],
        "initrd-inject ran again: the volume id was \"INSTALL\", is \"KEYBOOT\""),
    row(&["initrd-inject plan.ramdisk.size_kib", "iso-pack plan.ramdisk.size_kib", "ram-check plan.ramdisk.size_kib"],
        Text("kernelcmdline=\"rd.kiwi.ramdisk ramdisk_size=2048000", "kernelcmdline=\"rd.kiwi.ramdisk ramdisk_size=3048000"), &[CONFIGURATION, (ISO, &[]), SIZES],
        "the RAM disk's size in KiB was 2048000, is 3048000"),
    row(&["initrd-inject plan.ramdisk.device"], Text("/dev/ram1</", "/dev/ram2</"), &[CONFIGURATION, (ISO, &[]), PERHAPS],
        "the RAM disk's device was \"/dev/ram1\", is \"/dev/ram2\""),
    row(&["raw-image plan.disk.resize", "raw-image identity.ram-deploy", "initrd-inject plan.oem.resize", "ram-check plan.oem.resize"],
        Text("<oemconfig>", "<oemconfig><oem-resize>false</oem-resize>"), &[DISK, SEGMENT, MEDIUM, SIZES],
        "growing of the root (oem-resize) was yes, is no"),
    row(&["initrd-inject plan.oem.unattended"], Text("<oem-unattended>true", "<oem-unattended>false"), &[CONFIGURATION, (ISO, &[]), PERHAPS],
        "oem-unattended was yes, is no"),
    row(&["initrd-inject plan.oem.skip_verify"], Text("<oem-skip-verify>true", "<oem-skip-verify>false"), &[CONFIGURATION, (ISO, &[]), PERHAPS],
        "oem-skip-verify was yes, is no"),
    row(&["raw-image plan.disk.root_label"], Text("initrd_system", "rootfs_label=\"KEYS\" initrd_system"), &[DISK, SEGMENT, MEDIUM, PERHAPS],
        "the root's label was \"ROOT\", is \"KEYS\""),
    // The file system lies elsewhere and is the same.
    row(&["raw-image plan.disk.efi_mib"], Text("initrd_system", "efipartsize=\"40\" initrd_system"), &[(RAW, &[]), SEGMENT, MEDIUM, PERHAPS],
        "the ESP's size in MiB was 20, is 40"),
    row(&["raw-image plan.disk.size.value", "raw-image plan.disk.size.unit", "raw-image plan.disk.size.additive"],
        Text("<oemconfig>", "<size additive=\"true\">64</size><oemconfig>"), &[DISK, SEGMENT, MEDIUM, SIZES],
        "the disk's size was not set"),
    row(&["raw-image plan.kernelcmdline", "iso-pack plan.kernelcmdline"], Text("console=tty0 ", "console=tty0 quiet "), &[DISK, SEGMENT, MEDIUM, PERHAPS],
        "the kernel command line was"),
    row(&["raw-image plan.kernelcmdline", "iso-pack plan.kernelcmdline"],
        Text("kernelcmdline=\"rd.kiwi.ramdisk ", "kernelcmdline=\"rd.kiwi.ramdisk rd.ramforge.store=erofs "), &[EROFS, (INITRD, &["zram", "segment"]), MEDIUM, SIZES],
        "the kernel command line was"),
    row(&["raw-image options.level"], Option(RAW, "--level 3"), &[DISK, SEGMENT, MEDIUM, PERHAPS],
        "the option --level was 5, is 3"),
    row(&["initrd-inject options.base"], Option(INITRD, "--base native"), &[(INITRD, &["segment"]), (ISO, &[]), SIZES],
        "the option --base was not set, is \"native\""),
    row(&["ram-check options.ram"], Option(CHECK, "--ram 4G"), &[SIZES],
        "the option --ram was not set, is 4096"),
    row(&["ram-check options.leave", "ram-check options.ram"], Option(CHECK, "--ram 4G --leave 1G"), &[SIZES],
        "the option --leave was not set, is 1024"),
    row(&["ram-check options.store"], Option(CHECK, "--store zram"), &[SIZES],
        "the option --store was not set, is \"zram\""),
    row(&["raw-image tools.grub-mkimage", "iso-pack tools.grub-mkimage"], Program("grub-mkimage"), &[(RAW, &["grub-i386-pc", "grub-x86_64-efi"]), MEDIUM],
        "the host's program grub-mkimage changed"),

    row(&["rootfs-assemble plan.overlay"], File("root/etc/motd", "hello\n"), &[(ROOTFS, &["tree"]), DISK, SEGMENT, MEDIUM, PERHAPS],
        "rootfs-assemble ran again: the overlay file etc/motd is new"),
    row(&["rootfs-assemble plan.name", "raw-image plan.name", "iso-pack plan.name"], Text("name=\"debian-vm\"", "name=\"debian-kex\""), &[(ROOTFS, &["tree"]), ANOTHER_DISK, SEGMENT, MEDIUM, PERHAPS],
        "the image's name was \"debian-vm\", is \"debian-kex\""),
    row(&["rootfs-assemble plan.version", "raw-image plan.version", "iso-pack plan.version"], Text("1.0.0", "1.0.1"), &[(ROOTFS, &["tree"]), ANOTHER_DISK, SEGMENT, MEDIUM, PERHAPS],
        "the image's version was \"1.0.0\", is \"1.0.1\""),
    row(&["rootfs-assemble plan.profiles"], Text("<preferences>", "<profiles><profile name=\"p\" description=\"x\" import=\"true\"/></profiles><preferences>"), &[(ROOTFS, &["tree"])],
        "profile p is new"),
    row(&["rootfs-assemble plan.scripts.config"], Append("config.sh", "# The same again.\n"), &[(ROOTFS, &["tree"])],
        "config.sh changed"),
    row(&["rootfs-assemble plan.scripts.images"], File("images.sh", "#!/bin/sh\ntrue\n"), &[(ROOTFS, &["tree"])],
        "images.sh is new"),
    row(&["rootfs-assemble plan.users"], Text("$6$ramforge$uVEJ", "$6$ramforge$vVEJ"), &[(ROOTFS, &["tree"]), DISK, SEGMENT, MEDIUM, PERHAPS],
        "the password of account root changed"),
    // dracut is not run again for the same files with another name of their source.
    row(&["rootfs-assemble plan.repositories"], Text("repository type", "repository alias=\"other\" type"), &[(ROOTFS, &["resolve"])],
        "repository other is new"),
    row(&["rootfs-assemble plan.packages.bootstrap"], Text("<package name=\"ca-certificates\"/>", "<package name=\"ca-certificates\"/><package name=\"apt\"/>"), &[(ROOTFS, &["resolve"])],
        "bootstrap package apt is new"),
    row(&["rootfs-assemble tools.apt-get"], Program("apt-get"), &[(ROOTFS, &["resolve"])],
        "the host's program apt-get changed"),
    row(&["rootfs-assemble tools.apt-config"], Program("apt-config"), &[(ROOTFS, &[])],
        "the host's program apt-config changed"),
    // What scripts made with a network serves a build without one.
    row(&["rootfs-assemble identity.network"], Option("rootfs-assemble", "--offline"), &[(ROOTFS, &[])],
        "whether scripts have a network was yes, is no"),
];

/// What needs the initramfs anew, or all packages: the dear ones. Only the tree is made: [`ROWS`] show what lies
/// behind it.
// A table: one row a line.
#[rustfmt::skip]
pub const DEAR: &[Row] = &[
    row(&["rootfs-assemble plan.overlay"], File("root/etc/dracut.conf.d/keys.conf", "add_drivers+=\" dummy \"\n"), &[(ROOTFS, &["tree", "initramfs"]), DISK, (INITRD, &["base", "zram"]), MEDIUM, PERHAPS],
        "the overlay file etc/dracut.conf.d/keys.conf is new"),
    row(&["rootfs-assemble plan.locale"], Text("<keytable>", "<locale>POSIX</locale><keytable>"), &[(ROOTFS, &["tree", "initramfs"])],
        "the locale was not set, is \"POSIX\""),
    row(&["rootfs-assemble plan.keytable"], Text(">us<", ">de<"), &[(ROOTFS, &["tree", "initramfs"])],
        "the keymap was \"us\", is \"de\""),
    row(&["rootfs-assemble plan.timezone"], Text(">UTC<", ">Asia/Tokyo<"), &[(ROOTFS, &["tree", "initramfs"])],
        "the time zone was \"UTC\", is \"Asia/Tokyo\""),
    row(&["rootfs-assemble plan.packages.delete"], Text("<packages type=\"bootstrap\">", "<packages type=\"delete\"><package name=\"tzdata\"/></packages><packages type=\"bootstrap\">"), &[(ROOTFS, &["tree", "initramfs"])],
        "package to delete tzdata is new"),
    row(&["rootfs-assemble plan.packages.uninstall"], Text("<packages type=\"bootstrap\">", "<packages type=\"uninstall\"><package name=\"iproute2\"/></packages><packages type=\"bootstrap\">"), &[(ROOTFS, &["tree", "initramfs"])],
        "package to uninstall iproute2 is new"),
    row(&["rootfs-assemble plan.packages.image"], Text("<package name=\"zstd\"/>", "<package name=\"zstd\"/><package name=\"nano\"/>"), &[(ROOTFS, &["resolve", "fetch", "tree", "base tree", "initramfs"])],
        "base tree                made again: 1 package is new: nano"),
    row(&["rootfs-assemble plan.source_date_epoch"], Variable("SOURCE_DATE_EPOCH", "1700000000"), &[(ROOTFS, &["tree", "base tree", "initramfs"])],
        "SOURCE_DATE_EPOCH was not set, is 1700000000"),
];

/// Fields that no row changes in a build.
pub const NOT_BUILT: &[(&str, &str)] = &[
    ("rootfs-assemble identity.lock", "lock.rs"),
    (
        "rootfs-assemble plan.arch",
        "the machine must be able to run the programs of the tree",
    ),
    ("raw-image plan.arch", "one architecture is supported"),
    ("iso-pack plan.arch", "one architecture is supported"),
    (
        "rootfs-assemble plan.package_manager",
        "one package manager is supported",
    ),
    (
        "iso-pack plan.bootloader.name",
        "one boot loader is supported",
    ),
    (
        "rootfs-assemble identity.metadata",
        "the repositories of the example belong to somebody else; bins/rootfs-assemble/tests/sources.rs",
    ),
    (
        "initrd-inject options.public_key",
        "a key is a file of the host; inputs.rs and media.rs",
    ),
    (
        "iso-pack options.sign",
        "a key is a file of the host; inputs.rs and media.rs",
    ),
    (
        "ram-check options.machines",
        "a list is a file of the host; inputs.rs and pipeline.rs",
    ),
    ("ram-check options.least", "a boot takes minutes; boot.rs"),
    ("ram-check options.login", "a boot takes minutes; boot.rs"),
    ("ram-check options.measure", "a boot takes minutes; boot.rs"),
    ("ram-check options.up", "a boot takes minutes; boot.rs"),
    ("ram-check options.boot", "a boot takes minutes; boot.rs"),
    (
        "ram-check options.firmware",
        "a boot takes minutes; boot.rs",
    ),
    ("ram-check options.timeout", "a boot takes minutes; boot.rs"),
    (
        "ram-check identity.accelerator",
        "a boot takes minutes; boot.rs",
    ),
    (
        "ram-check identity.firmware",
        "a boot takes minutes; boot.rs",
    ),
    ("ram-check media.iso", "a boot takes minutes; boot.rs"),
    (
        "ram-check tools.qemu-system-x86_64",
        "a boot takes minutes; boot.rs",
    ),
    ("ram-check tools.setpriv", "a boot takes minutes; boot.rs"),
];

/// A build of the example in a store of its own: it finds the packages there, and nothing that other tests have made.
pub struct Build {
    dir: TempDir,
    /// What the keys of parts were made of so far.
    pub fields: page::Fields,
}

/// What a build did: for every stage its parts that were made again, or `None` where its result was in the store.
pub type Done = Vec<(String, std::option::Option<Vec<String>>)>;

impl Build {
    pub fn new() -> Self {
        let lock = Lock::parse(&fs::read(example("debian-vm").lock).unwrap()).unwrap();
        let dir = scratch();
        packages_only(&lock, &dir.path().join("store"));
        let mut build = Self {
            dir,
            fields: page::Fields::new(),
        };
        build.run(None, STAGES.len());
        // So that there is something to compare with, and to see that nothing is left to do.
        let done = build.run(None, STAGES.len());
        assert!(done.iter().all(|(_, parts)| parts.is_none()), "{done:?}");
        build
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Builds the example with a change, through this many stages that read a manifest.
    pub fn run(&mut self, change: std::option::Option<&Change>, stages: usize) -> Done {
        let description = self.path("description");
        let _ = fs::remove_dir_all(&description);
        run(
            "cp",
            &[&"-a", &root().join("examples/debian-vm"), &description],
        );
        let mut path = std::env::var("PATH").unwrap();
        match change {
            Some(Text(from, to)) => replace(&description.join("config.xml"), from, to),
            Some(File(name, text)) => {
                let path = description.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Some(Append(name, more)) => {
                let text = fs::read_to_string(description.join(name)).unwrap() + more;
                fs::write(description.join(name), text).unwrap();
            }
            Some(Program(name)) => {
                path = format!("{}:{path}", self.disguise(name).display());
            }
            Some(Variable(..) | Option(..)) | None => {}
        }
        let id = self.ramforge(&["start-run", "keys"]);
        let id = id.trim();
        let mut manifest = None;
        for stage in ["desc-parse"].iter().chain(&STAGES[..stages]) {
            let mut program = self.program(stage, id);
            program.env("PATH", &path);
            match change {
                Some(Variable(name, value)) => drop(program.env(name, value)),
                Some(Option(of, words)) if of == stage => drop(program.args(words.split(' '))),
                _ => {}
            }
            match &manifest {
                None => program.arg(&description),
                Some(file) => program.arg("--manifest").arg(file),
            };
            let output = program.output().unwrap();
            assert!(output.status.success(), "{stage}: {}", text(&output));
            let file = self.path(&format!("{stage}.json"));
            fs::write(&file, output.stdout).unwrap();
            manifest = Some(file);
        }
        self.done(id)
    }

    /// What the journal of a run says was done.
    fn done(&mut self, id: &str) -> Done {
        let lines = journal::read(&self.path(&format!("store/journal/{id}.jsonl"))).unwrap();
        let mut done: Done = Vec::new();
        let mut keys = Vec::new();
        for event in lines.into_iter().map(|line| line.event) {
            let parts = done.last_mut().map(|stage| &mut stage.1);
            match (event, parts) {
                (Event::StageStarted { stage, .. }, _) if stage != "desc-parse" => {
                    done.push((stage, Some(Vec::new())));
                    keys.clear();
                }
                (Event::CacheHit { part: None, .. }, Some(parts)) => *parts = None,
                (
                    Event::PartStarted {
                        stage,
                        part,
                        key,
                        facts,
                    },
                    Some(Some(parts)),
                ) => {
                    self.has_words(&format!("{stage}/{part}"), &facts);
                    keys.push((key, part.clone()));
                    parts.push(part);
                }
                (
                    Event::CacheHit {
                        key,
                        part: Some(part),
                        ..
                    },
                    Some(Some(parts)),
                ) => {
                    assert!(keys.contains(&(key, part.clone())), "{part} was not begun");
                    parts.retain(|p| *p != part);
                }
                (Event::PartFinished { part, .. }, Some(Some(parts))) if part == "fetch" => {
                    parts.push(part)
                }
                _ => {}
            }
        }
        done
    }

    /// Every field of a part's key has a word for `ramforge why`.
    fn has_words(&mut self, place: &str, facts: &manifest::Object) {
        let store = store::Store::open(&self.path("store")).unwrap();
        let facts: Value = serde_json::from_slice(&store.get(facts).unwrap()).unwrap();
        let of_part = self.fields.entry(place.to_owned()).or_default();
        of_part.extend(page::names(&facts));
        let unnamed = why::unnamed(place, &facts);
        assert!(unnamed.is_empty(), "{place}: no word for {unnamed:?}");
    }

    /// What `ramforge why` says of the last run.
    pub fn why(&self) -> String {
        self.ramforge(&["why"])
    }

    fn ramforge(&self, arguments: &[&str]) -> String {
        let output = self
            .program("ramforge", "")
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    }

    fn program(&self, name: &str, id: &str) -> Command {
        let mut program = command(root().join("target/release").join(name));
        program.env("RAMFORGE_STORE", self.path("store"));
        if !id.is_empty() {
            program.env("RAMFORGE_RUN", id);
        }
        program
    }

    /// A directory with another program of the same name.
    fn disguise(&self, name: &str) -> PathBuf {
        let bin = self.path(&format!("bin-{name}"));
        fs::create_dir_all(&bin).unwrap();
        let script = format!("#!/bin/sh\nexec {} \"$@\"\n", program(name).display());
        fs::write(bin.join(name), script).unwrap();
        run("chmod", &[&"755", &bin.join(name)]);
        bin
    }
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert_eq!(
        text.matches(from).count(),
        1,
        "{from:?} in {}",
        file.display()
    );
    fs::write(file, text.replace(from, to)).unwrap();
}
