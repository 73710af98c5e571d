//! Kinds of values, and whether a text is one.

/// Machine names that conditions may use.
pub const MACHINES: &[&str] = &[
    "x86_64", "i586", "i686", "ix86", "aarch64", "arm64", "amd64", "armv5el", "armv5tel",
    "armv6hl", "armv6l", "armv7hl", "armv7l", "ppc", "ppc64", "ppc64le", "s390", "s390x",
    "riscv64",
];

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text, also none.
    Free,
    /// Any text that is not empty.
    Text,
    /// `true` or `false` (also 1 and 0).
    Bool,
    /// A whole number from 0.
    Natural,
    /// A whole number, also below 0.
    Integer,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words, or a container format, a colon and one of them: `oci:qcow2`.
    DiskFormat(&'static [&'static str]),
    /// Several of these words, separated by blanks.
    Words(&'static [&'static str]),
    /// Several of these words, joined by commas.
    List(&'static [&'static str]),
    /// Letters, digits, `_`, `-` and `.`.
    Name,
    /// Machine names joined by commas.
    Machines,
    /// Profile names joined by commas.
    ProfileNames,
    /// Locales joined by commas: `en_US,de_DE`.
    Locales,
    /// Group names joined by commas, each with an id or not: `wheel,video:33`.
    Groups,
    /// A number of MiB, or a number with M or G.
    Size,
    /// A size, or the word `all`.
    SizeOrAll,
    /// Up to 32 letters, digits, `_`, `-` and `.`: an ISO volume id.
    VolumeId,
    /// Up to 128 characters of the ISO 9660 a-set and small letters.
    IsoText,
    /// A version that may stand in a file name.
    Version,
    /// A port: `80` or `80/tcp`.
    Port,
    /// A MAC address.
    Mac,
    /// A GUID in small letters.
    Guid,
    /// A number, or the word `all`.
    Blocks,
    /// A package version with four parts.
    FourParts,
    /// A file inside the description.
    Path,
    /// Where packages are.
    Uri,
    /// Where a key is: `file:`, `this:`, `http:`, `https:` or `ftp:`.
    KeyUri,
}

impl Kind {
    /// Whether the text, without the white space around it, is of this kind.
    pub fn fits(self, text: &str) -> bool {
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        let number = |t: &str| digits(t) && t.parse::<u64>().is_ok();
        match self {
            Self::Free => true,
            Self::Text | Self::Path | Self::Uri | Self::ProfileNames => !text.is_empty(),
            Self::Bool => matches!(text, "true" | "false" | "1" | "0"),
            Self::Natural => number(text.strip_prefix('+').unwrap_or(text)),
            Self::Integer => text.parse::<i64>().is_ok(),
            Self::OneOf(words) => words.contains(&text),
            Self::DiskFormat(words) => match text.split_once(':') {
                Some(("oci" | "docker", inner)) => {
                    inner == "raw" || words.contains(&inner) && inner != "vagrant"
                }
                _ => words.contains(&text),
            },
            Self::Words(words) => {
                !text.is_empty() && text.split_whitespace().all(|w| words.contains(&w))
            }
            Self::List(words) => text.split(',').all(|w| words.contains(&w)),
            Self::Name => is_name(text),
            Self::Machines => text.split(',').all(|m| MACHINES.contains(&m)),
            Self::Locales => text.split(',').all(is_locale),
            Self::Groups => text.split(',').all(is_group),
            Self::Size => number(text.trim_end_matches(['M', 'G'])),
            Self::SizeOrAll => text == "all" || Self::Size.fits(text),
            Self::VolumeId => is_name(text) && text.len() <= 32,
            Self::IsoText => !text.is_empty() && text.len() <= 128 && text.chars().all(is_iso_text),
            Self::Version => is_version(text),
            Self::Port => text
                .strip_suffix("/tcp")
                .or(text.strip_suffix("/udp"))
                .unwrap_or(text)
                .parse::<u16>()
                .is_ok(),
            Self::Mac => text.len() == 17 && text.split(':').all(|p| p.len() == 2 && is_hex(p)),
            Self::Guid => is_guid(text),
            Self::Blocks => text.is_empty() || text == "all" || number(text),
            Self::FourParts => {
                text.split('.').count() == 4 && text.split('.').all(|p| p.parse::<u16>().is_ok())
            }
            Self::KeyUri => ["file:", "this:", "http:", "https:", "ftp:"]
                .iter()
                .any(|scheme| text.starts_with(scheme)),
        }
    }

    /// The words that a value may consist of, where they are listed.
    pub fn words(self) -> Option<&'static [&'static str]> {
        match self {
            Self::OneOf(words)
            | Self::Words(words)
            | Self::List(words)
            | Self::DiskFormat(words) => Some(words),
            Self::Machines => Some(MACHINES),
            Self::Bool => Some(&["true", "false"]),
            _ => None,
        }
    }

    /// What is expected, in words.
    pub fn expectation(self) -> String {
        let fixed = match self {
            Self::OneOf(words) => return one_of(words),
            Self::DiskFormat(words) => {
                return format!("{}, also behind oci: or docker:", one_of(words));
            }
            Self::Words(words) => return format!("{}, several separated by blanks", one_of(words)),
            Self::List(words) => return format!("{}, several joined by commas", one_of(words)),
            Self::Machines => {
                return format!("machine names joined by commas: {}", one_of(MACHINES));
            }
            Self::Free => "any text",
            Self::Text => "some text",
            Self::Bool => "true or false",
            Self::Natural => "a whole number from 0",
            Self::Integer => "a whole number",
            Self::Name => "letters, digits, _ - and .",
            Self::ProfileNames => "profile names joined by commas",
            Self::Locales => "locales such as en_US, joined by commas, without a character set",
            Self::Groups => "group names joined by commas, such as users,video:33",
            Self::Size => "a number of MiB, or a number with M or G",
            Self::SizeOrAll => "a number of MiB, a number with M or G, or all",
            Self::VolumeId => "1 to 32 letters, digits, _ - and .",
            Self::IsoText => "1 to 128 letters, digits, blanks and plain punctuation",
            Self::Version => "a version such as 1.0.0: letters, digits and . _ + ~ -",
            Self::Port => "a port such as 80 or 80/tcp",
            Self::Mac => "a MAC address such as 52:54:00:12:34:56",
            Self::Guid => "a GUID in small letters",
            Self::Blocks => "a number of blocks, or all",
            Self::FourParts => "four numbers joined by dots",
            Self::Path => "a file inside the description",
            Self::Uri => "a URI",
            Self::KeyUri => "a URI that begins this:, file:, http:, https: or ftp:",
        };
        fixed.to_owned()
    }
}

fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    !text.is_empty() && text.bytes().all(fits)
}

fn is_version(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'+' | b'~');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.bytes().all(fits)
}

fn is_locale(text: &str) -> bool {
    let Some((language, country)) = text.split_once('_') else {
        return matches!(text, "C" | "POSIX");
    };
    (2..=3).contains(&language.len())
        && language.bytes().all(|b| b.is_ascii_lowercase())
        && country.len() == 2
        && country.bytes().all(|b| b.is_ascii_uppercase())
}

fn is_group(text: &str) -> bool {
    match text.split_once(':') {
        Some((name, id)) => is_name(name) && id.parse::<u32>().is_ok(),
        None => is_name(text),
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_iso_text(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ' ' | '!' | '_' | '%'..='?' | '"')
}

fn is_guid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12])
        && text.split('-').all(is_hex)
        && !text.bytes().any(|b| b.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_know_their_values() {
        let yes: &[(Kind, &str)] = &[
            (Kind::Size, "20"),
            (Kind::Size, "20G"),
            (Kind::SizeOrAll, "all"),
            (Kind::Locales, "en_US,de_DE"),
            (Kind::Locales, "POSIX"),
            (Kind::Groups, "root,video:33"),
            (Kind::Port, "80/tcp"),
            (Kind::Version, "1.0.0-rc1"),
            (Kind::Machines, "x86_64,aarch64"),
        ];
        for (kind, value) in yes {
            assert!(kind.fits(value), "{kind:?} {value}");
        }
        let no: &[(Kind, &str)] = &[
            (Kind::Size, "G"),
            (Kind::Size, "2T"),
            (Kind::Natural, "-1"),
            (Kind::Natural, "99999999999999999999"),
            (Kind::Locales, "en_US.UTF-8"),
            (Kind::Version, "../1"),
            (Kind::Version, ""),
            (Kind::Machines, "x86-64"),
            (Kind::Bool, "yes"),
            (Kind::Mac, "52:54:00"),
            (Kind::Guid, "x"),
        ];
        for (kind, value) in no {
            assert!(!kind.fits(value), "{kind:?} {value}");
        }
    }
}
