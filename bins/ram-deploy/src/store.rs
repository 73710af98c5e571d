//! The RAM stores: where the image goes, and how it becomes the root.
//!
//! ```text
//! brd     the whole disk in /dev/ramN; the root is its partition
//! zram    the root partition alone in /dev/zramN, compressed: the kernel makes no partitions there
//! tmpfs   the files of the root, unpacked
//! ```
//!
//! `rd.ramforge.store=` on the kernel command line chooses, whether it stands in the description's kernelcmdline or
//! was typed in the boot menu.

pub(crate) mod chunks;
pub mod tmpfs;
mod unpack;
pub mod zram;

use std::fs::File;
use std::os::fd::AsFd;

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
}

impl Kind {
    /// All of them, the default first.
    pub const ALL: [Self; 3] = [Self::Brd, Self::Zram, Self::Tmpfs];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Brd => "brd",
            Self::Zram => "zram",
            Self::Tmpfs => "tmpfs",
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

    /// The first store of which `fits` is true, the fastest at run time first; the one that needs the least RAM where
    /// none is.
    pub fn automatic(fits: impl Fn(Self) -> bool) -> Self {
        let order = [Self::Tmpfs, Self::Brd];
        let found = order.into_iter().find(|kind| fits(*kind));
        found.unwrap_or(Self::Zram)
    }
}

/// A RAM store, with what the command line says of it.
#[derive(Debug)]
pub enum Store {
    /// One that holds blocks.
    Blocks(Blocks),
    /// See [`Kind::Tmpfs`].
    Tmpfs(Tmpfs),
}

impl Store {
    /// The store that the command line asks for, or the one for the RAM that is available now.
    ///
    /// # Errors
    /// A sentence where it cannot be what is asked for.
    pub fn resolve(config: &Config, cmdline: &Cmdline) -> Result<Self> {
        let disk = RamDisk::resolve(config, cmdline)?;
        let kind = Kind::wanted(cmdline)?.unwrap_or_else(|| {
            let available = ram::available_now().unwrap_or(u64::MAX);
            Kind::automatic(|kind| need(config, disk.size_kib, kind) <= available)
        });
        Ok(match kind {
            Kind::Brd => Self::Blocks(Blocks::Brd(disk)),
            Kind::Zram => Self::Blocks(Blocks::Zram(Zram::like(&disk))),
            Kind::Tmpfs => Self::Tmpfs(Tmpfs {
                size_kib: disk.size_kib,
            }),
        })
    }

    /// Which one it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Blocks(Blocks::Brd(_)) => Kind::Brd,
            Self::Blocks(Blocks::Zram(_)) => Kind::Zram,
            Self::Tmpfs(_) => Kind::Tmpfs,
        }
    }

    /// Compares what the image needs in this store with the RAM that is available now.
    ///
    /// # Errors
    /// A sentence with the figures, and with the store that would fit.
    pub fn check_ram(&self, config: &Config) -> Result<()> {
        let need = |kind| (kind, need(config, self.size_kib(), kind));
        // A kernel that does not tell is not refused: the RAM store reports when RAM runs out.
        ram::available_now().map_or(Ok(()), |available| {
            let (kind, own) = need(self.kind());
            ram::check(kind, own, available, &Kind::ALL.map(need))
        })
    }

    /// Gives back its RAM after a failure, where the kernel lets it.
    pub fn remove(&self) {
        match self {
            Self::Blocks(Blocks::Brd(disk)) => disk.remove(),
            Self::Blocks(Blocks::Zram(zram)) => zram.remove(),
            Self::Tmpfs(tmpfs) => tmpfs.remove(),
        }
    }

    fn size_kib(&self) -> u64 {
        match self {
            Self::Blocks(Blocks::Brd(disk)) => disk.size_kib,
            Self::Blocks(Blocks::Zram(zram)) => zram.size_kib,
            Self::Tmpfs(tmpfs) => tmpfs.size_kib,
        }
    }
}

/// RAM that must be available for the image in a store as large as a RAM disk of `size_kib`, in bytes.
fn need(config: &Config, size_kib: u64, kind: Kind) -> u64 {
    let image = match kind {
        Kind::Brd => ram::brd(config.data_bytes),
        Kind::Zram => ram::zram(config.zram_bytes, size_kib.saturating_mul(1024)),
        Kind::Tmpfs => ram::tmpfs(config.data_bytes, config.entries),
    };
    ram::need(image, config.reserve_bytes, config.initramfs_bytes)
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
        let (path, origin) = match self {
            Self::Brd(disk) => disk.set_up(loader)?,
            Self::Zram(zram) => {
                let limit = ram::limit(config.reserve_bytes, config.initramfs_bytes);
                (zram.set_up(loader, limit, console)?, Origin::Made)
            }
        };
        let target = Disk::device(&path).map_err(|e| self.unusable(&e))?;
        // udev leaves a locked disk alone.
        lock(target.as_file()).map_err(|e| self.unusable(&e))?;
        Ok(match self {
            Self::Brd(disk) => {
                if origin == Origin::Found {
                    disk.check_empty(target.as_file(), config.image_size)?;
                }
                target
            }
            Self::Zram(_) => target.only(config.root()),
        })
    }

    /// Grows the root, where that is wanted, and gives its device.
    ///
    /// # Errors
    /// A sentence where the root does not appear.
    pub fn settle(&self, config: &Config, cmdline: &Cmdline, console: &Console) -> Result<Device> {
        let device = self.device();
        let resize = cmdline.choice("rd.ramforge.resize");
        let grown = match self {
            _ if !resize.unwrap_or(config.resize) => Ok(()),
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
            reread.map_err(|e| self.unusable(&e))?;
        }
        Ok(grow::partition(&device, &config.root_uuid)?.0)
    }

    fn unusable(&self, error: &std::io::Error) -> Stop {
        Stop::new(
            format!("/dev/{} cannot be used: {error}", self.device().name),
            "see that nothing else in the initramfs uses it",
        )
    }
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
             leave it out or set it to brd, zram, tmpfs, auto in the boot menu"
        );
    }

    #[test]
    fn by_itself_the_fastest_store_that_fits_is_taken() {
        assert_eq!(Kind::automatic(|_| true), Kind::Tmpfs);
        assert_eq!(Kind::automatic(|kind| kind != Kind::Tmpfs), Kind::Brd);
        assert_eq!(Kind::automatic(|kind| kind == Kind::Zram), Kind::Zram);
        assert_eq!(Kind::automatic(|_| false), Kind::Zram);
    }
}
