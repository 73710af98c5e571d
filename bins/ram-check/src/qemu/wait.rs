//! Until a system is up, or will not come up.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use regex::bytes::Regex;

use super::error::{At, Error, Result};
use super::guest::Guest;
use super::machine;
use super::serial::{Mark, TORN, compile};
use super::up::{Sign, Up};

/// A guest that has said nothing for so long is asked for its prompt again where a message of the kernel has got into the
/// middle of the first one. Elsewhere it is not: a boot that waits for a person does not come up by itself.
const SILENCE: Duration = Duration::from_secs(60);
/// Time for a failing guest to finish its last words.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Signs of a boot that will not end well, worst last: name and pattern.
const BAD: &[(&str, &str)] = &[
    ("refused", r"ramforge: STOPPED: (.*)"),
    ("panic", r"Kernel panic - not syncing"),
    (
        "emergency",
        r"[Ee]mergency (mode|shell)|for maintenance|Entering emergency|dracut:/# ?$",
    ),
];

/// How a boot ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The login prompt.
    Login,
    /// What else was said to mean that it is up.
    Up,
    /// The kernel gave up.
    Panic,
    /// An emergency shell or mode.
    Emergency,
    /// `ram-deploy` stopped, with its sentence.
    Refused(String),
    /// The machine switched itself off or restarted.
    Exit,
    /// None of these in time.
    Timeout,
}

impl Outcome {
    /// Whether the system came up.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Login | Self::Up)
    }

    /// One word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Up => "up",
            Self::Panic => "panic",
            Self::Emergency => "emergency",
            Self::Refused(_) => "refused",
            Self::Exit => "exit",
            Self::Timeout => "timeout",
        }
    }
}

/// How often a port is tried, and how long it may take to say something.
const KNOCK: Duration = Duration::from_secs(2);

impl Guest {
    /// Waits until the login prompt comes or will not come. `seen` is told of each mark once.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; [`Error::Ended`] where QEMU itself failed.
    pub fn wait_up(&mut self, limit: Duration, seen: impl FnMut(&Mark)) -> Result<Outcome> {
        self.wait_until(&Up::Login, limit, seen)
    }

    /// Waits until the system is up by this sign, or will not come up. `seen` is told of each mark once.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; [`Error::Ended`] where QEMU itself failed.
    pub fn wait_until(
        &mut self,
        up: &Up,
        limit: Duration,
        mut seen: impl FnMut(&Mark),
    ) -> Result<Outcome> {
        let bad: Vec<_> = BAD
            .iter()
            .map(|(name, pattern)| Ok((*name, compile(pattern)?)))
            .collect::<Result<_>>()?;
        let sign = up.sign()?;
        let (begin, mut told, mut checked) = (Instant::now(), 0, 0);
        let (mut heard, mut knocked) = (begin, begin);
        while begin.elapsed() < limit {
            let (marks, closed) = self.news(checked)?;
            marks.iter().skip(told).for_each(&mut seen);
            told = marks.len();
            let length = self.position();
            if self.shows(up, sign.as_ref(), &marks, &mut knocked) {
                return Ok(up.outcome());
            }
            if length > checked
                && bad
                    .iter()
                    .any(|(_, p)| p.is_match(self.shared.log().from(0)))
            {
                self.listen_for(LAST_WORDS)?;
                return Ok(self.bad_end(&bad));
            }
            if length > checked || self.asked_again(heard, closed)? {
                heard = Instant::now();
            }
            checked = length;
            if closed {
                return self.ended(&up.words()).map(|()| Outcome::Exit);
            }
        }
        Ok(Outcome::Timeout)
    }

    /// Types an empty line where nothing was heard for long after a torn prompt; says whether it did.
    fn asked_again(&mut self, heard: Instant, closed: bool) -> Result<bool> {
        let silent = heard.elapsed() > SILENCE
            && !closed
            && compile(TORN)?.is_match(self.shared.log().from(0));
        if silent {
            self.type_line("")?;
        }
        Ok(silent)
    }

    /// Whether the sign is there: on the console, or at the port.
    fn shows(&self, up: &Up, sign: Option<&Sign>, marks: &[Mark], knocked: &mut Instant) -> bool {
        match (up, sign) {
            (Up::Login, _) => marks.iter().any(|m| m.name == "login"),
            (_, Some(sign)) => sign.is_in(self.shared.log().from(0)),
            _ if knocked.elapsed() < KNOCK => false,
            _ => {
                *knocked = Instant::now();
                self.port.is_some_and(answers)
            }
        }
    }

    fn listen_for(&self, time: Duration) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < time && !self.news(self.position())?.1 {}
        Ok(())
    }

    /// What the log says of a boot that failed: the sentence counts more than what followed from it.
    fn bad_end(&self, bad: &[(&str, Regex)]) -> Outcome {
        let log = self.shared.log();
        for (name, pattern) in bad {
            let Some(found) = pattern.captures(log.from(0)) else {
                continue;
            };
            let sentence = found.get(1).map_or(&[][..], |m| m.as_bytes());
            return match *name {
                "refused" => Outcome::Refused(String::from_utf8_lossy(sentence).into_owned()),
                "panic" => Outcome::Panic,
                _ => Outcome::Emergency,
            };
        }
        Outcome::Exit
    }

    /// QEMU has closed the line: in good order, or because it failed.
    fn ended(&mut self, expected: &str) -> Result<()> {
        let status = self.qemu.wait().at(machine::QEMU)?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Ended {
            expected: expected.to_owned(),
            stderr: self.stderr(),
            tail: self.shared.log().tail(),
        })
    }
}

/// Whether something in the guest answers. QEMU itself takes every connection, so only a byte counts: from a server that
/// speaks first, or as the answer to a request of HTTP.
fn answers(port: u16) -> bool {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let knock = || -> std::io::Result<usize> {
        let mut stream = TcpStream::connect_timeout(&at, KNOCK)?;
        stream.set_read_timeout(Some(KNOCK))?;
        stream.write_all(b"HEAD / HTTP/1.0\r\n\r\n")?;
        stream.read(&mut [0])
    };
    knock().is_ok_and(|bytes| bytes > 0)
}
