//! Access control lists: on the disk they have another form than in system calls.
//!
//! ```text
//! disk (fs/ext4/acl.h)             version 1, then tag, permissions, and the id of those that name somebody
//! call (linux/posix_acl_xattr.h)   version 2, then tag, permissions, id, which is all ones where nobody is named
//! ```

use std::io;

use super::format::Fields;
use super::reader::damaged;

/// Version of the form of the disk.
const DISK: u32 = 1;
/// Version of the form of system calls.
const CALL: u32 = 2;
/// Tags whose entries name a user or a group.
const NAMED: [u16; 2] = [0x2, 0x8];

/// Whether the attribute with this name is an access control list.
pub(super) fn is_acl(name: &str) -> bool {
    ["system.posix_acl_access", "system.posix_acl_default"].contains(&name)
}

/// The form of the disk from that of system calls.
///
/// # Errors
/// `InvalidData` for what is none.
pub(super) fn to_disk(call: &[u8]) -> io::Result<Vec<u8>> {
    let fields = Fields(call);
    if fields.u32(0)? != CALL || !(call.len() - 4).is_multiple_of(8) {
        return Err(damaged("an access control list is of an unknown version"));
    }
    let mut out = DISK.to_le_bytes().to_vec();
    for at in (4..call.len()).step_by(8) {
        let named = NAMED.contains(&fields.u16(at)?);
        out.extend(fields.slice(at, if named { 8 } else { 4 })?);
    }
    Ok(out)
}

/// The form of system calls from that of the disk.
///
/// # Errors
/// `InvalidData` for what is none.
pub(super) fn from_disk(disk: &[u8]) -> io::Result<Vec<u8>> {
    let fields = Fields(disk);
    if fields.u32(0)? != DISK {
        return Err(damaged("an access control list is of an unknown version"));
    }
    let mut out = CALL.to_le_bytes().to_vec();
    let mut at = 4;
    while at < disk.len() {
        let tag = fields.u16(at)?;
        out.extend(fields.slice(at, 4)?); //    tag, permissions
        at += 4;
        let mut id = u32::MAX;
        if NAMED.contains(&tag) {
            id = fields.u32(at)?;
            at += 4;
        }
        out.extend(id.to_le_bytes());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        // user::rwx group::r-x group:4:r-x mask::r-x other::r-x
        let call: Vec<u8> = [
            &[2u8, 0, 0, 0][..],
            &[1, 0, 7, 0, 255, 255, 255, 255],
            &[4, 0, 5, 0, 255, 255, 255, 255],
            &[8, 0, 5, 0, 4, 0, 0, 0],
            &[16, 0, 5, 0, 255, 255, 255, 255],
            &[32, 0, 5, 0, 255, 255, 255, 255],
        ]
        .concat();
        let disk = to_disk(&call).unwrap();
        let expected: &[&[u8]] = &[
            &[1, 0, 0, 0],
            &[1, 0, 7, 0],
            &[4, 0, 5, 0],
            &[8, 0, 5, 0, 4, 0, 0, 0],
            &[16, 0, 5, 0],
            &[32, 0, 5, 0],
        ];
        assert_eq!(disk, expected.concat());
        assert_eq!(from_disk(&disk).unwrap(), call);
        assert!(to_disk(&disk).is_err() && from_disk(&call).is_err());
        assert!(to_disk(&call[..9]).is_err() && to_disk(&[]).is_err());
    }
}
