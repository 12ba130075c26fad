//! Packets made by hand, as the RFCs have them, and a way to send them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use super::node::Net;

/// An IPv4 packet; the kernel fills in checksum and id where it is sent as it is.
pub(super) fn ip4(from: &str, to: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(from.parse::<Ipv4Addr>().unwrap().octets());
    packet.extend(to.parse::<Ipv4Addr>().unwrap().octets());
    packet.extend(payload);
    packet
}

/// An IPv6 packet.
pub(super) fn ip6(from: &str, to: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(from.parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(to.parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(payload);
    packet
}

/// A UDP datagram without checksum.
pub(super) fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = [from, to, 8 + payload.len() as u16, 0].map(u16::to_be_bytes).concat();
    packet.extend(payload);
    packet
}

/// An Ethernet frame.
pub(super) fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1]);
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Sends IPv4 packets from a host, as they are.
pub(super) fn send_raw(net: &Net, host: usize, packets: Vec<Vec<u8>>) {
    net.on(host, move || {
        let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Raw).unwrap();
        for packet in packets {
            let octets: [u8; 4] = packet[16..20].try_into().unwrap();
            let to = SockaddrIn::from(SocketAddrV4::new(octets.into(), 0));
            sendto(raw.as_raw_fd(), &packet, &to, MsgFlags::empty()).unwrap();
        }
    });
}
