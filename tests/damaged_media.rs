//! A finished ISO, damaged at seeded places: a bit changed, a sector zeroed, the rest cut off.
//!
//! What is damaged there is either a system whose every file is right, or stops with a sentence. For the payload, the
//! map and the directories ram-deploy's own code decides here, on the host, as it does in the initramfs; what firmware,
//! GRUB and the kernel make of the rest only a boot tells. Points are those of [`Points`]: seeded, printed, repeatable.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

use fastrand::Rng;
use manifest::Object;
use pipeline_tests::{Area, Example, Points, areas, native, scratch, start, with_words};
use ram_check::qemu::{Bus, Firmware, Machine};
use ram_deploy::cmdline::Cmdline;
use ram_deploy::config::{Config, FORMAT, MAP_ON_MEDIUM, RamStore, frames_on_medium};
use ram_deploy::deploy::{Source, Target, deploy};
use ram_deploy::medium::Wanted;
use ram_deploy::payload::{Alone, Payload};
use store::chunk_map::ChunkMap;

/// Points that are decided on the host.
const POINTS: usize = 300;
/// Points that are booted, unless RAMFORGE_FAULT_BOOTS says how many.
const BOOTS: usize = 6;
/// Bytes in a sector of the medium.
const SECTOR: u64 = 2048;
/// Chunks that are deployed around the damage.
const AROUND: usize = 2;

/// What is done to a medium.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip { at: u64, bit: u32 },
    Zero { at: u64 },
    Cut { at: u64 },
}

impl Damage {
    /// Any of them within `area`.
    fn within(area: &Area, rng: &mut Rng) -> Self {
        let at = area.offset + rng.u64(0..area.len.max(1));
        match rng.u32(0..10) {
            0..5 => Self::Flip {
                at,
                bit: rng.u32(0..8),
            },
            5..8 => Self::Zero {
                at: at / SECTOR * SECTOR,
            },
            _ => Self::Cut { at },
        }
    }

    fn at(self) -> u64 {
        match self {
            Self::Flip { at, .. } | Self::Zero { at } | Self::Cut { at } => at,
        }
    }

    /// What bytes read at `offset` become; `None` where they are cut off.
    fn apply(self, offset: u64, bytes: &mut [u8]) -> Option<()> {
        let end = offset + bytes.len() as u64;
        match self {
            Self::Flip { at, bit } if (offset..end).contains(&at) => {
                bytes[(at - offset) as usize] ^= 1 << bit;
            }
            Self::Zero { at } => {
                let (from, to) = (at.max(offset), (at + SECTOR).min(end));
                if from < to {
                    bytes[(from - offset) as usize..(to - offset) as usize].fill(0);
                }
            }
            Self::Cut { at } if end > at => return None,
            _ => (),
        }
        Some(())
    }

    /// Does it to a file.
    fn damage(self, path: &Path) {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.unwrap();
        match self {
            Self::Cut { at } => file.set_len(at).unwrap(),
            Self::Flip { at, .. } | Self::Zero { at } => {
                let left = file.metadata().unwrap().len() - at;
                let mut bytes = vec![0; left.min(SECTOR) as usize];
                file.read_exact_at(&mut bytes, at).unwrap();
                self.apply(at, &mut bytes);
                file.write_all_at(&bytes, at).unwrap();
            }
        }
    }
}

/// The undamaged medium.
struct Whole {
    example: Example,
    config: Config,
    map: ChunkMap,
    /// Directories and descriptors: what lies before the files.
    head: Area,
    map_area: Area,
    frames: Area,
}

impl Whole {
    fn new() -> Self {
        let example = native("debian-vm");
        let all = areas(&example.iso);
        let of = |path: &str| all.iter().find(|a| a.path == path).unwrap().clone();
        let (map_area, frames) = (of(MAP_ON_MEDIUM), of(&frames_on_medium(0)));
        let head = Area {
            path: "descriptors and directories".to_owned(),
            offset: 16 * SECTOR,
            len: all[0].offset - 16 * SECTOR,
        };
        let mut bytes = vec![0; map_area.len as usize];
        let iso = File::open(&example.iso).unwrap();
        iso.read_exact_at(&mut bytes, map_area.offset).unwrap();
        let map = ChunkMap::parse(&bytes).unwrap();
        let config = Config {
            format: FORMAT,
            volume_id: example.manifest["media"]["volid"]
                .as_str()
                .unwrap()
                .to_owned(),
            map: Object::of(&bytes),
            image_size: map.size,
            data_bytes: 0,
            root_offset: 0,
            root_size: 0,
            zram_bytes: 0,
            entries: 1,
            root_uuid: String::new(),
            store: RamStore::Brd {
                device: "/dev/ram1".to_owned(),
                size_kib: None,
            },
            erofs: None,
            resize: false,
            ask: false,
            read_back: false,
            public_key: None,
            reserve_bytes: 0,
            initramfs_bytes: 0,
        };
        Self {
            example,
            config,
            map,
            head,
            map_area,
            frames,
        }
    }

    /// The frames around a place of the medium: where they begin in the payload, and their chunks.
    fn around(&self, at: u64) -> (u64, u64, ChunkMap) {
        let frames = self.map.frames();
        let mut ends = frames.iter().scan(0, |end, frame| {
            *end += frame.size;
            Some(*end)
        });
        let within = at.saturating_sub(self.frames.offset);
        let hit = ends.position(|end| within < end).unwrap_or(0);
        let window = hit.saturating_sub(AROUND)..(hit + AROUND + 1).min(frames.len());
        let begin = frames[..window.start].iter().map(|f| f.size).sum();
        let len = frames[window.clone()].iter().map(|f| f.size).sum();
        let wanted: HashSet<_> = frames[window].iter().collect();
        let mut map = self.map.clone();
        map.chunks.retain(|chunk| wanted.contains(&chunk.frame));
        (begin, len, map)
    }

    /// Writes of the medium what is looked at, the rest are holes; then damages it.
    fn damaged(&self, path: &Path, damage: Damage, frames: (u64, u64)) {
        let (from, to) = (
            File::open(&self.example.iso).unwrap(),
            File::create(path).unwrap(),
        );
        to.set_len(from.metadata().unwrap().len()).unwrap();
        let ranges = [
            (0, self.head.offset + self.head.len),
            (self.map_area.offset, self.map_area.len),
            (self.frames.offset + frames.0, frames.1),
        ];
        for (offset, len) in ranges {
            let mut bytes = vec![0; len as usize];
            from.read_exact_at(&mut bytes, offset).unwrap();
            to.write_all_at(&bytes, offset).unwrap();
        }
        damage.damage(path);
    }

    /// The bytes of the image that a chunk must have.
    fn chunk(&self, at: u64) -> Vec<u8> {
        let mut bytes = vec![0; self.map.chunk_len(at) as usize];
        let raw = File::open(&self.example.raw).unwrap();
        raw.read_exact_at(&mut bytes, at * self.map.chunk_size)
            .unwrap();
        bytes
    }
}

/// Part of a payload, as a payload of its own.
struct Window<'a> {
    payload: &'a Payload<'a>,
    begin: u64,
}

impl Source for Window<'_> {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.payload.read(self.begin + offset, bytes)
    }
    fn forget(&self, offset: u64, length: u64) {
        self.payload.forget(self.begin + offset, length);
    }
    fn place(&self, offset: u64) -> String {
        self.payload.place(self.begin + offset)
    }
}

/// What was written, and where.
#[derive(Default)]
struct Written(Mutex<Vec<(u64, Vec<u8>)>>);

impl Target for Written {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().push((offset, bytes.to_vec()));
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// What becomes of a damaged medium: the sentence, or `None` where everything written is right and complete.
fn decide(whole: &Whole, path: &Path, begin: u64, map: &ChunkMap) -> Option<String> {
    let wanted = Wanted::new(&whole.config, &Cmdline::default()).unwrap();
    let open = || wanted.in_file("sr0", File::open(path).unwrap());
    let written = Written::default();
    let outcome = open().and_then(|medium| {
        let payload = Payload::open(medium, whole.map.payload().1, &Alone)?;
        let window = Window {
            payload: &payload,
            begin,
        };
        deploy(map, &window, &written, 2, &|_| ())
    });
    let written = written.0.into_inner().unwrap();
    let failed = outcome.is_err();
    for chunk in &map.chunks {
        let right = whole.chunk(chunk.at);
        let offset = chunk.at * map.chunk_size;
        let mut found = vec![0; right.len()];
        for (at, bytes) in &written {
            if (offset..offset + right.len() as u64).contains(at) {
                let at = (at - offset) as usize;
                assert!(
                    right[at..at + bytes.len()] == bytes[..],
                    "a wrong byte was written"
                );
                found[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        assert!(
            failed || found == right,
            "chunk {} is not complete",
            chunk.at
        );
    }
    if failed {
        assert!(
            written.iter().all(|(at, _)| *at != 0),
            "it looks like a disk"
        );
    }
    outcome.err().map(|stop| stop.to_string())
}

#[test]
fn ram_deploy_stops_or_writes_what_is_right() {
    let whole = Whole::new();
    Points::new(POINTS).each(|_, rng| {
        let area = match rng.u32(0..10) {
            0..6 => &whole.frames,
            6..8 => &whole.map_area,
            _ => &whole.head,
        };
        let damage = Damage::within(area, rng);
        let (begin, len, map) = whole.around(damage.at());
        let scratch = scratch();
        let path = scratch.path().join("iso");
        whole.damaged(&path, damage, (begin, len));
        let said = decide(&whole, &path, begin, &map);
        if area.path == whole.map_area.path {
            assert!(said.is_some(), "{damage:?} in the map went unnoticed");
        }
        let said = said.unwrap_or_else(|| "everything is right".to_owned());
        assert!(said.len() > 10);
        format!("{damage:?} in {}: {said}", area.path)
    });
}

/// The undamaged medium passes by the same judgement.
#[test]
fn the_whole_medium_is_right_everywhere() {
    let whole = Whole::new();
    let nothing = Damage::Flip { at: 0, bit: 0 };
    Points::all(8).each(|_, rng| {
        let at = whole.frames.offset + rng.u64(0..whole.frames.len);
        let (begin, len, map) = whole.around(at);
        let scratch = scratch();
        let path = scratch.path().join("iso");
        // The first byte is boot code, which ram-deploy does not read.
        whole.damaged(&path, nothing, (begin, len));
        assert_eq!(decide(&whole, &path, begin, &map), None);
        format!("{} chunks", map.chunks.len())
    });
}

/// How a boot may end: the login prompt, ram-deploy's sentence, words of the kernel or of GRUB.
const ENDS: &str = r"(?m)^\S+ login: ?$|ramforge: STOPPED: .+\n|Kernel panic - not syncing.+\n|System halted|error: .+\n";

#[test]
fn a_damaged_medium_boots_right_or_says_why_not() {
    let whole = Whole::new();
    let scratch = scratch();
    let all = areas(&whole.example.iso);
    let of = |path: &str| all.iter().find(|a| a.path == path).unwrap();
    let places = [of("boot/initrd"), of("boot/linux"), &whole.frames];
    let boots = std::env::var("RAMFORGE_FAULT_BOOTS").ok();
    let boots = boots.map_or(BOOTS, |text| text.parse().unwrap());
    Points::all(boots).each(|index, rng| {
        let area = places[index % places.len()];
        let damage = Damage::within(area, rng);
        let iso = scratch.path().join(format!("{index}.iso"));
        // The kernel's decompressor speaks to the serial line too.
        with_words(&whole.example.iso, &iso, "earlyprintk=ttyS0");
        damage.damage(&iso);
        let machine = Machine::new(&iso, Bus::Cd, Firmware::Bios, 2560);
        let mut machine = start(&format!("damaged-{index}"), &machine);
        let log = machine.wait_for(ENDS);
        let end = log.trim_end().lines().last().unwrap().to_owned();
        if end.ends_with("login:") {
            let mut system = machine.up_after_all().login();
            // dpkg knows the MD5 of every file it installed; what it says of a file begins with what differs.
            let wrong = system.ask("dpkg -V | grep '^..5'");
            assert_eq!(wrong.output, "", "{damage:?} in {}", area.path);
            system.power_off();
        }
        std::fs::remove_file(&iso).unwrap();
        format!("{damage:?} in {}: {end}", area.path)
    });
}
