//! The RAM store `brd`: the kernel's RAM disk, `/dev/ramN`.
//!
//! A page is allocated on every write, zeros too, and reads of pages never written give zeros. So holes
//! are never written, and a RAM disk may be larger than the machine's RAM.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::cmdline::Cmdline;
use crate::config::{Config, RamStore};
use crate::devices::{self, Device};
use crate::modules::Loader;
use crate::pages::{self, Aligned};
use crate::stop::{Result, Stop};

const APPEAR: Duration = Duration::from_secs(10);
/// Minor numbers that a RAM disk keeps for partitions.
const MAX_PART: u32 = 16;
/// More RAM disks than anyone means, so that a typing error makes no thousands.
const MAX_NUMBER: u32 = 63;

/// The largest size that the kernel can count in bytes.
const MAX_KIB: u64 = i64::MAX as u64 / 1024;
/// Bytes that are read at once when a RAM disk is checked.
const CHECKED: usize = 1 << 20;

/// Where a RAM disk comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This program loaded brd: no page was ever written.
    Made,
    /// It was there before, and may hold something.
    Found,
}

/// What the RAM disk shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RamDisk {
    /// The N in `/dev/ramN`.
    pub number: u32,
    /// Its size in KiB.
    pub size_kib: u64,
}

impl RamDisk {
    /// Size and device: the kernel command line wins over the configuration, which wins over the
    /// image's own size.
    ///
    /// # Errors
    /// A sentence where the device is no RAM disk or the image does not fit.
    pub fn resolve(config: &Config, cmdline: &Cmdline) -> Result<Self> {
        let RamStore::Brd { device, size_kib } = &config.store;
        let (name, said) = match cmdline.value("rd.kiwi.oem.installdevice") {
            Some(name) => (name, "rd.kiwi.oem.installdevice="),
            None => (device.as_str(), "the target device "),
        };
        let Some(number) = number(name) else {
            return Err(Stop::new(
                format!("{said}{name} is no RAM disk, and this medium writes to RAM only"),
                "set rd.kiwi.oem.installdevice=/dev/ram1 in the boot menu",
            ));
        };
        check_root(number, cmdline)?;
        let image_kib = config.image_size.div_ceil(1024);
        let size_kib = cmdline
            .number("ramdisk_size")?
            .or(*size_kib)
            .unwrap_or(image_kib);
        if size_kib < image_kib {
            return Err(Stop::new(
                format!(
                    "ramdisk_size={size_kib} (KiB) is smaller than the image, which has {image_kib} KiB"
                ),
                format!("set ramdisk_size={image_kib} or more in the boot menu"),
            ));
        }
        if size_kib > MAX_KIB {
            return Err(Stop::new(
                format!("ramdisk_size={size_kib} (KiB) is more than a kernel can address"),
                format!("set ramdisk_size={image_kib} or more in the boot menu"),
            ));
        }
        Ok(Self { number, size_kib })
    }

    /// The block device.
    pub fn device(&self) -> Device {
        Device::named(&format!("ram{}", self.number))
    }

    /// Loads brd so that the device is there with the right size. What was there before is kept where
    /// it is large enough, and must be looked at with [`RamDisk::check_empty`].
    ///
    /// # Errors
    /// A sentence where brd cannot be loaded or is there with too small a size.
    pub fn set_up(&self, loader: &mut Loader) -> Result<(PathBuf, Origin)> {
        let size = self.device().size();
        let mut origin = Origin::Made;
        if size == 0 {
            self.load(loader)?;
        } else if size / 1024 < self.size_kib {
            // Loaded by somebody else with its default size, and most likely not in use yet.
            self.reload(loader)?;
        } else {
            origin = Origin::Found;
        }
        let path = self.device().wait(APPEAR).map_err(|e| {
            Stop::new(
                format!(
                    "/dev/ram{} did not appear after brd was loaded: {e}",
                    self.number
                ),
                "see the kernel's log",
            )
        })?;
        let size_kib = self.device().size() / 1024;
        if size_kib < self.size_kib {
            return Err(self.too_small(size_kib));
        }
        Ok((path, origin))
    }

    /// Sees that the first `length` bytes of the opened device are zeros: holes of the image are never
    /// written, so what was there before would show in them. Pages that do not exist cost nothing to read.
    ///
    /// # Errors
    /// A sentence where they are not.
    pub fn check_empty(&self, device: &impl FileExt, length: u64) -> Result<()> {
        let mut buffer = Aligned::new(CHECKED);
        let mut at = 0;
        while at < length {
            let part = (length - at).min(CHECKED as u64) as usize;
            let bytes = &mut buffer.whole()[..part];
            device.read_exact_at(bytes, at).map_err(|e| {
                let fact = format!("/dev/ram{} cannot be read: {e}", self.number);
                Stop::new(fact, "see the kernel's log")
            })?;
            if !pages::runs(bytes).is_empty() {
                return Err(Stop::new(
                    format!("/dev/ram{} was there before and holds data", self.number),
                    "restart the machine, or remove it with rmmod brd",
                ));
            }
            at += part as u64;
        }
        Ok(())
    }

    fn load(&self, loader: &mut Loader) -> Result<()> {
        let parameters = format!(
            "rd_nr={} rd_size={} max_part={MAX_PART}",
            self.number + 1,
            self.size_kib
        );
        match loader.load("brd", &parameters) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Stop::new(
                format!(
                    "/dev/ram{} is not there, and the initramfs carries no brd module",
                    self.number
                ),
                "build the initramfs again with initrd-inject",
            )),
            Err(e) => Err(Stop::new(
                format!("the module brd cannot be loaded: {e}"),
                "boot the kernel that this initramfs was built for",
            )),
        }
    }

    fn reload(&self, loader: &mut Loader) -> Result<()> {
        let size_kib = self.device().size() / 1024;
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        rustix::system::delete_module(c"brd", flags).map_err(|_| self.too_small(size_kib))?;
        self.load(loader)
    }

    /// Gives back its RAM, where brd can be removed: nothing may use it.
    pub fn remove(&self) {
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        // One that stays is found by the next try, which then says what to do.
        let _ = devices::once_free(|| Ok(rustix::system::delete_module(c"brd", flags)?));
    }

    fn too_small(&self, size_kib: u64) -> Stop {
        Stop::new(
            format!(
                "/dev/ram{} exists with {size_kib} KiB, and {} KiB are needed: brd is built into the kernel or in use",
                self.number, self.size_kib
            ),
            format!(
                "add ramdisk_size={} to the kernel command line",
                self.size_kib
            ),
        )
    }
}

/// Refuses a `root=` that names a partition of another RAM disk: it would never appear.
fn check_root(written: u32, cmdline: &Cmdline) -> Result<()> {
    let root = cmdline.value("root").unwrap_or_default();
    let Some((disk, partition)) = root.rsplit_once('p') else {
        return Ok(());
    };
    match number(disk) {
        Some(named) if named != written => Err(Stop::new(
            format!("root={root} is not on /dev/ram{written}, which the image is written to"),
            format!("set root=/dev/ram{written}p{partition} in the boot menu as well"),
        )),
        _ => Ok(()),
    }
}

/// The N of `/dev/ramN`.
fn number(device: &str) -> Option<u32> {
    let digits = device.strip_prefix("/dev/ram")?;
    let number: u32 = digits.parse().ok()?;
    (number <= MAX_NUMBER && digits == number.to_string()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::Object;

    fn config(size_kib: Option<u64>) -> Config {
        Config {
            format: 1,
            volume_id: "INSTALL".into(),
            map: Object::of(b"map"),
            image_size: 800 << 20,
            data_bytes: 600 << 20,
            root_offset: 1 << 20,
            root_size: 700 << 20,
            zram_bytes: 300 << 20,
            entries: 1,
            root_uuid: "u".into(),
            store: RamStore::Brd {
                device: "/dev/ram1".into(),
                size_kib,
            },
            erofs: None,
            resize: true,
            ask: false,
            read_back: false,
            public_key: None,
            reserve_bytes: 0,
            initramfs_bytes: 0,
        }
    }

    fn resolve(size_kib: Option<u64>, line: &str) -> Result<RamDisk> {
        RamDisk::resolve(&config(size_kib), &Cmdline::parse(line))
    }

    #[test]
    fn the_command_line_wins() {
        assert_eq!(resolve(None, "").unwrap().size_kib, 800 << 10);
        assert_eq!(resolve(Some(2_048_000), "").unwrap().size_kib, 2_048_000);
        let found = resolve(
            Some(2_048_000),
            "ramdisk_size=1000000 rd.kiwi.oem.installdevice=/dev/ram0",
        );
        assert_eq!(
            found,
            Ok(RamDisk {
                number: 0,
                size_kib: 1_000_000
            })
        );
    }

    #[test]
    fn a_ram_disk_smaller_than_the_image_is_refused() {
        let text = resolve(Some(2_048_000), "ramdisk_size=819199")
            .unwrap_err()
            .to_string();
        assert_eq!(
            text,
            "ramdisk_size=819199 (KiB) is smaller than the image, which has 819200 KiB; \
             set ramdisk_size=819200 or more in the boot menu"
        );
    }

    #[test]
    fn a_size_beyond_counting_is_refused() {
        let text = resolve(None, "ramdisk_size=18446744073709551615")
            .unwrap_err()
            .to_string();
        assert!(text.contains("more than a kernel can address"), "{text}");
    }

    #[test]
    fn the_root_must_be_on_the_disk_that_is_written() {
        let other = "root=/dev/ram1p3 rd.kiwi.oem.installdevice=/dev/ram0";
        assert_eq!(
            resolve(None, other).unwrap_err().to_string(),
            "root=/dev/ram1p3 is not on /dev/ram0, which the image is written to; \
             set root=/dev/ram0p3 in the boot menu as well"
        );
        for root in ["/dev/ram1p3", "/dev/ram0", "UUID=1p2", "/dev/nvme0n1p2", ""] {
            assert!(resolve(None, &format!("root={root}")).is_ok(), "{root}");
        }
    }

    #[test]
    fn a_ram_disk_that_holds_data_is_refused() {
        let disk = resolve(None, "").unwrap();
        let length = 3 * CHECKED as u64 + 512;
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(length + 4096).unwrap();
        file.as_file().write_all_at(b"behind", length).unwrap();
        assert_eq!(disk.check_empty(file.as_file(), length), Ok(()));
        file.as_file().write_all_at(b"x", length - 1).unwrap();
        let text = disk.check_empty(file.as_file(), length).unwrap_err();
        assert!(text.to_string().contains("/dev/ram1 was there before"));
    }

    #[test]
    fn only_ram_disks_are_written() {
        for device in [
            "/dev/sda",
            "/dev/ram",
            "/dev/ram01",
            "/dev/ram1p3",
            "/dev/ram64",
            "ram1",
        ] {
            assert_eq!(number(device), None, "{device}");
        }
        assert_eq!(number("/dev/ram12"), Some(12));
        let text = resolve(None, "rd.kiwi.oem.installdevice=/dev/sda")
            .unwrap_err()
            .to_string();
        assert!(
            text.starts_with("rd.kiwi.oem.installdevice=/dev/sda is no RAM disk"),
            "{text}"
        );
    }
}
