//! `--here`: the RAM of this host, as if it were to boot the image.
//!
//! ```text
//! /sys/firmware/memmap          what the firmware hands over as RAM (readable by root only)
//! /proc/meminfo                 what this kernel manages and offers, CMA, huge pages
//! /sys/kernel/kexec_crash_size  what is kept for a crash kernel
//! /sys/devices/system/node      the NUMA nodes
//! ```
//!
//! What this kernel keeps for itself is told and not subtracted: the image boots with a command line of its own. Without
//! the firmware's map the RAM is what the kernel manages and what it keeps for a crash kernel: a little less than there
//! is, so a yes is a yes. *Not here:* RAM that other programs use now; a boot frees it.

use std::fs;
use std::path::Path;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What is known of this host's RAM. All in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// What the firmware hands over, where it tells.
    firmware: Option<u64>,
    /// `MemTotal`: without the kernel itself, its page descriptors and what is kept for a crash kernel.
    total: u64,
    /// `MemAvailable`.
    available: u64,
    crashkernel: u64,
    cma: u64,
    huge_pages: u64,
    /// The nodes with their RAM.
    nodes: Vec<(u64, u64)>,
}

impl Host {
    /// The RAM that the image could have, in MiB.
    pub(crate) fn ram_mib(&self) -> u64 {
        let known = self.total.saturating_add(self.crashkernel);
        self.firmware.unwrap_or(known).max(known) / MIB
    }

    /// What is known, for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |name: &str, bytes: u64| format!("{name:<44}{:>8}", bytes / MIB);
        let mut lines = vec![format!("{:<44}{:>8}", "this host", "MiB")];
        lines.extend(
            self.firmware
                .map(|bytes| line("RAM of the firmware's map", bytes)),
        );
        lines.push(line("managed by the kernel (MemTotal)", self.total));
        lines.push(line("available now (MemAvailable)", self.available));
        let kept = [
            ("kept for a crash kernel (crashkernel)", self.crashkernel),
            ("kept for devices (CMA)", self.cma),
            ("kept as huge pages", self.huge_pages),
        ];
        let kept = kept.iter().filter(|(_, bytes)| *bytes > 0);
        lines.extend(kept.map(|(name, bytes)| line(name, *bytes)));
        if self.nodes.len() > 1 {
            let node = |(n, bytes): &(u64, u64)| line(&format!("NUMA node {n}"), *bytes);
            lines.extend(self.nodes.iter().map(node));
        }
        lines
    }
}

/// Reads what the kernel tells below `root`: `/` but for tests.
pub(crate) fn read(root: &str) -> Result<Host, String> {
    let root = Path::new(root);
    let path = root.join("proc/meminfo");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let total = field(&text, "MemTotal:");
    let missing = || {
        format!(
            "{}: no MemTotal; expected the kernel's account",
            path.display()
        )
    };
    Ok(Host {
        firmware: firmware(&root.join("sys/firmware/memmap")),
        total: total.ok_or_else(missing)?,
        available: field(&text, "MemAvailable:").unwrap_or(0),
        crashkernel: number(&root.join("sys/kernel/kexec_crash_size")).unwrap_or(0),
        cma: field(&text, "CmaTotal:").unwrap_or(0),
        huge_pages: field(&text, "Hugetlb:").unwrap_or(0),
        nodes: nodes(&root.join("sys/devices/system/node")),
    })
}

/// A field of /proc/meminfo in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.split_once(name))?.1;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(KIB)
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The sum of all ranges of RAM; `None` where one cannot be read.
fn firmware(dir: &Path) -> Option<u64> {
    let mut sum: u64 = 0;
    for entry in fs::read_dir(dir).ok()? {
        let range = entry.ok()?.path();
        let text = |name: &str| fs::read_to_string(range.join(name)).ok();
        let address = |name: &str| {
            let text = text(name)?;
            u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
        };
        let (first, last) = (address("start")?, address("end")?);
        if text("type")?.trim() == "System RAM" {
            let length = last.checked_sub(first)?.checked_add(1)?;
            sum = sum.checked_add(length)?;
        }
    }
    (sum > 0).then_some(sum)
}

/// The NUMA nodes that have RAM, in order.
fn nodes(dir: &Path) -> Vec<(u64, u64)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let node = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let n = name.to_str()?.strip_prefix("node")?.parse().ok()?;
        let text = fs::read_to_string(entry.path().join("meminfo")).ok()?;
        field(&text, "MemTotal:")
            .filter(|bytes| *bytes > 0)
            .map(|bytes| (n, bytes))
    };
    let mut nodes: Vec<_> = entries.filter_map(node).collect();
    nodes.sort_unstable();
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Root(tempfile::TempDir);

    impl Root {
        fn new() -> Self {
            let root = Self(tempfile::tempdir().unwrap());
            root.write(
                "proc/meminfo",
                "MemTotal:  2000000 kB\nMemAvailable:    1000000 kB\nCmaTotal:  16384 kB\nHugetlb:  2048 kB\n",
            );
            root
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn range(&self, n: u32, start: &str, end: &str, kind: &str) {
            for (name, text) in [("start", start), ("end", end), ("type", kind)] {
                self.write(
                    &format!("sys/firmware/memmap/{n}/{name}"),
                    &format!("{text}\n"),
                );
            }
        }

        fn read(&self) -> Host {
            read(self.0.path().to_str().unwrap()).unwrap()
        }
    }

    #[test]
    fn without_the_firmwares_map_the_kernels_account_counts() {
        let root = Root::new();
        assert_eq!(root.read().ram_mib(), 1953);
        root.write("sys/kernel/kexec_crash_size", "268435456\n");
        assert_eq!(root.read().ram_mib(), 1953 + 256);
    }

    #[test]
    fn the_firmwares_map_is_summed() {
        let root = Root::new();
        root.range(0, "0x0", "0x9ffff", "System RAM");
        root.range(1, "0xa0000", "0xfffff", "Reserved");
        root.range(2, "0x100000", "0x7fffffff", "System RAM");
        assert_eq!(root.read().ram_mib(), 2047);
        // One that cannot be read makes the sum worth nothing.
        root.range(3, "0x100000000", "none", "System RAM");
        assert_eq!(root.read().ram_mib(), 1953);
    }

    #[test]
    fn what_is_kept_and_where_is_told() {
        let root = Root::new();
        root.write(
            "sys/devices/system/node/node1/meminfo",
            "Node 1 MemTotal:  1000000 kB\n",
        );
        root.write(
            "sys/devices/system/node/node0/meminfo",
            "Node 0 MemTotal:  1000000 kB\n",
        );
        root.write("sys/devices/system/node/online", "0-1\n");
        let expected = "\
this host                                        MiB
managed by the kernel (MemTotal)                1953
available now (MemAvailable)                     976
kept for devices (CMA)                            16
kept as huge pages                                 2
NUMA node 0                                      976
NUMA node 1                                      976";
        assert_eq!(root.read().lines().join("\n"), expected);
    }

    #[test]
    fn an_account_that_is_none_is_told() {
        let root = Root::new();
        root.write("proc/meminfo", "MemFree: 1 kB\n");
        let error = read(root.0.path().to_str().unwrap()).unwrap_err();
        assert!(error.contains("proc/meminfo: no MemTotal"), "{error}");
    }
}
