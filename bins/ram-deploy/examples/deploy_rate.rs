//! Deploys the medium in a file into another file, as the initramfs does into RAM, and prints MiB, seconds, MiB/s and the
//! peak of its own memory in MiB: `deploy_rate ISO TARGET`. tests/bench compares it with `zstd -d -T0`.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use manifest::Object;
use ram_deploy::cmdline::Cmdline;
use ram_deploy::config::{Config, FORMAT, MAP_ON_MEDIUM, RamStore};
use ram_deploy::deploy::{deploy, workers};
use ram_deploy::medium::Wanted;
use ram_deploy::payload::{Alone, Payload};
use ram_deploy::target::Disk;
use ram_deploy::volume::{Volume, id};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [iso, target] = &arguments[..] else {
        eprintln!("usage: deploy_rate ISO TARGET");
        return ExitCode::from(2);
    };
    match run(Path::new(iso), Path::new(target)) {
        Ok(line) => println!("{line}"),
        Err(error) => {
            eprintln!("deploy_rate: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(iso: &Path, target: &Path) -> Result<String> {
    let config = config(iso)?;
    let wanted = Wanted::new(&config, &Cmdline::default())?;
    let medium = wanted.in_file("medium", File::open(iso)?)?;
    let map = medium.map.clone();
    File::create(target)?.set_len(map.size)?;
    let disk = Disk::file(target)?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let begin = Instant::now();
    let payload = Payload::open(medium, map.payload().1, &Alone)?;
    deploy(
        &map,
        &payload,
        &disk,
        workers(map.chunk_size, cpus),
        &|_| (),
    )?;
    let seconds = begin.elapsed().as_secs_f64();
    let bytes: u64 = map.chunks.iter().map(|c| map.chunk_len(c.at)).sum();
    let mib = bytes as f64 / f64::from(1 << 20);
    let rate = mib / seconds;
    let peak = peak_kib()? / 1024;
    Ok(format!("{mib:.0} {seconds:.2} {rate:.0} {peak}"))
}

/// What initrd-inject would say of the medium.
fn config(iso: &Path) -> Result<Config> {
    let file = File::open(iso)?;
    let volume_id = id(&file)?.ok_or("no ISO 9660 volume")?;
    let volume = Volume::open(file)?;
    let extent = volume.find(MAP_ON_MEDIUM).ok_or("no chunk map")?;
    let mut map = vec![0; usize::try_from(extent.len)?];
    volume.read(extent.offset, &mut map)?;
    Ok(Config {
        format: FORMAT,
        volume_id,
        map: Object::of(&map),
        image_size: 0,
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
    })
}

/// The most memory this process had (`VmHWM`), in KiB.
fn peak_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let text = line.ok_or("/proc/self/status has no VmHWM")?;
    Ok(text.trim_end_matches("kB").trim().parse()?)
}
