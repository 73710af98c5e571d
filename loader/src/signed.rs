//! Signed loaders of the distribution, for firmware with Secure Boot.

use stage::Result;
use store::Store;
use store::tree::{Kind, Tree};

/// shim, GRUB and MokManager as the distribution signed them.
#[derive(Debug)]
pub struct Signed {
    /// shim: the first loader, signed with the firmware vendor's key.
    pub shim: Vec<u8>,
    /// GRUB for disks: looks for its configuration in `/EFI/VENDOR` of the ESP.
    pub grub: Vec<u8>,
    /// GRUB for optical media: looks for `/.disk/info` and then for `/boot/grub/grub.cfg`.
    pub grub_cd: Option<Vec<u8>>,
    /// MokManager.
    pub mok_manager: Option<Vec<u8>>,
    /// The vendor's directory below `/EFI` of the ESP: `debian`, `ubuntu`.
    pub vendor: String,
}

/// The signed loaders of the tree; `None` where it lacks shim or GRUB.
///
/// # Errors
/// Those of the store.
pub fn signed(store: &Store, tree: &Tree) -> Result<Option<Signed>> {
    let read = |path: &str| -> Result<Option<Vec<u8>>> {
        match tree
            .resolve(path)
            .and_then(|p| tree.get(&p))
            .map(|e| &e.kind)
        {
            Some(Kind::File(object)) => Ok(Some(store.get(object)?)),
            _ => Ok(None),
        }
    };
    let shim = read("usr/lib/shim/shimx64.efi.signed")?;
    let grub = read("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed")?;
    let (Some(shim), Some(grub)) = (shim, grub) else {
        return Ok(None);
    };
    let release = read("etc/os-release")?.unwrap_or_default();
    Ok(Some(Signed {
        shim,
        grub,
        grub_cd: read("usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed")?,
        mok_manager: read("usr/lib/shim/mmx64.efi.signed")?,
        vendor: vendor(&String::from_utf8_lossy(&release)),
    }))
}

/// `ID` of os-release(5): the vendor's name in the ESP.
fn vendor(release: &str) -> String {
    let id = release.lines().find_map(|line| line.strip_prefix("ID="));
    id.map_or("debian", |id| id.trim_matches(['"', '\'']))
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::vendor;

    #[test]
    fn the_vendor_is_the_distribution_s_id() {
        assert_eq!(vendor("NAME=x\nID=\"ubuntu\"\nID_LIKE=debian\n"), "ubuntu");
        assert_eq!(vendor(""), "debian");
    }
}
