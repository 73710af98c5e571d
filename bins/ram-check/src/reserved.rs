//! What the kernel command line keeps from the system: crash kernel, CMA, huge pages.
//!
//! As the kernel reads it (Documentation/admin-guide/kernel-parameters.txt): values may be quoted, sizes have K, M, G or T
//! and may be `0x` numbers, which numbers of pages may not; of a word that counts once, the last does. Where a crash
//! kernel's size depends on that of the machine, the largest counts. *Not here:* `mem=`, which makes the machine smaller,
//! and what the kernel's own configuration keeps without a word on the command line.

/// A huge page where none is named, on `x86_64`.
const HUGE_PAGE: u64 = 2 << 20;
/// What `crashkernel=…,high` keeps of the memory below 4 GiB where no `,low` says otherwise, on `x86_64`.
const LOW: u64 = 256 << 20;
/// More than any machine has: what is kept is at most so much.
const MOST: u64 = 1 << 52;

/// What is kept, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reserved {
    /// All of it.
    pub(crate) all: u64,
    /// The huge pages of it.
    pub(crate) huge_pages: u64,
}

/// What a command line keeps.
pub(crate) fn of(cmdline: &str) -> Reserved {
    let (mut cma, mut crash, mut huge) = (0, CrashKernel::default(), HugePages::default());
    for (name, value) in words(cmdline) {
        match name {
            "default_hugepagesz" | "hugepagesz" | "hugepages" | "hugetlb_cma" => {
                huge.read(name, value);
            }
            "crashkernel" => crash.read(value),
            "cma" => cma = size(value.split('@').next().unwrap_or_default()).unwrap_or(0),
            _ => {}
        }
    }
    let kept = [crash.bytes(), cma, huge.bytes()];
    Reserved {
        all: kept.into_iter().fold(0, u64::saturating_add).min(MOST),
        huge_pages: huge.bytes().min(MOST),
    }
}

/// Names and values without their quotes.
fn words(cmdline: &str) -> impl Iterator<Item = (&str, &str)> {
    cmdline.split_ascii_whitespace().filter_map(|word| {
        let (name, value) = word.trim_matches('"').split_once('=')?;
        Some((name, value.trim_matches('"')))
    })
}

/// `crashkernel=`: one place, or a high and a low part that are words of their own.
#[derive(Default)]
struct CrashKernel {
    one: Option<u64>,
    high: Option<u64>,
    low: Option<u64>,
}

impl CrashKernel {
    fn read(&mut self, value: &str) {
        if let Some(high) = value.strip_suffix(",high") {
            self.high = size(high);
        } else if let Some(low) = value.strip_suffix(",low") {
            self.low = size(low);
        } else {
            self.one = crash_kernel(value);
        }
    }

    /// The kernel looks for one place first, and for the parts where it finds none.
    fn bytes(&self) -> u64 {
        let parts = || {
            let high = self.high?;
            Some(high.saturating_add(self.low.unwrap_or(LOW)))
        };
        self.one.or_else(parts).unwrap_or(0)
    }
}

/// `256M`, `256M@16M`, or `512M-2G:64M,2G-:128M`.
fn crash_kernel(value: &str) -> Option<u64> {
    let sizes = value.split([',', '@']).filter_map(|part| {
        let (_, size_of_range) = part.rsplit_once(':').unwrap_or(("", part));
        size(size_of_range)
    });
    match value.contains(':') {
        true => sizes.max(),
        // What follows an @ is a place.
        false => sizes.take(1).max(),
    }
}

/// Huge pages: `hugepages=` belongs to the `hugepagesz=` before it, and to the default size where there is none.
#[derive(Default)]
struct HugePages {
    default: Option<u64>,
    /// The size that was named last.
    named: Option<u64>,
    /// Pages of the default size, which may be named behind them.
    of_default: u64,
    /// Bytes of pages of a named size.
    of_named: u64,
    /// Bytes from which gigantic pages are taken at run time.
    cma: u64,
}

impl HugePages {
    fn read(&mut self, name: &str, value: &str) {
        match name {
            "default_hugepagesz" => {
                self.default = size(value);
                self.named = None;
            }
            "hugepagesz" => self.named = size(value),
            "hugepages" => {
                let pages = for_each_node(value, count);
                match self.named {
                    Some(page) => {
                        let bytes = page.saturating_mul(pages);
                        self.of_named = self.of_named.saturating_add(bytes);
                    }
                    None => self.of_default = pages,
                }
            }
            _ => self.cma = for_each_node(value, |bytes| size(bytes).unwrap_or(0)),
        }
    }

    fn bytes(&self) -> u64 {
        let default = self.default.unwrap_or(HUGE_PAGE);
        let pages = default.saturating_mul(self.of_default);
        pages.saturating_add(self.of_named).saturating_add(self.cma)
    }
}

/// The sum of `512`, or of one for each NUMA node: `0:256,1:256`.
fn for_each_node(value: &str, read: fn(&str) -> u64) -> u64 {
    let parts = value.split(',').map(|part| {
        let (_, of_node) = part.rsplit_once(':').unwrap_or(("", part));
        read(of_node)
    });
    parts.fold(0, u64::saturating_add)
}

/// A number of pages: the kernel reads decimal digits and no further, so `0x10` are none.
fn count(text: &str) -> u64 {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text[..end.unwrap_or(text.len())].parse().unwrap_or(0)
}

/// A number with a suffix, as the kernel's memparse() reads it: octal behind a zero, hexadecimal behind 0x.
fn size(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    let number = digits.trim_end_matches(|c: char| !c.is_digit(radix));
    let factor = match digits[number.len()..].to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return None,
    };
    u64::from_str_radix(number, radix).ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_kept_is_summed() {
        for (cmdline, mib) in [
            ("", 0),
            ("quiet root=ramforge crashkernel console=ttyS0", 0),
            ("crashkernel=256M", 256),
            ("crashkernel=64M@16M", 64),
            ("crashkernel=512M-2G:64M,2G-:128M", 128),
            ("crashkernel=1G-4G:192M,4G-64G:256M@16M", 256),
            ("crashkernel=512M,high crashkernel=128M,low", 640),
            ("crashkernel=64M crashkernel=256M", 256),
            ("crashkernel=512M,high", 768),
            ("crashkernel=512M,high crashkernel=0,low", 512),
            ("crashkernel=1G,high crashkernel=512M,high", 768),
            (
                "crashkernel=1G,high crashkernel=64M,low crashkernel=128M,low",
                1024 + 128,
            ),
            ("crashkernel=128M,low", 0),
            ("crashkernel=\"256M\" \"cma=64M\"", 256 + 64),
            ("crashkernel=auto", 0),
            ("cma=64M@0-4G", 64),
            ("cma=0x4000000", 64),
            ("hugepages=8", 16),
            ("hugepages=0x10", 0),
            ("hugepages=8pages", 16),
            ("hugepages=many", 0),
            ("cma=0100M", 64),
            ("hugepages=4 default_hugepagesz=1G", 4096),
            ("hugepages=4 hugepagesz=1G hugepages=1", 8 + 1024),
            ("hugetlb_cma=2G hugepagesz=1G", 2048),
            ("hugetlb_cma=0:1G,1:1G", 2048),
            (
                "hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=0:4,1:4",
                2048 + 16,
            ),
            (
                "default_hugepagesz=1G hugepages=1 cma=32M crashkernel=32M",
                1024 + 64,
            ),
        ] {
            assert_eq!(of(cmdline).all, mib * MIB, "{cmdline}");
        }
        let most = of("hugepages=18446744073709551615 hugepagesz=1T hugepages=99999999999");
        assert_eq!((most.all, most.huge_pages), (MOST, MOST));
    }

    #[test]
    fn huge_pages_are_told_from_the_rest() {
        let kept = of("crashkernel=256M cma=64M hugepages=8");
        assert_eq!((kept.all, kept.huge_pages), (336 * MIB, 16 * MIB));
        assert_eq!(of("crashkernel=256M").huge_pages, 0);
    }
}
