//! Frames that a medium of this machine holds already, so that they need not travel.
//!
//! Every medium counts that has a chunk map, that of another build too: what it shares with the image is read there. Nothing
//! of it is trusted: each chunk is verified, wherever it came from, and what a medium does not give, or gives wrong, comes
//! over the network.
//!
//! *Not looked for:* media that appear later, ISO files on another file system, and disks that hold an image as it is.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Mutex, PoisonError};

use manifest::Object;
use store::chunk_map::ChunkMap;

use crate::config;
use crate::console::Console;
use crate::deploy::Source;
use crate::devices::{self, Device};
use crate::medium::Medium;
use crate::modules::Loader;
use crate::volume::{self, Volume};

use super::source::Remote;

/// The longest chunk map that is read of a medium nobody vouches for, in bytes: some 80 GiB of image.
const MOST_MAP: u64 = 16 << 20;

/// The payload of a boot set, parts of which are here.
#[derive(Debug)]
pub struct Local<'a> {
    remote: Remote<'a>,
    media: Vec<Medium>,
    here: Mutex<Here>,
}

/// Where frames lie that are here, by their offset in the payload.
type Here = BTreeMap<u64, Place>;

/// Where a frame lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    medium: usize,
    /// Offset in the medium's volume.
    at: u64,
    length: u64,
}

impl<'a> Local<'a> {
    /// Nothing is here.
    pub fn new(remote: Remote<'a>) -> Self {
        Self {
            remote,
            media: Vec::new(),
            here: Mutex::default(),
        }
    }

    /// Looks at the media that are there now for frames of `map`, and says what was found.
    pub fn look(&mut self, map: &ChunkMap, loader: &mut Loader, console: &Console) {
        loader.load_for_devices(console);
        for device in devices::all() {
            if device.is_ram() || device.size() == 0 {
                continue;
            }
            // What is none, cannot be read or makes no sense holds nothing of use.
            let Some(medium) = open(&device) else {
                continue;
            };
            let bytes = self.add(map, medium);
            if bytes > 0 {
                console.say(&format!(
                    "{} of {} MiB are here, in {}, and need not be fetched",
                    bytes >> 20,
                    map.payload().1 >> 20,
                    device.name
                ));
            }
        }
    }

    /// Notes which frames of `map` a medium holds; gives their bytes. One that brings nothing is let go.
    fn add(&mut self, map: &ChunkMap, mut medium: Medium) -> u64 {
        let held = frames(&medium.volume, &medium.map);
        // All that counts of it is known now, and RAM may be scarce.
        medium.map.chunks = Vec::new();
        let here = self.here.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        for (frame, offset) in map.payload().0 {
            let Some(at) = held.get(&frame).copied() else {
                continue;
            };
            let (medium, length) = (self.media.len(), frame.size);
            here.entry(offset).or_insert_with(|| {
                bytes += length;
                Place { medium, at, length }
            });
        }
        if bytes > 0 {
            self.media.push(medium);
            let ranges = here.iter().map(|(at, place)| *at..at + place.length);
            self.remote.without(ranges.collect());
        }
        bytes
    }

    /// The media of which something was read.
    pub fn into_media(self) -> Vec<Medium> {
        self.media
    }

    /// The place of a frame that is here.
    fn place_of(&self, offset: u64, length: u64) -> Option<Place> {
        let here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        let place = here.get(&offset).copied();
        place.filter(|place| place.length == length)
    }

    /// From now on the frame at `offset` is fetched; whether it was here.
    fn give_up(&self, offset: u64) -> bool {
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        here.remove(&offset).is_some()
    }
}

/// The medium in a device, whatever it was made for.
fn open(device: &Device) -> Option<Medium> {
    volume::id(&device.open().ok()?).ok()??;
    let volume = Volume::open(device.open().ok()?).ok()?;
    let text = volume.content(config::MAP_ON_MEDIUM, MOST_MAP).ok()??;
    let map = ChunkMap::parse(&text).ok()?;
    Some(Medium::unproven(device.clone(), map, volume))
}

/// Where each frame of a medium lies in its volume.
fn frames(volume: &Volume, map: &ChunkMap) -> HashMap<Object, u64> {
    let mut found = HashMap::new();
    for (n, group) in map.payload_files().into_iter().enumerate() {
        let Some(extent) = volume.find(&config::frames_on_medium(n)) else {
            continue;
        };
        let mut at = 0;
        for frame in group {
            if at + frame.size <= extent.len {
                found.insert(frame, extent.offset + at);
            }
            at += frame.size;
        }
    }
    found
}

impl Source for Local<'_> {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        if let Some(place) = self.place_of(offset, bytes.len() as u64) {
            let volume = &self.media[place.medium].volume;
            if volume.read(place.at, bytes).is_ok() {
                return Ok(());
            }
            self.give_up(offset);
        }
        self.remote.read(offset, bytes)
    }

    fn wrong(&self, offset: u64, length: u64) {
        if !self.give_up(offset) {
            self.remote.wrong(offset, length);
        }
    }

    fn forget(&self, offset: u64, length: u64) {
        if let Some(place) = self.place_of(offset, length) {
            self.media[place.medium].volume.forget(place.at, length);
        }
    }

    /// What is here and wrong is fetched, so that only the network's place is ever told.
    fn place(&self, offset: u64) -> String {
        self.remote.place(offset)
    }

    fn remedy(&self) -> &'static str {
        self.remote.remedy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fetch::{Fetcher, Patience, Tell};
    use crate::volume::tests::iso;
    use manifest::{Digest, to_canonical};
    use std::path::Path;
    use std::time::Duration;
    use store::chunk_map::{Chunk, FORMAT};

    const NOBODY: &Tell<'static> = &|_: &str| ();

    /// A map of chunks whose frames are `frames`, without regard to what is in them.
    fn map(frames: &[&[u8]]) -> ChunkMap {
        let chunk = |(at, frame): (usize, &&[u8])| Chunk {
            at: at as u64,
            blake3: Digest::of(frame),
            frame: Object::of(frame),
        };
        ChunkMap {
            format: FORMAT,
            size: frames.len() as u64 * 4096,
            chunk_size: 4096,
            chunks: frames.iter().enumerate().map(chunk).collect(),
        }
    }

    /// A medium with these frames.
    fn medium(path: &Path, frames: &[&[u8]]) -> Medium {
        let map = map(frames);
        let text = to_canonical(&map).unwrap();
        let files: [(&str, &[u8]); 2] = [
            ("ramforge/map", text.as_bytes()),
            ("ramforge/frames.000", &frames.concat()),
        ];
        iso(path, "INSTALL", &files);
        let volume = Volume::open(std::fs::File::open(path).unwrap()).unwrap();
        Medium::unproven(Device::named("sdx"), map, volume)
    }

    /// A payload without any server.
    fn local(map: &ChunkMap) -> Local<'static> {
        let patience = Patience {
            silence: Duration::ZERO,
            limit: Duration::ZERO,
        };
        let fetcher = Fetcher::new(Vec::new(), patience, Box::new(|_| Ok(Vec::new())), NOBODY);
        Local::new(Remote::new(map, fetcher))
    }

    fn read(local: &Local<'_>, offset: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        local.read(offset, &mut bytes).ok().map(|()| bytes)
    }

    #[test]
    fn what_an_older_medium_shares_is_read_there() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let wanted = map(&[b"kept", b"new", b"shared"]);
        let mut local = local(&wanted);
        let older = medium(path.path(), &[b"old one", b"shared", b"kept"]);
        assert_eq!(local.add(&wanted, older), 10);
        assert_eq!(read(&local, 0, 4).as_deref(), Some(&b"kept"[..]));
        assert_eq!(read(&local, 7, 6).as_deref(), Some(&b"shared"[..]));
        // What it does not have is asked of the network, of which there is none here.
        assert_eq!(read(&local, 4, 3), None);
        // The same medium under another name brings nothing.
        let again = medium(path.path(), &[b"old one", b"shared", b"kept"]);
        assert_eq!(local.add(&wanted, again), 0);
        assert_eq!(local.into_media().len(), 1);
    }

    #[test]
    fn what_is_wrong_or_cannot_be_read_is_fetched() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let wanted = map(&[b"first", b"second"]);
        let mut local = local(&wanted);
        let medium = medium(path.path(), &[b"first", b"second"]);
        let end = medium.volume.find("ramforge/frames.000").unwrap().offset + 5;
        local.add(&wanted, medium);
        local.wrong(0, 5);
        assert_eq!(read(&local, 0, 5), None);
        assert_eq!(read(&local, 5, 6).as_deref(), Some(&b"second"[..]));
        std::fs::OpenOptions::new()
            .write(true)
            .open(path.path())
            .unwrap()
            .set_len(end)
            .unwrap();
        assert_eq!(read(&local, 5, 6), None);
    }
}
