//! What means that a system is up.

use std::fmt;
use std::str::FromStr;

use regex::bytes::Regex;

use super::error::Result as Done;
use super::serial::compile;
use super::wait::Outcome;

/// What the systemd of an initramfs says first; its targets are none of the system's.
const INITRAMFS: &str = r"Running in init|Welcome to [^\n]*(?:dracut|[Ii]nitramfs)";
/// What stands between the targets of an initramfs and those of the system.
const HAND_OVER: &str = r"(?:Reached target|Starting) [^\n]*Switch Root|Switching root";
/// Where the initramfs is ram-deploy alone, the system follows what it says.
const RAM_DEPLOY: &str = r"(?m)^ramforge: ";

/// The sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Up {
    /// The login prompt on the serial line.
    Login,
    /// A target that the system's systemd has reached, as `multi-user` or `multi-user.target`; told on the serial line of a
    /// boot that is not quiet. That of an initramfs reaches targets of the same names, which do not count.
    Target(String),
    /// A text on the serial line.
    Text(String),
    /// A TCP port of the guest that answers: a server that speaks first, or HTTP.
    Tcp(u16),
}

impl Up {
    /// The sign as it is looked for on the serial line, where it is no mark of every boot.
    pub(super) fn sign(&self) -> Done<Option<Sign>> {
        let sign = |pattern: String| {
            Ok(Sign {
                pattern: compile(&pattern)?,
                halves: match self {
                    Self::Target(_) => Some(Halves::new()?),
                    _ => None,
                },
            })
        };
        self.pattern().map(sign).transpose()
    }

    fn pattern(&self) -> Option<String> {
        match self {
            Self::Target(name) => {
                let name = regex::escape(name.strip_suffix(".target").unwrap_or(name));
                Some(format!(
                    r"Reached target (?:\S+ - )?{name}(?:\.target|[ .\n])"
                ))
            }
            Self::Text(text) => Some(regex::escape(text)),
            Self::Login | Self::Tcp(_) => None,
        }
    }

    /// What a boot that shows the sign is called.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Login => Outcome::Login,
            _ => Outcome::Up,
        }
    }

    /// The sign in words.
    pub fn words(&self) -> String {
        match self {
            Self::Login => "the login prompt".to_owned(),
            Self::Target(name) => format!("the target {name}"),
            Self::Text(text) => format!("the text {text:?}"),
            Self::Tcp(port) => format!("an answer at TCP port {port}"),
        }
    }
}

/// A sign on the serial line.
pub(super) struct Sign {
    pattern: Regex,
    /// Where only what the system itself says counts.
    halves: Option<Halves>,
}

impl Sign {
    /// Whether it stands in the log.
    pub(super) fn is_in(&self, log: &[u8]) -> bool {
        let counts = match &self.halves {
            Some(halves) => halves.system(log),
            None => log,
        };
        self.pattern.is_match(counts)
    }
}

/// Tells what an initramfs says from what the system says.
struct Halves {
    initramfs: Regex,
    hand_over: Regex,
    ram_deploy: Regex,
}

impl Halves {
    fn new() -> Done<Self> {
        Ok(Self {
            initramfs: compile(INITRAMFS)?,
            hand_over: compile(HAND_OVER)?,
            ram_deploy: compile(RAM_DEPLOY)?,
        })
    }

    /// What the system says: nothing as long as the initramfs has not handed over.
    fn system<'a>(&self, log: &'a [u8]) -> &'a [u8] {
        let begin = match self.hand_over.find(log) {
            Some(found) => found.end(),
            None if self.initramfs.is_match(log) => log.len(),
            None => self.ram_deploy.find(log).map_or(0, |found| found.end()),
        };
        &log[begin..]
    }
}

impl fmt::Display for Up {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login => f.write_str("login"),
            Self::Target(name) => write!(f, "target:{name}"),
            Self::Text(text) => write!(f, "text:{text}"),
            Self::Tcp(port) => write!(f, "tcp:{port}"),
        }
    }
}

impl FromStr for Up {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("{text:?}: expected login, target:NAME, text:STRING or tcp:PORT");
        match text.split_once(':') {
            None if text == "login" => Ok(Self::Login),
            Some((_, "")) => Err(expected()),
            Some(("target", name)) => Ok(Self::Target(name.to_owned())),
            Some(("text", said)) => Ok(Self::Text(said.to_owned())),
            Some(("tcp", port)) => match port.parse() {
                Ok(port @ 1..) => Ok(Self::Tcp(port)),
                _ => Err(expected()),
            },
            _ => Err(expected()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(up: &str, text: &str) -> bool {
        let sign = up.parse::<Up>().unwrap().sign().unwrap().unwrap();
        sign.is_in(text.as_bytes())
    }

    /// The line of the log at which the sign is seen first.
    fn first_line(up: &str, log: &str) -> Option<usize> {
        let sign = up.parse::<Up>().unwrap().sign().unwrap().unwrap();
        let ends = log.match_indices('\n').map(|(at, _)| at + 1);
        let seen = ends
            .zip(1..)
            .find(|(end, _)| sign.is_in(&log.as_bytes()[..*end]));
        seen.map(|(_, line)| line)
    }

    #[test]
    fn a_sign_is_what_it_was_said_to_be() {
        for text in ["login", "target:multi-user", "text:a:b", "tcp:22"] {
            assert_eq!(text.parse::<Up>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "Login",
            "login:x",
            "target:",
            "tcp:0",
            "tcp:65536",
            "udp:1",
        ] {
            assert!(bad.parse::<Up>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_target_is_told_in_several_ways() {
        for said in [
            "[  OK  ] Reached target multi-user.target - Multi-User System.\n",
            "[  OK  ] Reached target multi-user.target\n",
        ] {
            assert!(shows("target:multi-user", said) && shows("target:multi-user.target", said));
            assert!(!shows("target:multi", said) && !shows("target:user", said));
        }
        // As long as systemd told the description alone.
        assert!(shows(
            "target:Multi-User System",
            "[  OK  ] Reached target Multi-User System.\n"
        ));
    }

    #[test]
    fn a_text_is_no_pattern() {
        assert!(shows("text:ready.", "now ready."));
        assert!(!shows("text:ready.", "now ready!"));
    }

    #[test]
    fn a_target_of_the_initramfs_does_not_count() {
        let log = include_str!("../../tests/serial/debian-vm.log");
        let lines: Vec<&str> = log.lines().collect();
        let hand_over = lines.iter().position(|l| l.ends_with("Switch Root."));
        for name in ["sysinit", "basic", "local-fs", "timers", "cryptsetup"] {
            let said = format!("Reached target {name}.target");
            let before = lines.iter().position(|l| l.contains(&said));
            assert!(before < hand_over, "{name}");
            let line = first_line(&format!("target:{name}"), log).unwrap();
            assert!(Some(line) > hand_over, "{name}: line {line}");
            assert!(lines[line - 1].contains(&said), "{name}: line {line}");
        }
        assert!(first_line("target:multi-user", log).is_some());
        assert_eq!(first_line("target:initrd", log), None);
    }

    #[test]
    fn without_a_systemd_in_the_initramfs_the_system_follows_ram_deploy() {
        let deployed = "ramforge: 382 MiB verified and written in 12.9 s\n";
        let reached = "[  OK  ] Reached target basic.target - Basic System.\n";
        let earlier = "[    4.9] systemd[1]: Running in initial RAM disk.\n";
        assert!(shows("target:basic", &format!("{deployed}{reached}")));
        assert!(!shows("target:basic", &format!("{reached}{deployed}")));
        assert!(!shows(
            "target:basic",
            &format!("{earlier}{deployed}{reached}")
        ));
        let handed_over = format!("{earlier}{reached}dracut: Switching root\n");
        assert!(!shows("target:basic", &handed_over));
        assert!(shows("target:basic", &format!("{handed_over}{reached}")));
        assert!(shows("text:Running in", &handed_over));
    }
}
