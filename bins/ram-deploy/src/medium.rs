//! The medium: found by its volume id, proven by the digest of its chunk map.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use manifest::Digest;
use rustix::mount::{MountFlags, UnmountFlags};
use store::chunk_map::ChunkMap;

use crate::config::{self, Config};
use crate::console::Console;
use crate::devices::{self, Device};
use crate::modules::Loader;
use crate::stop::{Result, Stop};

/// Offset of the primary volume descriptor in bytes: logical sector 16 (ECMA-119, 6.2.1).
const PRIMARY_VOLUME_DESCRIPTOR: u64 = 16 * 2048;
const MOUNT_POINT: &str = "/run/ramforge/medium";
/// After this time a person is told what is waited for.
const SILENCE: Duration = Duration::from_secs(3);
/// A medium with the right name but another map does not keep us waiting for a better one longer than that.
const GRACE: Duration = Duration::from_secs(15);

/// A mounted medium with the right map.
#[derive(Debug)]
pub struct Medium {
    /// The device it is in.
    pub device: Device,
    /// Its chunk map, verified.
    pub map: ChunkMap,
    root: PathBuf,
}

/// The volume identifier in a primary volume descriptor (ECMA-119, 8.4).
pub fn volume_id(descriptor: &[u8]) -> Option<String> {
    let primary = descriptor.get(..7) == Some(b"\x01CD001\x01");
    let id = descriptor.get(40..72).filter(|_| primary)?;
    let id = String::from_utf8_lossy(id);
    Some(id.trim_end_matches([' ', '\0']).to_owned())
}

/// Waits for the medium of `config`, at most for `limit`, loading drivers as devices appear.
///
/// # Errors
/// A sentence that tells what was seen instead.
pub fn find(
    config: &Config,
    limit: Duration,
    loader: &mut Loader,
    console: &Console,
) -> Result<Medium> {
    let begin = Instant::now();
    let mut seen = Seen::default();
    let mut told = false;
    loop {
        loader.load_for_devices(console);
        if let Some(medium) = look(config, &mut seen)? {
            return Ok(medium);
        }
        let waited = begin.elapsed();
        if waited >= limit || (waited >= GRACE && !seen.other_map.is_empty()) {
            return Err(seen.sentence(config, waited));
        }
        if waited >= SILENCE && !told {
            let id = &config.volume_id;
            console.say(&format!("waiting for the medium with volume id {id}"));
            told = true;
        }
        std::thread::sleep(devices::POLL);
    }
}

/// What was met while looking.
#[derive(Debug, Default)]
struct Seen {
    devices: BTreeSet<String>,
    other_map: BTreeSet<String>,
    unreadable: BTreeSet<String>,
}

impl Seen {
    fn sentence(&self, config: &Config, waited: Duration) -> Stop {
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
        let id = &config.volume_id;
        if !self.other_map.is_empty() {
            return Stop::new(
                format!(
                    "the medium {id} in {} is damaged or of another build: its /{} is not the one this initramfs was made for",
                    list(&self.other_map),
                    config::MAP_ON_MEDIUM
                ),
                "write the ISO to the medium again and compare its checksum, or plug in the medium that was booted",
            );
        }
        let looked = match (self.devices.is_empty(), self.unreadable.is_empty()) {
            (true, _) => "no block device is there".to_owned(),
            (_, true) => format!("looked at {}", list(&self.devices)),
            (_, false) => format!(
                "looked at {}, could not read {}",
                list(&self.devices),
                list(&self.unreadable)
            ),
        };
        Stop::new(
            format!(
                "no medium with volume id {id} appeared in {} s ({looked})",
                waited.as_secs()
            ),
            "plug it in and restart, or give more time with rd.ramforge.wait=SECONDS",
        )
    }
}

/// Looks at every device once.
fn look(config: &Config, seen: &mut Seen) -> Result<Option<Medium>> {
    for device in devices::all() {
        if device.name.starts_with("ram") || device.name.starts_with("zram") || device.size() == 0 {
            continue;
        }
        // What answered with another map a moment ago still does.
        if seen.other_map.contains(&device.name) {
            continue;
        }
        seen.devices.insert(device.name.clone());
        let found = device.open().and_then(|file| descriptor(&file));
        match found {
            Ok(id) if id.as_deref() == Some(&config.volume_id) => (),
            Ok(_) => continue,
            Err(_) => {
                seen.unreadable.insert(device.name.clone());
                continue;
            }
        }
        seen.unreadable.remove(&device.name);
        match Medium::mount(device.clone(), config)? {
            Some(medium) => return Ok(Some(medium)),
            None => seen.other_map.insert(device.name),
        };
    }
    Ok(None)
}

fn descriptor(file: &File) -> io::Result<Option<String>> {
    let mut sector = [0; 2048];
    match file.read_exact_at(&mut sector, PRIMARY_VOLUME_DESCRIPTOR) {
        Ok(()) => Ok(volume_id(&sector)),
        // Shorter than a medium can be.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}

impl Medium {
    /// Mounts `device`; `None` where its map is not the one that `config` names.
    fn mount(device: Device, config: &Config) -> Result<Option<Self>> {
        let root = PathBuf::from(MOUNT_POINT);
        mount_iso(&device, &root)?;
        match read_map(&root, config) {
            Some(text) => {
                let map = ChunkMap::parse(&text)
                    .map_err(|e| Stop::new(e.to_string(), "build the image again"))?;
                Ok(Some(Self { device, map, root }))
            }
            None => {
                unmount(&root)?;
                Ok(None)
            }
        }
    }

    /// Where it is mounted.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Unmounts it and drops what the kernel caches of it. Nothing refers to it afterwards.
    ///
    /// # Errors
    /// A sentence where something still uses it.
    pub fn release(self) -> Result<()> {
        unmount(&self.root)?;
        let flushed = self
            .device
            .open()
            .and_then(|file| Ok(sys::block::flush_buffers(&file)?));
        // A medium that is gone already has no cache to drop.
        drop(flushed);
        match holders(&self.device) {
            None => Ok(()),
            Some(holder) => Err(Stop::new(
                format!("{} is still in use by {holder}", self.device.name),
                "do not remove the medium before shutdown",
            )),
        }
    }
}

fn mount_iso(device: &Device, root: &Path) -> Result<()> {
    let cannot = |e: io::Error| {
        Stop::new(
            format!("{} cannot be mounted as ISO 9660: {e}", device.name),
            "write the ISO to the medium again and compare its checksum",
        )
    };
    std::fs::create_dir_all(root).map_err(cannot)?;
    let node = device.node().map_err(cannot)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // Without Joliet no character set is needed, whose module may not be there.
    rustix::mount::mount(&node, root, "iso9660", flags, Some(c"nojoliet"))
        .map_err(|e| cannot(e.into()))
}

/// The map's bytes, where they are those that `config` names.
fn read_map(root: &Path, config: &Config) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let file = File::open(root.join(config::MAP_ON_MEDIUM)).ok()?;
    file.take(config.map.size + 1).read_to_end(&mut text).ok()?;
    (Digest::of(&text) == config.map.blake3).then_some(text)
}

fn unmount(root: &Path) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match rustix::mount::unmount(root, UnmountFlags::NOFOLLOW) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::BUSY) if Instant::now() < end => {
                std::thread::sleep(devices::POLL);
            }
            Err(e) => {
                return Err(Stop::new(
                    format!("the medium cannot be unmounted: {e}"),
                    "do not remove it before shutdown",
                ));
            }
        }
    }
}

/// What still refers to the device: a mount, or a file of this program.
fn holders(device: &Device) -> Option<String> {
    let node = device.node().ok()?;
    let node = node.to_str()?;
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounted = mounts
        .lines()
        .find(|line| line.split(' ').next() == Some(node));
    if let Some(line) = mounted {
        return Some(format!(
            "a mount at {}",
            line.split(' ').nth(1).unwrap_or("?")
        ));
    }
    let open = std::fs::read_dir("/proc/self/fd").ok()?;
    open.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .find(|target| target == Path::new(node))
        .map(|_| "ram-deploy".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_volume_id_is_read() {
        let mut sector = vec![0u8; 2048];
        sector[..7].copy_from_slice(b"\x01CD001\x01");
        sector[40..72].fill(b' ');
        sector[40..47].copy_from_slice(b"INSTALL");
        assert_eq!(volume_id(&sector).as_deref(), Some("INSTALL"));
        sector[0] = 2;
        assert_eq!(volume_id(&sector), None);
        assert_eq!(volume_id(b"\x01CD001\x01"), None);
        assert_eq!(volume_id(&[]), None);
    }

    #[test]
    fn only_the_map_of_the_configuration_counts() {
        let dir = tempfile::tempdir().unwrap();
        let config = |text: &[u8]| Config {
            format: 1,
            volume_id: "INSTALL".into(),
            map: manifest::Object::of(text),
            image_size: 0,
            data_bytes: 0,
            root_uuid: String::new(),
            store: config::RamStore::Brd {
                device: "/dev/ram1".into(),
                size_kib: None,
            },
            resize: false,
            reserve_bytes: 0,
            initramfs_bytes: 0,
        };
        assert_eq!(read_map(dir.path(), &config(b"map")), None);
        std::fs::create_dir(dir.path().join("ramforge")).unwrap();
        std::fs::write(dir.path().join(config::MAP_ON_MEDIUM), b"map").unwrap();
        assert_eq!(
            read_map(dir.path(), &config(b"map")).as_deref(),
            Some(&b"map"[..])
        );
        assert_eq!(read_map(dir.path(), &config(b"mab")), None);
        assert_eq!(read_map(dir.path(), &config(b"ma")), None);
    }

    #[test]
    fn a_descriptor_is_looked_for_in_sector_16() {
        let mut image = vec![0u8; 17 * 2048];
        image[16 * 2048..][..7].copy_from_slice(b"\x01CD001\x01");
        image[16 * 2048 + 40..][..4].copy_from_slice(b"DISC");
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&path, &image).unwrap();
        assert_eq!(descriptor(path.as_file()).unwrap().as_deref(), Some("DISC"));
        std::fs::write(&path, &image[..16 * 2048 + 100]).unwrap();
        assert_eq!(descriptor(path.as_file()).unwrap(), None);
    }
}
