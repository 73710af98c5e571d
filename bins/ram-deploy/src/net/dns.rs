//! The addresses of a name, asked of a name server (RFC 1035): a static program has no resolver of the C library.
//!
//! *Not here:* records other than A, search lists, answers over TCP, caches.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use super::http::Fault;

/// How long a server may take; it is asked several times.
const SILENCE: Duration = Duration::from_secs(3);
const TRIES: usize = 3;
/// Type A, class IN.
const A: u16 = 1;
const IN: u16 = 1;

/// Asks `servers` one after the other.
///
/// # Errors
/// Why the last of them gave no address.
pub fn resolve(host: &str, servers: &[Ipv4Addr], id: u16) -> Result<Vec<Ipv4Addr>, Fault> {
    let query = query(host, id).ok_or_else(|| format!("{host} is no name of a server"))?;
    let mut last = format!("{host} is not known here: no name server is known; use its address");
    for server in servers.iter().cycle().take(servers.len() * TRIES) {
        match ask(*server, &query) {
            Ok(reply) => match addresses(&reply, &query) {
                Some(found) if !found.is_empty() => return Ok(found),
                _ => last = format!("the name server {server} knows no address of {host}"),
            },
            Err(e) => last = format!("the name server {server} does not answer for {host}: {e}"),
        }
    }
    Err(last)
}

fn ask(server: Ipv4Addr, query: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((server, 53))?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.send(query)?;
    let mut reply = vec![0; 1500];
    let length = socket.recv(&mut reply)?;
    reply.truncate(length);
    Ok(reply)
}

/// Header and question (4.1.1, 4.1.2).
fn query(host: &str, id: u16) -> Option<Vec<u8>> {
    let mut query = id.to_be_bytes().to_vec();
    query.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]); // recursion desired; one question
    for label in host.trim_end_matches('.').split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        query.push(label.len() as u8);
        query.extend(label.bytes());
    }
    query.push(0);
    query.extend(A.to_be_bytes());
    query.extend(IN.to_be_bytes());
    (host.len() < 254).then_some(query)
}

/// The addresses in a reply to `query` (4.1.3); aliases stand in the same list and are passed over.
fn addresses(reply: &[u8], query: &[u8]) -> Option<Vec<Ipv4Addr>> {
    let number = |at: usize| Some(u16::from_be_bytes(reply.get(at..at + 2)?.try_into().ok()?));
    let is_reply = reply.get(..2)? == query.get(..2)? && reply.get(2)? & 0x80 != 0;
    if !is_reply || reply.get(12..query.len())? != query.get(12..)? {
        return None;
    }
    let mut at = query.len();
    let mut found = Vec::new();
    for _ in 0..number(6)? {
        at = after_name(reply, at)?;
        let (kind, class, length) = (number(at)?, number(at + 2)?, usize::from(number(at + 8)?));
        let data = reply.get(at + 10..at + 10 + length)?;
        if let (A, IN, Ok(address)) = (kind, class, <[u8; 4]>::try_from(data)) {
            found.push(Ipv4Addr::from(address));
        }
        at += 10 + length;
    }
    Some(found)
}

/// Where the name that begins at `at` ends: with a zero, or with a pointer (4.1.4).
fn after_name(reply: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *reply.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> (Vec<u8>, Vec<u8>) {
        let query = query("www.example.org", 7).unwrap();
        let mut reply = query.clone();
        reply[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 2]);
        // An alias, and the address of the alias.
        reply.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01a\xc0\x10");
        reply.extend(b"\x01a\xc0\x10\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\x02\x02");
        (reply, query)
    }

    #[test]
    fn an_address_behind_an_alias_is_found() {
        let (reply, query) = reply();
        assert_eq!(
            addresses(&reply, &query),
            Some(vec![Ipv4Addr::new(10, 0, 2, 2)])
        );
    }

    #[test]
    fn a_reply_that_is_cut_or_of_another_question_is_none() {
        let (reply, query) = reply();
        for length in 0..reply.len() {
            assert_eq!(addresses(&reply[..length], &query), None, "{length}");
        }
        let other = super::query("www.example.com", 7).unwrap();
        assert_eq!(addresses(&reply, &other), None);
    }

    #[test]
    fn names_have_limits() {
        assert!(query("a..b", 1).is_none() && query(&"a".repeat(64), 1).is_none());
        assert!(query("a.b.", 1).is_some() && query(&"a.".repeat(130), 1).is_none());
    }
}
