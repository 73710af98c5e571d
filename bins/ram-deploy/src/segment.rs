//! What a segment appended to a dracut initramfs contains.
//!
//! Files only in directories of their own or where dracut looks for additions; a base with `/bin` as a
//! symbolic link keeps it, because nothing goes below `/bin`, `/lib` or `/sbin` unless the base has
//! real directories there.
//!
//! *Not here:* how the archive is compressed.

use std::collections::BTreeMap;

use image::cpio::{Meta, Writer};

use crate::config::{self, Config, GrowConfig, ModuleList};

/// Links by which a root in a RAM disk is found.
pub const UDEV_RULES: &str = include_str!("../initramfs/59-ramforge.rules");

const UNIT: &str = include_str!("../initramfs/ram-deploy.service");
const SYSROOT: &str = include_str!("../initramfs/sysroot.mount");
const CMDLINE: &str = include_str!("../initramfs/cmdline.sh");
const INITQUEUE: &str = include_str!("../initramfs/initqueue.sh");
const FINISHED: &str = include_str!("../initramfs/finished.sh");
const GROW: &str = include_str!("../initramfs/grow.sh");
/// The program, without the leading slash.
const PROGRAM: &str = "usr/bin/ram-deploy";
const UNITS: &str = "etc/systemd/system";

/// One entry of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A directory, 0755.
    Dir,
    /// A file, 0644.
    File(Vec<u8>),
    /// A program or script, 0755.
    Program(Vec<u8>),
    /// A symbolic link and its target.
    Link(String),
}

/// Entries by path without the leading slash, parents before children.
pub type Items = BTreeMap<String, Item>;

/// The segment that deploys: `program` is the static `ram-deploy`, `modules` the files of the modules
/// that `list` names and the base does not have. `hooks` is dracut's directory of hooks in the base,
/// `usr/lib/dracut/hooks` or `lib/dracut/hooks`. It is the same for every image with that base.
pub fn deploy(
    program: Vec<u8>,
    list: &ModuleList,
    modules: Vec<(String, Vec<u8>)>,
    hooks: &str,
) -> manifest::Result<Items> {
    let mut items = Items::new();
    let mut file = |path: String, bytes: &[u8]| items.insert(path, Item::File(bytes.to_vec()));
    file(
        config::MODULES_FILE.into(),
        manifest::to_canonical(list)?.as_bytes(),
    );
    file(format!("{UNITS}/ram-deploy.service"), UNIT.as_bytes());
    file(format!("{UNITS}/sysroot.mount"), SYSROOT.as_bytes());
    file(
        "etc/udev/rules.d/59-ramforge.rules".into(),
        UDEV_RULES.as_bytes(),
    );
    for (path, bytes) in modules {
        items.insert(path, Item::File(bytes));
    }
    let wanted = format!("{UNITS}/initrd.target.wants/ram-deploy.service");
    items.insert(wanted, Item::Link("../ram-deploy.service".into()));
    let required = format!("{UNITS}/initrd-root-fs.target.requires/sysroot.mount");
    items.insert(required, Item::Link("../sysroot.mount".into()));
    let mut script = |path: String, text: &str| items.insert(path, Item::Program(text.into()));
    script(format!("{hooks}/cmdline/95-ram-deploy.sh"), CMDLINE);
    script(format!("{hooks}/initqueue/00-ram-deploy.sh"), INITQUEUE);
    script(
        format!("{hooks}/initqueue/finished/ram-deploy.sh"),
        FINISHED,
    );
    items.insert(PROGRAM.into(), Item::Program(program));
    Ok(with_parents(items))
}

/// An initramfs of its own, without dracut: `program` is its `/init`. The rest as for [`deploy`].
pub fn native(
    program: Vec<u8>,
    list: &ModuleList,
    modules: Vec<(String, Vec<u8>)>,
) -> manifest::Result<Items> {
    let mut items: Items = ["dev", "proc", "run", "sys", "sysroot"]
        .map(|name| (name.to_owned(), Item::Dir))
        .into();
    let text = manifest::to_canonical(list)?;
    items.insert(config::MODULES_FILE.into(), Item::File(text.into()));
    for (path, bytes) in modules {
        items.insert(path, Item::File(bytes));
    }
    items.insert("init".into(), Item::Program(program));
    Ok(with_parents(items))
}

/// The segment that says what is to be deployed: the part that differs from image to image.
pub fn configuration(config: &Config) -> manifest::Result<Items> {
    let text = manifest::to_canonical(config)?;
    let sum = config::sum(text.as_bytes());
    Ok(with_parents(Items::from([
        (config::DEPLOY_FILE.to_owned(), Item::File(text.into())),
        (config::SUM_FILE.to_owned(), Item::File(sum.into())),
    ])))
}

/// The same for a disk that the image is written to by hand, where `ram-deploy` is `/init`.
pub fn disk_configuration(config: &GrowConfig) -> manifest::Result<Items> {
    let text = manifest::to_canonical(config)?;
    let file = (config::GROW_FILE.to_owned(), Item::File(text.into()));
    Ok(with_parents(Items::from([file])))
}

/// The segment for the initramfs of a disk that the image is written to by hand.
pub fn grow(program: Vec<u8>, config: &GrowConfig, hooks: &str) -> manifest::Result<Items> {
    let mut items = Items::new();
    let text = manifest::to_canonical(config)?;
    items.insert(config::GROW_FILE.into(), Item::File(text.into()));
    items.insert(
        format!("{hooks}/pre-mount/10-ram-deploy-grow.sh"),
        Item::Program(GROW.into()),
    );
    items.insert(PROGRAM.into(), Item::Program(program));
    Ok(with_parents(items))
}

/// Where the file of a carried module lies in the initramfs.
pub fn module_path(name: &str) -> String {
    format!("{}/{name}.ko", config::MODULES_DIR)
}

fn with_parents(mut items: Items) -> Items {
    let parents: Vec<String> = items
        .keys()
        .flat_map(|path| path.match_indices('/').map(|(i, _)| path[..i].to_owned()))
        .collect();
    items.extend(parents.into_iter().map(|path| (path, Item::Dir)));
    items
}

/// The items as one uncompressed archive; every time stamp is `mtime`, seconds since 1970 UTC.
///
/// # Errors
/// Those of the writer.
pub fn archive(items: &Items, mtime: u64) -> image::Result<Vec<u8>> {
    let mtime = u32::try_from(mtime).unwrap_or(u32::MAX);
    let mut writer = Writer::new(Vec::new(), mtime);
    for (path, item) in items {
        match item {
            Item::Dir => writer.directory(path, Meta::root(0o755))?,
            Item::File(bytes) => writer.file(path, Meta::root(0o644), bytes)?,
            Item::Program(bytes) => writer.file(path, Meta::root(0o755), bytes)?,
            Item::Link(target) => writer.symlink(path, target)?,
        }
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn segment() -> Vec<u8> {
        let modules = vec![(module_path("brd"), b"module".to_vec())];
        let list = ModuleList::default();
        let hooks = "usr/lib/dracut/hooks";
        let items = deploy(b"program".to_vec(), &list, modules, hooks).unwrap();
        archive(&items, 7).unwrap()
    }

    fn config() -> Config {
        Config {
            format: config::FORMAT,
            volume_id: "INSTALL".into(),
            map: manifest::Object::of(b"map"),
            image_size: 512,
            data_bytes: 512,
            root_offset: 0,
            root_size: 512,
            zram_bytes: 512,
            entries: 1,
            root_uuid: "u".into(),
            store: config::RamStore::Brd {
                device: "/dev/ram1".into(),
                size_kib: None,
            },
            erofs: None,
            resize: true,
            ask: false,
            read_back: false,
            public_key: None,
            reserve_bytes: 1,
            initramfs_bytes: 1,
        }
    }

    /// What `cpio -tv` says of an archive: mode and path.
    fn listed(archive: &[u8]) -> Vec<String> {
        let mut cpio = Command::new("cpio")
            .args(["-itv", "--quiet", "--numeric-uid-gid"])
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cpio (package cpio)");
        cpio.stdin.take().unwrap().write_all(archive).unwrap();
        let text = String::from_utf8(cpio.wait_with_output().unwrap().stdout).unwrap();
        let short = |line: &str| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            format!("{} {}", words[0], words[8..].join(" "))
        };
        text.lines()
            .map(short)
            .filter(|line| !line.starts_with('d'))
            .collect()
    }

    #[test]
    fn cpio_lists_the_segment() {
        let expected = [
            "-rw-r--r-- etc/ramforge/modules.json",
            "lrwxrwxrwx etc/systemd/system/initrd-root-fs.target.requires/sysroot.mount -> ../sysroot.mount",
            "lrwxrwxrwx etc/systemd/system/initrd.target.wants/ram-deploy.service -> ../ram-deploy.service",
            "-rw-r--r-- etc/systemd/system/ram-deploy.service",
            "-rw-r--r-- etc/systemd/system/sysroot.mount",
            "-rw-r--r-- etc/udev/rules.d/59-ramforge.rules",
            "-rwxr-xr-x usr/bin/ram-deploy",
            "-rwxr-xr-x usr/lib/dracut/hooks/cmdline/95-ram-deploy.sh",
            "-rwxr-xr-x usr/lib/dracut/hooks/initqueue/00-ram-deploy.sh",
            "-rwxr-xr-x usr/lib/dracut/hooks/initqueue/finished/ram-deploy.sh",
            "-rw-r--r-- usr/lib/ramforge/modules/brd.ko",
        ];
        assert_eq!(listed(&segment()), expected);
    }

    #[test]
    fn an_initramfs_of_its_own_has_an_init() {
        let modules = vec![(module_path("brd"), b"module".to_vec())];
        let items = native(b"program".to_vec(), &ModuleList::default(), modules).unwrap();
        let expected = [
            "-rw-r--r-- etc/ramforge/modules.json",
            "-rwxr-xr-x init",
            "-rw-r--r-- usr/lib/ramforge/modules/brd.ko",
        ];
        assert_eq!(listed(&archive(&items, 7).unwrap()), expected);
        assert!(items.contains_key("sysroot"));
    }

    #[test]
    fn what_differs_is_a_segment_of_its_own() {
        let items = configuration(&config()).unwrap();
        let expected = [
            "-rw-r--r-- etc/ramforge/deploy.json",
            "-rw-r--r-- etc/ramforge/deploy.json.b3",
        ];
        assert_eq!(listed(&archive(&items, 7).unwrap()), expected);
    }

    #[test]
    fn the_segment_for_a_disk_is_a_hook_and_a_program() {
        let config = GrowConfig {
            format: config::FORMAT,
            root_uuid: "u".into(),
            grow: true,
        };
        let items = grow(b"program".to_vec(), &config, "usr/lib/dracut/hooks").unwrap();
        let expected = [
            "-rw-r--r-- etc/ramforge/grow.json",
            "-rwxr-xr-x usr/bin/ram-deploy",
            "-rwxr-xr-x usr/lib/dracut/hooks/pre-mount/10-ram-deploy-grow.sh",
        ];
        assert_eq!(listed(&archive(&items, 7).unwrap()), expected);
    }

    #[test]
    fn equal_inputs_give_equal_bytes() {
        assert!(segment() == segment());
    }
}
