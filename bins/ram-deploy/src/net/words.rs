//! What the kernel command line says about the network (`dracut.cmdline(7)`, the kernel's `nfsroot.rst`, KIWI).

use std::net::Ipv4Addr;

use super::dhcp::Lease;
use super::url::Url;
use crate::cmdline::Cmdline;
use crate::stop::{Result, Stop};

/// A deployment from the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The mirrors, in order. None: the server that the firmware booted from.
    pub urls: Vec<Url>,
    /// How the machine gets its address.
    pub address: Address,
    /// The interface's name, where it is given.
    pub interface: Option<String>,
    /// The address of the interface that the firmware used (`BOOTIF`), where it is given.
    pub mac: Option<[u8; 6]>,
    /// Name servers beside those of DHCP (`nameserver=`).
    pub name_servers: Vec<Ipv4Addr>,
    /// Whether what media of this machine hold is read there (`rd.ramforge.local`).
    pub local: bool,
}

/// How the machine gets its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// By DHCP.
    Dhcp,
    /// As given.
    Static(Lease),
}

/// What the command line asks for; `None` where the image comes from a medium.
///
/// # Errors
/// A sentence where a word cannot be read.
pub fn request(cmdline: &Cmdline) -> Result<Option<Request>> {
    let urls = urls(cmdline)?;
    if urls.is_empty() && !cmdline.switch("rd.kiwi.install.pxe") {
        return Ok(None);
    }
    let (interface, address) = match cmdline.value("ip") {
        None => (None, Address::Dhcp),
        Some(text) => ip(text).ok_or_else(|| {
            unreadable(
                "ip",
                text,
                "ip=dhcp, ip=INTERFACE:dhcp or ip=ADDRESS::GATEWAY:MASK::INTERFACE:none",
            )
        })?,
    };
    let name_servers = cmdline.values("nameserver").filter_map(|v| v.parse().ok());
    Ok(Some(Request {
        urls,
        address,
        interface,
        mac: cmdline.value("BOOTIF").and_then(mac),
        name_servers: name_servers.collect(),
        local: cmdline.choice("rd.ramforge.local") != Some(false),
    }))
}

/// `rd.ramforge.url=URL[,URL…]`, as often as wanted, before KIWI's word.
fn urls(cmdline: &Cmdline) -> Result<Vec<Url>> {
    let split = |name| {
        cmdline
            .values(name)
            .flat_map(|v| v.split(','))
            .filter(|v| !v.is_empty())
    };
    let read = |name: &'static str, parse: fn(&str) -> std::result::Result<Url, String>| {
        split(name).map(move |text| parse(text).map_err(|why| unreadable(name, text, &why)))
    };
    let own = read("rd.ramforge.url", Url::parse);
    let mut urls: Vec<Url> = own.collect::<Result<_>>()?;
    if urls.is_empty() {
        urls = read("rd.kiwi.install.image", Url::parse_file).collect::<Result<_>>()?;
    }
    Ok(urls)
}

fn unreadable(name: &str, text: &str, why: &str) -> Stop {
    Stop::new(
        format!("kernel command line: {name}={text} cannot be used: {why}"),
        "correct it in the boot menu or on the server",
    )
}

/// `dhcp`, `INTERFACE:dhcp` or `ADDRESS:PEER:GATEWAY:MASK:HOST:INTERFACE:METHOD:DNS:DNS`.
fn ip(text: &str) -> Option<(Option<String>, Address)> {
    let named = |name: &str| Some(name).filter(|n| !n.is_empty()).map(str::to_owned);
    let is_dhcp = |word: &str| ["dhcp", "on", "any", ""].contains(&word);
    let fields: Vec<&str> = text.split(':').collect();
    let field = |n: usize| fields.get(n).copied().unwrap_or_default();
    match fields.as_slice() {
        [method] if is_dhcp(method) => return Some((None, Address::Dhcp)),
        [name, method] if is_dhcp(method) => return Some((named(name), Address::Dhcp)),
        _ if field(0).is_empty() && is_dhcp(field(6)) => {
            return Some((named(field(5)), Address::Dhcp));
        }
        _ => (),
    }
    let address = field(0).parse().ok()?;
    let mask = match field(3).parse::<u32>() {
        Ok(bits @ 1..=32) => Ipv4Addr::from_bits(u32::MAX << (32 - bits)),
        _ => field(3).parse().ok()?,
    };
    let given = |n| {
        field(n)
            .parse::<Ipv4Addr>()
            .ok()
            .filter(|a| !a.is_unspecified())
    };
    let lease = Lease {
        address,
        mask,
        gateway: given(2),
        name_servers: [7, 8].into_iter().filter_map(given).collect(),
        // PXELINUX puts the server that it came from in the peer's place.
        boot: given(1).map(|server| (server, String::new())),
    };
    Some((named(field(5)), Address::Static(lease)))
}

/// `01-52-54-00-12-34-56`, as PXELINUX writes it, or with colons and without the leading type.
fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes = text
        .split(['-', ':'])
        .map(|part| u8::from_str_radix(part, 16).ok());
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    match bytes.as_slice() {
        [1, address @ ..] if address.len() == 6 => address.try_into().ok(),
        address => address.try_into().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Request {
        request(&Cmdline::parse(line)).unwrap().unwrap()
    }

    #[test]
    fn without_a_word_of_it_the_image_comes_from_a_medium() {
        assert_eq!(
            request(&Cmdline::parse("rd.kiwi.ramdisk ip=dhcp")),
            Ok(None)
        );
        assert!(read("rd.kiwi.install.pxe").urls.is_empty());
    }

    #[test]
    fn mirrors_keep_their_order() {
        let urls = read("rd.ramforge.url=http://a,http://b/c rd.ramforge.url=http://d").urls;
        let hosts: Vec<&str> = urls.iter().map(|url| url.host.as_str()).collect();
        assert_eq!(hosts, ["a", "b", "d"]);
        let kiwi = read("rd.kiwi.install.pxe rd.kiwi.install.image=http://k/d/i.xz").urls;
        assert_eq!(kiwi[0].to_string(), "http://k/d/");
        let both = read("rd.kiwi.install.image=http://k/d/i.xz rd.ramforge.url=http://a").urls;
        assert_eq!((both.len(), both[0].host.as_str()), (1, "a"));
    }

    #[test]
    fn addresses_are_read_as_dracut_and_the_kernel_do() {
        assert_eq!(read("rd.ramforge.url=http://a").address, Address::Dhcp);
        for line in ["ip=dhcp", "ip=:::::eth1:dhcp", "ip=eth1:dhcp"] {
            let read = read(&format!("rd.kiwi.install.pxe {line}"));
            assert_eq!(read.address, Address::Dhcp, "{line}");
            assert_eq!(read.interface.is_some(), line.contains("eth1"), "{line}");
        }
        let fixed = read("rd.kiwi.install.pxe ip=10.0.0.5:10.0.0.1:10.0.0.2:255.255.0.0");
        let Address::Static(lease) = fixed.address else {
            panic!("{fixed:?}");
        };
        assert_eq!(
            lease.boot,
            Some((Ipv4Addr::new(10, 0, 0, 1), String::new()))
        );
        assert_eq!(lease.gateway, Some(Ipv4Addr::new(10, 0, 0, 2)));
        let prefix = ip("10.0.0.5::10.0.0.2:24:me:eth0:none:10.0.0.3").unwrap();
        let (Some(name), Address::Static(lease)) = prefix else {
            panic!("{prefix:?}");
        };
        assert_eq!(
            (name.as_str(), lease.mask),
            ("eth0", Ipv4Addr::new(255, 255, 255, 0))
        );
        assert_eq!(lease.name_servers, [Ipv4Addr::new(10, 0, 0, 3)]);
        for bad in ["ip=dhcp6x", "ip=10.0.0.5", "ip=a:b:c"] {
            let line = Cmdline::parse(&format!("rd.kiwi.install.pxe {bad}"));
            assert!(request(&line).is_err(), "{bad}");
        }
    }

    #[test]
    fn media_of_the_machine_may_be_left_alone() {
        assert!(read("rd.ramforge.url=http://a").local);
        assert!(!read("rd.ramforge.url=http://a rd.ramforge.local=no").local);
    }

    #[test]
    fn bootif_is_read() {
        let expected = Some([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        assert_eq!(
            read("rd.kiwi.install.pxe BOOTIF=01-52-54-00-12-34-56").mac,
            expected
        );
        assert_eq!(mac("52:54:00:12:34:56"), expected);
        assert_eq!(mac("52:54"), None);
    }

    #[test]
    fn a_url_that_cannot_be_used_says_why() {
        let line = Cmdline::parse("rd.ramforge.url=https://a/b");
        let text = request(&line).unwrap_err().to_string();
        assert!(
            text.contains("rd.ramforge.url=https://a/b") && text.contains("verified"),
            "{text}"
        );
    }
}
