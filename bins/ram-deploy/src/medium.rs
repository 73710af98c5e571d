//! The medium: found by its volume id, proven by the digest of its chunk map, found again when it was pulled out.
//!
//! It is a device, a partition, or with `iso-scan/filename=PATH` a file on another file system. Among several media with
//! one volume id the map decides.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use store::chunk_map::ChunkMap;

use crate::cmdline::Cmdline;
use crate::config::{self, Config};
use crate::console::Console;
use crate::devices::{self, Device, Inserted};
use crate::host::{self, Host};
use crate::modules::Loader;
use crate::payload::Media;
use crate::policy;
use crate::seen::{self, Finding, Seen};
use crate::stop::{Result, Stop};
use crate::volume::{self, Volume};

/// After this time a person is told what is waited for.
const SILENCE: Duration = Duration::from_secs(3);
/// Whether the kernel closes the tray of a drive that is opened.
const AUTOCLOSE: &str = "/proc/sys/dev/cdrom/autoclose";

/// What is looked for.
#[derive(Debug)]
pub struct Wanted<'a> {
    config: &'a Config,
    /// The ISO file's path on its file system.
    iso: Option<String>,
    /// How long it may take.
    limit: Option<Duration>,
    /// How long it may be gone. Where nobody is there to plug it in again, not for ever.
    patience: Option<Duration>,
}

/// A medium with the right map. Nothing refers to it any more when it goes out of scope.
#[derive(Debug)]
pub struct Medium {
    /// The device it is in.
    pub device: Device,
    /// Its chunk map, verified where it is the image's.
    pub map: ChunkMap,
    /// What it holds.
    pub volume: Volume,
    /// The path of an ISO file.
    iso: Option<String>,
    /// Where the ISO file lies. Behind the volume: the file is closed before its file system is unmounted.
    host: Option<Host>,
}

impl<'a> Wanted<'a> {
    /// What `config` and the command line ask for.
    ///
    /// # Errors
    /// A sentence where the command line has no number where one is expected.
    pub fn new(config: &'a Config, cmdline: &Cmdline) -> Result<Self> {
        let limit = cmdline.seconds("rd.ramforge.wait")?;
        let alone = policy::is_unattended(cmdline);
        Ok(Self {
            config,
            iso: cmdline.value("iso-scan/filename").map(str::to_owned),
            limit,
            patience: limit.or(Some(seen::WAIT).filter(|_| alone)),
        })
    }

    /// Waits for the medium, loading drivers as devices appear. Where the command line gives no limit a medium of another
    /// build ends the waiting early.
    ///
    /// # Errors
    /// A sentence that tells what was seen instead.
    pub fn find(&self, loader: &mut Loader, console: &Console) -> Result<Medium> {
        if self.iso.is_some() {
            host::prepare(loader);
        }
        let begin = Instant::now();
        let _trays = Trays::leave_open();
        let mut seen = Seen::default();
        let mut told = false;
        loop {
            loader.load_for_devices(console);
            if let Some(medium) = self.look(&mut seen, &[])? {
                return Ok(medium);
            }
            let waited = begin.elapsed();
            if seen.enough(waited, self.limit) {
                return Err(seen.sentence(self, waited));
            }
            if waited >= SILENCE && !told {
                console.say(&format!("waiting for {}", self.name()));
                console.take_screen();
                told = true;
            }
            std::thread::sleep(devices::POLL);
        }
    }

    /// Gives the medium back after a read failed: at once where it is still there, else when it returns, in whatever
    /// device. Also tells whether it was gone.
    ///
    /// # Errors
    /// A sentence where rd.ramforge.wait limits the waiting.
    pub fn again(
        &self,
        lost: Medium,
        damaged: &[Inserted],
        console: &Console,
    ) -> Result<(Medium, bool)> {
        let device = lost.device.clone();
        let _trays = Trays::leave_open();
        // A device that is held keeps its name; and what is cached of it must not look like the medium.
        drop(lost);
        if let Ok(file) = device.open() {
            let _ = sys::block::flush_buffers(&file);
        }
        if device.size() != 0
            && let Ok(Some(medium)) = self.open(&device)
        {
            return Ok((medium, false));
        }
        let name = &device.name;
        console.say(&format!(
            "the medium in {name} was pulled out or fails; plug it in again, and the copying goes on"
        ));
        console.take_screen();
        let (begin, mut seen) = (Instant::now(), Seen::default());
        loop {
            if let Some(medium) = self.look(&mut seen, damaged)? {
                let name = &medium.device.name;
                console.say(&format!("the medium is back in {name}, copying goes on"));
                return Ok((medium, true));
            }
            let waited = begin.elapsed();
            if self.patience.is_some_and(|limit| waited >= limit) {
                return Err(Stop::new(
                    format!(
                        "the medium in {name} was pulled out or failed, and did not return in {} s",
                        waited.as_secs()
                    ),
                    "plug it in and try again, or give more time with rd.ramforge.wait=SECONDS",
                ));
            }
            std::thread::sleep(devices::POLL);
        }
    }

    /// Takes the medium that is the file `name`.
    ///
    /// # Errors
    /// The sentence that ends the search where it is not the right one.
    pub fn in_file(&self, name: &str, file: std::fs::File) -> Result<Medium> {
        let device = Device::named(name);
        let finding = match volume::id(&file) {
            Ok(id) if id.as_deref() != Some(&self.config.volume_id) => Finding::Other,
            Err(_) => Finding::Unreadable,
            Ok(_) => match self.check(&device, file, None) {
                Ok(Some(medium)) => return Ok(medium),
                Ok(None) => return Err(senseless()),
                Err(finding) => finding,
            },
        };
        let mut seen = Seen::default();
        seen.note(&device, finding);
        Err(seen.sentence(self, Duration::ZERO))
    }

    /// What the initramfs says of it.
    pub(crate) fn config(&self) -> &Config {
        self.config
    }

    /// What is waited for, in words.
    pub(crate) fn name(&self) -> String {
        let id = &self.config.volume_id;
        match &self.iso {
            None => format!("the medium with volume id {id}"),
            Some(path) => format!("the medium with volume id {id}, or a disk with its file {path}"),
        }
    }

    /// Another medium than those in `damaged`, where there is one now.
    fn other(&self, damaged: &[Inserted]) -> Option<Medium> {
        let _trays = Trays::leave_open();
        let present = present_but(damaged);
        let mut opened = present.iter().map(|device| self.open(device));
        opened.find_map(|medium| medium.ok().flatten())
    }

    /// Looks at every device that is due, but not at what is `damaged`.
    fn look(&self, seen: &mut Seen, damaged: &[Inserted]) -> Result<Option<Medium>> {
        let present = present_but(damaged);
        seen.keep(&present);
        for device in present {
            if !seen.is_due(&device, Instant::now()) {
                continue;
            }
            match self.open(&device) {
                Ok(Some(medium)) => return Ok(Some(medium)),
                Ok(None) => return Err(senseless()),
                Err(finding) => seen.note(&device, finding),
            }
        }
        Ok(None)
    }

    /// Opens the medium in a device; `Ok(None)` where its map is the right one and cannot be understood.
    fn open(&self, device: &Device) -> std::result::Result<Option<Medium>, Finding> {
        let id = device.open().and_then(|file| volume::id(&file));
        let id = id.map_err(|_| Finding::Unreadable)?;
        let failed = |e: io::Error| Finding::Failed(format!("{}: {e}", device.name));
        if id.as_deref() == Some(&self.config.volume_id) {
            let file = device.open().map_err(failed)?;
            return self.check(device, file, None);
        }
        let Some(path) = &self.iso else {
            return Err(Finding::Other);
        };
        let host = Host::mount(device).map_err(failed)?;
        let host = host.ok_or(Finding::Other)?;
        let file = host.open(path).map_err(failed)?.ok_or(Finding::Host)?;
        self.check(device, file, Some(host))
    }

    fn check(
        &self,
        device: &Device,
        file: std::fs::File,
        host: Option<Host>,
    ) -> std::result::Result<Option<Medium>, Finding> {
        let name = match (&self.iso, &host) {
            (Some(path), Some(_)) => format!("{}, file {path}", device.name),
            _ => device.name.clone(),
        };
        let failed = |what: &str, e: io::Error| Finding::Failed(format!("{name}: {what}: {e}"));
        let volume = Volume::open(file).map_err(|e| failed("its directories cannot be read", e))?;
        let text = volume
            .map(self.config)
            .map_err(|e| failed(&format!("/{} cannot be read", config::MAP_ON_MEDIUM), e))?;
        let text = text.ok_or(Finding::OtherMap)?;
        let signed = volume.is_signed(&text, self.config);
        match signed.map_err(|e| failed("its signature cannot be read", e))? {
            true => (),
            false => return Err(Finding::Unsigned),
        }
        Ok(ChunkMap::parse(&text).ok().map(|map| Medium {
            device: device.clone(),
            map,
            volume,
            iso: self.iso.clone().filter(|_| host.is_some()),
            host,
        }))
    }
}

/// The media in the devices that there are, with the consoles to tell of them.
#[derive(Debug)]
pub struct Present<'a> {
    /// What they must be.
    pub wanted: &'a Wanted<'a>,
    /// Where a person is told.
    pub console: &'a Console,
}

impl Media for Present<'_> {
    fn again(&self, lost: Medium, damaged: &[Inserted]) -> Result<(Medium, bool)> {
        self.wanted.again(lost, damaged, self.console)
    }

    fn other(&self, damaged: &[Inserted]) -> Option<Medium> {
        self.wanted.other(damaged)
    }

    fn say(&self, line: &str) {
        self.console.say(line);
    }
}

/// The devices that may hold a medium, without what is `damaged`.
fn present_but(damaged: &[Inserted]) -> Vec<Device> {
    let mut present = devices::all();
    present.retain(|device| device.may_hold_something() && !damaged.contains(&device.inserted()));
    present
}

/// A map with the right digest that cannot be understood.
fn senseless() -> Stop {
    Stop::new("the chunk map makes no sense", "build the image again")
}

/// Keeps the kernel from closing the tray of a drive each time it is looked at; undone when dropped.
#[derive(Debug)]
pub(crate) struct Trays {
    before: Option<String>,
}

impl Trays {
    pub(crate) fn leave_open() -> Self {
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

impl Medium {
    /// The one in a device, whose map nobody vouches for.
    pub(crate) fn unproven(device: Device, map: ChunkMap, volume: Volume) -> Self {
        Self {
            device,
            map,
            volume,
            iso: None,
            host: None,
        }
    }

    /// Device and, where it is one, ISO file, in words.
    pub fn name(&self) -> String {
        match &self.iso {
            Some(path) => format!("{} ({path})", self.device.name),
            None => self.device.name.clone(),
        }
    }

    /// Whether it is a file on another file system.
    pub fn is_file(&self) -> bool {
        self.host.is_some()
    }

    /// Closes it and drops what the kernel caches of it. Nothing refers to it afterwards.
    ///
    /// # Errors
    /// A sentence where something still uses it.
    pub fn release(self) -> Result<()> {
        let Self {
            device,
            volume,
            host,
            ..
        } = self;
        drop(volume);
        host.map_or(Ok(()), Host::end).map_err(|e| {
            Stop::new(
                format!(
                    "the file system in {} cannot be unmounted: {e}",
                    device.name
                ),
                "do not remove the medium before shutdown",
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
pub(crate) mod tests {
    use super::*;
    use crate::volume::tests::{config, iso};

    /// A medium without chunks in a plain file.
    pub(crate) fn medium(device: Device, file: std::fs::File) -> Medium {
        let map = br#"{"chunk_size":4096,"chunks":[],"format":1,"size":4096}"#;
        let map = ChunkMap::parse(map).unwrap();
        Medium::unproven(device, map, Volume::open(file).unwrap())
    }

    pub(crate) fn wanted(config: &Config) -> Wanted<'_> {
        Wanted::new(config, &Cmdline::parse("iso-scan/filename=/a.iso")).unwrap()
    }

    #[test]
    fn the_map_decides_among_media_of_one_name() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let map = br#"{"chunk_size":4096,"chunks":[],"format":1,"size":4096}"#;
        iso(path.path(), "INSTALL", &[("ramforge/map", map)]);
        let device = Device::named("sdx");
        let check = |config: &Config| wanted(config).check(&device, path.reopen().unwrap(), None);
        let found = check(&config(map)).unwrap().unwrap();
        assert_eq!((found.map.size, found.name()), (4096, "sdx".to_owned()));
        assert_eq!(check(&config(b"other")).unwrap_err(), Finding::OtherMap);
        iso(path.path(), "INSTALL", &[("ramforge/map", b"no map")]);
        assert!(check(&config(b"no map")).unwrap().is_none());
        path.as_file().set_len(17 * 2048).unwrap();
        assert!(matches!(check(&config(map)), Err(Finding::Failed(_))));
    }
}
