//! The words of `ram-deploy` on the kernel command line: what it would refuse at boot is refused here, with its place.

use crate::code;
use crate::diagnostic::{Report, error, nearest, quoted, warning};
use crate::kernel_line::Word;
use crate::source::Span;

/// Where they begin.
const PREFIX: &str = "rd.ramforge.";

/// What a word's value must be.
enum Value {
    /// Nothing, or a switch.
    Switch,
    /// A number of seconds.
    Seconds,
    /// A number of MiB of RAM.
    Mebibytes,
    /// One of these, or a person is asked.
    Reaction(&'static [&'static str]),
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Addresses of boot sets, with commas between them.
    Urls,
}

/// What a switch may be.
const SWITCHES: [&str; 11] = [
    "", "1", "y", "yes", "on", "true", "0", "n", "no", "off", "false",
];

/// What is more than any machine has, in MiB: ram-deploy refuses what is above.
const MOST_MIB: u64 = 1 << 32;

/// The words, behind [`PREFIX`].
const WORDS: &[(&str, Value)] = &[
    ("eject", Value::Switch),
    ("local", Value::Switch),
    (
        "on-error",
        Value::Reaction(&["stop", "reboot", "poweroff", "shell"]),
    ),
    ("reserve", Value::Mebibytes),
    ("resize", Value::Switch),
    ("shell", Value::Switch),
    (
        "store",
        Value::OneOf(&["brd", "zram", "tmpfs", "erofs", "auto"]),
    ),
    ("url", Value::Urls),
    ("wait", Value::Seconds),
];

/// The words that `ram-deploy` knows.
pub fn boot_words() -> impl Iterator<Item = String> {
    WORDS.iter().map(|(name, _)| format!("{PREFIX}{name}"))
}

/// Judges one word.
pub(super) fn check(word: &Word<'_>, span: Span, report: &mut Report) {
    let key = word.key();
    // As the kernel compares names.
    let Some(name) = key.strip_prefix(PREFIX).map(|name| name.replace('_', "-")) else {
        return;
    };
    let Some((_, value)) = WORDS.iter().find(|(known, _)| *known == name) else {
        let fact = format!("{key} is no word of ram-deploy");
        let near = nearest(&name, WORDS.iter().map(|(known, _)| *known));
        let help = match near {
            Some(near) => format!("write {PREFIX}{near}"),
            None => "take it out".to_owned(),
        };
        let label = "it has no effect at boot";
        report.add(warning(code::IGNORED, span, fact, label).help(help));
        return;
    };
    let given = word.value().unwrap_or_default();
    let Some(expected) = wrong(value, given) else {
        return;
    };
    let fact = format!("{key} is {}", quoted(given));
    let label = format!("expected {expected}");
    report.add(match value.stops() {
        true => error(code::BAD_COMMAND_LINE, span, fact, label),
        false => warning(code::IGNORED, span, fact, label),
    });
}

impl Value {
    /// Whether a wrong one stops the boot; others are taken for something else.
    fn stops(&self) -> bool {
        !matches!(self, Self::Switch | Self::Reaction(_))
    }
}

/// What was expected, where `given` is something else.
fn wrong(value: &Value, given: &str) -> Option<String> {
    match value {
        Value::Switch => (!SWITCHES.contains(&given)).then(|| "nothing, or =no".to_owned()),
        Value::Seconds => number(given)
            .is_none()
            .then(|| "a number of seconds".to_owned()),
        Value::Mebibytes => number(given)
            .is_none_or(|mib| mib > MOST_MIB)
            .then(|| format!("a number of MiB without a unit, at most {MOST_MIB}")),
        Value::OneOf(known) | Value::Reaction(known) => {
            (!known.contains(&given)).then(|| format!("one of {}", known.join(", ")))
        }
        Value::Urls => {
            let mut urls = given.split(',').filter(|url| !url.is_empty());
            (!urls.all(is_url))
                .then(|| "http://SERVER/DIRECTORY; several with commas between them".to_owned())
        }
    }
}

/// As ram-deploy reads it: decimal, or hexadecimal after `0x`.
fn number(given: &str) -> Option<u64> {
    let digits = given
        .strip_prefix("0x")
        .map_or((given, 10), |hex| (hex, 16));
    u64::from_str_radix(digits.0, digits.1).ok()
}

/// As ram-deploy reads it.
fn is_url(url: &str) -> bool {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("tftp://"));
    let Some((authority, path)) = rest.map(|rest| rest.split_once('/').unwrap_or((rest, "")))
    else {
        return false;
    };
    let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
    let is_plain = !authority.contains(['@', '[', '\\']) && !path.contains(['?', '#']);
    is_plain
        && !host.is_empty()
        && port.parse::<u16>().is_ok()
        && url.bytes().all(|b| b.is_ascii_graphic())
}
