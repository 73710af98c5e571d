//! The medium: found by its volume id, proven by the digest of its chunk map.

use std::collections::BTreeMap;
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
/// How long a medium may take to appear where rd.ramforge.wait says nothing.
const WAIT: Duration = Duration::from_secs(60);
/// After this time a medium of another build ends the waiting, where rd.ramforge.wait says nothing.
const GRACE: Duration = Duration::from_secs(15);
/// How soon a medium is mounted again that failed or had another map: it may have been changed.
const RETRY: Duration = Duration::from_secs(2);
/// Whether the kernel closes the tray of a drive that is opened.
const AUTOCLOSE: &str = "/proc/sys/dev/cdrom/autoclose";

/// A mounted medium with the right map. It is unmounted when it goes out of scope.
#[derive(Debug)]
pub struct Medium {
    /// The device it is in.
    pub device: Device,
    /// Its chunk map, verified.
    pub map: ChunkMap,
    mount: Mount,
}

/// The volume identifier in a primary volume descriptor (ECMA-119, 8.4).
pub fn volume_id(descriptor: &[u8]) -> Option<String> {
    let primary = descriptor.get(..7) == Some(b"\x01CD001\x01");
    let id = descriptor.get(40..72).filter(|_| primary)?;
    let id = String::from_utf8_lossy(id);
    Some(id.trim_end_matches([' ', '\0']).to_owned())
}

/// Waits for the medium of `config`, at most for `limit`, loading drivers as devices appear. Without a
/// `limit` a medium of another build ends the waiting early.
///
/// # Errors
/// A sentence that tells what was seen instead.
pub fn find(
    config: &Config,
    limit: Option<Duration>,
    loader: &mut Loader,
    console: &Console,
) -> Result<Medium> {
    let begin = Instant::now();
    let _trays = Trays::leave_open();
    let mut seen = Seen::default();
    let mut told = false;
    loop {
        loader.load_for_devices(console);
        if let Some(medium) = look(config, &mut seen)? {
            return Ok(medium);
        }
        let waited = begin.elapsed();
        if seen.enough(waited, limit) {
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

/// Keeps the kernel from closing the tray of a drive each time it is looked at; undone when dropped.
#[derive(Debug)]
struct Trays {
    before: Option<String>,
}

impl Trays {
    fn leave_open() -> Self {
        // Without CD drives the file is not there, and nothing is to be done.
        let before = std::fs::read_to_string(AUTOCLOSE).ok();
        let before = before.filter(|_| std::fs::write(AUTOCLOSE, "0").is_ok());
        Self { before }
    }
}

impl Drop for Trays {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A comfort of the running system, which it can set itself.
            let _ = std::fs::write(AUTOCLOSE, before.trim());
        }
    }
}

/// What a device turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Finding {
    /// Another volume or none.
    Other,
    /// Nothing can be read from it.
    Unreadable,
    /// The right volume id with another map.
    OtherMap,
    /// The right volume id, and then an error.
    Failed(String),
}

/// What was met while looking, by the device's name, and when.
#[derive(Debug, Default)]
struct Seen(BTreeMap<String, (Finding, Instant)>);

impl Seen {
    fn note(&mut self, device: &Device, finding: Finding) {
        self.0
            .insert(device.name.clone(), (finding, Instant::now()));
    }

    /// Whether the device is to be looked at (again).
    fn is_due(&self, device: &Device, now: Instant) -> bool {
        match self.0.get(&device.name) {
            Some((Finding::OtherMap | Finding::Failed(_), when)) => {
                now.saturating_duration_since(*when) >= RETRY
            }
            _ => true,
        }
    }

    /// Forgets devices that are gone, but not why one failed: it may have gone because of that.
    fn keep(&mut self, present: &[Device]) {
        self.0.retain(|name, (finding, _)| {
            matches!(finding, Finding::Failed(_)) || present.iter().any(|d| d.name == *name)
        });
    }

    fn enough(&self, waited: Duration, limit: Option<Duration>) -> bool {
        let other_map = || self.0.values().any(|(f, _)| *f == Finding::OtherMap);
        waited >= limit.unwrap_or(WAIT) || (limit.is_none() && waited >= GRACE && other_map())
    }

    fn names(&self, which: impl Fn(&Finding) -> bool) -> String {
        let names = self.0.iter().filter(|(_, (finding, _))| which(finding));
        names
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn sentence(&self, config: &Config, waited: Duration) -> Stop {
        let (id, waited) = (&config.volume_id, waited.as_secs());
        let more = "give more time with rd.ramforge.wait=SECONDS on the kernel command line";
        let failed: Vec<&str> = self
            .0
            .values()
            .filter_map(|(finding, _)| match finding {
                Finding::Failed(why) => Some(why.as_str()),
                _ => None,
            })
            .collect();
        let other_map = self.names(|f| *f == Finding::OtherMap);
        if !failed.is_empty() {
            return Stop::new(
                format!(
                    "no medium with volume id {id} can be used, tried for {waited} s: {}",
                    failed.join("; ")
                ),
                format!(
                    "write the ISO to the medium again and compare its checksum, try another port, or {more}"
                ),
            );
        }
        if !other_map.is_empty() {
            return Stop::new(
                format!(
                    "the medium {id} in {other_map} is damaged or of another build: its /{} is not the one this initramfs was made for",
                    config::MAP_ON_MEDIUM
                ),
                format!(
                    "write the ISO to the medium again and compare its checksum, plug in the medium that was booted, or {more}"
                ),
            );
        }
        let unreadable = self.names(|f| *f == Finding::Unreadable);
        let looked = match (self.0.is_empty(), unreadable.is_empty()) {
            (true, _) => "no block device is there".to_owned(),
            (_, true) => format!("looked at {}", self.names(|_| true)),
            (_, false) => format!(
                "looked at {}, could not read {unreadable}",
                self.names(|_| true)
            ),
        };
        Stop::new(
            format!("no medium with volume id {id} appeared in {waited} s ({looked})"),
            format!("plug it in and restart, or {more}"),
        )
    }
}

/// Looks at every device that is due.
fn look(config: &Config, seen: &mut Seen) -> Result<Option<Medium>> {
    let is_ram = |d: &Device| d.name.starts_with("ram") || d.name.starts_with("zram");
    let mut present = devices::all();
    present.retain(|d| !is_ram(d) && d.size() != 0);
    seen.keep(&present);
    for device in present {
        if !seen.is_due(&device, Instant::now()) {
            continue;
        }
        let found = device.open().and_then(|file| descriptor(&file));
        let finding = match found {
            Ok(id) if id.as_deref() != Some(&config.volume_id) => Finding::Other,
            Err(_) => Finding::Unreadable,
            Ok(_) => match Mount::open(&device, config) {
                Ok(Some((mount, text))) => {
                    let map = ChunkMap::parse(&text)
                        .map_err(|e| Stop::new(e.to_string(), "build the image again"))?;
                    return Ok(Some(Medium { device, map, mount }));
                }
                Ok(None) => Finding::OtherMap,
                Err(e) => Finding::Failed(format!("{}: {e}", device.name)),
            },
        };
        seen.note(&device, finding);
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
    /// Where it is mounted.
    pub fn root(&self) -> &Path {
        &self.mount.root
    }

    /// Unmounts it and drops what the kernel caches of it. Nothing refers to it afterwards.
    ///
    /// # Errors
    /// A sentence where something still uses it.
    pub fn release(self) -> Result<()> {
        let Self { device, mount, .. } = self;
        mount.end().map_err(|e| {
            Stop::new(
                format!("the medium cannot be unmounted: {e}"),
                "do not remove it before shutdown",
            )
        })?;
        let flushed = device
            .open()
            .and_then(|file| Ok(sys::block::flush_buffers(&file)?));
        // A medium that is gone already has no cache to drop.
        drop(flushed);
        match holders(&device) {
            None => Ok(()),
            Some(holder) => Err(Stop::new(
                format!("{} is still in use by {holder}", device.name),
                "do not remove the medium before shutdown",
            )),
        }
    }
}

/// A mounted file system, unmounted when dropped.
#[derive(Debug)]
struct Mount {
    root: PathBuf,
    held: bool,
}

impl Mount {
    /// Mounts `device` and reads its map; `None` where that is not the one that `config` names.
    fn open(device: &Device, config: &Config) -> io::Result<Option<(Self, Vec<u8>)>> {
        let cannot =
            |e: io::Error| io::Error::new(e.kind(), format!("cannot be mounted as ISO 9660: {e}"));
        let mount = Self::iso(device).map_err(cannot)?;
        match read_map(&mount.root, config) {
            Ok(Some(text)) => Ok(Some((mount, text))),
            Ok(None) => mount.end().map(|()| None),
            Err(e) => {
                let fact = format!("/{} cannot be read: {e}", config::MAP_ON_MEDIUM);
                Err(io::Error::new(e.kind(), fact))
            }
        }
    }

    fn iso(device: &Device) -> io::Result<Self> {
        let root = PathBuf::from(MOUNT_POINT);
        std::fs::create_dir_all(&root)?;
        let node = device.node()?;
        let flags =
            MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        // Without Joliet no character set is needed, whose module may not be there.
        rustix::mount::mount(&node, &root, "iso9660", flags, Some(c"nojoliet"))?;
        Ok(Self { root, held: true })
    }

    /// Unmounts it.
    fn end(mut self) -> io::Result<()> {
        self.held = false;
        unmount(&self.root)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.held {
            // It only goes out of scope where another error is on its way to the person.
            let _ = unmount(&self.root);
        }
    }
}

/// The map's bytes, where they are those that `config` names.
fn read_map(root: &Path, config: &Config) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(root.join(config::MAP_ON_MEDIUM)) {
        // Another medium of the same name.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut text = Vec::new();
    file.take(config.map.size.saturating_add(1))
        .read_to_end(&mut text)?;
    Ok((Digest::of(&text) == config.map.blake3).then_some(text))
}

fn unmount(root: &Path) -> io::Result<()> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match rustix::mount::unmount(root, UnmountFlags::NOFOLLOW) {
            Err(rustix::io::Errno::BUSY) if Instant::now() < end => {
                std::thread::sleep(devices::POLL);
            }
            outcome => return Ok(outcome?),
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

    fn config(text: &[u8]) -> Config {
        Config {
            format: 1,
            volume_id: "INSTALL".into(),
            map: manifest::Object::of(text),
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
            resize: false,
            reserve_bytes: 0,
            initramfs_bytes: 0,
        }
    }

    #[test]
    fn only_the_map_of_the_configuration_counts() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &[u8]| read_map(dir.path(), &config(text)).unwrap();
        assert_eq!(read(b"map"), None);
        std::fs::create_dir(dir.path().join("ramforge")).unwrap();
        std::fs::write(dir.path().join(config::MAP_ON_MEDIUM), b"map").unwrap();
        assert_eq!(read(b"map").as_deref(), Some(&b"map"[..]));
        assert_eq!(read(b"mab"), None);
        assert_eq!(read(b"ma"), None);
    }

    #[test]
    fn a_map_that_cannot_be_read_is_no_other_map() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(config::MAP_ON_MEDIUM)).unwrap();
        assert!(read_map(dir.path(), &config(b"map")).is_err());
    }

    #[test]
    fn a_medium_that_failed_is_tried_again() {
        let (a, b) = (Device::named("sr0"), Device::named("sda"));
        let mut seen = Seen::default();
        seen.note(&a, Finding::OtherMap);
        seen.note(&b, Finding::Unreadable);
        let now = Instant::now();
        assert!(seen.is_due(&a, now + RETRY) && seen.is_due(&b, now));
        let just_now = seen.0["sr0"].1;
        assert!(!seen.is_due(&a, just_now));
        seen.keep(&[b]);
        assert!(seen.is_due(&a, just_now) && seen.0.len() == 1);
    }

    #[test]
    fn a_limit_that_was_asked_for_is_kept() {
        let mut seen = Seen::default();
        assert!(!seen.enough(GRACE, None) && seen.enough(WAIT, None));
        seen.note(&Device::named("sr0"), Finding::OtherMap);
        assert!(seen.enough(GRACE, None));
        let asked = Some(Duration::from_secs(600));
        assert!(!seen.enough(WAIT, asked) && seen.enough(Duration::from_secs(600), asked));
        let text = seen.sentence(&config(b""), GRACE).to_string();
        assert!(
            text.contains("INSTALL in sr0") && text.contains("rd.ramforge.wait="),
            "{text}"
        );
    }

    #[test]
    fn what_failed_is_told_at_the_end() {
        let mut seen = Seen::default();
        seen.note(&Device::named("sda"), Finding::OtherMap);
        seen.note(&Device::named("sr0"), Finding::Failed("sr0: broken".into()));
        seen.keep(&[]);
        let text = seen.sentence(&config(b""), WAIT).to_string();
        assert!(text.contains("tried for 60 s: sr0: broken"), "{text}");
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
