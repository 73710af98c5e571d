//! Whether a file is open elsewhere (fcntl(2), `F_SETLEASE`).

#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;

/// Whether nobody but `file` has the file open, which is open for writing. Also `false` where that cannot be known: the
/// file belongs to another user, or lies on a file system without leases.
pub fn is_only_opener(file: &File) -> bool {
    // A lease is had by the only opener, and is given back at once: who opens the file from now on does not wait.
    set(file, libc::F_WRLCK) && set(file, libc::F_UNLCK)
}

fn set(file: &File, kind: libc::c_int) -> bool {
    // SAFETY: the descriptor is open, and the request takes a number.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_else_has_a_file_open_is_seen() {
        let path = std::env::current_exe().unwrap().with_extension("lease");
        let file = File::create(&path).unwrap();
        assert!(is_only_opener(&file));
        let other = File::open(&path).unwrap();
        assert!(!is_only_opener(&file));
        drop(other);
        assert!(is_only_opener(&file));
        std::fs::remove_file(&path).unwrap();
    }
}
