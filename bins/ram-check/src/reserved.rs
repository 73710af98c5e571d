//! What the kernel command line keeps from the system: crash kernel, CMA, huge pages.
//!
//! As the kernel reads it (Documentation/admin-guide/kernel-parameters.txt): sizes with K, M, G or T, and `0x` numbers. Where
//! a crash kernel's size depends on that of the machine, the largest counts. *Not here:* `mem=`, which makes the machine
//! smaller, and what the kernel's own configuration keeps without a word on the command line.

/// A huge page where none is named, on `x86_64`.
const HUGE_PAGE: u64 = 2 << 20;

/// The bytes that are kept.
pub(crate) fn bytes(cmdline: &str) -> u64 {
    let (mut sum, mut page) = (0_u64, HUGE_PAGE);
    let (mut crashkernel, mut cma) = (0, 0);
    for word in cmdline.split_ascii_whitespace() {
        let Some((name, value)) = word.split_once('=') else {
            continue;
        };
        match name {
            "default_hugepagesz" | "hugepagesz" => page = size(value).unwrap_or(page),
            "hugepages" => sum = sum.saturating_add(page.saturating_mul(huge_pages(value))),
            // The high and the low part are words of their own.
            "crashkernel" if value.ends_with(",high") || value.ends_with(",low") => {
                sum = sum.saturating_add(crash_kernel(value));
            }
            "crashkernel" => crashkernel = crash_kernel(value),
            "cma" => cma = size(value.split('@').next().unwrap_or_default()).unwrap_or(0),
            _ => {}
        }
    }
    sum.saturating_add(crashkernel).saturating_add(cma)
}

/// `256M`, `256M@16M`, `256M,high`, or `512M-2G:64M,2G-:128M`.
fn crash_kernel(value: &str) -> u64 {
    let sizes = value.split([',', '@']).filter_map(|part| {
        let (_, size_of_range) = part.rsplit_once(':').unwrap_or(("", part));
        size(size_of_range)
    });
    match value.contains(':') {
        true => sizes.max().unwrap_or(0),
        // What follows an @ is a place.
        false => sizes.take(1).max().unwrap_or(0),
    }
}

/// `512`, or a number for each NUMA node: `0:256,1:256`.
fn huge_pages(value: &str) -> u64 {
    let numbers = value.split(',').map(|part| {
        let (_, number) = part.rsplit_once(':').unwrap_or(("", part));
        number.parse().unwrap_or(0_u64)
    });
    numbers.fold(0, u64::saturating_add)
}

/// A number with a suffix, as the kernel's memparse() reads it.
fn size(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
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
            ("crashkernel=auto", 0),
            ("cma=64M@0-4G", 64),
            ("cma=0x4000000", 64),
            ("hugepages=8", 16),
            (
                "hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=0:4,1:4",
                2048 + 16,
            ),
            (
                "default_hugepagesz=1G hugepages=1 cma=32M crashkernel=32M",
                1024 + 64,
            ),
        ] {
            assert_eq!(bytes(cmdline), mib * MIB, "{cmdline}");
        }
        assert_eq!(
            bytes("hugepages=18446744073709551615 hugepagesz=1T hugepages=99999999999"),
            u64::MAX
        );
    }
}
