//! A machine in words, and as arguments of `qemu-system-x86_64`.
//!
//! Software emulation (`tcg`) unless the machine says otherwise: it runs everywhere the same. RAMFORGE_ACCEL names another
//! accelerator; [`super::Accelerator`] probes the host for one. *Not here:* networks of several machines, Secure Boot keys;
//! media that come later are the guest's, see [`super::Guest`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::accelerator::Accelerator;
use super::error::{At, Error, Result};

/// QEMU's program.
pub const QEMU: &str = "qemu-system-x86_64";
/// The Debian package that brings it.
pub const QEMU_PACKAGE: &str = "qemu-system-x86";
/// Starts a program that dies with its parent; part of every Debian system.
pub const SETPRIV: &str = "setpriv";
/// The Debian package that brings it.
pub const SETPRIV_PACKAGE: &str = "util-linux";
/// The name of the medium in QEMU's monitor.
pub(super) const MEDIUM_ID: &str = "medium";
/// The name of what the medium lies in, as the options below have it.
pub(super) const DRIVE: &str = "drive";
/// The USB 3 controller.
const USB: &str = "qemu-xhci,id=xhci";
/// UEFI code and the variable store that fits it, in order of preference.
const OVMF: &[(&str, &str)] = &[
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ),
    (
        "/usr/share/edk2/ovmf/OVMF_CODE.fd",
        "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    ),
];

/// QEMU's BIOS for both boards.
const SEABIOS: &[&str] = &[
    "/usr/share/seabios/bios-256k.bin",
    "/usr/share/qemu/bios-256k.bin",
];

/// What starts the boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF.
    Uefi,
}

impl Firmware {
    /// `bios` or `uefi`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
        }
    }
}

/// How the medium is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// A CD-ROM drive: IDE on [`Board::Pc`], AHCI on [`Board::Q35`].
    Cd,
    /// A stick at a USB 3 controller.
    Usb,
    /// A virtio disk.
    Disk,
    /// An NVMe disk.
    Nvme,
    /// A SATA disk.
    Ahci,
    /// A card in a USB reader.
    Reader,
    /// A card in an SD reader (SDHCI). Its length must be a power of two.
    Sd,
    /// No medium but QEMU's own network, a virtio card: DHCP, and TFTP of the directory that is the medium. What listens
    /// at the host's 127.0.0.1 is 10.0.2.2 inside.
    Network,
}

/// The mainboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Board {
    /// i440FX with IDE.
    Pc,
    /// Q35 with PCI Express and AHCI.
    Q35,
}

/// A machine to be started.
#[derive(Debug, Clone)]
pub struct Machine {
    /// RAM in MiB.
    pub ram_mib: u64,
    /// QEMU's `-accel`.
    pub accelerator: String,
    /// Number of processors.
    pub cpus: u32,
    /// Mainboard.
    pub board: Board,
    /// Firmware.
    pub firmware: Firmware,
    /// The file that is the medium.
    pub medium: PathBuf,
    /// How it is attached.
    pub bus: Bus,
    /// Whether there is a USB controller for sticks that come later, see [`Guest::plug`](super::Guest::plug).
    pub usb: bool,
    /// Whether the keyboard is one at that controller, see [`Guest::press`](super::Guest::press); else it is that of a PC.
    pub usb_keyboard: bool,
    /// What the firmware loads from [`Bus::Network`]: a path below the medium, or a URL.
    pub bootfile: String,
    /// Whether writes of the guest reach the file. Otherwise they are forgotten at the end.
    pub writable: bool,
    /// Files that are virtio disks beside the medium; the guest cannot write to them.
    pub disks: Vec<PathBuf>,
    /// What the clock says at the start, as `2031-01-31T23:00:00` in UTC; absent: what the host's says.
    pub clock: Option<String>,
    /// A TCP port of this host's 127.0.0.1 and the port of the guest that it leads to, through a network card of its own.
    pub answers: Option<(u16, u16)>,
    /// Asked several times a second; `true` ends the machine with [`Error::Cancelled`].
    pub cancel: fn() -> bool,
}

impl Machine {
    /// A machine in software emulation with two processors on a [`Board::Pc`] that forgets what it writes.
    pub fn new(medium: &Path, bus: Bus, firmware: Firmware, ram_mib: u64) -> Self {
        Self {
            ram_mib,
            accelerator: Accelerator::preset(),
            cpus: 2,
            board: Board::Pc,
            firmware,
            medium: medium.to_owned(),
            bus,
            usb: false,
            usb_keyboard: false,
            bootfile: String::new(),
            writable: false,
            disks: Vec::new(),
            clock: None,
            answers: None,
            cancel: || false,
        }
    }

    /// All arguments; what the machine itself writes lies in `scratch`.
    pub(super) fn arguments(&self, scratch: &Path) -> Result<Vec<OsString>> {
        let board = match self.board {
            Board::Pc => "pc",
            Board::Q35 => "q35",
        };
        let ps2 = if self.usb_keyboard { ",i8042=off" } else { "" };
        // One word, whatever RAMFORGE_ACCEL says: blanks in it make no options.
        let mut line: Vec<OsString> = vec!["-accel".into(), self.accelerator.clone().into()];
        let mut add = |words: &str| line.extend(words.split(' ').map(OsString::from));
        add("-nodefaults -no-user-config -no-reboot -display none -vga std -serial stdio");
        add(&format!("-machine {board}{ps2} -nic none"));
        add(&format!("-smp {} -m {}", self.cpus, self.ram_mib));
        if let Some(clock) = &self.clock {
            add(&format!("-rtc base={clock}"));
        }
        if let Some((host, guest)) = self.answers {
            add(&format!(
                "-netdev user,id=answers,hostfwd=tcp:127.0.0.1:{host}-:{guest}"
            ));
            add("-device virtio-net-pci,netdev=answers");
        }
        add("-qmp");
        line.push(option("unix:", &qmp_socket(scratch), ",server=on,wait=off"));
        match self.firmware {
            Firmware::Bios => line.extend(debug_port(scratch)),
            Firmware::Uefi => line.extend(uefi(scratch)?),
        }
        line.extend(self.medium_arguments()?);
        for disk in &self.disks {
            let disk = disk.canonicalize().at(disk)?;
            let drive = "if=virtio,format=raw,readonly=on,file=";
            line.extend(["-drive".into(), option(drive, &disk, "")]);
        }
        Ok(line)
    }

    fn network(&self, directory: &Path) -> Vec<OsString> {
        let bootfile = format!(",bootfile={}", self.bootfile.replace(',', ",,"));
        let network = option("user,id=network,tftp=", directory, &bootfile);

        let card = format!("virtio-net-pci,id={MEDIUM_ID},netdev=network,bootindex=1");
        vec!["-netdev".into(), network, "-device".into(), card.into()]
    }

    fn medium_arguments(&self) -> Result<Vec<OsString>> {
        let medium = self.medium.canonicalize().at(&self.medium)?;
        let drive = match self.bus {
            Bus::Network => return Ok(self.network(&medium)),
            Bus::Cd => "if=none,id=drive,format=raw,media=cdrom,readonly=on,file=",
            _ if self.writable => "if=none,id=drive,format=raw,discard=unmap,file=",
            _ => "if=none,id=drive,format=raw,snapshot=on,file=",
        };
        let mut line = vec!["-drive".into(), option(drive, &medium, "")];
        let (controller, device) = match self.bus {
            Bus::Cd => (None, "ide-cd"),
            Bus::Usb => (Some(USB), "usb-storage,bus=xhci.0"),
            Bus::Reader => (Some(USB), "usb-storage,removable=on,bus=xhci.0"),
            Bus::Disk => (None, "virtio-blk-pci"),
            Bus::Nvme => (None, "nvme,serial=ramforge"),
            Bus::Ahci => (Some("ahci,id=ahci"), "ide-hd,bus=ahci.0"),
            Bus::Sd => (Some("sdhci-pci"), "sd-card"),
            Bus::Network => (None, "virtio-net-pci"),
        };
        let has_usb = self.usb || self.usb_keyboard;
        let late = Some(USB).filter(|_| has_usb && !matches!(self.bus, Bus::Usb | Bus::Reader));
        let keyboard = Some("usb-kbd,bus=xhci.0").filter(|_| self.usb_keyboard);
        for device in controller.into_iter().chain(late).chain(keyboard) {
            line.extend(["-device".into(), device.into()]);
        }
        let order = match self.bus {
            // QEMU has no order for it.
            Bus::Sd => "",
            _ => ",bootindex=1",
        };
        let device = format!("{device},id={MEDIUM_ID},drive={DRIVE}{order}");
        line.extend(["-device".into(), device.into()]);
        Ok(line)
    }
}

/// The monitor's socket.
pub(super) fn qmp_socket(scratch: &Path) -> PathBuf {
    scratch.join("qmp")
}

/// The socket of the firmware's debug port.
pub(super) fn firmware_socket(scratch: &Path) -> PathBuf {
    scratch.join("firmware")
}

/// The port at which SeaBIOS says what it does, whoever has the serial line. It looks for it and is silent without.
fn debug_port(scratch: &Path) -> [OsString; 4] {
    let socket = firmware_socket(scratch);
    [
        "-chardev".into(),
        option("socket,id=firmware,path=", &socket, ""),
        "-device".into(),
        "isa-debugcon,iobase=0x402,chardev=firmware".into(),
    ]
}

/// The BIOS that QEMU loads, where it lies in a usual place.
pub fn find_seabios() -> Option<&'static Path> {
    let place = SEABIOS.iter().map(Path::new);
    place.into_iter().find(|path| path.is_file())
}

/// The UEFI firmware of this host: its code and a variable store to copy.
///
/// # Errors
/// [`Error::Missing`] with the package that brings it.
pub fn find_ovmf() -> Result<(&'static Path, &'static Path)> {
    OVMF.iter()
        .map(|(code, vars)| (Path::new(code), Path::new(vars)))
        .find(|(code, vars)| code.is_file() && vars.is_file())
        .ok_or_else(|| Error::Missing {
            what: format!("UEFI firmware for QEMU ({})", OVMF[0].0),
            package: "ovmf",
        })
}

fn uefi(scratch: &Path) -> Result<[OsString; 4]> {
    let (code, vars) = find_ovmf()?;
    let own = scratch.join("vars.fd");
    std::fs::copy(vars, &own).at(vars)?;
    Ok([
        "-drive".into(),
        option("if=pflash,format=raw,readonly=on,file=", code, ""),
        "-drive".into(),
        option("if=pflash,format=raw,file=", &own, ""),
    ])
}

/// An option that ends in a path; a comma in the path is doubled, as QEMU wants it.
fn option(before: &str, path: &Path, after: &str) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = before.as_bytes().to_vec();
    for &byte in path.as_os_str().as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(b',');
        }
    }
    bytes.extend_from_slice(after.as_bytes());
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(machine: &Machine) -> String {
        let words = machine.arguments(Path::new("/nowhere")).unwrap();
        words.join(" ".as_ref()).to_string_lossy().into_owned()
    }

    #[test]
    fn a_medium_is_never_changed_unless_asked() {
        let file = tempfile::Builder::new().suffix("a,b").tempfile().unwrap();
        let machine = |bus| Machine::new(file.path(), bus, Firmware::Bios, 64);
        assert!(line(&machine(Bus::Cd)).contains("readonly=on"));
        for bus in [
            Bus::Usb,
            Bus::Reader,
            Bus::Disk,
            Bus::Nvme,
            Bus::Ahci,
            Bus::Sd,
        ] {
            assert!(line(&machine(bus)).contains("snapshot=on"), "{bus:?}");
        }
        let mut own = machine(Bus::Disk);
        own.writable = true;
        assert!(!line(&own).contains("snapshot"));
        assert!(line(&own).contains("a,,b -device virtio-blk-pci,id=medium"));
    }

    #[test]
    fn an_accelerator_is_no_more_than_that() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut machine = Machine::new(file.path(), Bus::Cd, Firmware::Bios, 64);
        machine.accelerator = "tcg -snapshot".to_owned();
        let words = machine.arguments(Path::new("/nowhere")).unwrap();
        assert!(words.contains(&"tcg -snapshot".into()), "{words:?}");
        assert!(!words.contains(&"-snapshot".into()), "{words:?}");
    }

    #[test]
    fn a_network_is_no_medium() {
        let directory = tempfile::tempdir().unwrap();
        let mut machine = Machine::new(directory.path(), Bus::Network, Firmware::Bios, 64);
        machine.bootfile = "net/boot.pxe".into();
        let line = line(&machine);
        assert!(line.contains(",bootfile=net/boot.pxe -device virtio-net-pci,id=medium"));
        assert!(!line.contains("-drive"), "{line}");
    }

    #[test]
    fn a_missing_medium_is_named() {
        let machine = Machine::new(Path::new("/no/medium"), Bus::Cd, Firmware::Bios, 64);
        let error = machine.arguments(Path::new("/nowhere")).unwrap_err();
        assert!(error.to_string().starts_with("/no/medium: "), "{error}");
    }
}
