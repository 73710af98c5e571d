//! The overlay as a tree: archives, then `root/` (or `root.tar.*`), then `PROFILE/`, then single files.
//!
//! Owners are root, times 0: neither shall depend on who checked the description out, and when. Modes
//! are kept, except where they show only the umask of that person: the mode of the overlay directory
//! itself tells the umask, and a directory below with the very same mode becomes 0755. A file that is
//! writable for the group for that reason alone loses that bit. Modes that were chosen stay.
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
    let umask = !mode_of(directory)? & 0o777;
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
            Kind::Dir => directory_mode(mode_of(found.path())?, umask),
            _ => file_mode(mode_of(found.path())?, umask),
        };
        tree.insert(entry(path, kind, mode));
    }
    Ok(())
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

fn mode_of(path: &Path) -> Result<u32> {
    Ok(std::fs::symlink_metadata(path)
        .at(path)?
        .permissions()
        .mode()
        & 0o7777)
}

fn directory_mode(mode: u32, umask: u32) -> u32 {
    if mode == 0o777 & !umask { 0o755 } else { mode }
}

fn file_mode(mode: u32, umask: u32) -> u32 {
    let by_umask = mode == 0o666 & !umask || mode == 0o777 & !umask;
    if by_umask { mode & !0o022 } else { mode }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_umask_of_a_checkout_does_not_show() {
        for (umask, dir, file) in [
            (0o022, 0o755, 0o644),
            (0o002, 0o775, 0o664),
            (0o077, 0o700, 0o600),
        ] {
            assert_eq!(directory_mode(dir, umask), 0o755);
            assert!(file_mode(file, umask) & 0o022 == 0);
        }
        assert_eq!(directory_mode(0o700, 0o022), 0o700);
        assert_eq!(directory_mode(0o1777, 0o022), 0o1777);
        assert_eq!(file_mode(0o600, 0o022), 0o600);
        assert_eq!(file_mode(0o440, 0o002), 0o440);
        assert_eq!(file_mode(0o4755, 0o022), 0o4755);
    }
}
