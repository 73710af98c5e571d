//! The interface to the network: found in sysfs, switched on, given an address, and left as it was found.
//!
//! *Not here:* wireless, VLANs, bonds, IPv6.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use super::dhcp::{self, Lease};
use super::words::{Address, Request};
use crate::console::Console;
use crate::devices::POLL;
use crate::modules::Loader;
use crate::stop::{Result, Stop};

const INTERFACES: &str = "/sys/class/net";
/// `ARPHRD_ETHER`: the type of Ethernet in sysfs.
const ETHERNET: &str = "1";
/// `IFF_UP` in an interface's flags.
const UP: u32 = 1;
/// How long one interface is asked before the next one.
const TURN: Duration = Duration::from_secs(15);
/// How long udev may take to give an interface its final name.
const UDEV: Duration = Duration::from_secs(5);
/// After this time a person is told what is waited for.
const SILENCE: Duration = Duration::from_secs(5);

/// An interface with an address, which it loses when this goes out of scope.
#[derive(Debug)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// What is known of the network.
    pub lease: Lease,
    socket: UdpSocket,
    cards: Cards,
}

impl Link {
    /// Takes the address away, and switches the interface off where it was off; says so.
    pub fn close(self) -> String {
        match self.cards.on.is_empty() {
            true => format!("{} has no address any more", self.name),
            false => format!("{} is off", self.name),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The system sets its network up by itself, from the beginning.
        let any = Ipv4Addr::UNSPECIFIED;
        let _ = sys::net::set_address(&self.socket, &self.name, any, any);
    }
}

/// Switches an interface on or off.
type Switch = dyn Fn(&str, bool) -> io::Result<()>;

/// The interfaces that were switched on here. They are switched off when this goes out of scope: before Linux 6.2 the
/// system's udev cannot rename one that is on.
struct Cards {
    switch: Box<Switch>,
    /// Those that were off.
    on: Vec<Interface>,
}

impl std::fmt::Debug for Cards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cards")
            .field("on", &self.on)
            .finish_non_exhaustive()
    }
}

impl Cards {
    fn new(switch: Box<Switch>) -> Self {
        let on = Vec::new();
        Self { switch, on }
    }

    /// Switches an interface on that is off.
    fn switch_on(&mut self, interface: &Interface) -> io::Result<()> {
        if interface.is_on {
            return Ok(());
        }
        (self.switch)(&interface.name, true)?;
        // What somebody else has switched off meanwhile is known already.
        if !self.on.iter().any(|i| i.index == interface.index) {
            self.on.push(interface.clone());
        }
        Ok(())
    }

    /// Switches off all but one.
    fn keep(&mut self, index: &str) {
        for interface in self.on.extract_if(.., |i| i.index != index) {
            // One that is gone is off.
            let _ = (self.switch)(&interface.name_now(), false);
        }
    }
}

impl Drop for Cards {
    fn drop(&mut self) {
        self.keep("");
    }
}

/// An interface in sysfs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interface {
    name: String,
    /// Its number, which stays when it is renamed.
    index: String,
    mac: [u8; 6],
    is_on: bool,
}

impl Interface {
    fn attribute(name: &str, attribute: &str) -> Option<String> {
        let path = Path::new(INTERFACES).join(name).join(attribute);
        Some(fs::read_to_string(path).ok()?.trim().to_owned())
    }

    /// An Ethernet interface of a device, once udev has named it.
    fn named(name: &str) -> Option<Self> {
        let is_device = Path::new(INTERFACES).join(name).join("device").exists();
        let is_ethernet = Self::attribute(name, "type").as_deref() == Some(ETHERNET);
        let mac = Self::attribute(name, "address")?;
        let bytes: Vec<u8> = mac
            .split(':')
            .filter_map(|b| u8::from_str_radix(b, 16).ok())
            .collect();
        let flags = Self::attribute(name, "flags")?;
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
        Some(Self {
            name: name.to_owned(),
            index: Self::attribute(name, "ifindex")?,
            mac: bytes.try_into().ok()?,
            is_on: flags & UP != 0,
        })
        .filter(|_| is_device && is_ethernet)
    }

    /// Whether udev, where it runs, is done with it: it does not rename what is switched on.
    fn is_settled(&self) -> bool {
        !Path::new("/run/udev/control").exists()
            || Path::new(&format!("/run/udev/data/n{}", self.index)).exists()
    }

    /// Its name, which udev may have changed.
    fn name_now(&self) -> String {
        let same = |name: &String| Self::attribute(name, "ifindex").as_ref() == Some(&self.index);
        names().find(same).unwrap_or_else(|| self.name.clone())
    }

    fn has_carrier(&self) -> bool {
        Self::attribute(&self.name, "carrier").as_deref() == Some("1")
    }
}

/// The names of all interfaces.
fn names() -> impl Iterator<Item = String> {
    let entries = fs::read_dir(INTERFACES).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// All interfaces of devices.
fn interfaces() -> Vec<Interface> {
    names().filter_map(|name| Interface::named(&name)).collect()
}

/// Those of `all` that may be meant: those that are named, or the one that the firmware used. For the first half of the
/// time no other one is, however soon its cable is known; after that all are, it first: firmware may know another address
/// of it than the kernel.
fn meant(mut all: Vec<Interface>, request: &Request, is_first_half: bool) -> Vec<Interface> {
    let is_it = |i: &Interface| request.mac == Some(i.mac);
    let are_named = request.ways.iter().all(|way| way.interface.is_some());
    all.retain(|i| request.way(&i.name).is_some());
    if request.mac.is_some() && is_first_half && (!are_named || all.iter().any(is_it)) {
        all.retain(is_it);
    }
    all.sort_by_key(|i| (!is_it(i), i.name.clone()));
    all
}

/// Waits at most `limit` for an interface that has or gets an address, loading drivers as devices appear.
///
/// # Errors
/// A sentence that tells what was seen instead.
pub fn find(
    request: &Request,
    limit: Duration,
    loader: &mut Loader,
    console: &Console,
) -> Result<Link> {
    let begin = Instant::now();
    let (control, mut cards) = control()?;
    let (mut told, mut last) = (false, String::new());
    loop {
        loader.load_for_devices(console);
        let all = meant(interfaces(), request, begin.elapsed() < limit / 2);
        let is_late = begin.elapsed() >= UDEV;
        for interface in all.iter().filter(|i| i.is_settled() || is_late) {
            if let Err(e) = cards.switch_on(interface) {
                last = format!("{} cannot be switched on: {e}", interface.name);
            }
        }
        for interface in all.iter().filter(|i| i.has_carrier()) {
            match address(interface, request, limit.saturating_sub(begin.elapsed())) {
                Ok(lease) => return set_up(interface, lease, (control, cards), console),
                Err(e) => last = format!("{}: {e}", interface.name),
            }
        }
        if begin.elapsed() >= limit {
            return Err(sentence(&all, &last, limit));
        }
        if begin.elapsed() >= SILENCE && !told {
            console.say("waiting for the network");
            told = true;
        }
        std::thread::sleep(POLL);
    }
}

/// A socket for asking the kernel, and the interfaces that are switched on with its like.
fn control() -> Result<(UdpSocket, Cards)> {
    let socket = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    let sockets = socket().and_then(|first| Ok((first, socket()?)));
    let (control, own) = sockets.map_err(|e| {
        let way_out = "choose a kernel with IPv4 built in, CONFIG_INET";
        Stop::new(format!("the kernel gives no network: {e}"), way_out)
    })?;
    let switch = move |name: &str, on| Ok(sys::net::set_up(&own, name, on)?);
    Ok((control, Cards::new(Box::new(switch))))
}

/// What the machine shall know of the network behind `interface`.
fn address(interface: &Interface, request: &Request, left: Duration) -> io::Result<Lease> {
    if let Some(Address::Static(lease)) = request.way(&interface.name) {
        return Ok(lease.clone());
    }
    let socket = dhcp::socket(&interface.name)?;
    let end = Instant::now() + left.min(TURN);
    let lease = dhcp::ask(&socket, interface.mac, super::random(), end);
    lease.map_err(|e| match e.kind() {
        io::ErrorKind::TimedOut => io::Error::other("no DHCP server answered"),
        _ => e,
    })
}

fn set_up(
    interface: &Interface,
    lease: Lease,
    (socket, mut cards): (UdpSocket, Cards),
    console: &Console,
) -> Result<Link> {
    let name = interface.name.clone();
    cards.keep(&interface.index);
    let link = Link {
        name,
        lease,
        socket,
        cards,
    };
    let (name, lease) = (&link.name, &link.lease);
    let set = sys::net::set_address(&link.socket, name, lease.address, lease.mask);
    let set = set.and_then(|()| match lease.gateway {
        Some(gateway) => sys::net::add_default_route(&link.socket, name, gateway),
        None => Ok(()),
    });
    set.map_err(|e| {
        let fact = format!("{name} does not take the address {}: {e}", lease.address);
        Stop::new(
            fact,
            "look at ip= on the command line and at the DHCP server",
        )
    })?;
    console.log(&format!("{name} has the address {}", lease.address));
    Ok(link)
}

fn sentence(all: &[Interface], last: &str, limit: Duration) -> Stop {
    let limit = limit.as_secs();
    let names: Vec<&str> = all.iter().map(|i| i.name.as_str()).collect();
    let fact = match (all.is_empty(), last.is_empty()) {
        (true, _) => format!("no network interface appeared in {limit} s"),
        (_, true) => format!(
            "no cable is plugged in at {} for {limit} s",
            names.join(", ")
        ),
        (_, false) => format!("the network does not come up in {limit} s: {last}"),
    };
    Stop::new(
        fact,
        "look at the cable, the DHCP server and ip= on the kernel command line, or give more time with rd.ramforge.wait=SECONDS",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmdline::Cmdline;
    use std::sync::{Arc, Mutex};

    fn interface(n: u8) -> Interface {
        Interface {
            name: format!("no-eth{n}"),
            index: format!("none-{n}"),
            mac: [n; 6],
            is_on: false,
        }
    }

    /// What was off is off again in the end, whether one was chosen or none; what was on stays on.
    #[test]
    fn only_what_was_off_is_switched_off_again() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let cards = || {
            let told = Arc::clone(&told);
            let mut cards = Cards::new(Box::new(move |name, on| {
                told.lock().unwrap().push(format!("{name} {on}"));
                Ok(())
            }));
            let mut all: Vec<Interface> = (0..3).map(interface).collect();
            all[1].is_on = true;
            for interface in &all {
                cards.switch_on(interface).unwrap();
            }
            cards
        };
        let calls = || std::mem::take(&mut *told.lock().unwrap());
        let on = ["no-eth0 true", "no-eth2 true"];
        drop(cards());
        assert_eq!(
            calls(),
            [&on[..], &["no-eth0 false", "no-eth2 false"]].concat()
        );
        let mut chosen = cards();
        chosen.keep(&interface(2).index);
        assert_eq!(calls(), [&on[..], &["no-eth0 false"]].concat());
        drop(chosen);
        assert_eq!(calls(), ["no-eth2 false"]);
        let mut chosen = cards();
        chosen.keep(&interface(1).index);
        assert!(chosen.on.is_empty());
    }

    #[test]
    fn what_was_seen_is_told() {
        let one = interface(0);
        let text =
            |all: &[Interface], last| sentence(all, last, Duration::from_secs(60)).to_string();
        assert!(text(&[], "").starts_with("no network interface appeared in 60 s"));
        assert!(
            text(std::slice::from_ref(&one), "").starts_with("no cable is plugged in at no-eth0")
        );
        let answer = text(&[one], "eth0: no DHCP server answered");
        assert!(
            answer.contains("eth0: no DHCP server answered; look at"),
            "{answer}"
        );
    }

    #[test]
    fn the_firmwares_interface_is_the_only_one_at_first() {
        let all: Vec<Interface> = (0..3).map(interface).collect();
        let names = |line: &str, is_first_half| -> Vec<String> {
            let line = format!("rd.kiwi.install.pxe {line}");
            let request = crate::net::words::request(&Cmdline::parse(&line));
            let meant = meant(all.clone(), &request.unwrap().unwrap(), is_first_half);
            meant.into_iter().map(|i| i.name).collect()
        };
        let bound = "BOOTIF=01-02-02-02-02-02-02";
        assert_eq!(names(bound, true), ["no-eth2"]);
        assert_eq!(names(bound, false), ["no-eth2", "no-eth0", "no-eth1"]);
        // It may appear later.
        assert!(names("BOOTIF=01-07-07-07-07-07-07", true).is_empty());
        assert_eq!(names("", true), ["no-eth0", "no-eth1", "no-eth2"]);
        // Who names one means it.
        assert_eq!(
            names(&format!("{bound} ip=no-eth1:dhcp"), true),
            ["no-eth1"]
        );
        let two = "ip=no-eth0:dhcp ip=no-eth1:dhcp";
        assert_eq!(names(two, true), ["no-eth0", "no-eth1"]);
        assert_eq!(
            names(&format!("{two} BOOTIF=01-01-01-01-01-01-01"), true),
            ["no-eth1"]
        );
    }

    #[test]
    fn the_loopback_is_no_interface() {
        assert_eq!(Interface::named("lo"), None);
        assert_eq!(Interface::named("no-such-interface"), None);
    }
}
