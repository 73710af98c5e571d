//! The RAM stores: where the image goes, and how it becomes the root.
//!
//! ```text
//! brd     the whole disk in /dev/ramN; the root is its partition
//! zram    the root partition alone in /dev/zramN, compressed: the kernel makes no partitions there
//! tmpfs   the files of the root, unpacked
//! erofs   the root compressed and read-only, with an overlay for what is written
//! ```
//!
//! `rd.ramforge.store=` on the kernel command line chooses, whether it stands in the description's kernelcmdline or
//! was typed in the boot menu.

pub(crate) mod chunks;
pub mod erofs;
pub mod tmpfs;
mod unpack;
pub mod zram;

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::FlockOperation;

use crate::cmdline::Cmdline;
use crate::config::Config;
use crate::console::Console;
use crate::devices::Device;
use crate::grow;
use crate::modules::Loader;
use crate::ram;
use crate::ramdisk::{Origin, RamDisk};
use crate::stop::{Result, Stop};
use crate::target::Disk;
use crate::watermarks;

use self::erofs::Erofs;
use self::tmpfs::Tmpfs;
use self::zram::Zram;

/// Which RAM store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The kernel's RAM disk.
    Brd,
    /// The kernel's compressed RAM disk.
    Zram,
    /// Files in a tmpfs.
    Tmpfs,
    /// A compressed image with an overlay.
    Erofs,
}

impl Kind {
    /// All of them, the default first.
    pub const ALL: [Self; 4] = [Self::Brd, Self::Zram, Self::Tmpfs, Self::Erofs];

    /// All of them, the fastest at run time first: the order in which `auto` tries them.
    pub const BY_SPEED: [Self; 4] = [Self::Tmpfs, Self::Brd, Self::Zram, Self::Erofs];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Brd => "brd",
            Self::Zram => "zram",
            Self::Tmpfs => "tmpfs",
            Self::Erofs => "erofs",
        }
    }

    /// What `rd.ramforge.store=` asks for; `None` for `auto`.
    ///
    /// # Errors
    /// A sentence for any other word.
    pub fn wanted(cmdline: &Cmdline) -> Result<Option<Self>> {
        let word = match cmdline.value("rd.ramforge.store") {
            None => return Ok(Some(Self::Brd)),
            Some("auto") => return Ok(None),
            Some(word) => word,
        };
        let found = Self::ALL.into_iter().find(|kind| kind.name() == word);
        found.map(Some).ok_or_else(|| {
            Stop::new(
                format!("rd.ramforge.store={word} is no RAM store of this release"),
                format!(
                    "leave it out or set it to {}, auto in the boot menu",
                    Self::ALL.map(Self::name).join(", ")
                ),
            )
        })
    }

    /// Of the stores with their `needs` the first one that is `available`, in the order of [`Self::BY_SPEED`]; the one
    /// that needs the least RAM where none is.
    pub fn automatic(needs: &[(Self, u64)], available: u64) -> Self {
        let fits = |kind: &Self| {
            needs
                .iter()
                .any(|(k, need)| k == kind && *need <= available)
        };
        let least = || needs.iter().min_by_key(|(_, need)| *need);
        let found = Self::BY_SPEED.into_iter().find(fits);
        found.or_else(|| Some(least()?.0)).unwrap_or(Self::Brd)
    }
}

/// A RAM store, with what the command line says of it.
#[derive(Debug)]
pub enum Store {
    /// One that holds blocks.
    Blocks(Blocks),
    /// See [`Kind::Tmpfs`].
    Tmpfs(Tmpfs),
    /// See [`Kind::Erofs`].
    Erofs(Erofs),
}

impl Store {
    /// The store that the command line asks for, or the one for the RAM that is available now, after a check that there is
    /// enough of it. Where little would be left the kernel does without some of what it keeps free.
    ///
    /// # Errors
    /// A sentence where it cannot be what is asked for, or where there is too little RAM.
    pub fn choose(config: &Config, cmdline: &Cmdline, console: &Console) -> Result<Self> {
        let size_kib = RamDisk::resolve(config, cmdline)?.size_kib;
        let (needs, wanted) = (needs(config, cmdline, size_kib), Kind::wanted(cmdline)?);
        if ram::available_now().is_some_and(|ram| is_little(&needs, wanted, ram)) {
            watermarks::lower(console);
        }
        let store = Self::resolve(config, cmdline)?;
        store.check_ram(config, cmdline)?;
        Ok(store)
    }

    /// The store that the command line asks for, or the one for the RAM that is available now.
    fn resolve(config: &Config, cmdline: &Cmdline) -> Result<Self> {
        let disk = RamDisk::resolve(config, cmdline)?;
        let kind = Kind::wanted(cmdline)?.unwrap_or_else(|| {
            let available = ram::available_now().unwrap_or(u64::MAX);
            Kind::automatic(&needs(config, cmdline, disk.size_kib), available)
        });
        Ok(match kind {
            Kind::Brd => Self::Blocks(Blocks::Brd(disk)),
            Kind::Zram => Self::Blocks(Blocks::Zram(Zram::like(&disk))),
            Kind::Tmpfs => Self::Tmpfs(Tmpfs {
                size_kib: disk.size_kib,
            }),
            Kind::Erofs => Self::Erofs(Erofs::of(config, disk)?),
        })
    }

    /// Which one it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Blocks(Blocks::Brd(_)) => Kind::Brd,
            Self::Blocks(Blocks::Zram(_)) => Kind::Zram,
            Self::Tmpfs(_) => Kind::Tmpfs,
            Self::Erofs(_) => Kind::Erofs,
        }
    }

    /// Compares what the image needs in this store with the RAM that is available now.
    fn check_ram(&self, config: &Config, cmdline: &Cmdline) -> Result<()> {
        let (kind, reserve) = (self.kind(), config.reserve_bytes);
        let with = |reserve| needs_with(config, cmdline, self.size_kib(), reserve);
        let own = |needs: &[(Kind, u64)]| needs.iter().find(|(k, _)| *k == kind).map(|own| own.1);
        let needs = with(reserve);
        let without = own(&with(reserve.min(ram::RESERVE_BYTES)));
        let (Some(need), Some(without)) = (own(&needs), without) else {
            return Ok(());
        };
        let raised = ram::Raised::of(reserve, need, without);
        // A kernel that does not tell is not refused: the RAM store reports when RAM runs out.
        let available = ram::available_now();
        available.map_or(Ok(()), |ram| ram::check(kind, need, ram, &needs, raised))
    }

    /// Gives back its RAM after a failure, where the kernel lets it.
    pub fn remove(&self) {
        match self {
            Self::Blocks(Blocks::Brd(disk)) => disk.remove(),
            Self::Blocks(Blocks::Zram(zram)) => zram.remove(),
            Self::Tmpfs(tmpfs) => tmpfs.remove(),
            Self::Erofs(erofs) => erofs.remove(),
        }
    }

    fn size_kib(&self) -> u64 {
        match self {
            Self::Blocks(Blocks::Brd(disk)) => disk.size_kib,
            Self::Blocks(Blocks::Zram(zram)) => zram.size_kib,
            Self::Tmpfs(tmpfs) => tmpfs.size_kib,
            Self::Erofs(erofs) => erofs.disk.size_kib,
        }
    }
}

/// RAM that must be available for the image in each store that the medium has it for, as large as a RAM disk of
/// `size_kib`, in bytes.
fn needs(config: &Config, cmdline: &Cmdline, size_kib: u64) -> Vec<(Kind, u64)> {
    needs_with(config, cmdline, size_kib, config.reserve_bytes)
}

/// [`needs`] where the system has another reserve, in bytes.
fn needs_with(
    config: &Config,
    cmdline: &Cmdline,
    size_kib: u64,
    reserve_bytes: u64,
) -> Vec<(Kind, u64)> {
    let image = |kind| {
        Some(match kind {
            Kind::Brd => ram::brd(config.data_bytes),
            Kind::Zram => ram::zram(config.zram_bytes, size_kib.saturating_mul(1024)),
            Kind::Tmpfs => ram::tmpfs(config.data_bytes, config.entries),
            Kind::Erofs => ram::erofs(config.erofs.as_ref()?.data_bytes),
        })
    };
    let reserve = |kind| match kind {
        Kind::Brd if grows(cmdline, config.resize) => {
            let tables = ram::inode_tables(config.image_size, size_kib.saturating_mul(1024));
            ram::reserve_in_brd(reserve_bytes, tables)
        }
        _ => reserve_bytes,
    };
    let need = |kind| {
        let (image, reserve) = (image(kind)?, reserve(kind));
        Some((kind, ram::need(image, reserve, config.initramfs_bytes)))
    };
    Kind::ALL.into_iter().filter_map(need).collect()
}

/// Whether the root grows to the RAM disk, where the description says `described`: the command line has the last word.
pub fn grows(cmdline: &Cmdline, described: bool) -> bool {
    cmdline.choice("rd.ramforge.resize").unwrap_or(described)
}

/// Whether of the `available` bytes of RAM little is left beside the store that is `wanted`, or by itself beside any: so
/// one that is taken only because the watermarks sank is none that a machine with more RAM would not take.
fn is_little(needs: &[(Kind, u64)], wanted: Option<Kind>, available: u64) -> bool {
    let counts = |kind: &Kind| wanted.is_none_or(|wanted| wanted == *kind);
    let most = needs.iter().filter(|(kind, _)| counts(kind));
    let most = most.map(|(_, need)| need.saturating_add(watermarks::AMPLE));
    most.max().is_some_and(|most| available < most)
}

/// A RAM store that holds blocks.
#[derive(Debug)]
pub enum Blocks {
    /// See [`Kind::Brd`].
    Brd(RamDisk),
    /// See [`Kind::Zram`].
    Zram(Zram),
}

impl Blocks {
    /// The device that the image is written to.
    pub fn device(&self) -> Device {
        match self {
            Self::Brd(disk) => disk.device(),
            Self::Zram(zram) => zram.device(),
        }
    }

    /// Makes the device and opens it for what it receives of the image.
    ///
    /// # Errors
    /// A sentence.
    pub fn open(&self, config: &Config, loader: &mut Loader, console: &Console) -> Result<Disk> {
        match self {
            Self::Brd(disk) => {
                let target = open_ram_disk(disk, config.image_size, loader)?;
                Ok(target.only(0..config.image_size))
            }
            Self::Zram(zram) => {
                let limit = ram::limit(config.reserve_bytes, config.initramfs_bytes);
                let path = zram.set_up(loader, limit, console)?;
                Ok(open_device(&self.device(), &path)?.only(config.root()))
            }
        }
    }

    /// Grows the root, where that is wanted, and gives its device.
    ///
    /// # Errors
    /// A sentence where the root does not appear.
    pub fn settle(&self, config: &Config, cmdline: &Cmdline, console: &Console) -> Result<Device> {
        let device = self.device();
        let grown = match self {
            _ if !grows(cmdline, config.resize) => Ok(()),
            Self::Brd(_) => grow::grow(&device, &config.root_uuid, console),
            Self::Zram(_) => grow::grow_whole(&device, &config.root_uuid, console),
        };
        if let Err(stop) = grown {
            // The image is whole: the system may start in less room, but the person must know.
            console.say(&format!("warning: {stop}"));
        }
        if matches!(self, Self::Zram(_)) {
            return Ok(device);
        }
        if device.child(1).is_none() {
            let reread = device.open().and_then(|file| grow::reread(&file));
            reread.map_err(|e| unusable(&device, &e))?;
        }
        Ok(grow::partition(&device, &config.root_uuid)?.0)
    }
}

/// Makes a RAM disk and opens it for an image of `length` bytes.
fn open_ram_disk(disk: &RamDisk, length: u64, loader: &mut Loader) -> Result<Disk> {
    let (path, origin) = disk.set_up(loader)?;
    let target = open_device(&disk.device(), &path)?;
    if origin == Origin::Found {
        disk.check_empty(target.as_file(), length)?;
    }
    Ok(target)
}

fn open_device(device: &Device, path: &Path) -> Result<Disk> {
    let target = Disk::device(path).map_err(|e| unusable(device, &e))?;
    // udev leaves a locked disk alone.
    lock(target.as_file()).map_err(|e| unusable(device, &e))?;
    Ok(target)
}

fn unusable(device: &Device, error: &std::io::Error) -> Stop {
    Stop::new(
        format!("/dev/{} cannot be used: {error}", device.name),
        "see that nothing else in the initramfs uses it",
    )
}

fn lock(file: &File) -> std::io::Result<()> {
    Ok(rustix::fs::flock(
        file.as_fd(),
        FlockOperation::LockExclusive,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_have_the_names_of_the_command_line() {
        let wanted = |line: &str| Kind::wanted(&Cmdline::parse(line));
        assert_eq!(wanted(""), Ok(Some(Kind::Brd)));
        for kind in Kind::ALL {
            let line = format!("rd.ramforge.store=other rd.ramforge.store={}", kind.name());
            assert_eq!(wanted(&line), Ok(Some(kind)));
        }
        assert_eq!(wanted("rd.ramforge.store=auto"), Ok(None));
        let text = wanted("rd.ramforge.store=disk").unwrap_err().to_string();
        assert_eq!(
            text,
            "rd.ramforge.store=disk is no RAM store of this release; \
             leave it out or set it to brd, zram, tmpfs, erofs, auto in the boot menu"
        );
    }

    #[test]
    fn by_itself_the_fastest_store_that_fits_is_taken() {
        let needs = [
            (Kind::Brd, 70),
            (Kind::Zram, 30),
            (Kind::Tmpfs, 80),
            (Kind::Erofs, 20),
        ];
        let chosen = [90, 80, 79, 69, 30, 29, 20, 10].map(|ram| Kind::automatic(&needs, ram));
        let expected = [
            Kind::Tmpfs,
            Kind::Tmpfs,
            Kind::Brd,
            Kind::Zram,
            Kind::Zram,
            Kind::Erofs,
            Kind::Erofs,
            Kind::Erofs,
        ];
        assert_eq!(chosen, expected);
        // A medium without it.
        assert_eq!(Kind::automatic(&needs[..3], 10), Kind::Zram);
    }

    #[test]
    fn inode_tables_are_counted_where_the_command_line_lets_the_root_grow() {
        let mut config = crate::volume::tests::config(b"map");
        config.reserve_bytes = ram::RESERVE_BYTES;
        let mut need = |resize, line: &str| {
            config.resize = resize;
            needs(&config, &Cmdline::parse(line), 64 << 20)[0]
        };
        let (fixed, grown) = (need(false, ""), need(true, ""));
        assert!(grown.1 > fixed.1 + (900 << 20), "{grown:?} and {fixed:?}");
        assert_eq!(need(true, "rd.ramforge.resize=no"), fixed);
        assert_eq!(need(false, "rd.ramforge.resize=yes"), grown);
    }

    #[test]
    fn a_larger_reserve_never_needs_less() {
        const MIB: u64 = 1 << 20;
        let mut config = crate::volume::tests::config(b"map");
        config.initramfs_bytes = 30 * MIB;
        let mut needs_with = |line: &str| {
            let line = Cmdline::parse(line);
            config.reserve_bytes = ram::reserve(&line, ram::RESERVE_BYTES).unwrap();
            // As large that the inode tables count in a brd.
            needs(&config, &line, 64 << 20)
        };
        let without = needs_with("");
        let mut before = without.clone();
        for mib in [0, 50, 96, 97, 150, 400, 5000, 1_u64 << 32] {
            let now = needs_with(&format!("rd.ramforge.reserve={mib}"));
            for ((kind, now), (_, before)) in now.iter().zip(&before) {
                assert!(now >= before, "{kind:?}: {mib} MiB");
            }
            assert!(mib > 96 || now == without, "{mib} MiB");
            before = now;
        }
        // Where the time after the deployment decides, each MiB counts in full.
        let (some, more) = (
            needs_with("rd.ramforge.reserve=400"),
            needs_with("rd.ramforge.reserve=500"),
        );
        for ((kind, some), (_, more)) in some.iter().zip(&more) {
            assert_eq!(more - some, 100 * MIB, "{kind:?}");
        }
    }

    #[test]
    fn more_ram_never_means_a_slower_store() {
        const MIB: u64 = 1 << 20;
        let needs = [
            (Kind::Brd, 700 * MIB),
            (Kind::Zram, 300 * MIB),
            (Kind::Tmpfs, 710 * MIB),
            (Kind::Erofs, 250 * MIB),
        ];
        let order = [Kind::Erofs, Kind::Zram, Kind::Brd, Kind::Tmpfs];
        let chosen = (200..1200).map(|mib| {
            let little = is_little(&needs, None, mib * MIB);
            let ram = mib * MIB + if little { 60 * MIB } else { 0 };
            let kind = Kind::automatic(&needs, ram);
            order.iter().position(|k| *k == kind).unwrap()
        });
        let chosen: Vec<usize> = chosen.collect();
        assert!(chosen.is_sorted(), "{chosen:?}");
        assert_eq!((chosen.first(), chosen.last()), (Some(&0), Some(&3)));
        // A store that is wanted counts alone.
        assert!(is_little(&needs, Some(Kind::Zram), 555 * MIB));
        assert!(!is_little(&needs, Some(Kind::Zram), 556 * MIB));
    }
}
