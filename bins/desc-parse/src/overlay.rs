//! The overlay as a tree: archives, then `root/` (or `root.tar.*`), then `PROFILE/`, then single files.
//!
//! Owners are root, times 0: neither shall depend on who checked the description out, and when. Modes
//! are kept, except where they show only the umask of that person, which the mode of the overlay
//! directory itself tells: what has the mode that this umask gives becomes 0755 or 0644. Under a umask
//! that hides files from others this is done to files only where nothing has another mode: a mode that
//! may have been chosen stays.
//!
//! *Not taken:* extended attributes, hard links (each name becomes a file), empty `root/` itself.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use description::{Report, code, error_nowhere};
use stage::{At, Context, Result};
use store::tree::{Entry, Kind, Tree, encode_path};
use walkdir::WalkDir;

/// Adds a directory of the host to a tree.
///
/// # Errors
/// Exit code 1 where something cannot be read or stored. What does not belong into an overlay goes to
/// the report.
pub fn add_directory(
    cx: &Context,
    tree: &mut Tree,
    directory: &Path,
    name: &str,
    report: &mut Report,
) -> Result<()> {
    let mut entries = Vec::new();
    let walk = WalkDir::new(directory)
        .min_depth(1)
        .follow_links(false)
        .sort_by_file_name();
    for found in walk {
        stage::interrupted()?;
        let found = found.map_err(|e| stage::Error::failed(format!("{name}/: {e}")))?;
        let below = found.path().strip_prefix(directory).unwrap_or(found.path());
        let path = encode_path(below.as_os_str().as_bytes());
        let kind = match found.file_type() {
            t if t.is_dir() => Kind::Dir,
            t if t.is_symlink() => {
                let target = std::fs::read_link(found.path()).at(found.path())?;
                Kind::Symlink(encode_path(target.as_os_str().as_bytes()))
            }
            t if t.is_file() => {
                let mut file = std::fs::File::open(found.path()).at(found.path())?;
                Kind::File(cx.store().put_reader(&mut file)?)
            }
            _ => {
                let fact = format!("{name}/{path} is no file, directory or symbolic link");
                report.add(error_nowhere(code::ODD_FILE, fact).help("take it out of the overlay"));
                continue;
            }
        };
        let mode = match kind {
            Kind::Symlink(_) => 0o777,
            _ => mode_of(found.path())?,
        };
        entries.push(entry(path, kind, mode));
    }
    let umask = umask_of(directory)?;
    if settle(&mut entries, umask) {
        let text = format!(
            "{name}/ has the modes of umask {umask:03o} throughout; 0644 and 0755 are taken"
        );
        cx.warn(&text)?;
    }
    for entry in entries {
        tree.insert(entry);
    }
    Ok(())
}

/// Takes the umask of a checkout out of the modes. Says whether files were opened to others by that.
pub fn settle(entries: &mut [Entry], umask: u32) -> bool {
    let by_umask = |e: &Entry| match e.kind {
        Kind::Dir => e.mode == 0o777 & !umask,
        Kind::File(_) => e.mode == 0o666 & !umask || e.mode == 0o777 & !umask,
        _ => true,
    };
    let hides = umask & 0o044 != 0;
    let throughout = entries.iter().all(by_umask);
    let mut opened = false;
    for entry in entries.iter_mut().filter(|e| by_umask(e)) {
        match entry.kind {
            Kind::Dir => entry.mode = 0o755,
            Kind::File(_) if throughout || !hides => {
                opened |= hides;
                entry.mode = if entry.mode & 0o100 == 0 {
                    0o644
                } else {
                    0o755
                };
            }
            _ => {}
        }
    }
    opened
}

/// An entry as an overlay has it: root's, at time 0.
pub fn entry(path: String, kind: Kind, mode: u32) -> Entry {
    Entry {
        path,
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime: 0,
        xattrs: BTreeMap::new(),
    }
}

/// The umask under which a directory was made, as its mode tells.
///
/// # Errors
/// Exit code 1 where its mode cannot be read.
pub fn umask_of(directory: &Path) -> Result<u32> {
    Ok(!mode_of(directory)? & 0o777)
}

fn mode_of(path: &Path) -> Result<u32> {
    Ok(std::fs::symlink_metadata(path)
        .at(path)?
        .permissions()
        .mode()
        & 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Modes of a directory, a file and a program after settling.
    fn settled(umask: u32, modes: [u32; 3]) -> ([u32; 3], bool) {
        let file = || Kind::File(manifest::Object::of(b""));
        let kinds = [Kind::Dir, file(), file()];
        let mut entries: Vec<Entry> = kinds
            .into_iter()
            .zip(modes)
            .map(|(kind, mode)| entry(String::new(), kind, mode))
            .collect();
        let opened = settle(&mut entries, umask);
        ([entries[0].mode, entries[1].mode, entries[2].mode], opened)
    }

    #[test]
    fn the_umask_of_a_checkout_does_not_show() {
        let plain = [0o755, 0o644, 0o755];
        assert_eq!(settled(0o022, plain), (plain, false));
        assert_eq!(settled(0o002, [0o775, 0o664, 0o775]), (plain, false));
        assert_eq!(settled(0o077, [0o700, 0o600, 0o700]), (plain, true));
    }

    #[test]
    fn chosen_modes_stay() {
        for modes in [[0o700, 0o600, 0o4755], [0o1777, 0o440, 0o755]] {
            assert_eq!(settled(0o022, modes), (modes, false));
        }
        // One other mode is enough to show that modes were thought of.
        assert_eq!(
            settled(0o077, [0o700, 0o600, 0o755]),
            ([0o755, 0o600, 0o755], false)
        );
    }
}
