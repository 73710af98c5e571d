//! The program's two modes, from beginning to end.

use std::fs;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::cmdline::Cmdline;
use crate::config::{self, Config, GrowConfig, ModuleList};
use crate::console::{Console, progress_line};
use crate::deploy;
use crate::devices::{self, Device};
use crate::grow;
use crate::medium::{self, Medium};
use crate::modules::Loader;
use crate::payload::Payload;
use crate::ram;
use crate::ramdisk::{Origin, RamDisk};
use crate::segment;
use crate::stop::{Result, Stop};
use crate::target::Disk;

/// Says that the deployment is done; the hooks look for it.
pub const DONE_FILE: &str = "/run/ramforge/deployed";
/// How long a root may take to appear where rd.ramforge.wait says nothing.
const WAIT: Duration = Duration::from_secs(60);

/// Deploys the image of the medium into the RAM disk, once. Gives the root's partition.
///
/// # Errors
/// A sentence; the caller must then stop the boot.
pub fn deploy(cmdline: &Cmdline, console: &Console) -> Result<Device> {
    let config: Config = config::read(config::DEPLOY_FILE)?;
    config.check()?;
    let disk = RamDisk::resolve(&config, cmdline)?;
    if fs::exists(DONE_FILE).unwrap_or(false) {
        return Ok(grow::partition(&disk.device(), &config.root_uuid)?.0);
    }
    check_ram(&config)?;
    let mut loader = Loader::new(config::read::<ModuleList>(config::MODULES_FILE)?);
    loader.load_always(console);
    let wait = cmdline.seconds("rd.ramforge.wait")?;
    let medium = medium::find(&config, wait, &mut loader, console)?;
    check_ram(&config)?;
    let (path, origin) = disk.set_up(&mut loader)?;
    let target = Disk::device(&path).map_err(|e| unusable(&disk.device(), &e))?;
    // udev leaves a locked disk alone.
    rustix::fs::flock(target.as_file(), FlockOperation::LockExclusive)
        .map_err(|e| unusable(&disk.device(), &e.into()))?;
    if origin == Origin::Found {
        disk.check_empty(target.as_file(), config.image_size)?;
    }
    copy(&medium, &target, &disk.device(), console)?;
    release(medium, console);
    drop(target);
    settle(&config, cmdline, &disk.device(), console)
}

fn unusable(device: &Device, error: &std::io::Error) -> Stop {
    Stop::new(
        format!("/dev/{} cannot be used: {error}", device.name),
        "see that nothing else in the initramfs uses it",
    )
}

fn check_ram(config: &Config) -> Result<()> {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let need = ram::need(
        config.data_bytes,
        config.reserve_bytes,
        config.initramfs_bytes,
    );
    // A kernel that does not tell is not refused: the RAM store reports when RAM runs out.
    ram::available(&meminfo).map_or(Ok(()), |available| ram::check(need, available))
}

/// Copies all chunks, with progress on the consoles.
fn copy(medium: &Medium, target: &Disk, device: &Device, console: &Console) -> Result<()> {
    let map = &medium.map;
    let payload = Payload::open(medium.root(), map.payload().1)?;
    let total: u64 = map.chunks.iter().map(|c| map.chunk_len(c.at)).sum();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = deploy::workers(map.chunk_size, cpus);
    console.say(&format!(
        "copying {} MiB from {} to /dev/{}",
        total >> 20,
        medium.device.name,
        device.name
    ));
    let begin = Instant::now();
    let tell = |done| console.progress(|| progress_line(done, total, begin.elapsed()));
    deploy::deploy(map, &payload, target, workers, &tell)?;
    let seconds = begin.elapsed().as_secs_f64();
    console.say(&format!(
        "{} MiB verified and written in {seconds:.1} s",
        total >> 20
    ));
    Ok(())
}

fn release(medium: Medium, console: &Console) {
    let name = medium.device.name.clone();
    match medium.release() {
        Ok(()) => console.say(&format!(
            "the medium in {name} is free and may be removed now"
        )),
        // The root is whole: the system may start, but the person must know.
        Err(stop) => console.say(&format!("warning: {stop}")),
    }
}

/// Makes the kernel and udev see the partitions, grows the root, marks the deployment as done.
fn settle(config: &Config, cmdline: &Cmdline, disk: &Device, console: &Console) -> Result<Device> {
    // The rules must outlive switch_root: the system's own udev knows no RAM disks.
    write_run("udev/rules.d/59-ramforge.rules", segment::UDEV_RULES)?;
    let resize = cmdline.choice("rd.ramforge.resize");
    if resize.unwrap_or(config.resize)
        && let Err(stop) = grow::grow(disk, &config.root_uuid, console)
    {
        // The image is whole: the system may start in less room, but the person must know.
        console.say(&format!("warning: {stop}"));
    }
    if disk.child(1).is_none() {
        let reread = disk.open().and_then(|file| grow::reread(&file));
        reread.map_err(|e| unusable(disk, &e))?;
    }
    let (root, _) = grow::partition(disk, &config.root_uuid)?;
    let of_disk = |d: &&Device| *d == disk || d.disk().as_ref() == Some(disk);
    devices::all()
        .iter()
        .filter(of_disk)
        .for_each(Device::announce);
    console.log(&format!("root is /dev/{}", root.name));
    write_run("ramforge/deployed", "")?;
    Ok(root)
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
