//! The base initramfs: one run of the tree's own dracut, at the very end.
//!
//! It is made for any machine (`--no-hostonly`), of the same bytes every time (`--reproducible`), and holds
//! what a plain root on ext4 needs. Where the tree has no dracut, none is made.
//!
//! dracut is the slowest single step, so its outcome is kept: as long as nothing that it can read has changed,
//! the same initramfs serves again.

use manifest::Object;
use serde_json::json;
use stage::Result;
use store::Store;
use store::tree::{Kind, Tree};

use super::guest::{Guest, find};
use super::kernel::Found;
use super::{files, found, key_of, part};

/// The version of how it is made. Changelog. 1: the first.
const VERSION: u32 = 1;
/// The name of this part of the work.
const PART: &str = "initramfs";
/// What a plain root needs, whatever dracut finds in the sandbox.
const FILE_SYSTEMS: &str = "ext4";
/// dracut's own level for zstd takes eight times as long and saves one part in a hundred. Two workers on
/// every machine, because the number may show in the bytes.
const ZSTD: &str = "zstd -q -9 -T2";
/// What dracut does not read, or for one particular machine only (`--hostonly`), unless its configuration
/// names more files. Of `boot` it reads [`KERNEL_CONFIG`], and what comes with the kernel's modules.
const UNREAD: [&str; 35] = [
    "boot/",
    "etc/apt/",
    "etc/cron",
    "etc/gshadow",
    "etc/hostname",
    "etc/hosts",
    "etc/issue",
    "etc/logrotate.d/",
    "etc/motd",
    "etc/profile",
    "etc/shadow",
    "etc/skel/",
    "etc/subgid",
    "etc/subuid",
    "etc/sudoers",
    "home/",
    "media/",
    "mnt/",
    "opt/",
    "root/",
    "srv/",
    "usr/include/",
    "usr/share/applications/",
    "usr/share/doc/",
    "usr/share/icons/",
    "usr/share/info/",
    "usr/share/locale/",
    "usr/share/man/",
    "usr/src/",
    "var/cache/",
    "var/lib/apt/",
    "var/log/",
    "var/mail/",
    "var/spool/",
    "var/www/",
];
/// The kernel's configuration, which decides what its initramfs may hold.
const KERNEL_CONFIG: &str = "boot/config-";

/// How the tree got its initramfs.
pub enum Made {
    /// It has none.
    None,
    /// One from the store was put at that path.
    Placed(String),
    /// dracut has run, and has put one at that path.
    Run(String),
}

impl Made {
    /// Its path in the tree.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Placed(path) | Self::Run(path) => Some(path),
        }
    }
}

/// Makes the initramfs. `tree` is the tree as it stands.
///
/// # Errors
/// Exit code 1 with what dracut said.
pub fn make(guest: &Guest, kernel: &Found, tree: &Tree) -> Result<Made> {
    if find("dracut").is_none() {
        return Ok(Made::None);
    }
    let store = guest.store();
    let path = kernel.initramfs();
    let target = format!("/{path}");
    let arguments = arguments(&target, &kernel.release);
    let facts = json!({
        "version": VERSION,
        "arguments": arguments,
        "epoch": guest.epoch(),
        "tree": readable(tree, names_files(store, tree)?).write(store)?,
    });
    let key = key_of(store, PART, &facts)?;
    if let Some(object) = recorded(store, &key)? {
        files::write(&target, store.get(&object)?, 0o600)?;
        found(PART, &key);
        return Ok(Made::Placed(path));
    }
    part(PART, || guest.must("dracut", &arguments))?;
    let bytes = std::fs::read(&target).map_err(|e| {
        stage::Error::failed(format!(
            "dracut ended well without an initramfs: {target}: {e}"
        ))
    })?;
    let object = store.put(&bytes)?;
    store.record_action(&key, &json!(object))?;
    Ok(Made::Run(path))
}

fn arguments<'a>(target: &'a str, release: &'a str) -> Vec<&'a str> {
    let mut arguments = vec![
        "--force",
        "--no-hostonly",
        "--no-hostonly-cmdline",
        "--reproducible",
        // Packages are stripped already; looking again takes seconds.
        "--nostrip",
        "--add-drivers",
        FILE_SYSTEMS,
        "--filesystems",
        FILE_SYSTEMS,
    ];
    match find("zstd") {
        Some(_) => arguments.extend(["--compress", ZSTD]),
        None => arguments.push("--gzip"),
    }
    arguments.extend([target, release]);
    arguments
}

fn recorded(store: &Store, key: &manifest::StageKey) -> Result<Option<Object>> {
    let value = store.action(key)?;
    let object = value.and_then(|v| serde_json::from_value(v).ok());
    Ok(object.filter(|o| store.expects(o)))
}

/// Whether dracut's configuration has files of its own choice installed: then it may read anything.
fn names_files(store: &Store, tree: &Tree) -> Result<bool> {
    for entry in tree.iter() {
        let is_configuration = ["etc/dracut.conf", "usr/lib/dracut/dracut.conf.d/"]
            .iter()
            .any(|place| entry.path.starts_with(place));
        if let (true, Kind::File(object)) = (is_configuration, &entry.kind)
            && String::from_utf8_lossy(&store.get(object)?).contains("install_")
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// All that dracut can read, times too, since it keeps those of older files.
fn readable(tree: &Tree, everything: bool) -> Tree {
    let mut readable = Tree::default();
    for entry in tree.iter().filter(|e| everything || is_read(&e.path)) {
        let mut entry = entry.clone();
        if entry.kind == Kind::Dir && holds_unread(&entry.path) {
            entry.mtime = 0;
        }
        readable.insert(entry);
    }
    readable
}

/// Whether dracut may read what stands at `path`.
fn is_read(path: &str) -> bool {
    let below = |place: &&str| path.starts_with(*place) || place.strip_suffix('/') == Some(path);
    !UNREAD.iter().any(below) || path.starts_with(KERNEL_CONFIG)
}

/// Whether a directory's time may come from a file in it that dracut does not read.
fn holds_unread(dir: &str) -> bool {
    let in_dir = |place: &&str| {
        let rest = place.strip_prefix(dir);
        rest.is_some_and(|rest| dir.is_empty() || rest.starts_with('/'))
    };
    UNREAD.iter().any(in_dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use store::tree::Entry;

    fn tree(entries: &[(&str, &[u8], i64)]) -> Tree {
        let mut tree = Tree::default();
        for (path, bytes, mtime) in entries {
            tree.insert(Entry {
                path: (*path).to_owned(),
                kind: Kind::File(Object::of(bytes)),
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: *mtime,
                xattrs: BTreeMap::new(),
            });
        }
        tree
    }

    fn of(entries: &[(&str, &[u8], i64)], everything: bool) -> Tree {
        readable(&tree(entries), everything)
    }

    #[test]
    fn what_dracut_reads_decides_and_nothing_else() {
        let one = [("etc/vconsole.conf", &b"x"[..], 1), ("root/a", b"x", 1)];
        let elsewhere = [("etc/vconsole.conf", &b"x"[..], 1), ("root/a", b"y", 2)];
        let changed = [("etc/vconsole.conf", &b"y"[..], 1), ("root/a", b"x", 1)];
        let later = [("etc/vconsole.conf", &b"x"[..], 2), ("root/a", b"x", 1)];
        assert_eq!(of(&one, false), of(&elsewhere, false));
        assert_ne!(of(&one, true), of(&elsewhere, true));
        assert_ne!(of(&one, false), of(&changed, false));
        assert_ne!(of(&one, false), of(&later, false));
    }

    #[test]
    fn a_directory_counts_where_dracut_reads() {
        for path in ["root", "usr/share/doc", "usr/share/doc/a", "boot/grub"] {
            assert!(!is_read(path), "{path}");
        }
        for path in ["", "etc", "usr/share", "roots", "boot/config-6.1"] {
            assert!(is_read(path), "{path}");
        }
        // The time of usr/share is that of the last file put below usr/share/doc, perhaps.
        assert!(holds_unread("") && holds_unread("etc") && holds_unread("usr/share"));
        assert!(!holds_unread("usr/lib") && !holds_unread("usr/sha"));
    }

    #[test]
    fn a_configuration_that_names_files_makes_everything_count() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let plain = tree(&[("etc/dracut.conf", &b"# none"[..], 1)]);
        store.put(b"# none").unwrap();
        assert!(!names_files(&store, &plain).unwrap());
        let items = b"install_items+=\" /opt/x \"";
        store.put(items).unwrap();
        let named = tree(&[("etc/dracut.conf.d/10.conf", &items[..], 1)]);
        assert!(names_files(&store, &named).unwrap());
    }
}
