//! Kernel modules: the carried ones, loaded without modprobe or udev.

use std::collections::{BTreeSet, HashSet};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::config::{Module, ModuleList, When};
use crate::console::Console;

/// Loads modules of a list, each once.
#[derive(Debug)]
pub struct Loader {
    list: ModuleList,
    /// Names that were tried, with or without success.
    tried: HashSet<String>,
}

impl Loader {
    /// A loader for `list`.
    pub fn new(list: ModuleList) -> Self {
        Self {
            list,
            tried: HashSet::new(),
        }
    }

    /// Loads every module of the kind [`When::Always`]. One that fails is only logged: what it was for
    /// is missed later, with a better message.
    pub fn load_always(&mut self, console: &Console) {
        self.load_matching(console, |module| module.when == When::Always);
    }

    /// Loads the modules of the kind [`When::Device`] whose devices are there.
    pub fn load_for_devices(&mut self, console: &Console) {
        let waiting = |m: &Module| m.when == When::Device && !self.tried.contains(&m.name);
        if !self.list.modules.iter().any(waiting) {
            return;
        }
        let ids = device_ids(Path::new("/sys/bus"));
        self.load_matching(console, |module| {
            module.when == When::Device
                && module
                    .aliases
                    .iter()
                    .any(|a| ids.iter().any(|id| matches(a, id)))
        });
    }

    fn load_matching(&mut self, console: &Console, wanted: impl Fn(&Module) -> bool) {
        let names: Vec<String> = self
            .list
            .modules
            .iter()
            .filter(|m| !self.tried.contains(&m.name) && wanted(m))
            .map(|m| m.name.clone())
            .collect();
        for name in names {
            if let Err(error) = self.load(&name, "") {
                console.log(&format!("module {name}: {error}"));
            }
        }
    }

    /// Loads a module and those it needs. `Ok(false)` where the list does not have it: it is built in.
    /// One of those may fail, such as a faster checksum that this processor lacks: the module itself
    /// tells whether it can do without.
    ///
    /// # Errors
    /// What the system says of the module itself, and of what failed before.
    pub fn load(&mut self, name: &str, parameters: &str) -> io::Result<bool> {
        let order = order(&self.list, name);
        let mut before = String::new();
        for module in &order {
            let own = module.name == name;
            if !self.tried.insert(module.name.clone()) && !own {
                continue;
            }
            match insert(module, if own { parameters } else { "" }) {
                Ok(()) => (),
                Err(e) if own => return Err(io::Error::new(e.kind(), format!("{e}{before}"))),
                Err(e) => before = format!("{before}, after {}: {e}", module.name),
            }
        }
        Ok(!order.is_empty())
    }
}

/// Module `name` after everything it needs; empty where the list does not have it.
fn order<'a>(list: &'a ModuleList, name: &str) -> Vec<&'a Module> {
    let mut wanted: BTreeSet<&str> = BTreeSet::from([name]);
    // The list is ordered: from its end every module is met before those it needs.
    let mut order: Vec<&Module> = Vec::new();
    for module in list.modules.iter().rev() {
        if wanted.contains(module.name.as_str()) {
            wanted.extend(module.needs.iter().map(String::as_str));
            order.push(module);
        }
    }
    order.reverse();
    order
}

fn insert(module: &Module, parameters: &str) -> io::Result<()> {
    let file = File::open(Path::new("/").join(&module.path))?;
    match rustix::system::finit_module(&file, &CString::new(parameters)?, 0) {
        // Loaded before, or built in.
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The ids of all devices on all buses, each once.
fn device_ids(buses: &Path) -> BTreeSet<String> {
    let list = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten();
    list(buses)
        .flat_map(|bus| list(&bus.path().join("devices")))
        .filter_map(|device| fs::read_to_string(device.path().join("modalias")).ok())
        .map(|id| id.trim_end().to_owned())
        .filter(|id| !id.is_empty())
        .collect()
}

/// Whether `text` fits a pattern of `modules.alias`: `*`, `?` and `[…]` as in a shell.
pub fn matches(pattern: &str, text: &str) -> bool {
    fits(pattern.as_bytes(), text.as_bytes())
}

fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star stood, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match one(&pattern[p..], text[t]) {
            Some(0) => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(length) => {
                p += length;
                t += 1;
            }
            None => match star {
                Some((after, taken)) => {
                    star = Some((after, taken + 1));
                    p = after;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// Length of the pattern's first element when it fits `c`; 0 for a star.
fn one(pattern: &[u8], c: u8) -> Option<usize> {
    match pattern.first()? {
        b'*' => Some(0),
        b'?' => Some(1),
        b'[' => {
            let end = pattern.iter().position(|b| *b == b']')?;
            let set = &pattern[1..end];
            let range = |w: &[u8]| w[1] == b'-' && (w[0]..=w[2]).contains(&c);
            (set.contains(&c) || set.windows(3).any(range)).then_some(end + 1)
        }
        literal => (*literal == c).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> ModuleList {
        let module = |name: &str, needs: &[&str]| Module {
            name: name.to_owned(),
            path: format!("{name}.ko"),
            needs: needs.iter().map(|n| (*n).to_owned()).collect(),
            when: When::Device,
            aliases: Vec::new(),
        };
        ModuleList {
            format: 1,
            modules: vec![
                module("scsi_common", &[]),
                module("scsi_mod", &["scsi_common"]),
                module("cdrom", &[]),
                module("sr_mod", &["scsi_mod", "cdrom"]),
                module("brd", &[]),
            ],
        }
    }

    #[test]
    fn needs_come_first() {
        let list = list();
        let names = |name| {
            order(&list, name)
                .iter()
                .map(|m| m.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names("sr_mod"),
            ["scsi_common", "scsi_mod", "cdrom", "sr_mod"]
        );
        assert_eq!(names("brd"), ["brd"]);
        assert!(names("ext4").is_empty());
    }

    #[test]
    fn aliases_match_as_in_a_shell() {
        let ahci = "pci:v*d*sv*sd*bc01sc06i01*";
        assert!(matches(
            ahci,
            "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01"
        ));
        assert!(!matches(
            ahci,
            "pci:v00008086d00002922sv00001AF4sd00001100bc01sc01i8a"
        ));
        assert!(matches(
            "usb:v*ic08isc06ip50in*",
            "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00"
        ));
        assert!(matches("scsi:t-0x05*", "scsi:t-0x05"));
        assert!(
            matches("a[0-37]b", "a2b") && matches("a[0-37]b", "a7b") && !matches("a[0-37]b", "a5b")
        );
        assert!(matches("*", "") && !matches("?", ""));
        assert!(matches("*a*b", "xaxbxb") && !matches("*a*b", "xaxbx"));
    }

    #[test]
    fn device_ids_are_collected_from_all_buses() {
        let dir = tempfile::tempdir().unwrap();
        for (device, id) in [
            ("pci/devices/0", "pci:v1\n"),
            ("usb/devices/1", "usb:v2\n"),
            ("usb/devices/2", ""),
        ] {
            let path = dir.path().join(device);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("modalias"), id).unwrap();
        }
        assert_eq!(
            device_ids(dir.path()),
            BTreeSet::from(["pci:v1".to_owned(), "usb:v2".to_owned()])
        );
        assert!(device_ids(&dir.path().join("absent")).is_empty());
    }
}
