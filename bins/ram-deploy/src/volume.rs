//! An ISO 9660 volume, read by this program itself: in a device or in a plain file, the same way.
//!
//! No mount: nothing is in the way when a medium is pulled out, a file system's module is not needed, and an ISO file on
//! another file system needs no loop device. What is read is verified by its users: the map by the digest in the
//! initramfs, frames by the map.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use image::iso9660::{Extent, list};
use manifest::Digest;
use rustix::fs::Advice;

use crate::config::{self, Config};
use crate::signature::{self, SIGNATURE_BYTES, SIGNATURE_ON_MEDIUM};

/// Offset of the primary volume descriptor in bytes: logical sector 16 (ECMA-119, 6.2.1).
const PRIMARY_VOLUME_DESCRIPTOR: u64 = 16 * 2048;
/// The only directory that counts.
const DIRECTORY: &str = "ramforge";

/// An opened volume.
#[derive(Debug)]
pub struct Volume {
    file: File,
    files: Vec<Extent>,
}

impl Volume {
    /// Takes an opened device or file and reads where its files lie.
    ///
    /// # Errors
    /// What the system says; `InvalidData` where its directories make no sense.
    pub fn open(file: File) -> io::Result<Self> {
        // The order of reading is the order of the files: the kernel may read far ahead.
        rustix::fs::fadvise(&file, 0, None, Advice::Sequential)?;
        let read = |offset: u64, bytes: &mut [u8]| file.read_exact_at(bytes, offset);
        let files = match list(&read, DIRECTORY) {
            Ok(files) => files.unwrap_or_default(),
            Err(image::Error::Io { source, .. }) => return Err(source),
            Err(e) => return Err(io::Error::new(io::ErrorKind::InvalidData, e.to_string())),
        };
        Ok(Self { file, files })
    }

    /// Where the file with that path lies.
    pub fn find(&self, path: &str) -> Option<&Extent> {
        self.files.iter().find(|extent| extent.path == path)
    }

    /// The bytes of a file that has at most so many.
    ///
    /// # Errors
    /// What the system says.
    pub fn content(&self, path: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(extent) = self.find(path).filter(|extent| extent.len <= most) else {
            return Ok(None);
        };
        let mut bytes = vec![0; usize::try_from(extent.len).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, extent.offset)?;
        Ok(Some(bytes))
    }

    /// The bytes of the chunk map, where they are those that `config` names.
    ///
    /// # Errors
    /// What the system says.
    pub fn map(&self, config: &Config) -> io::Result<Option<Vec<u8>>> {
        let wanted = |extent: &&Extent| extent.len == config.map.size;
        // Another medium of the same name.
        let Some(extent) = self.find(config::MAP_ON_MEDIUM).filter(wanted) else {
            return Ok(None);
        };
        let mut text = vec![0; usize::try_from(extent.len).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut text, extent.offset)?;
        Ok((Digest::of(&text) == config.map.blake3).then_some(text))
    }

    /// Whether the map's `text` is signed as `config` wants it.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_signed(&self, text: &[u8], config: &Config) -> io::Result<bool> {
        let Some(key) = &config.public_key else {
            return Ok(true);
        };
        let Some(extent) = self.find(SIGNATURE_ON_MEDIUM) else {
            return Ok(false);
        };
        let mut signature = [0; SIGNATURE_BYTES];
        if extent.len != signature.len() as u64 {
            return Ok(false);
        }
        self.file.read_exact_at(&mut signature, extent.offset)?;
        Ok(signature::verify(key, text, &signature))
    }

    /// Fills `bytes` from `offset` of the volume.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    /// Drops what the kernel caches of a range.
    pub fn forget(&self, offset: u64, length: u64) {
        // Advice only: where it is refused the pages stay reclaimable.
        let length = std::num::NonZero::new(length);
        let _ = rustix::fs::fadvise(&self.file, offset, length, Advice::DontNeed);
    }
}

/// The identifier of the volume in a device or file; `None` where there is none.
///
/// # Errors
/// What the system says: ENOMEDIUM for an empty drive.
pub fn id(file: &File) -> io::Result<Option<String>> {
    let mut sector = [0; 2048];
    match file.read_exact_at(&mut sector, PRIMARY_VOLUME_DESCRIPTOR) {
        Ok(()) => Ok(identifier(&sector)),
        // Shorter than a medium can be.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}

/// The volume identifier in a primary volume descriptor (ECMA-119, 8.4).
fn identifier(descriptor: &[u8]) -> Option<String> {
    let primary = descriptor.get(..7) == Some(b"\x01CD001\x01");
    let id = descriptor.get(40..72).filter(|_| primary)?;
    let id = String::from_utf8_lossy(id);
    Some(id.trim_end_matches([' ', '\0']).to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use image::iso9660::{self, Content, Image};
    use std::path::Path;

    /// Writes an ISO with those files.
    pub(crate) fn iso(path: &Path, id: &str, files: &[(&str, &[u8])]) {
        let file = |(path, bytes): &(&str, &[u8])| iso9660::File {
            path: (*path).to_owned(),
            content: Content::Bytes(bytes.to_vec()),
        };
        let image = Image {
            volume_id: id.to_owned(),
            files: files.iter().map(file).collect(),
            ..Image::default()
        };
        iso9660::write(&File::create(path).unwrap(), &image, &mut |_| Ok(())).unwrap();
    }

    pub(crate) fn config(map: &[u8]) -> Config {
        Config {
            format: config::FORMAT,
            volume_id: "INSTALL".into(),
            map: manifest::Object::of(map),
            image_size: 0,
            data_bytes: 0,
            root_offset: 0,
            root_size: 0,
            zram_bytes: 0,
            entries: 1,
            root_uuid: String::new(),
            store: config::RamStore::Brd {
                device: "/dev/ram1".into(),
                size_kib: None,
            },
            erofs: None,
            resize: false,
            ask: false,
            read_back: false,
            public_key: None,
            reserve_bytes: 0,
            initramfs_bytes: 0,
        }
    }

    #[test]
    fn the_volume_id_is_read() {
        let mut sector = vec![0u8; 2048];
        sector[..7].copy_from_slice(b"\x01CD001\x01");
        sector[40..72].fill(b' ');
        sector[40..47].copy_from_slice(b"INSTALL");
        assert_eq!(identifier(&sector).as_deref(), Some("INSTALL"));
        sector[0] = 2;
        assert_eq!(identifier(&sector), None);
        assert_eq!(identifier(b"\x01CD001\x01"), None);
        assert_eq!(identifier(&[]), None);
    }

    #[test]
    fn a_descriptor_is_looked_for_in_sector_16() {
        let path = tempfile::NamedTempFile::new().unwrap();
        iso(path.path(), "DISC", &[("a", b"a")]);
        assert_eq!(id(path.as_file()).unwrap().as_deref(), Some("DISC"));
        path.as_file().set_len(16 * 2048 + 100).unwrap();
        assert_eq!(id(path.as_file()).unwrap(), None);
    }

    #[test]
    fn only_the_map_of_the_configuration_counts() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let open = || Volume::open(File::open(path.path()).unwrap()).unwrap();
        iso(path.path(), "INSTALL", &[("other", b"map")]);
        assert_eq!(open().map(&config(b"map")).unwrap(), None);
        iso(path.path(), "INSTALL", &[("ramforge/map", b"map")]);
        let text = open().map(&config(b"map")).unwrap();
        assert_eq!(text.as_deref(), Some(&b"map"[..]));
        for other in [&b"mab"[..], b"ma", b"mapp"] {
            assert_eq!(open().map(&config(other)).unwrap(), None);
        }
    }

    /// RFC 8032, 7.1, test 2: the map is one byte long.
    #[test]
    fn only_a_signed_map_counts_where_a_key_is() {
        let hex = |hex: &str| format!("\"{hex}\"");
        let key = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let r = hex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da");
        let s = hex("085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
        let half = |hex: &str| *serde_json::from_str::<Digest>(hex).unwrap().as_bytes();
        let signature = [half(&r), half(&s)].concat();
        let mut signed = config(&[0x72]);
        let path = tempfile::NamedTempFile::new().unwrap();
        let check = |files: &[(&str, &[u8])], config: &Config| {
            iso(path.path(), "INSTALL", files);
            let volume = Volume::open(path.reopen().unwrap()).unwrap();
            volume.is_signed(&[0x72], config).unwrap()
        };
        let map: (&str, &[u8]) = ("ramforge/map", &[0x72]);
        assert!(check(&[map], &signed));
        signed.public_key = Some(serde_json::from_str(&key).unwrap());
        assert!(!check(&[map], &signed), "no signature");
        assert!(check(&[map, (SIGNATURE_ON_MEDIUM, &signature)], &signed));
        let short: (&str, &[u8]) = (SIGNATURE_ON_MEDIUM, &signature[1..]);
        assert!(!check(&[map, short], &signed));
        signed.public_key = Some(Digest::of(b"another"));
        assert!(!check(&[map, (SIGNATURE_ON_MEDIUM, &signature)], &signed));
    }

    #[test]
    fn a_map_that_cannot_be_read_is_no_other_map() {
        let path = tempfile::NamedTempFile::new().unwrap();
        iso(path.path(), "INSTALL", &[("ramforge/map", b"map")]);
        let volume = Volume::open(path.reopen().unwrap()).unwrap();
        let at = volume.find("ramforge/map").unwrap().offset;
        path.as_file().set_len(at + 1).unwrap();
        assert!(volume.map(&config(b"map")).is_err());
    }
}
