//! The base initramfs, read but never changed: what it unpacks to, and which modules it has.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};

use image::cpio::{Compression, S_IFLNK, S_IFMT, S_IFREG};
use manifest::Digest;
use serde::{Deserialize, Serialize};
use stage::{Error, Result};

/// What the segment must know of the base.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Bytes of all files in whole pages.
    pub unpacked_bytes: u64,
    /// dracut's directory of hooks.
    pub hooks: String,
    /// Modules by the digest of their plain bytes: where they lie.
    pub modules: BTreeMap<Digest, String>,
    /// Whether a segment is compressed by zstd: then the kernel can read that.
    pub has_zstd: bool,
}

/// Bytes in the whole pages that a file of `length` takes in RAM.
pub(crate) fn in_pages(length: u64) -> u64 {
    ram_deploy::pages::round_up(length)
}

/// Walks over all segments.
///
/// # Errors
/// Exit code 1 for what is no initramfs; exit code 3 for one that dracut did not make.
pub fn read(initramfs: impl BufRead) -> Result<Base> {
    let mut base = Base::default();
    let mut merged = false;
    let mut hooks = false;
    walk(initramfs, &mut |compression, path, kind, size, content| {
        base.has_zstd |= compression == Compression::Zstd;
        base.unpacked_bytes += in_pages(size);
        merged |= path == "lib" && kind == S_IFLNK;
        hooks |= path.ends_with("lib/dracut/hooks") && !path.starts_with("var/");
        if kind == S_IFREG && path.ends_with(".ko") {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            base.modules.insert(Digest::of(&bytes), path.to_owned());
        }
        Ok(())
    })?;
    if !hooks {
        return Err(Error::refused(
            "the initramfs of the root tree was not made by dracut: it has no lib/dracut/hooks",
        )
        .advice("set initrd_system=\"dracut\" and add the dracut package to the description"));
    }
    base.hooks = if merged {
        "usr/lib/dracut/hooks"
    } else {
        "lib/dracut/hooks"
    }
    .to_owned();
    Ok(base)
}

/// Bytes of all files of `initramfs` in whole pages.
///
/// # Errors
/// Exit code 1 for what is no initramfs.
pub fn unpacked(initramfs: impl BufRead) -> Result<u64> {
    let mut sum = 0;
    walk(initramfs, &mut |_, _, _, size, _| {
        sum += in_pages(size);
        Ok(())
    })?;
    Ok(sum)
}

/// Called with compression, path, type, size and content of each entry.
type Visit<'a> =
    &'a mut dyn FnMut(Compression, &str, u32, u64, &mut dyn Read) -> std::io::Result<()>;

fn walk(initramfs: impl BufRead, visit: Visit) -> Result<()> {
    image::cpio::walk(initramfs, &mut |place, entry, content| {
        let path = String::from_utf8_lossy(&entry.path);
        let path = path.strip_prefix("./").unwrap_or(&path);
        let (kind, size) = (entry.mode & S_IFMT, u64::from(entry.size));
        visit(place.compression, path, kind, size, content).map_err(|source| image::Error::Io {
            what: path.to_owned(),
            source,
        })
    })
    .map_err(|e| Error::failed(format!("the base initramfs: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::cpio::{Meta, Writer};

    fn initramfs(merged: bool) -> Vec<u8> {
        let mut out = Writer::new(Vec::new(), 1);
        let (dir, file) = (Meta::root(0o755), Meta::root(0o644));
        let lib = if merged { "usr/lib" } else { "lib" };
        if merged {
            out.directory("usr", dir).unwrap();
            out.symlink("lib", "usr/lib").unwrap();
        }
        for path in ["", "/dracut", "/dracut/hooks"] {
            out.directory(&format!("{lib}{path}"), dir).unwrap();
        }
        out.file(&format!("{lib}/brd.ko"), file, b"module").unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn the_base_tells_hooks_modules_and_size() {
        let base = read(&initramfs(true)[..]).unwrap();
        assert_eq!(base.hooks, "usr/lib/dracut/hooks");
        assert_eq!(base.modules[&Digest::of(b"module")], "usr/lib/brd.ko");
        // The module's page, and the link's.
        assert_eq!(base.unpacked_bytes, 2 * 4096);
        assert_eq!(
            read(&initramfs(false)[..]).unwrap().hooks,
            "lib/dracut/hooks"
        );
        let packed = zstd::bulk::compress(&initramfs(true), 1).unwrap();
        assert!(!base.has_zstd && read(&packed[..]).unwrap().has_zstd);
    }

    #[test]
    fn only_dracut_bases_are_taken() {
        let empty = Writer::new(Vec::new(), 1).finish().unwrap();
        let text = read(&empty[..]).unwrap_err().to_string();
        assert!(text.contains("was not made by dracut"), "{text}");
        assert!(read(&b"no archive"[..]).is_err());
    }
}
