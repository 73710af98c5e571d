//! Frames that a medium of this machine holds already, so that they need not travel.
//!
//! Every device counts that has a chunk map, be it CD, stick, disk, partition or loop device, that of another build too:
//! what it shares with the image is read there. Nothing of it is trusted: each frame is verified before it is given on, and
//! what a medium gives wrong comes over the network, as all does of a medium that cannot be read. So what the caller finds
//! wrong is always a server's.
//!
//! *Not looked for:* media that appear later, ISO files on another file system, and disks that hold an image as it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use manifest::{Digest, Object};
use store::chunk_map::ChunkMap;

use crate::config;
use crate::console::Console;
use crate::deploy::Source;
use crate::devices::{self, Device};
use crate::medium::{Medium, Trays};
use crate::modules::Loader;
use crate::volume::{self, Volume};

use super::fetch::Tell;
use super::source::Remote;

/// The longest chunk map that is read of a medium nobody vouches for, in bytes: some 80 GiB of image.
const MOST_MAP: u64 = 16 << 20;

/// The payload of a boot set, parts of which are here.
pub struct Local<'a> {
    remote: Remote<'a>,
    media: Vec<Medium>,
    here: Mutex<Here>,
    tell: &'a Tell<'a>,
}

impl std::fmt::Debug for Local<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local")
            .field("remote", &self.remote)
            .field("media", &self.media)
            .finish_non_exhaustive()
    }
}

/// What is here.
#[derive(Debug, Default)]
struct Here {
    /// Where frames lie, by their offset in the payload.
    places: BTreeMap<u64, Place>,
    /// The media of which a person was told that they are of no use.
    told: BTreeSet<usize>,
}

/// Where a frame lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    medium: usize,
    /// Offset in the medium's volume.
    at: u64,
    length: u64,
    /// The digest of the frame.
    blake3: Digest,
}

impl Here {
    fn ranges(&self) -> Vec<Range<u64>> {
        let range = |(at, place): (&u64, &Place)| *at..at + place.length;
        self.places.iter().map(range).collect()
    }
}

impl<'a> Local<'a> {
    /// Nothing is here. `tell` is told of media that are of no use.
    pub fn new(remote: Remote<'a>, tell: &'a Tell<'a>) -> Self {
        Self {
            remote,
            media: Vec::new(),
            here: Mutex::default(),
            tell,
        }
    }

    /// Looks at the media that are there now for frames of `map`, and says what was found.
    pub fn look(&mut self, map: &ChunkMap, loader: &mut Loader, console: &Console) {
        console.say("looking for frames on media of this machine");
        let _trays = Trays::leave_open();
        loader.load_for_devices(console);
        for device in devices::all() {
            if !device.may_hold_something() {
                continue;
            }
            // What is none, cannot be read or makes no sense holds nothing of use.
            let Some(medium) = open(&device) else {
                continue;
            };
            let bytes = self.add(map, medium);
            // Of a shared block or two nobody needs to know.
            if bytes >> 20 > 0 {
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
            here.places.entry(offset).or_insert_with(|| {
                bytes += frame.size;
                Place {
                    medium: self.media.len(),
                    at,
                    length: frame.size,
                    blake3: frame.blake3,
                }
            });
        }
        if bytes > 0 {
            self.media.push(medium);
            self.remote.without(here.ranges());
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
        let place = here.places.get(&offset).copied();
        place.filter(|place| place.length == length)
    }

    /// Fetches from now on what is not to be `kept` of the frames that are here; `medium` is why.
    fn give_up(&self, medium: usize, kept: impl Fn(u64, &Place) -> bool) {
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        here.places.retain(|offset, place| kept(*offset, place));
        let (ranges, first) = (here.ranges(), here.told.insert(medium));
        // Who reads from a server may wait for it, and nobody else shall wait for that.
        drop(here);
        self.remote.without(ranges);
        if first {
            let name = &self.media[medium].device.name;
            (self.tell)(&format!(
                "{name}: its frames are wrong or cannot be read; they are fetched"
            ));
        }
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
            let Place { medium, blake3, .. } = place;
            match self.media[medium].volume.read(place.at, bytes) {
                Ok(()) if Digest::of(bytes) == blake3 => return Ok(()),
                Ok(()) => self.give_up(medium, |at, _| at != offset),
                // A disk that fails takes its time for each read.
                Err(_) => self.give_up(medium, |_, place| place.medium != medium),
            }
        }
        self.remote.read(offset, bytes)
    }

    fn tries(&self) -> usize {
        self.remote.tries()
    }

    fn wrong(&self, offset: u64, length: u64) {
        match self.place_of(offset, length) {
            // It was right when it was read, and its content is not: it cannot be right from a server.
            Some(place) => self.give_up(place.medium, |at, _| at != offset),
            None => self.remote.wrong(offset, length),
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
    use crate::net::fetch::{self, Fetcher, Patience};
    use crate::net::url::Url;
    use crate::target::Disk;
    use crate::volume::tests::iso;
    use manifest::to_canonical;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
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

    /// A medium with a map of these frames, and with `payload`.
    fn medium_with(path: &Path, map: ChunkMap, payload: &[u8]) -> Medium {
        let text = to_canonical(&map).unwrap();
        let files: [(&str, &[u8]); 2] = [
            ("ramforge/map", text.as_bytes()),
            ("ramforge/frames.000", payload),
        ];
        iso(path, "INSTALL", &files);
        let volume = Volume::open(std::fs::File::open(path).unwrap()).unwrap();
        Medium::unproven(Device::named("sdx"), map, volume)
    }

    /// A medium with these frames.
    fn medium(path: &Path, frames: &[&[u8]]) -> Medium {
        medium_with(path, map(frames), &frames.concat())
    }

    /// A payload on these servers.
    fn local<'a>(map: &ChunkMap, urls: &[String], tell: &'a Tell<'a>) -> Local<'a> {
        let patience = Patience {
            silence: Duration::from_secs(10),
            limit: Duration::ZERO,
        };
        let urls = urls.iter().map(|url| Url::parse(url).unwrap()).collect();
        let fetcher = Fetcher::new(urls, patience, Box::new(|_| Ok(Vec::new())), tell);
        Local::new(Remote::new(map, fetcher), tell)
    }

    /// The URL of a server of one file, which sends a wrong byte where it `lies`.
    fn server(file: Vec<u8>, lies: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = BufReader::new(client.unwrap());
                let mut from = 0;
                let mut line = String::new();
                while client.read_line(&mut line).unwrap() > 2 {
                    if let Some(range) = line.strip_prefix("Range: bytes=") {
                        from = range.trim().trim_end_matches('-').parse().unwrap();
                    }
                    line.clear();
                }
                let (end, mut rest) = (file.len(), file[from..].to_vec());
                rest[0] ^= u8::from(lies);
                let head = format!(
                    "HTTP/1.1 206 Partial\r\nConnection: close\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{end}\r\n\r\n",
                    rest.len(),
                    end - 1
                );
                let answer = [head.as_bytes(), &rest].concat();
                // One that is left for another server reads no more.
                let _ = client.get_mut().write_all(&answer);
            }
        });
        url
    }

    fn read(local: &Local<'_>, offset: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        local.read(offset, &mut bytes).ok().map(|()| bytes)
    }

    #[test]
    fn what_an_older_medium_shares_is_read_there() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let wanted = map(&[b"kept", b"new", b"shared"]);
        let mut local = local(&wanted, &[], NOBODY);
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
    fn what_is_wrong_is_fetched_and_a_medium_that_fails_is_left() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let frames: [&[u8]; 3] = [b"first", b"second", b"third"];
        let wanted = map(&frames);
        let told = Mutex::new(Vec::new());
        let tell = |line: &str| told.lock().unwrap().push(line.to_owned());
        let mut local = local(&wanted, &[], &tell);
        let medium = medium_with(path.path(), wanted.clone(), b"firstSecondthird");
        let end = medium.volume.find("ramforge/frames.000").unwrap().offset + 11;
        local.add(&wanted, medium);
        assert_eq!(read(&local, 0, 5).as_deref(), Some(&b"first"[..]));
        assert_eq!(read(&local, 5, 6), None);
        assert_eq!(read(&local, 11, 5).as_deref(), Some(&b"third"[..]));
        let file = std::fs::OpenOptions::new().write(true).open(path.path());
        file.unwrap().set_len(end).unwrap();
        assert_eq!(read(&local, 11, 5), None);
        // It could be read, but a disk that fails is not asked again.
        assert_eq!(read(&local, 0, 5), None);
        let told = told.lock().unwrap();
        let ours = told.iter().filter(|line| line.starts_with("sdx: "));
        assert_eq!(ours.count(), 1, "{told:?}");
    }

    /// An image of three chunks, its map and its payload.
    fn image() -> (Vec<u8>, ChunkMap, Vec<u8>) {
        let plain: Vec<Vec<u8>> = (1..4).map(|n| vec![n; 4096]).collect();
        let frames = plain.iter().map(|p| zstd::bulk::compress(p, 3).unwrap());
        let frames: Vec<Vec<u8>> = frames.collect();
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let mut map = map(&frames);
        for (chunk, plain) in map.chunks.iter_mut().zip(&plain) {
            chunk.blake3 = Digest::of(plain);
        }
        (plain.concat(), map, frames.concat())
    }

    /// Deploys from `local`, which must give `image`.
    fn deployed(local: &Local<'_>, map: &ChunkMap, image: &[u8]) {
        let out = tempfile::NamedTempFile::new().unwrap();
        out.as_file().set_len(map.size).unwrap();
        let target = Disk::file(out.path()).unwrap();
        crate::deploy::deploy(map, local, &target, 2, &|_| ()).unwrap();
        assert!(std::fs::read(out.path()).unwrap() == image);
    }

    #[test]
    fn two_lying_servers_leave_the_third() {
        let (image, map, payload) = image();
        let told = Mutex::new(Vec::new());
        let tell = |line: &str| told.lock().unwrap().push(line.to_owned());
        let urls = [true, true, false].map(|lies| server(payload.clone(), lies));
        deployed(&local(&map, &urls, &tell), &map, &image);
        let told = told.lock().unwrap();
        for (url, lies) in urls.iter().zip([true, true, false]) {
            let line = format!("{url} sends wrong bytes");
            assert_eq!(told.contains(&line), lies, "{told:?}");
        }
    }

    /// A server that closes in the middle of a frame of wrong bytes gives nobody else a bad name.
    #[test]
    fn who_sends_the_rest_of_a_wrong_frame_is_no_liar() {
        let (image, map, payload) = image();
        let told = Mutex::new(String::new());
        let tell = |line: &str| told.lock().unwrap().push_str(line);
        let (size, asked) = (payload.len(), std::sync::atomic::AtomicBool::new(false));
        let breaks = fetch::tests::server(move |client, _| {
            if !asked.swap(true, std::sync::atomic::Ordering::SeqCst) {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\nwrong");
                client.write_all(head.as_bytes()).unwrap();
            }
        });
        let urls = [breaks.to_string(), server(payload, false)];
        deployed(&local(&map, &urls, &tell), &map, &image);
        let told = told.lock().unwrap();
        assert!(told.contains("closed the connection"), "{told}");
        assert!(!told.contains("sends wrong bytes"), "{told}");
    }

    #[test]
    fn a_damaged_medium_and_a_lying_server_leave_the_good_one() {
        let (image, wanted, payload) = image();
        let path = tempfile::NamedTempFile::new().unwrap();
        let wrong: Vec<u8> = payload.iter().map(|byte| !byte).collect();
        let medium = medium_with(path.path(), wanted.clone(), &wrong);
        let told = Mutex::new(Vec::new());
        let tell = |line: &str| told.lock().unwrap().push(line.to_owned());
        let urls = [server(payload.clone(), true), server(payload, false)];
        let mut local = local(&wanted, &urls, &tell);
        assert!(local.add(&wanted, medium) > 0);
        deployed(&local, &wanted, &image);
        let told = told.lock().unwrap().join("\n");
        assert!(told.contains("sdx: its frames are wrong"), "{told}");
        assert!(told.contains("/ sends wrong bytes"), "{told}");
    }
}
