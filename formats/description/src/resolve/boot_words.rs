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
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Addresses of boot sets, with commas between them.
    Urls,
}

/// The words, behind [`PREFIX`].
const WORDS: &[(&str, Value)] = &[
    ("eject", Value::Switch),
    ("local", Value::Switch),
    (
        "on-error",
        Value::OneOf(&["stop", "reboot", "poweroff", "shell"]),
    ),
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
    if let Some(expected) = wrong(value, given) {
        let fact = format!("{key} is {}", quoted(given));
        let label = format!("expected {expected}");
        report.add(error(code::BAD_COMMAND_LINE, span, fact, label));
    }
}

/// What was expected, where `given` is something else.
fn wrong(value: &Value, given: &str) -> Option<String> {
    match value {
        Value::Switch => (![
            "", "1", "y", "yes", "on", "true", "0", "n", "no", "off", "false",
        ]
        .contains(&given))
        .then(|| "nothing, or a switch such as =no".to_owned()),
        Value::Seconds => {
            let digits = given
                .strip_prefix("0x")
                .map_or((given, 10), |hex| (hex, 16));
            u64::from_str_radix(digits.0, digits.1)
                .is_err()
                .then(|| "a number of seconds".to_owned())
        }
        Value::OneOf(known) => {
            (!known.contains(&given)).then(|| format!("one of {}", known.join(", ")))
        }
        Value::Urls => (!given.split(',').all(|url| url.starts_with("http://")))
            .then(|| "http://SERVER/DIRECTORY; several with commas between them".to_owned()),
    }
}
