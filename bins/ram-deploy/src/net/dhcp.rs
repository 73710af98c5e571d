//! An address for the machine (DHCP, RFC 2131 and 2132), from discovery to acknowledgement.
//!
//! *Not here:* renewing, since a deployment is shorter than a lease, and the system asks for itself later; releasing,
//! since the system gets the same address then.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

/// Ports of server and client (RFC 2131, 4.1).
const SERVER: u16 = 67;
const CLIENT: u16 = 68;
/// Length of the fixed fields, and the cookie behind them (RFC 2131, 3).
const FIXED: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Least length of a message that old servers take.
const LEAST: usize = 300;
/// First and longest time until a question is repeated.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// Kinds of messages (option 53).
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// Options (RFC 2132).
mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const MASK: u8 = 1;
    pub(super) const ROUTERS: u8 = 3;
    pub(super) const NAME_SERVERS: u8 = 6;
    pub(super) const ADDRESS: u8 = 50;
    pub(super) const KIND: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const WANTED: u8 = 55;
    pub(super) const CLIENT_ID: u8 = 61;
    pub(super) const END: u8 = 255;
}

/// What a machine knows of its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its address.
    pub address: Ipv4Addr,
    /// The mask of its network.
    pub mask: Ipv4Addr,
    /// Where everything else is.
    pub gateway: Option<Ipv4Addr>,
    /// Who knows names.
    pub name_servers: Vec<Ipv4Addr>,
    /// The server that firmware boots from (`siaddr`), and the file it loads from there.
    pub boot: Option<(Ipv4Addr, String)>,
}

/// A message of a server.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    kind: u8,
    server: Ipv4Addr,
    lease: Lease,
}

/// Asks for an address through `socket`, which is bound to one interface with the address `mac`, until `end`.
///
/// # Errors
/// `TimedOut` where nobody answers; what the system says.
pub fn ask(socket: &UdpSocket, mac: [u8; 6], xid: u32, end: Instant) -> io::Result<Lease> {
    let mut wait = FIRST_WAIT;
    while Instant::now() < end {
        let discover = message(DISCOVER, mac, xid, None);
        let Some(offer) = exchange(socket, &discover, mac, xid, &[OFFER], wait)? else {
            wait = (wait * 2).min(LONGEST_WAIT);
            continue;
        };
        let request = message(REQUEST, mac, xid, Some((offer.lease.address, offer.server)));
        for wait in [FIRST_WAIT, FIRST_WAIT * 2, FIRST_WAIT * 4] {
            match exchange(socket, &request, mac, xid, &[ACK, NAK], wait)? {
                Some(answer) if answer.kind == ACK => return Ok(answer.lease),
                // The offer is not true any more: from the beginning.
                Some(_) => break,
                None => (),
            }
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// The socket for [`ask`].
///
/// # Errors
/// What the system says: EADDRINUSE where another client runs.
pub fn socket(interface: &str) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CLIENT))?;
    socket.set_broadcast(true)?;
    sys::net::bind_to_interface(&socket, interface)?;
    Ok(socket)
}

/// Sends a message and waits for one of some `kinds`.
fn exchange(
    socket: &UdpSocket,
    message: &[u8],
    mac: [u8; 6],
    xid: u32,
    kinds: &[u8],
    wait: Duration,
) -> io::Result<Option<Message>> {
    socket.send_to(message, (Ipv4Addr::BROADCAST, SERVER))?;
    let end = Instant::now() + wait;
    let mut buffer = [0; 1500];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let read = parse(&buffer[..length], mac, xid);
                if let Some(found) = read.filter(|m| kinds.contains(&m.kind)) {
                    return Ok(Some(found));
                }
            }
            Err(e) if is_timeout(&e) => return Ok(None),
            Err(e) => return Err(e),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

/// A message of the client; `chosen` is the offer it takes.
fn message(kind: u8, mac: [u8; 6], xid: u32, chosen: Option<(Ipv4Addr, Ipv4Addr)>) -> Vec<u8> {
    let mut message = vec![0; FIXED];
    message[..4].copy_from_slice(&[1, 1, 6, 0]); // op BOOTREQUEST, htype Ethernet, hlen, hops
    message[4..8].copy_from_slice(&xid.to_be_bytes());
    message[10] = 0x80; // flags: answer by broadcast, there is no address yet
    message[28..34].copy_from_slice(&mac); // chaddr
    message.extend(COOKIE);
    let mut option = |code: u8, value: &[u8]| {
        message.extend([code, value.len() as u8]);
        message.extend(value);
    };
    option(option::KIND, &[kind]);
    // The same as firmware and dracut: the same machine gets the same address.
    option(option::CLIENT_ID, &[&[1], &mac[..]].concat());
    if let Some((address, server)) = chosen {
        option(option::ADDRESS, &address.octets());
        option(option::SERVER, &server.octets());
    }
    option(
        option::WANTED,
        &[option::MASK, option::ROUTERS, option::NAME_SERVERS],
    );
    message.push(option::END);
    message.resize(message.len().max(LEAST), option::PAD);
    message
}

/// A server's answer to this machine's question.
fn parse(bytes: &[u8], mac: [u8; 6], xid: u32) -> Option<Message> {
    let is_answer = bytes.first() == Some(&2)
        && bytes.get(4..8)? == xid.to_be_bytes()
        && bytes.get(28..34)? == mac
        && bytes.get(FIXED..FIXED + 4)? == COOKIE;
    if !is_answer {
        return None;
    }
    let fixed = |at: usize| address(bytes.get(at..at + 4)?);
    let options = &bytes[FIXED + 4..];
    let next = fixed(20)?;
    let lease = Lease {
        address: fixed(16)?,
        mask: addresses(options, option::MASK)
            .next()
            .unwrap_or(Ipv4Addr::new(255, 255, 255, 0)),
        gateway: addresses(options, option::ROUTERS).next(),
        name_servers: addresses(options, option::NAME_SERVERS).collect(),
        boot: Some((next, file(bytes)?)).filter(|_| !next.is_unspecified()),
    };
    Some(Message {
        kind: *find(options, option::KIND)?.first()?,
        server: addresses(options, option::SERVER).next()?,
        lease,
    })
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(<[u8; 4]>::try_from(bytes).ok()?.into())
}

/// The addresses that an option lists.
fn addresses(options: &[u8], code: u8) -> impl Iterator<Item = Ipv4Addr> {
    let value = find(options, code).unwrap_or_default();
    value.as_chunks::<4>().0.iter().copied().map(Ipv4Addr::from)
}

/// The field `file`, up to its zero.
fn file(bytes: &[u8]) -> Option<String> {
    let field = bytes.get(108..FIXED)?;
    let file = field.split(|b| *b == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(file).into_owned())
}

/// The value of an option.
fn find(mut options: &[u8], code: u8) -> Option<&[u8]> {
    loop {
        match *options {
            [option::PAD, ref rest @ ..] => options = rest,
            [option::END, ..] => return None,
            [found, length, ref rest @ ..] => {
                let value = rest.get(..usize::from(length))?;
                if found == code {
                    return Some(value);
                }
                options = &rest[value.len()..];
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];

    /// A server's message: the question with what a server fills in.
    fn answer(kind: u8) -> Vec<u8> {
        let mut bytes = message(kind, MAC, 7, None);
        bytes[0] = 2;
        bytes[16..20].copy_from_slice(&[10, 0, 2, 15]);
        bytes[20..24].copy_from_slice(&[10, 0, 2, 2]);
        bytes[108..116].copy_from_slice(b"net/grub");
        bytes.truncate(FIXED + 4);
        bytes.extend([0, 0, 53, 1, kind, 54, 4, 10, 0, 2, 2, 1, 4, 255, 255, 0, 0]);
        bytes.extend([3, 4, 10, 0, 2, 2, 6, 8, 10, 0, 2, 3, 10, 0, 2, 4, 255]);
        bytes
    }

    #[test]
    fn an_answer_is_read() {
        let message = parse(&answer(OFFER), MAC, 7).unwrap();
        assert_eq!(
            (message.kind, message.server),
            (OFFER, Ipv4Addr::new(10, 0, 2, 2))
        );
        let lease = message.lease;
        assert_eq!(lease.address, Ipv4Addr::new(10, 0, 2, 15));
        assert_eq!(lease.mask, Ipv4Addr::new(255, 255, 0, 0));
        assert_eq!(lease.gateway, Some(Ipv4Addr::new(10, 0, 2, 2)));
        assert_eq!(lease.name_servers.len(), 2);
        assert_eq!(
            lease.boot,
            Some((Ipv4Addr::new(10, 0, 2, 2), "net/grub".into()))
        );
    }

    #[test]
    fn answers_to_others_and_cut_ones_are_not() {
        let bytes = answer(ACK);
        assert!(parse(&bytes, MAC, 8).is_none());
        assert!(parse(&bytes, [0; 6], 7).is_none());
        for length in 0..FIXED + 15 {
            assert!(parse(&bytes[..length], MAC, 7).is_none(), "{length}");
        }
        // Its own question, heard again, is no answer.
        assert!(parse(&message(DISCOVER, MAC, 7, None), MAC, 7).is_none());
    }

    #[test]
    fn a_question_is_long_enough_for_old_servers() {
        let question = message(
            REQUEST,
            MAC,
            7,
            Some((Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST)),
        );
        assert_eq!(question.len(), LEAST);
        assert_eq!(
            find(&question[FIXED + 4..], option::ADDRESS),
            Some(&[127, 0, 0, 1][..])
        );
    }
}
