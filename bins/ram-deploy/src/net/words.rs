//! What the kernel command line says about the network (`dracut.cmdline(7)`, the kernel's `nfsroot.rst`, KIWI).
//!
//! *Not read:* the MTU and the address of the card itself in `ip=`, IPv6, iBFT.

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
    /// How the machine gets its address (`ip=`): one way at least.
    pub ways: Vec<Way>,
    /// The address of the interface that the firmware used (`BOOTIF`), where it is given.
    pub mac: Option<[u8; 6]>,
    /// Name servers beside those of DHCP (`nameserver=`).
    pub name_servers: Vec<Ipv4Addr>,
    /// Whether what media of this machine hold is read there (`rd.ramforge.local`).
    pub local: bool,
    /// What is on the command line and cannot be done, for people.
    pub remarks: Vec<String>,
}

impl Request {
    /// How the interface of that name gets its address; `None` where only others are meant.
    pub fn way(&self, interface: &str) -> Option<&Address> {
        let of = |name: Option<&str>| {
            let mut ways = self.ways.iter().rev();
            ways.find(|way| way.interface.as_deref() == name)
        };
        of(Some(interface))
            .or_else(|| of(None))
            .map(|way| &way.address)
    }
}

/// How one interface, or whichever has a network, gets an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Its name, where it is given.
    pub interface: Option<String>,
    /// How.
    pub address: Address,
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
    let mut remarks = Vec::new();
    Ok(Some(Request {
        urls,
        ways: ways(cmdline, &mut remarks)?,
        mac: cmdline.value("BOOTIF").and_then(mac),
        name_servers: name_servers(cmdline, &mut remarks),
        local: cmdline.choice("rd.ramforge.local") != Some(false),
        remarks,
    }))
}

/// Every `ip=` that is about IPv4; DHCP on any interface where none is.
fn ways(cmdline: &Cmdline, remarks: &mut Vec<String>) -> Result<Vec<Way>> {
    let mut ways = Vec::new();
    for text in cmdline.values("ip") {
        match ip(text) {
            Some(Ip::Way(way)) => ways.push(way),
            Some(Ip::Nothing) => (),
            Some(Ip::Six) => {
                remarks.push(format!("ip={text} is about IPv6, which is not spoken here"))
            }
            None => {
                let expected =
                    "ip=dhcp, ip=INTERFACE:dhcp or ip=ADDRESS::GATEWAY:MASK::INTERFACE:none";
                return Err(unreadable("ip", text, expected));
            }
        }
    }
    if ways.is_empty() {
        let (interface, address) = (None, Address::Dhcp);
        ways.push(Way { interface, address });
    }
    Ok(ways)
}

fn name_servers(cmdline: &Cmdline, remarks: &mut Vec<String>) -> Vec<Ipv4Addr> {
    let read = |text: &str| {
        let server = text.parse().ok();
        if server.is_none() {
            remarks.push(format!(
                "nameserver={text} is no address of IPv4 and is not asked"
            ));
        }
        server
    };
    cmdline.values("nameserver").filter_map(read).collect()
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

/// What one `ip=` says.
#[derive(Debug, PartialEq, Eq)]
enum Ip {
    /// How there is an address.
    Way(Way),
    /// Nothing: the kernel itself is not to ask for one.
    Nothing,
    /// Something about IPv6.
    Six,
}

/// What a method says of a machine whose address is not given.
fn method(word: &str, interface: &str) -> Option<Ip> {
    match word {
        "" | "dhcp" | "on" | "any" | "auto" | "single-dhcp" | "both" | "bootp" | "rarp" => {
            let (interface, address) = (named(interface), Address::Dhcp);
            Some(Ip::Way(Way { interface, address }))
        }
        "off" | "none" => Some(Ip::Nothing),
        "dhcp6" | "auto6" | "either6" | "link6" => Some(Ip::Six),
        _ => None,
    }
}

fn named(name: &str) -> Option<String> {
    Some(name).filter(|n| !n.is_empty()).map(str::to_owned)
}

/// `METHOD`, `INTERFACE:METHOD[:MTU[:MAC]]` or `ADDRESS:PEER:GATEWAY:MASK:HOST:INTERFACE:METHOD:DNS:DNS`.
fn ip(text: &str) -> Option<Ip> {
    let fields: Vec<&str> = text.split(':').collect();
    let field = |n: usize| fields.get(n).copied().unwrap_or_default();
    let Ok(address) = field(0).parse() else {
        return match (field(0), fields.len()) {
            (word, 1) => method(word, ""),
            ("", _) => method(field(6), field(5)),
            (first, _) if first.starts_with('[') => Some(Ip::Six),
            (name, 2) => method(field(1), name),
            // An empty word would be the peer of an address that is none.
            (name, _) => Some(field(1))
                .filter(|m| !m.is_empty())
                .and_then(|m| method(m, name)),
        };
    };
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
    Some(Ip::Way(Way {
        interface: named(field(5)),
        address: Address::Static(lease),
    }))
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
        let ways = |line: &str| read(&format!("rd.kiwi.install.pxe {line}")).ways;
        let dhcp = |interface: Option<&str>| {
            let (interface, address) = (interface.map(str::to_owned), Address::Dhcp);
            Way { interface, address }
        };
        for line in [
            "",
            "ip=dhcp",
            "ip=auto",
            "ip=single-dhcp",
            "ip=::::host",
            // The kernel is not to ask; we do.
            "ip=off",
            "ip=none",
            "ip=:::::eth0:off",
        ] {
            assert_eq!(ways(line), [dhcp(None)], "{line}");
        }
        for line in [
            "ip=:::::eth1:dhcp",
            "ip=eth1:dhcp",
            "ip=eth1:on",
            "ip=eth1:dhcp:1500",
            "ip=eth1:dhcp:1500:52:54:00:12:34:56",
            "ip=eth1:dhcp ip=eth0:auto6",
        ] {
            assert_eq!(ways(line), [dhcp(Some("eth1"))], "{line}");
        }
        let fixed = ways("ip=10.0.0.5:10.0.0.1:10.0.0.2:255.255.0.0");
        let Address::Static(lease) = &fixed[0].address else {
            panic!("{fixed:?}");
        };
        let peer = (Ipv4Addr::new(10, 0, 0, 1), String::new());
        assert_eq!(lease.boot, Some(peer));
        assert_eq!(lease.gateway, Some(Ipv4Addr::new(10, 0, 0, 2)));
        let prefix = ways("ip=10.0.0.5::10.0.0.2:24:me:eth0:none:10.0.0.3");
        let Address::Static(lease) = &prefix[0].address else {
            panic!("{prefix:?}");
        };
        assert_eq!(prefix[0].interface.as_deref(), Some("eth0"));
        assert_eq!(lease.mask, Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(lease.name_servers, [Ipv4Addr::new(10, 0, 0, 3)]);
        for bad in ["ip=dhcp6x", "ip=10.0.0.5", "ip=a:b:c", "ip=a::c", "ip=ibft"] {
            let line = Cmdline::parse(&format!("rd.kiwi.install.pxe {bad}"));
            assert!(request(&line).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_interface_has_its_own_word() {
        let line = "rd.kiwi.install.pxe ip=10.0.0.5:::24::eth0:none ip=eth1:dhcp";
        let several = read(line);
        assert!(matches!(several.way("eth0"), Some(Address::Static(_))));
        assert_eq!(several.way("eth1"), Some(&Address::Dhcp));
        assert_eq!(several.way("eth2"), None);
        let last = read(&format!("{line} ip=10.0.0.6:::24"));
        assert_eq!(last.way("eth1"), Some(&Address::Dhcp));
        assert!(matches!(last.way("eth2"), Some(Address::Static(_))));
        assert!(last.remarks.is_empty());
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let line =
            "rd.kiwi.install.pxe ip=auto6 nameserver=10.0.0.3 nameserver=10.0.0 nameserver=fd00::1";
        let read = read(line);
        assert_eq!(read.name_servers, [Ipv4Addr::new(10, 0, 0, 3)]);
        let remarks = read.remarks.join("\n");
        for word in [
            "ip=auto6 is",
            "nameserver=10.0.0 is",
            "nameserver=fd00::1 is",
        ] {
            assert!(remarks.contains(word), "{word}: {remarks}");
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
