//! The program's two modes, from beginning to end.

use std::fs;
use std::time::{Duration, Instant};

use store::chunk_map::ChunkMap;

use crate::cmdline::Cmdline;
use crate::config::{self, Config, GrowConfig, ModuleList};
use crate::console::Console;
use crate::deploy::{self, Source};
use crate::devices::{self, Device};
use crate::grow;
use crate::kernel_log;
use crate::medium::{Medium, Present, Wanted};
use crate::modules::Loader;
use crate::net;
use crate::payload::Payload;
use crate::policy;
use crate::ram;
use crate::read_back::{self, read_back};
use crate::root;
use crate::segment;
use crate::stop::{Result, Stop};
use crate::store::{Blocks, Store};
use crate::target::Disk;
use crate::ticker::Ticker;

/// Says that the deployment is done; the hooks look for it.
pub const DONE_FILE: &str = "/run/ramforge/deployed";
/// How long a root may take to appear where rd.ramforge.wait says nothing.
const WAIT: Duration = Duration::from_secs(60);

/// Deploys the image of the medium into the RAM store, once, and mounts its root at [`root::SYSROOT`].
///
/// # Errors
/// A sentence; the caller must then stop the boot.
pub fn deploy(cmdline: &Cmdline, console: &Console) -> Result<()> {
    if let Some(warning) = kernel_log::check_unpacked()? {
        console.say(warning);
    }
    let mut config = config::deployment()?;
    if fs::exists(DONE_FILE).unwrap_or(false) {
        return Ok(());
    }
    warn_of_words(cmdline, console);
    // Whoever counts from here on, for the need or for a limit, counts with the command line's word.
    config.reserve_bytes = ram::reserve(cmdline, config.reserve_bytes)?;
    Store::choose(&config, cmdline, console)?;
    let mut loader = Loader::new(config::read::<ModuleList>(config::MODULES_FILE)?);
    loader.load_always(console);
    let wanted = Wanted::new(&config, cmdline)?;
    let tell = |line: &str| console.say(line);
    let place = Place::find(&wanted, cmdline, &mut loader, console, &tell)?;
    check_size(&config, place.map())?;
    // Drivers have taken their part of RAM meanwhile.
    let store = Store::choose(&config, cmdline, console)?;
    if config.ask {
        policy::ask(&question(&place, &store), console);
    }
    let place = fill(&store, place, &wanted, &mut loader, console)?;
    let_go(place, cmdline, console);
    match &store {
        Store::Blocks(blocks) => {
            let settled = settle(blocks, &config, cmdline, console);
            settled.inspect_err(|_| store.remove())?;
        }
        // It is mounted already.
        Store::Tmpfs(_) => (),
        Store::Erofs(erofs) => {
            let settled = erofs.settle(&config, console);
            settled.inspect_err(|_| store.remove())?;
        }
    }
    write_run("ramforge/deployed", "")
}

/// Says which words of the command line are not what somebody meant.
fn warn_of_words(cmdline: &Cmdline, console: &Console) {
    if let Some(warning) = policy::misread(cmdline) {
        console.say(&warning);
    }
    for word in cmdline.unknown() {
        console.say(&format!(
            "warning: {word} on the kernel command line is unknown and has no effect"
        ));
    }
}

fn check_size(config: &Config, map: &ChunkMap) -> Result<()> {
    if map.size == config.map_size() {
        return Ok(());
    }
    Err(Stop::new(
        format!(
            "the configuration in the initramfs says {} bytes for the image, its chunk map {}",
            config.map_size(),
            map.size
        ),
        "the initramfs is damaged: write the ISO to the medium again and compare its checksum",
    ))
}

/// Where the image comes from.
enum Place<'a> {
    Medium(Medium),
    Network(Box<net::Network<'a>>),
}

impl<'a> Place<'a> {
    /// Finds the medium, or the boot set on the servers that the command line names.
    fn find(
        wanted: &Wanted<'_>,
        cmdline: &Cmdline,
        loader: &mut Loader,
        console: &Console,
        tell: &'a net::fetch::Tell<'a>,
    ) -> Result<Self> {
        let Some(request) = net::words::request(cmdline)? else {
            return wanted.find(loader, console).map(Self::Medium);
        };
        let wait = cmdline.seconds("rd.ramforge.wait")?;
        let set = net::open(wanted.config(), request, wait, loader, console, tell)?;
        Ok(Self::Network(Box::new(set)))
    }

    fn map(&self) -> &ChunkMap {
        match self {
            Self::Medium(medium) => &medium.map,
            Self::Network(set) => &set.map,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Medium(medium) => medium.name(),
            Self::Network(set) => set.place.clone(),
        }
    }
}

fn question(medium: &Place<'_>, store: &Store) -> String {
    format!(
        "the image in {} will be written to the RAM store {}",
        medium.name(),
        store.kind().name()
    )
}

/// Fills the store from the medium or the network, and gives that back; `None` where it was pulled out in the end.
fn fill<'a>(
    store: &Store,
    place: Place<'a>,
    wanted: &Wanted<'_>,
    loader: &mut Loader,
    console: &Console,
) -> Result<Option<Place<'a>>> {
    let (map, from) = (place.map().clone(), place.name());
    let mut write = |source: &dyn Source| {
        let config = wanted.config();
        write(store, config, &map, source, &from, loader, console)
    };
    match place {
        Place::Medium(medium) => {
            let media = Present { wanted, console };
            let payload = Payload::open(medium, map.payload().1, &media)?;
            write(&payload)?;
            Ok(payload.into_medium().map(Place::Medium))
        }
        Place::Network(set) => {
            write(&set.payload)?;
            Ok(Some(Place::Network(set)))
        }
    }
}

/// Writes the image to the store, and reads it back where that is asked for. After a failure the next try begins with an
/// empty store, and until then its RAM is free.
fn write(
    store: &Store,
    config: &Config,
    map: &ChunkMap,
    source: &dyn Source,
    from: &str,
    loader: &mut Loader,
    console: &Console,
) -> Result<()> {
    match store {
        Store::Blocks(blocks) => {
            let target = blocks.open(config, loader, console)?;
            let to = format!("/dev/{}", blocks.device().name);
            let copied = copy(config, map, source, from, (&target, &to), console);
            drop(target);
            copied.inspect_err(|_| store.remove())?;
        }
        Store::Erofs(erofs) => {
            let copied = erofs.open(loader, console).and_then(|target| {
                let to = "a compressed root in RAM";
                copy(config, map, source, from, (&target, to), console)
            });
            copied.inspect_err(|_| store.remove())?;
        }
        Store::Tmpfs(tmpfs) => {
            let unpacked = tmpfs.deploy(config, map, source, from, console);
            unpacked.inspect_err(|_| store.remove())?;
            if config.read_back {
                console.say("files in a tmpfs are not read back; every chunk was verified");
            }
        }
    }
    Ok(())
}

/// Copies all chunks to the target of that name, with progress on the consoles, and reads them back where that is asked
/// for.
fn copy(
    config: &Config,
    map: &ChunkMap,
    source: &dyn Source,
    from: &str,
    (target, to): (&Disk, &str),
    console: &Console,
) -> Result<()> {
    let total = deploy::total(map, target);
    console.say(&format!("copying {} MiB from {from} to {to}", total >> 20));
    let ticker = Ticker::new(total, console);
    let tell = |done| ticker.done(done);
    ticker.during(|| deploy::deploy(map, source, target, workers(map), &tell))?;
    let seconds = ticker.elapsed().as_secs_f64();
    console.say(&format!(
        "{} MiB verified and written in {seconds:.1} s",
        total >> 20
    ));
    match config.read_back {
        true => compare(map, target, console),
        false => Ok(()),
    }
}

/// Reads back what was written.
fn compare(map: &ChunkMap, target: &Disk, console: &Console) -> Result<()> {
    let total = read_back::total(map, target);
    let ticker = Ticker::new(total, console);
    let progress = |done| ticker.done(done);
    ticker.during(|| read_back(map, target, workers(map), &progress))?;
    console.say(&format!("{} MiB read back and compared", total >> 20));
    Ok(())
}

fn workers(map: &ChunkMap) -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    deploy::workers(map.chunk_size, cpus)
}

/// Frees what the image came from; a medium is ejected where that is wished.
fn let_go(place: Option<Place<'_>>, cmdline: &Cmdline, console: &Console) {
    match place {
        // One that is gone holds nothing.
        None => (),
        Some(Place::Medium(medium)) => {
            release(medium, cmdline.switch("rd.ramforge.eject"), console);
        }
        Some(Place::Network(set)) => {
            let (link, media) = set.release();
            console.say(&format!("the network is not needed any more, {link}"));
            for medium in media {
                // It was no more than at hand, and may be a disk that the system needs.
                release(medium, false, console);
            }
        }
    }
}

fn release(medium: Medium, eject: bool, console: &Console) {
    let device = medium.device.clone();
    let name = &device.name;
    // What holds the ISO as a file may be a disk of the system.
    let eject = eject && (!medium.is_file() || device.is_removable());
    if let Err(stop) = medium.release() {
        // The root is whole: the system may start, but the person must know.
        console.say(&format!("warning: {stop}"));
        return;
    }
    console.say(&format!(
        "the medium in {name} is free and may be removed now"
    ));
    if eject && let Err(e) = device.eject() {
        console.say(&format!("warning: {name} cannot be ejected: {e}"));
    }
}

/// Makes the kernel and udev see the root, grows and mounts it.
fn settle(store: &Blocks, config: &Config, cmdline: &Cmdline, console: &Console) -> Result<()> {
    // The rules must outlive switch_root: the system's own udev knows no RAM disks.
    write_run("udev/rules.d/59-ramforge.rules", segment::UDEV_RULES)?;
    let root = store.settle(config, cmdline, console)?;
    let disk = store.device();
    let of_disk = |d: &&Device| **d == disk || d.disk().as_ref() == Some(&disk);
    devices::all()
        .iter()
        .filter(of_disk)
        .for_each(Device::announce);
    root::mount_device(&root, cmdline)?;
    console.log(&format!("root is /dev/{}", root.name));
    Ok(())
}

fn write_run(name: &str, text: &str) -> Result<()> {
    let path = std::path::Path::new("/run").join(name);
    let write = |path: &std::path::Path| {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, text)
    };
    write(&path).map_err(|e| {
        Stop::new(
            format!("{}: {e}", path.display()),
            "mount a writable /run before ram-deploy runs",
        )
    })
}

/// Waits for the root of the disk that this system was written to, loading drivers as devices appear, and grows it.
///
/// # Errors
/// A sentence where it does not appear.
pub fn own_disk(cmdline: &Cmdline, console: &Console) -> Result<Device> {
    let config: GrowConfig = config::read(config::GROW_FILE)?;
    let mut loader = Loader::new(config::read::<ModuleList>(config::MODULES_FILE)?);
    loader.load_always(console);
    let limit = cmdline.seconds("rd.ramforge.wait")?.unwrap_or(WAIT);
    let begin = Instant::now();
    let root = loop {
        loader.load_for_devices(console);
        let roots = grow::find_roots(&config.root_uuid, |_| true);
        if let Some((root, _)) = roots.into_iter().next() {
            break root;
        }
        if begin.elapsed() >= limit {
            return Err(Stop::new(
                format!(
                    "no disk with the root file system {} appeared in {} s",
                    config.root_uuid,
                    limit.as_secs()
                ),
                "attach it and restart, or give more time with rd.ramforge.wait=SECONDS on the kernel command line",
            ));
        }
        std::thread::sleep(devices::POLL);
    };
    if let Err(stop) = grow_own_disk(cmdline, console) {
        console.say(&format!("warning: {stop}"));
    }
    Ok(root)
}

/// Grows the root of the disk this system was written to, where the disk has room behind it. Where
/// two disks hold a root with its UUID nobody knows which is meant, and neither is changed.
///
/// # Errors
/// A sentence; the boot may go on.
pub fn grow_own_disk(cmdline: &Cmdline, console: &Console) -> Result<()> {
    let config: GrowConfig = config::read(config::GROW_FILE)?;
    let deployed = fs::exists(DONE_FILE).unwrap_or(false);
    if deployed || !config.grow || cmdline.choice("rd.ramforge.resize") == Some(false) {
        return Ok(());
    }
    let roots = grow::find_roots(&config.root_uuid, |_| true);
    match &roots[..] {
        [] => Ok(()),
        [(root, _)] => match root.disk() {
            Some(disk) => grow::grow(&disk, &config.root_uuid, console),
            None => Ok(()),
        },
        several => {
            let names: Vec<&str> = several.iter().map(|(d, _)| d.name.as_str()).collect();
            Err(Stop::new(
                format!(
                    "{} hold a root file system with the same UUID {}; none is grown",
                    names.join(" and "),
                    config.root_uuid
                ),
                "detach the disk that is not meant and restart",
            ))
        }
    }
}
