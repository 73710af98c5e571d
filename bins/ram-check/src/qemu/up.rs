//! What means that a system is up.

use std::fmt;
use std::str::FromStr;

use super::wait::Outcome;

/// The sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Up {
    /// The login prompt on the serial line.
    Login,
    /// A target that systemd has reached, as `multi-user` or `multi-user.target`; told on the serial line of a boot that is
    /// not quiet.
    Target(String),
    /// A text on the serial line.
    Text(String),
    /// A TCP port of the guest that answers: a server that speaks first, or HTTP.
    Tcp(u16),
}

impl Up {
    /// The regular expression of a sign on the serial line that is no mark of every boot.
    pub(super) fn pattern(&self) -> Option<String> {
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
        let pattern = up.parse::<Up>().unwrap().pattern().unwrap();
        super::super::serial::compile(&pattern)
            .unwrap()
            .is_match(text.as_bytes())
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
}
