//! Network interfaces (`netdevice(7)`): flags, address and routes of IPv4, and sockets of one interface.
//!
//! *Not here:* IPv6, and whatever else takes netlink.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{Errno, Result};
use rustix::ioctl::{Opcode, Setter, Updater, ioctl};

/// `SIOCADDRT`: adds a route.
const ADD_ROUTE: Opcode = 0x890b;
/// `SIOCGIFFLAGS` and `SIOCSIFFLAGS`: an interface's flags.
const GET_FLAGS: Opcode = 0x8913;
const SET_FLAGS: Opcode = 0x8914;
/// `SIOCSIFADDR` and `SIOCSIFNETMASK`: address and mask.
const SET_ADDRESS: Opcode = 0x8916;
const SET_MASK: Opcode = 0x891c;
/// `IFNAMSIZ`: room for an interface's name and its zero.
const NAME: usize = 16;
/// `IFF_UP`.
const UP: u16 = 1;
/// `RTF_UP`, `RTF_GATEWAY`, `RTF_HOST`.
const ROUTE_UP: u16 = 1;
const ROUTE_GATEWAY: u16 = 2;
const ROUTE_HOST: u16 = 4;

/// `struct sockaddr_in`, and room for any other address.
#[repr(C)]
#[derive(Clone, Copy)]
struct SocketAddress {
    family: u16,
    port: u16,
    address: [u8; 4],
    rest: [u8; 8],
}

impl SocketAddress {
    fn new(address: Ipv4Addr) -> Self {
        Self {
            family: libc::AF_INET as u16,
            port: 0,
            address: address.octets(),
            rest: [0; 8],
        }
    }
}

/// `struct ifreq` with an address.
#[repr(C)]
struct AddressRequest {
    name: [u8; NAME],
    address: SocketAddress,
    rest: [u8; 8],
}

/// `struct ifreq` with flags.
#[repr(C)]
struct FlagsRequest {
    name: [u8; NAME],
    flags: u16,
    rest: [u8; 22],
}

/// `struct rtentry`.
#[repr(C)]
struct Route {
    pad1: usize,
    destination: SocketAddress,
    gateway: SocketAddress,
    mask: SocketAddress,
    flags: u16,
    pad2: i16,
    pad3: usize,
    tos: u8,
    class: u8,
    pad4: [i16; 3],
    metric: i16,
    device: *mut c_char,
    mtu: usize,
    window: usize,
    initial_rtt: u16,
}

fn name(interface: &str) -> Result<[u8; NAME]> {
    let mut name = [0; NAME];
    let room = name.get_mut(..interface.len()).ok_or(Errno::NODEV)?;
    room.copy_from_slice(interface.as_bytes());
    match name[NAME - 1] {
        0 => Ok(name),
        _ => Err(Errno::NODEV),
    }
}

/// Switches an interface on or off. `socket` is any socket of IPv4.
///
/// # Errors
/// What the system says: ENODEV, EPERM without CAP_NET_ADMIN.
pub fn set_up(socket: impl AsFd, interface: &str, up: bool) -> Result<()> {
    let mut request = FlagsRequest {
        name: name(interface)?,
        flags: 0,
        rest: [0; 22],
    };
    // SAFETY: the kernel reads and writes one `struct ifreq`, which the request is.
    unsafe { ioctl(&socket, Updater::<GET_FLAGS, _>::new(&mut request))? };
    request.flags = match up {
        true => request.flags | UP,
        false => request.flags & !UP,
    };
    // SAFETY: the kernel reads one `struct ifreq`.
    unsafe { ioctl(&socket, Setter::<SET_FLAGS, _>::new(request)) }
}

/// Gives an interface its only address; 0.0.0.0 takes it away, and its routes with it.
///
/// # Errors
/// What the system says: ENODEV, EPERM without CAP_NET_ADMIN.
pub fn set_address(
    socket: impl AsFd,
    interface: &str,
    address: Ipv4Addr,
    mask: Ipv4Addr,
) -> Result<()> {
    let request = |address| -> Result<AddressRequest> {
        Ok(AddressRequest {
            name: name(interface)?,
            address: SocketAddress::new(address),
            rest: [0; 8],
        })
    };
    // SAFETY: the kernel reads one `struct ifreq`.
    unsafe { ioctl(&socket, Setter::<SET_ADDRESS, _>::new(request(address)?))? };
    if address.is_unspecified() {
        return Ok(());
    }
    // SAFETY: the same.
    unsafe { ioctl(&socket, Setter::<SET_MASK, _>::new(request(mask)?)) }
}

/// Routes everything through `gateway`, also where it is outside of the interface's own network.
///
/// # Errors
/// What the system says: ENODEV, EPERM without CAP_NET_ADMIN.
pub fn add_default_route(socket: impl AsFd, interface: &str, gateway: Ipv4Addr) -> Result<()> {
    let any = Ipv4Addr::UNSPECIFIED;
    let route = |to, via, flags| add_route(&socket, interface, to, via, flags);
    match route(any, gateway, ROUTE_UP | ROUTE_GATEWAY) {
        Err(Errno::NETUNREACH) => {
            route(gateway, any, ROUTE_UP | ROUTE_HOST)?;
            route(any, gateway, ROUTE_UP | ROUTE_GATEWAY)
        }
        Err(Errno::EXIST) => Ok(()),
        done => done,
    }
}

fn add_route(
    socket: impl AsFd,
    interface: &str,
    to: Ipv4Addr,
    via: Ipv4Addr,
    flags: u16,
) -> Result<()> {
    let device = CString::new(interface).map_err(|_| Errno::NODEV)?;
    let mask = match flags & ROUTE_HOST {
        0 => Ipv4Addr::UNSPECIFIED,
        _ => Ipv4Addr::BROADCAST,
    };
    let route = Route {
        pad1: 0,
        destination: SocketAddress::new(to),
        gateway: SocketAddress::new(via),
        mask: SocketAddress::new(mask),
        flags,
        pad2: 0,
        pad3: 0,
        tos: 0,
        class: 0,
        pad4: [0; 3],
        metric: 0,
        device: device.as_ptr().cast_mut(),
        mtu: 0,
        window: 0,
        initial_rtt: 0,
    };
    // SAFETY: the kernel reads one `struct rtentry` and the name behind `device`, which outlives the call.
    unsafe { ioctl(socket, Setter::<ADD_ROUTE, _>::new(route)) }
}

/// Has a socket send and receive through one interface only, whatever the routes are.
///
/// # Errors
/// What the system says: ENODEV, EPERM without CAP_NET_RAW.
pub fn bind_to_interface(socket: impl AsFd, interface: &str) -> Result<()> {
    let name = name(interface)?;
    // SAFETY: the kernel reads `NAME` bytes from `name`.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            NAME as libc::socklen_t,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_as_long_as_the_kernels() {
        assert_eq!(size_of::<AddressRequest>(), size_of::<libc::ifreq>());
        assert_eq!(size_of::<FlagsRequest>(), size_of::<libc::ifreq>());
        assert_eq!(size_of::<Route>(), size_of::<libc::rtentry>());
    }

    #[test]
    fn a_name_that_is_too_long_is_no_interface() {
        assert!(name("eth0").is_ok() && name("fifteen-letters").is_ok());
        assert_eq!(name("sixteen--letters"), Err(Errno::NODEV));
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(set_up(&socket, "no-such-device", true).is_err());
        assert!(bind_to_interface(&socket, "no-such-device").is_err());
    }
}
