//! The RAM store `tmpfs`: the files of the root unpacked into a tmpfs. One copy of a file serves as store and as page
//! cache, and what is removed is free.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use rustix::mount::{MountFlags, UnmountFlags};
use store::chunk_map::ChunkMap;

use crate::config::Config;
use crate::console::Console;
use crate::deploy::{self, Source, Target};
use crate::init::mount_new;
use crate::ram;
use crate::root::SYSROOT;
use crate::stop::{Result, Stop};
use crate::ticker::Ticker;

use super::chunks::{self, Chunks};
use super::unpack::Unpack;

/// The least that may be written to a root, in bytes: a system's journal, state and run-time files.
pub(super) const LEAST: u64 = 32 << 20;
/// Inodes for that beside those that its size allows for.
pub(super) const INODES: u64 = 1024;
/// One more inode for so many names: since Linux 6.6 the attributes of files are counted as inodes, 1 KiB as one.
const ATTRIBUTES: u64 = 4;
const FSTAB: &str = "etc/fstab";

/// What the tmpfs shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// Its size in KiB, unless the machine has less to give.
    pub size_kib: u64,
}

/// What of the image a tmpfs needs; nothing is written to it as blocks.
struct Part<'a>(&'a Config);

impl Target for Part<'_> {
    fn wants(&self, offset: u64, length: u64) -> bool {
        let root = self.0.root();
        offset < root.end && offset + length > root.start
    }

    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Tmpfs {
    /// Unpacks the root of the image into a new tmpfs at [`SYSROOT`], with progress on the consoles.
    ///
    /// # Errors
    /// A sentence.
    pub fn deploy(
        &self,
        config: &Config,
        map: &ChunkMap,
        source: &dyn Source,
        from: &str,
        console: &Console,
    ) -> Result<()> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = chunks::threads(map.chunk_size, cpus);
        let chunks = Chunks::new(map, source, config.root(), threads);
        let root = Path::new(SYSROOT);
        let unpack = Unpack::new(&chunks, root).map_err(failed)?;
        let limit = ram::limit(config.reserve_bytes, config.initramfs_bytes);
        let names = names(config.entries, unpack.inodes());
        mount_at(
            root,
            &self.options(config.data_bytes, names, limit, nodes()),
        )?;
        let total = deploy::total(map, &Part(config));
        console.say(&format!(
            "unpacking {} MiB from {from} into a tmpfs",
            total >> 20
        ));
        let begin = Instant::now();
        let ticker = Ticker::new(total, console);
        let tell = |done| ticker.done(done);
        let unpacked = ticker.during(|| unpack.run(threads, &tell));
        let refused = unpacked.map_err(failed)?;
        say_done(begin, refused, console);
        adapt_fstab(root, "tmpfs").map_err(failed)
    }

    /// Unmounts it, so that nothing of a failed deployment is left.
    pub fn remove(&self) {
        // Where nothing is mounted there is nothing to remove.
        let _ = rustix::mount::unmount(SYSROOT, UnmountFlags::DETACH);
    }

    /// The options of the mount: as large as asked for, but beside the image, `data` bytes under so many `names`, not larger
    /// than what leaves the system its reserve.
    fn options(&self, data: u64, names: u64, limit: Option<u64>, nodes: usize) -> String {
        let asked = self.size_kib.saturating_mul(1024);
        let image = ram::tmpfs(data, names);
        let left = limit.map(|limit| limit.saturating_sub(image));
        let free = free(asked.saturating_sub(data), left);
        let inodes = names + names / ATTRIBUTES + free_inodes(free);
        options(data + free, inodes, nodes)
    }
}

/// What a tmpfs counts as inodes of an image with so many `entries` and `inodes`: each further name of a file too.
fn names(entries: u64, inodes: u32) -> u64 {
    entries.max(inodes.into())
}

fn say_done(begin: Instant, refused: u64, console: &Console) {
    let seconds = begin.elapsed().as_secs_f64();
    console.say(&format!("all files verified and written in {seconds:.1} s"));
    if refused > 0 {
        console.say(&format!(
            "warning: {refused} attributes named user.* are left out: this kernel's tmpfs does not take them"
        ));
    }
}

fn mount_at(root: &Path, options: &str) -> Result<()> {
    let mounted = mount_new(
        Path::new("tmpfs"),
        "tmpfs",
        root,
        MountFlags::empty(),
        options,
    );
    mounted.map_err(|e| {
        Stop::new(
            format!("a tmpfs cannot be mounted at {SYSROOT} with {options}: {e}"),
            "set rd.ramforge.store=brd in the boot menu",
        )
    })
}

/// How much may be written to a root in a tmpfs, in bytes: what is `asked` for, but when it is full, of pages and of inodes,
/// it takes no more RAM than is `left`; [`LEAST`] in any case, which lies within the system's reserve.
pub(super) fn free(asked: u64, left: Option<u64>) -> u64 {
    let room = left.map_or(asked, |left| ram::room(left, INODES).min(asked));
    room.max(LEAST)
}

/// The inodes for so many bytes that may be written.
pub(super) fn free_inodes(free: u64) -> u64 {
    INODES + free / ram::INODE_RATIO
}

/// The options of a tmpfs of `size` bytes and so many `inodes`, on a machine with so many `nodes` of memory.
pub(super) fn options(size: u64, inodes: u64, nodes: usize) -> String {
    let policy = match nodes {
        0 | 1 => "",
        _ => ",mpol=interleave",
    };
    format!("mode=755,size={size},nr_inodes={inodes}{policy}")
}

fn failed(error: io::Error) -> Stop {
    let inner = error.get_ref();
    if let Some(stop) = inner.and_then(|inner| inner.downcast_ref::<Stop>()) {
        return stop.clone();
    }
    let way_out = match error.kind() {
        // The bytes are those that were built: every chunk was verified.
        io::ErrorKind::InvalidData => "set rd.ramforge.store=brd in the boot menu",
        _ => {
            "this is most often too little RAM: add RAM or set rd.ramforge.store=zram in the boot menu"
        }
    };
    Stop::new(format!("unpacking into the tmpfs failed: {error}"), way_out)
}

/// Nodes of memory of this machine.
pub(super) fn nodes() -> usize {
    let text = fs::read_to_string("/sys/devices/system/node/online").unwrap_or_default();
    count(text.trim())
}

/// How many numbers a list such as `0-1,4` has.
fn count(list: &str) -> usize {
    let ranges = list.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some(last.checked_sub(first)? + 1)
    });
    ranges.sum()
}

/// The root's line in fstab names a disk: `mount -o remount /` would look for it in vain.
pub(super) fn adapt_fstab(root: &Path, kind: &str) -> io::Result<()> {
    let path = root.join(FSTAB);
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    fs::write(path, with_root(&text, kind))
}

/// `fstab` with a file system of that kind, which has no device, at `/`.
fn with_root(fstab: &str, kind: &str) -> String {
    let root = format!("{kind} / {kind} defaults 0 0");
    let mut out = String::new();
    for line in fstab.lines() {
        let is_root = !line.trim_start().starts_with('#')
            && line.split_ascii_whitespace().nth(1) == Some("/");
        out += match is_root {
            true => &root,
            false => line,
        };
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_bounds_the_size() {
        let tmpfs = Tmpfs { size_kib: 1 << 20 };
        let (data, inodes) = (300 << 20, 9000);
        // As large as the description's RAM disk, where there is RAM for it.
        assert_eq!(
            tmpfs.options(data, inodes, None, 1),
            "mode=755,size=1073741824,nr_inodes=58610"
        );
        let limit = ram::tmpfs(data, inodes) + (200 << 20);
        assert_eq!(
            tmpfs.options(data, inodes, Some(limit), 2),
            "mode=755,size=507166720,nr_inodes=24029,mpol=interleave"
        );
        // The image fits, and what every system writes.
        assert_eq!(
            tmpfs.options(data, inodes, Some(1), 1),
            "mode=755,size=348127232,nr_inodes=14322"
        );
    }

    #[test]
    fn further_names_of_a_file_have_room() {
        let tmpfs = Tmpfs { size_kib: 1 };
        // One file with 5000 names, and nothing free but the least.
        let names = names(5001, 12);
        assert_eq!(names, 5001);
        let options = tmpfs.options(4096, names, Some(1), 1);
        let inodes: u64 = options.rsplit_once('=').unwrap().1.parse().unwrap();
        assert_eq!(inodes, 5001 + 5001 / ATTRIBUTES + free_inodes(LEAST));
        // The file system's own inodes count where they are more.
        assert_eq!(super::names(3, 12), 12);
    }

    #[test]
    fn what_is_written_to_a_full_tmpfs_fits() {
        for left in [40, 100, 5000] {
            let left = left << 20;
            let free = free(u64::MAX, Some(left));
            assert!(free >= LEAST && ram::tmpfs(free, free_inodes(free)) <= left);
        }
    }

    #[test]
    fn nodes_are_counted() {
        for (list, expected) in [("0", 1), ("0-1", 2), ("0-1,4", 3), ("", 0), ("x", 0)] {
            assert_eq!(count(list), expected, "{list}");
        }
    }

    #[test]
    fn a_failure_has_the_way_out_of_its_kind() {
        let sentence = |error| failed(error).to_string();
        let stop = Stop::new("chunk 7 is damaged", "try another medium");
        assert_eq!(
            sentence(io::Error::other(stop)),
            "chunk 7 is damaged; try another medium"
        );
        let odd = io::Error::new(io::ErrorKind::InvalidData, "/a: ext4: odd");
        assert!(
            sentence(odd).ends_with("/a: ext4: odd; set rd.ramforge.store=brd in the boot menu")
        );
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(sentence(full).contains("too little RAM"));
    }

    #[test]
    fn only_the_roots_line_is_changed() {
        let text = "# / is here\nUUID=1 / ext4 defaults 0 1\nUUID=2 /boot/efi vfat noauto 0 0";
        assert_eq!(
            with_root(text, "tmpfs"),
            "# / is here\ntmpfs / tmpfs defaults 0 0\nUUID=2 /boot/efi vfat noauto 0 0\n"
        );
    }
}
