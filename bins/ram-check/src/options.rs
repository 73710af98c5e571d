//! What can be asked of `ram-check`.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, ValueEnum};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::here::{self, Host};
use crate::login::{self, Credentials};
use crate::machines::{self, Machines};
use crate::menu;
use crate::picture::file;
use crate::qemu::{self, Up};

/// Options of the stage.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("starts").multiple(true))]
pub struct Options {
    /// The machine's RAM: 1024M, 2G or MiB; exit code 4 where the system does not fit
    #[arg(long, value_name = "SIZE", value_parser = size_mib, group = "asked")]
    pub ram: Option<u64>,
    /// Several machines, from a file with a line each, NAME RAM [LEAVE]; exit code 4 where one does not do
    #[arg(long, value_name = "FILE", value_parser = machines::read, group = "asked")]
    pub machines: Option<Machines>,
    /// This host as the machine: the RAM of its firmware; exit code 4 where the system does not fit
    #[arg(long, num_args = 0, default_missing_value = "/", value_parser = here::read, group = "asked")]
    #[arg(conflicts_with = "boot")]
    pub here: Option<Host>,
    /// RAM that must be left to applications after login, as --ram; exit code 4 where less is left
    #[arg(long, value_name = "SIZE", value_parser = leave_mib, requires = "asked")]
    pub leave: Option<u64>,
    /// Ask about this RAM store, whatever kernelcmdline names: for the statement, and for machines of --boot, --least and
    /// --measure, whose copy of the medium is told so
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(menu::names()))]
    pub store: Option<String>,
    /// Show a bar for each RAM store with its terms
    #[arg(long)]
    pub picture: bool,
    /// Write the same picture to a file, as SVG
    #[arg(long, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(file::checked))]
    pub svg: Option<PathBuf>,
    /// Boot the medium in QEMU until it is up, with the RAM of --ram or else the least
    #[arg(long, groups = ["machine", "starts"])]
    pub boot: bool,
    /// Find the least RAM with which it comes up in QEMU, to 16 MiB, in few boots; exit code 4 where it is more than stated
    #[arg(long, groups = ["machine", "starts"])]
    pub least: bool,
    /// Count with what the system takes for itself, as measured: with --login in one boot with 1 GiB more than it is assumed
    /// to need, or more with --ram, up to 8 GiB; the store keeps it for every machine, firmware and RAM store
    #[arg(long, group = "starts", requires = "login")]
    pub measure: bool,
    /// What means that it is up: login, target:NAME (of the system, not of the initramfs), text:STRING (on the serial line)
    /// or tcp:PORT (a port that answers)
    #[arg(
        long,
        value_name = "SIGN",
        default_value = "login",
        requires = "starts"
    )]
    pub up: Up,
    /// Log in on the serial line with the USER:PASSWORD in FILE once it is up, and read RAM figures inside; exit code 1
    /// where that fails
    #[arg(long, value_name = "FILE", value_parser = login::read, requires = "starts")]
    pub login: Option<Credentials>,
    /// The firmware that boots it
    #[arg(long, value_enum, default_value_t = FirmwareChoice::Bios)]
    pub firmware: FirmwareChoice,
    /// Seconds until a boot that is not up counts as failed
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub timeout: u64,
}

impl Options {
    /// The RAM in MiB of the machine that is asked about.
    pub(crate) fn ram_mib(&self) -> Option<u64> {
        self.ram.or(self.here.as_ref().map(Host::ram_mib))
    }

    /// Whether a machine is started.
    pub(crate) fn boots(&self) -> bool {
        self.boot || self.least || self.measure
    }
}

/// What enters the key: the machine of a proof counts only where there is one, pictures are made of what is recorded. Of
/// who logs in only the name does: a password belongs into no record, and a wrong one leads to none.
impl Serialize for Options {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("ram", &self.ram_mib())?;
        map.serialize_entry("leave", &self.leave)?;
        map.serialize_entry("machines", &self.machines)?;
        if let Some(store) = &self.store {
            map.serialize_entry("store", store)?;
        }
        if self.boots() {
            let asked = [
                ("boot", self.boot),
                ("least", self.least),
                ("measure", self.measure),
            ];
            for (name, _) in asked.iter().filter(|(_, asked)| *asked) {
                map.serialize_entry(name, &true)?;
            }
            map.serialize_entry("up", &self.up.to_string())?;
            map.serialize_entry("login", &self.login.as_ref().map(Credentials::user))?;
            map.serialize_entry("firmware", &self.firmware)?;
            map.serialize_entry("timeout", &self.timeout)?;
        }
        map.end()
    }
}

/// `--firmware`.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirmwareChoice {
    /// SeaBIOS
    Bios,
    /// OVMF
    Uefi,
}

impl From<FirmwareChoice> for qemu::Firmware {
    fn from(choice: FirmwareChoice) -> Self {
        match choice {
            FirmwareChoice::Bios => Self::Bios,
            FirmwareChoice::Uefi => Self::Uefi,
        }
    }
}

/// More than any machine has: 4096 TiB, in MiB.
pub(crate) const MOST_MIB: u64 = 1 << 32;

/// The same, or nothing.
pub(crate) fn leave_mib(text: &str) -> Result<u64, String> {
    match text {
        "0" => Ok(0),
        _ => size_mib(text),
    }
}

/// `1024`, `1024M`, `2G`, `2GiB` in MiB.
pub(crate) fn size_mib(text: &str) -> Result<u64, String> {
    let expected = || format!("{text:?}: expected a size as 1024M or 2G");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "m" | "mb" | "mib" => 1,
        "g" | "gb" | "gib" => 1024,
        "t" | "tb" | "tib" => 1024 * 1024,
        _ => return Err(expected()),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(expected());
    }
    match digits.parse::<u64>().map(|n| n.checked_mul(factor)) {
        Ok(Some(0)) => Err(expected()),
        Ok(Some(mib @ ..=MOST_MIB)) => Ok(mib),
        _ => Err(format!(
            "{text:?}: more than 4096T; expected a machine's RAM"
        )),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use clap::Parser;

    /// The options of a command line.
    pub(crate) fn options(words: &[&str]) -> Options {
        let words = ["ram-check"].iter().chain(words);
        <Line as clap::Parser>::try_parse_from(words)
            .unwrap()
            .options
    }

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn what_only_a_boot_reads_needs_one() {
        let parse = |words: &str| {
            let words = ["ram-check"].into_iter().chain(words.split_whitespace());
            <Line as clap::Parser>::try_parse_from(words).is_ok()
        };
        for good in ["", "--boot", "--boot --up tcp:22", "--least --up tcp:22"] {
            assert!(parse(good), "{good}");
        }
        for bad in [
            "--up tcp:22",
            "--ram 1G --up login",
            "--login /dev/null",
            "--boot --least",
            "--measure",
        ] {
            assert!(!parse(bad), "{bad}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("login");
        std::fs::write(&path, "root:x\n").unwrap();
        let measure = format!("--measure --login {}", path.display());
        for more in ["", "--here", "--least", "--boot --up tcp:22"] {
            assert!(parse(&format!("{measure} {more}")), "{more}");
        }
    }

    #[test]
    fn a_store_is_in_the_key_only_where_one_is_asked_for() {
        let key = |words: &[&str]| serde_json::to_value(options(words)).unwrap();
        assert!(key(&["--ram", "1G"]).get("store").is_none());
        for name in ["brd", "zram", "tmpfs", "erofs", "auto"] {
            assert_eq!(key(&["--store", name])["store"], name);
        }
        let bad = Line::try_parse_from(["ram-check", "--store", "ramfs"]).unwrap_err();
        let said = bad.to_string();
        assert!(said.contains("brd, zram, tmpfs, erofs, auto"), "{said}");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size_mib("768"), Ok(768));
        assert_eq!(size_mib("768M"), Ok(768));
        assert_eq!(size_mib("2g"), Ok(2048));
        assert_eq!(size_mib("1TiB"), Ok(1 << 20));
        assert_eq!(size_mib("4096T"), Ok(MOST_MIB));
        assert_eq!((leave_mib("0"), leave_mib("2G")), (Ok(0), Ok(2048)));
        for bad in [
            "",
            "M",
            "0",
            "-1",
            "1.5G",
            "+1024",
            "4097T",
            "12k",
            "1 G",
            "99999999999999999999",
            "18446744073709551615G",
        ] {
            assert!(size_mib(bad).is_err(), "{bad}");
        }
    }
}
