//! One connection to a server that speaks HTTP/1.1 (RFC 9110, RFC 9112), and GET on it, whole or from an offset on.
//!
//! *Not here:* TLS, proxies, and bodies of unknown length: what is fetched is a file, and its length is known.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use super::url::Url;

/// Bytes of an answer's head that are read at most.
const HEAD: usize = 16 << 10;
/// Header fields of an answer at most.
const FIELDS: usize = 64;

/// The fault of a server that answers something else.
const NO_HTTP: &str = "answers something that is not HTTP";

/// Why a server is of no use now, in words.
pub type Fault = String;

/// A connection. Its body must be read to the end before the next request.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    /// Bytes of the body that are still to come.
    left: u64,
    /// Whether the server keeps the connection after the body.
    keeps: bool,
    silence: Duration,
}

/// What a server answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The bytes follow, from this one on: the first where the server sends only whole files.
    Body(u64),
    /// They are elsewhere.
    Elsewhere(String),
}

/// The head of an answer.
#[derive(Debug, Default)]
struct Head {
    status: u16,
    reason: String,
    length: Option<u64>,
    /// First byte, last byte and, where it is told, length of the file.
    range: Option<(u64, u64, Option<u64>)>,
    location: Option<String>,
    /// Whether the body's length is told in a way that is not read here.
    coded: bool,
    keeps: bool,
}

impl Connection {
    /// Connects. `silence` is how long the server may say nothing, now and later, and may take for the head of an answer.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(address: SocketAddr, silence: Duration) -> Result<Self, Fault> {
        let connect = || -> io::Result<TcpStream> {
            let stream = TcpStream::connect_timeout(&address, silence)?;
            stream.set_read_timeout(Some(silence))?;
            stream.set_write_timeout(Some(silence))?;
            stream.set_nodelay(true)?;
            // Closed at once and for good: the interface goes down before a server could say goodbye.
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            Ok(stream)
        };
        let stream = connect().map_err(|e| format!("cannot be connected: {}", words(&e)))?;
        Ok(Self {
            stream: BufReader::with_capacity(64 << 10, stream),
            left: 0,
            keeps: true,
            silence,
        })
    }

    /// Whether another request may follow on it.
    pub fn is_free(&self) -> bool {
        self.left == 0 && self.keeps
    }

    /// Bytes of the body that are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Asks for some bytes of `path`, which is expected to have `size`. A server may send more or less of it.
    ///
    /// # Errors
    /// What is wrong with the answer, or what the system says.
    pub fn get(
        &mut self,
        url: &Url,
        path: &str,
        wanted: Range<u64>,
        size: u64,
    ) -> Result<Answer, Fault> {
        let range = asked(&wanted, size);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: ram-deploy/{}\r\nAccept-Encoding: identity\r\n{range}\r\n",
            url.authority(),
            env!("CARGO_PKG_VERSION"),
        );
        let stream = self.stream.get_mut();
        let asked = stream.write_all(request.as_bytes());
        asked.map_err(|e| format!("takes no request: {}", words(&e)))?;
        let end = Instant::now() + self.silence;
        let mut head = self.head(end)?;
        // What a server says before its answer (RFC 9110, 15.2).
        while (100..200).contains(&head.status) {
            head = self.head(end)?;
        }
        self.keeps = head.keeps;
        self.left = 0;
        match (head.status, head.location) {
            (301 | 302 | 303 | 307 | 308, Some(location)) => {
                self.keeps = false;
                return Ok(Answer::Elsewhere(location));
            }
            (200 | 206, _) if !head.coded => (),
            (200 | 206, _) => return Err(format!("sends {path} coded, without its length")),
            (status, _) => return Err(format!("answers {status} {} to {path}", head.reason)),
        }
        self.left = body(head.status, head.length, head.range, wanted.start, size)
            .map_err(|fault| format!("{path}: {fault}"))?;
        let first = if head.status == 200 { 0 } else { wanted.start };
        Ok(Answer::Body(first))
    }

    /// Reads the head of an answer, which must be whole until `end`.
    fn head(&mut self, end: Instant) -> Result<Head, Fault> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\n\r\n") && !bytes.ends_with(b"\n\n") {
            match self.line(&mut bytes, end)? {
                0 if bytes.is_empty() => {
                    return Err("closed the connection without an answer".to_owned());
                }
                0 => return Err(NO_HTTP.to_owned()),
                _ => (),
            }
        }
        let read_timeout = self.stream.get_ref().set_read_timeout(Some(self.silence));
        read_timeout.map_err(|e| words(&e))?;
        parse(&bytes).ok_or_else(|| NO_HTTP.to_owned())
    }

    /// Reads what is there of a line until `end`; 0 where there will be no more, or too much is there.
    fn line(&mut self, bytes: &mut Vec<u8>, end: Instant) -> Result<usize, Fault> {
        let late = format!("its answer is not whole after {} s", self.silence.as_secs());
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late);
        }
        let timed = self.stream.get_ref().set_read_timeout(Some(left));
        let some = timed.and_then(|()| self.stream.fill_buf());
        let some = some.map_err(|e| match words(&e) {
            words if bytes.is_empty() => format!("does not answer: {words}"),
            _ if is_timeout(&e) => late,
            words => format!("does not answer: {words}"),
        })?;
        let line = some
            .iter()
            .position(|b| *b == b'\n')
            .map_or(some.len(), |n| n + 1);
        let length = line.min(HEAD - bytes.len());
        bytes.extend(&some[..length]);
        self.stream.consume(length);
        Ok(length)
    }

    /// Reads some bytes of the body; never 0 for a `buffer` that is not empty.
    ///
    /// # Errors
    /// What the system says, also where the body is over.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        match self.stream.read(&mut buffer[..most]) {
            Ok(0) => Err(format!(
                "closed the connection {} bytes too early",
                self.left
            )),
            Ok(n) => {
                self.left -= n as u64;
                Ok(n)
            }
            Err(e) => Err(words(&e)),
        }
    }
}

/// The field that asks for some bytes; none where they are all.
fn asked(wanted: &Range<u64>, size: u64) -> String {
    match wanted.start {
        0 if wanted.end >= size => String::new(),
        from if wanted.end >= size => format!("Range: bytes={from}-\r\n"),
        from => format!("Range: bytes={from}-{}\r\n", wanted.end.saturating_sub(1)),
    }
}

/// Length of the body that follows, where it is what was asked for.
fn body(
    status: u16,
    length: Option<u64>,
    range: Option<(u64, u64, Option<u64>)>,
    from: u64,
    size: u64,
) -> Result<u64, Fault> {
    let length = length.ok_or("it is sent without its length")?;
    match (status, range) {
        (200, _) if length != size => Err(format!("it has {length} bytes, expected {size}")),
        (200, _) => Ok(length),
        (_, None) => Err("it is sent without the range".to_owned()),
        (_, Some((_, _, Some(total)))) if total != size => {
            Err(format!("it has {total} bytes, expected {size}"))
        }
        // A server may send less than it was asked for; the rest is asked for then.
        (_, Some((first, last, _))) if first == from && last < size && first <= last => {
            match last - first + 1 == length {
                true => Ok(length),
                false => Err(format!(
                    "the range {first}-{last} is sent as {length} bytes"
                )),
            }
        }
        (_, Some((first, last, _))) => Err(format!(
            "bytes {first}-{last} are sent, expected {from}-{}",
            size.saturating_sub(1)
        )),
    }
}

fn parse(bytes: &[u8]) -> Option<Head> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    if !response.parse(bytes).ok()?.is_complete() {
        return None;
    }
    let mut head = Head {
        status: response.code?,
        reason: response.reason.unwrap_or_default().to_owned(),
        keeps: response.version == Some(1),
        ..Head::default()
    };
    for field in response.headers.iter() {
        // What is not UTF-8 is in a field that is not read here, or makes no sense there.
        let value = String::from_utf8_lossy(field.value);
        head.note(&field.name.to_ascii_lowercase(), value.trim())?;
    }
    Some(head)
}

impl Head {
    /// Notes what a field says; `None` where that makes no sense.
    fn note(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            // Two lengths that differ are no length.
            "content-length" => {
                let length = value.parse().ok()?;
                if self.length.is_some_and(|other| other != length) {
                    return None;
                }
                self.length = Some(length);
            }
            "content-range" => self.range = Some(range(value)?),
            "location" => self.location = Some(value.to_owned()),
            "transfer-encoding" | "content-encoding" => {
                self.coded |= !value.eq_ignore_ascii_case("identity");
            }
            "connection" => {
                let words = value.split(',').map(str::trim);
                let says = |word: &str| words.clone().any(|w| w.eq_ignore_ascii_case(word));
                self.keeps = (self.keeps || says("keep-alive")) && !says("close");
            }
            _ => (),
        }
        Some(())
    }
}

/// `bytes FIRST-LAST/TOTAL`, where TOTAL may be `*`.
fn range(value: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.trim().split_once('-')?;
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((first.parse().ok()?, last.parse().ok()?, total))
}

/// An error of the system for people: a time-out is not "Resource temporarily unavailable".
fn words(error: &io::Error) -> String {
    match is_timeout(error) {
        true => "it is silent".to_owned(),
        false => error.to_string(),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let head = parse(
            b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\ncontent-range: bytes 5-9/10\r\n\r\n",
        );
        let head = head.unwrap();
        assert_eq!((head.status, head.length), (206, Some(5)));
        assert_eq!(head.range, Some((5, 9, Some(10))));
        assert!(head.keeps && !head.coded);
        let old = parse(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
        assert!(!old.keeps && old.length.is_none());
        let coded =
            parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
        assert!(coded.is_some_and(|h| h.coded && !h.keeps));
        let foreign = parse(b"HTTP/1.1 200 OK\r\nX-Place: M\xfcnchen\r\nContent-Length: 5\r\n\r\n");
        assert!(foreign.is_some_and(|h| h.length == Some(5)));
        for bad in [
            &b"SSH-2.0-OpenSSH\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            b"HTTP/1.1 206 OK\r\nContent-Range: bytes x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n",
        ] {
            assert!(parse(bad).is_none(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn as_much_as_is_wanted_is_asked_for() {
        assert_eq!(asked(&(0..10), 10), "");
        assert_eq!(asked(&(4..10), 10), "Range: bytes=4-\r\n");
        assert_eq!(asked(&(0..4), 10), "Range: bytes=0-3\r\n");
        assert_eq!(asked(&(4..5), 10), "Range: bytes=4-4\r\n");
    }

    #[test]
    fn only_what_was_asked_for_is_taken() {
        assert_eq!(body(200, Some(10), None, 0, 10), Ok(10));
        assert_eq!(body(200, Some(10), None, 5, 10), Ok(10));
        assert_eq!(body(206, Some(5), Some((5, 9, Some(10))), 5, 10), Ok(5));
        assert_eq!(body(206, Some(2), Some((5, 6, None)), 5, 10), Ok(2));
        for (status, length, range, from, why) in [
            (200, Some(9), None, 0, "has 9 bytes, expected 10"),
            (200, None, None, 0, "without its length"),
            (206, Some(5), None, 5, "without the range"),
            (206, Some(5), Some((5, 9, Some(11))), 5, "has 11 bytes"),
            (
                206,
                Some(5),
                Some((4, 8, Some(10))),
                5,
                "bytes 4-8 are sent, expected 5-9",
            ),
            (206, Some(6), Some((5, 10, None)), 5, "bytes 5-10"),
            (206, Some(0), Some((5, 4, None)), 5, "bytes 5-4"),
            (206, Some(9), Some((5, 9, Some(10))), 5, "sent as 9 bytes"),
        ] {
            let fault = body(status, length, range, from, 10).unwrap_err();
            assert!(fault.contains(why), "{fault}");
        }
    }
}
