//! The RAM store `zram`: a block device whose pages are kept compressed (Linux,
//! `Documentation/admin-guide/blockdev/zram.rst`).
//!
//! Pages of one repeated word cost nothing, discarded pages are free again, and the kernel makes no partitions: the
//! device holds the root file system from its first byte. `/dev/zramN` has the N of the RAM disk that the description
//! names, so that a `/dev/zram0` stays free for swap.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::console::Console;
use crate::devices::{self, Device};
use crate::modules::Loader;
use crate::ramdisk::RamDisk;
use crate::stop::{Result, Stop};

/// Compressors, the one that needs the least RAM first, with the module that brings each.
pub const COMPRESSORS: [(&str, &str); 3] =
    [("zstd", "zstd"), ("lzo-rle", "lzo_rle"), ("lz4", "lz4")];
const APPEAR: Duration = Duration::from_secs(10);
/// Reading it makes one more device and gives its number.
const HOT_ADD: &str = "/sys/class/zram-control/hot_add";

/// What the device shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zram {
    /// The N in `/dev/zramN`.
    pub number: u32,
    /// Its size in KiB.
    pub size_kib: u64,
}

impl Zram {
    /// As large as a RAM disk would be, and with its number.
    pub fn like(disk: &RamDisk) -> Self {
        Self {
            number: disk.number,
            size_kib: disk.size_kib,
        }
    }

    /// The block device.
    pub fn device(&self) -> Device {
        Device::named(&format!("zram{}", self.number))
    }

    /// Loads zram and what compresses for it, and gives the device size, compressor and the `limit` in bytes of what it
    /// may take of RAM. What an earlier attempt left is dropped.
    ///
    /// # Errors
    /// A sentence where there is no device, or it is in use.
    pub fn set_up(
        &self,
        loader: &mut Loader,
        limit: Option<u64>,
        console: &Console,
    ) -> Result<PathBuf> {
        for (_, module) in COMPRESSORS {
            // One that is missing or does not fit the processor is found missing below.
            if let Err(error) = loader.load(module, "") {
                console.log(&format!("module {module}: {error}"));
            }
        }
        self.make(loader)?;
        let compressor = self.configure(limit).map_err(|e| {
            Stop::new(
                format!("/dev/zram{} cannot be set up: {e}", self.number),
                "see that nothing else uses it, or set rd.ramforge.store=brd in the boot menu",
            )
        })?;
        console.log(&format!("zram{} compresses with {compressor}", self.number));
        let path = self.device().wait(APPEAR);
        path.map_err(|e| self.absent(&format!("did not appear after zram was loaded: {e}")))
    }

    /// Loads the module, or asks a loaded one for more devices.
    fn make(&self, loader: &mut Loader) -> Result<()> {
        let there = || self.device().sys().exists();
        if !there() {
            let parameters = format!("num_devices={}", self.number + 1);
            let loaded = loader.load("zram", &parameters);
            loaded.map_err(|e| self.absent(&format!("is not there: the module zram: {e}")))?;
        }
        while !there() {
            let made = fs::read_to_string(HOT_ADD).unwrap_or_default();
            if made.trim().parse().is_ok_and(|n: u32| n < self.number) {
                continue;
            }
            if !there() {
                return Err(self.absent("is not there: the kernel knows no zram"));
            }
        }
        Ok(())
    }

    /// Gives back its RAM; nothing may use it.
    pub fn remove(&self) {
        // One that is not there holds nothing; one that stays is reset by the next try.
        let reset = self.device().sys().join("reset");
        let _ = devices::once_free(|| fs::write(&reset, "1"));
    }

    fn absent(&self, fact: &str) -> Stop {
        Stop::new(
            format!("/dev/zram{} {fact}", self.number),
            "set rd.ramforge.store=brd in the boot menu, or build the image with a kernel that has zram",
        )
    }

    /// Sets the device up with the first compressor that the kernel takes; gives its name.
    fn configure(&self, limit: Option<u64>) -> io::Result<&'static str> {
        let set = |attribute: &str, value: &str| {
            let written = fs::write(self.device().sys().join(attribute), value);
            written.map_err(|e| io::Error::new(e.kind(), format!("{attribute}: {e}")))
        };
        if self.device().size() > 0 {
            set("reset", "1")?;
        }
        let mut last = io::Error::from(io::ErrorKind::Unsupported);
        for (compressor, _) in COMPRESSORS {
            // A name may be known whose module is not there: that shows when the size is set.
            let tried = set("comp_algorithm", compressor)
                .and_then(|()| set("disksize", &format!("{}K", self.size_kib)));
            match tried {
                Ok(()) => {
                    if let Some(limit) = limit {
                        set("mem_limit", &limit.to_string())?;
                    }
                    return Ok(compressor);
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }
}
