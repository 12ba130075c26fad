//! A captured packet → its two ends, its transport header and its payload.
//!
//! Goes through link layers (Ethernet, Linux cooked, loopback, PPP, raw IP), tags (VLAN, MPLS, VN-Tag, 802.1ah), IPv6
//! extension headers and tunnels (`tunnel.rs`: VXLAN, GENEVE, GRE, ERSPAN, PPTP, GTP-U, CAPWAP, AYIYA, Teredo; IP in
//! IP): the innermost packet is what counts, because that is what the two ends sent each other. Fragments are told by
//! name, not put together. Never here: state between packets.

mod tunnel;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Tunnels in tunnels end here.
const MAX_DEPTH: u8 = 8;
/// LLC/SNAP's header in front of an Ethernet type.
const SNAP: [u8; 6] = [0xaa, 0xaa, 0x03, 0, 0, 0];

/// Link types, by their number in capture files (<https://www.tcpdump.org/linktypes.html>).
pub mod link {
    /// BSD loopback: address family in the capturing host's byte order.
    pub const NULL: u32 = 0;
    /// Ethernet.
    pub const ETHERNET: u32 = 1;
    /// PPP, with or without HDLC framing.
    pub const PPP: u32 = 9;
    /// IP without a link layer, as some systems number it.
    pub const RAW_12: u32 = 12;
    /// The same, elsewhere.
    pub const RAW_14: u32 = 14;
    /// PPP in HDLC-like framing (RFC 1662).
    pub const PPP_HDLC: u32 = 50;
    /// IP without a link layer.
    pub const RAW: u32 = 101;
    /// 802.11, as it is in the air.
    pub const IEEE802_11: u32 = 105;
    /// 802.11 behind a radiotap header.
    pub const RADIOTAP: u32 = 127;
    /// OpenBSD loopback: address family in network byte order.
    pub const LOOP: u32 = 108;
    /// Linux cooked capture (`any` device), version 1.
    pub const LINUX_SLL: u32 = 113;
    /// IPv4 without a link layer.
    pub const IPV4: u32 = 228;
    /// IPv6 without a link layer.
    pub const IPV6: u32 = 229;
    /// Linux cooked capture, version 2.
    pub const LINUX_SLL2: u32 = 276;
}

/// One packet between two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Who sent it (an IPv4-mapped IPv6 address is an IPv4 address).
    pub src: IpAddr,
    /// Whom it was sent to.
    pub dst: IpAddr,
    /// The transport header, and the ports in it.
    pub transport: Transport,
    /// As much of the transport's payload as was captured.
    pub payload: &'a [u8],
    /// How long the payload was on the wire, in bytes, by the IP header.
    pub payload_length: usize,
}

/// The header above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp {
        /// Sender's port.
        src_port: u16,
        /// Receiver's port.
        dst_port: u16,
    },
    /// SCTP: the payload is its chunks (see [`crate::sctp`]).
    Sctp {
        /// Sender's port.
        src_port: u16,
        /// Receiver's port.
        dst_port: u16,
    },
}

/// What a TCP header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Sender's port.
    pub src_port: u16,
    /// Receiver's port.
    pub dst_port: u16,
    /// Sequence number of the first payload byte (of the SYN, where there is one).
    pub sequence: u32,
    /// Next byte that the sender expects; only with [`Tcp::ACK`].
    pub acknowledged: u32,
    /// The flags, as on the wire.
    pub flags: u8,
}

impl Tcp {
    /// The sender is through.
    pub const FIN: u8 = 0x01;
    /// The connection begins.
    pub const SYN: u8 = 0x02;
    /// The connection is torn down.
    pub const RST: u8 = 0x04;
    /// `acknowledged` holds.
    pub const ACK: u8 = 0x10;

    /// Whether all of `flags` are set.
    pub fn has(self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

/// Why a packet is no part of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ignored {
    /// The capture's link type is not one of [`link`].
    LinkType(u32),
    /// Not IP: ARP, LLDP and the like.
    NotIp,
    /// IP, but neither TCP, UDP nor SCTP: ICMP, IGMP, OSPF, ESP and so on.
    OtherProtocol,
    /// A fragment after the first: it has no ports.
    Fragment,
    /// The capture cut it before the end of its headers.
    CutShort,
    /// A header contradicts itself.
    Malformed,
}

impl Ignored {
    /// The reason as a counter's label.
    pub fn reason(self) -> &'static str {
        match self {
            Ignored::LinkType(_) => "unknown_link_type",
            Ignored::NotIp => "not_ip",
            Ignored::OtherProtocol => "other_protocol",
            Ignored::Fragment => "fragment",
            Ignored::CutShort => "cut_short",
            Ignored::Malformed => "malformed",
        }
    }
}

/// Reads a captured packet of a link type.
///
/// # Errors
/// [`Ignored`], which is the normal fate of much that a network carries.
pub fn packet(link_type: u32, bytes: &[u8]) -> Result<Packet<'_>, Ignored> {
    match link_type {
        link::ETHERNET => ethernet(bytes, 0),
        link::RAW | link::RAW_12 | link::RAW_14 | link::IPV4 | link::IPV6 => ip(bytes, 0),
        link::LINUX_SLL => ether_type(be16(bytes, 14)?, from(bytes, 16)?, 0),
        link::LINUX_SLL2 => ether_type(be16(bytes, 0)?, from(bytes, 20)?, 0),
        link::NULL | link::LOOP => {
            // The family's number differs by system and byte order; IP's own version field doesn't.
            let inner = from(bytes, 4)?;
            match inner.first().map(|first| first >> 4) {
                Some(4 | 6) => ip(inner, 0),
                _ => Err(Ignored::NotIp),
            }
        }
        link::PPP | link::PPP_HDLC => ppp(bytes.strip_prefix(&[0xff, 0x03]).unwrap_or(bytes), 0),
        link::IEEE802_11 => wifi(bytes, 0),
        link::RADIOTAP => wifi(from(bytes, usize::from(be16(bytes, 2)?.swap_bytes()))?, 0),
        other => Err(Ignored::LinkType(other)),
    }
}

fn ethernet(bytes: &[u8], depth: u8) -> Result<Packet<'_>, Ignored> {
    ether_type(be16(bytes, 12)?, from(bytes, 14)?, depth)
}

fn ether_type(mut kind: u16, mut bytes: &[u8], depth: u8) -> Result<Packet<'_>, Ignored> {
    loop {
        match kind {
            0x0800 | 0x86dd => return ip(bytes, depth),
            // 802.1Q, 802.1ad and its predecessor, stacked as deep as they like.
            0x8100 | 0x88a8 | 0x9100 => (kind, bytes) = (be16(bytes, 2)?, from(bytes, 4)?),
            0x8847 | 0x8848 => {
                let bottom = be16(bytes, 2)? & 0x0100 != 0;
                bytes = from(bytes, 4)?;
                if bottom {
                    return ip(bytes, depth);
                }
            }
            0x8864 => return ppp(from(bytes, 6)?, depth),
            // A switch's VN-Tag (802.1BR), and a provider's whole frame around the customer's (802.1ah).
            0x8926 => (kind, bytes) = (be16(bytes, 4)?, from(bytes, 6)?),
            0x88e7 if depth < MAX_DEPTH => return ethernet(from(bytes, 4)?, depth + 1),
            // A length: IEEE 802.3, and the type follows in LLC/SNAP.
            0..0x0600 if bytes.starts_with(&SNAP) => (kind, bytes) = (be16(bytes, 6)?, from(bytes, 8)?),
            _ => return Err(Ignored::NotIp),
        }
    }
}

fn ppp(bytes: &[u8], depth: u8) -> Result<Packet<'_>, Ignored> {
    // The protocol's number may be compressed to one byte, which is then odd.
    let (protocol, inner) = match bytes.first() {
        Some(odd) if odd & 1 == 1 => (u16::from(*odd), from(bytes, 1)?),
        _ => (be16(bytes, 0)?, from(bytes, 2)?),
    };
    match protocol {
        0x0021 | 0x0057 => ip(inner, depth),
        _ => Err(Ignored::NotIp),
    }
}

/// 802.11: only unencrypted data frames carry IP. Their header's length depends on flags that some captures hold in
/// swapped order, so we look for what must follow it: LLC/SNAP of an Ethernet type.
fn wifi(bytes: &[u8], depth: u8) -> Result<Packet<'_>, Ignored> {
    let at = [24, 26, 28, 30, 32, 36].into_iter().find(|at| bytes.get(*at..*at + 6) == Some(&SNAP));
    let at = at.ok_or(Ignored::NotIp)?;
    ether_type(be16(bytes, at + 6)?, from(bytes, at + 8)?, depth)
}

fn ip(bytes: &[u8], depth: u8) -> Result<Packet<'_>, Ignored> {
    if depth > MAX_DEPTH {
        return Err(Ignored::Malformed);
    }
    match bytes.first().ok_or(Ignored::CutShort)? >> 4 {
        4 => ipv4(bytes, depth),
        6 => ipv6(bytes, depth),
        _ => Err(Ignored::NotIp),
    }
}

fn ipv4(bytes: &[u8], depth: u8) -> Result<Packet<'_>, Ignored> {
    let header = bytes.first_chunk::<20>().ok_or(Ignored::CutShort)?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    // Zero: segmentation was left to the network card, and the capture's length is all we have.
    let total = match usize::from(u16::from_be_bytes([header[2], header[3]])) {
        0 => bytes.len(),
        total => total,
    };
    if header_length < 20 || total < header_length {
        return Err(Ignored::Malformed);
    }
    if u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0 {
        return Err(Ignored::Fragment);
    }
    let src = IpAddr::V4(Ipv4Addr::new(header[12], header[13], header[14], header[15]));
    let dst = IpAddr::V4(Ipv4Addr::new(header[16], header[17], header[18], header[19]));
    // What follows the datagram in the frame is padding.
    let content = from(&bytes[..total.min(bytes.len())], header_length)?;
    transport(header[9], src, dst, content, total - header_length, depth)
}

fn ipv6(bytes: &[u8], depth: u8) -> Result<Packet<'_>, Ignored> {
    let header = bytes.first_chunk::<40>().ok_or(Ignored::CutShort)?;
    let mut length = match usize::from(u16::from_be_bytes([header[4], header[5]])) {
        0 => bytes.len() - 40,
        length => length,
    };
    let mut address = [0; 16];
    address.copy_from_slice(&header[8..24]);
    let src = Ipv6Addr::from(address).to_canonical();
    address.copy_from_slice(&header[24..40]);
    let dst = Ipv6Addr::from(address).to_canonical();
    let mut next = header[6];
    let mut content = &bytes[40..bytes.len().min(40 + length)];
    loop {
        let skip = match next {
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6.
            0 | 43 | 60 | 135 | 139 | 140 => (usize::from(*content.get(1).ok_or(Ignored::CutShort)?) + 1) * 8,
            // Authentication counts in 4 bytes.
            51 => (usize::from(*content.get(1).ok_or(Ignored::CutShort)?) + 2) * 4,
            44 => {
                if be16(content, 2)? & 0xfff8 != 0 {
                    return Err(Ignored::Fragment);
                }
                8
            }
            _ => return transport(next, src, dst, content, length, depth),
        };
        next = *content.first().ok_or(Ignored::CutShort)?;
        content = from(content, skip)?;
        length = length.checked_sub(skip).ok_or(Ignored::Malformed)?;
    }
}

fn transport(
    protocol: u8,
    src: IpAddr,
    dst: IpAddr,
    bytes: &[u8],
    length: usize,
    depth: u8,
) -> Result<Packet<'_>, Ignored> {
    match protocol {
        6 => {
            let header = bytes.first_chunk::<20>().ok_or(Ignored::CutShort)?;
            let header_length = usize::from(header[12] >> 4) * 4;
            if header_length < 20 || length < header_length {
                return Err(Ignored::Malformed);
            }
            let tcp = Tcp {
                src_port: u16::from_be_bytes([header[0], header[1]]),
                dst_port: u16::from_be_bytes([header[2], header[3]]),
                sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
                acknowledged: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
                flags: header[13],
            };
            // Options may be cut off: the ports and the length are still true.
            let payload = bytes.get(header_length..).unwrap_or_default();
            let payload_length = length - header_length;
            Ok(Packet { src, dst, transport: Transport::Tcp(tcp), payload, payload_length })
        }
        17 => udp(src, dst, bytes, length, depth),
        132 => {
            // Ports, verification tag, checksum; then chunks.
            let header = bytes.first_chunk::<12>().ok_or(Ignored::CutShort)?;
            let (src_port, dst_port) =
                (u16::from_be_bytes([header[0], header[1]]), u16::from_be_bytes([header[2], header[3]]));
            let payload_length = length.checked_sub(12).ok_or(Ignored::Malformed)?;
            let transport = Transport::Sctp { src_port, dst_port };
            Ok(Packet { src, dst, transport, payload: &bytes[12..], payload_length })
        }
        4 | 41 => ip(bytes, depth + 1),
        47 => tunnel::gre(bytes, depth + 1),
        _ => Err(Ignored::OtherProtocol),
    }
}

fn udp(src: IpAddr, dst: IpAddr, bytes: &[u8], length: usize, depth: u8) -> Result<Packet<'_>, Ignored> {
    let header = bytes.first_chunk::<8>().ok_or(Ignored::CutShort)?;
    let (src_port, dst_port) =
        (u16::from_be_bytes([header[0], header[1]]), u16::from_be_bytes([header[2], header[3]]));
    // Zero in a jumbogram, and with segmentation left to the card.
    let datagram = match usize::from(u16::from_be_bytes([header[4], header[5]])) {
        0..8 => length,
        datagram => datagram.min(length),
    };
    let payload = &bytes[8..datagram.clamp(8, bytes.len())];
    let payload_length = datagram.saturating_sub(8);
    // What only looks like a tunnel is a datagram like any other.
    tunnel::in_udp(src_port, dst_port, payload, depth + 1).unwrap_or(Ok(Packet {
        src,
        dst,
        transport: Transport::Udp { src_port, dst_port },
        payload,
        payload_length,
    }))
}

fn from(bytes: &[u8], at: usize) -> Result<&[u8], Ignored> {
    bytes.get(at..).ok_or(Ignored::CutShort)
}

fn be16(bytes: &[u8], at: usize) -> Result<u16, Ignored> {
    match bytes.get(at..at + 2) {
        Some(pair) => Ok(u16::from_be_bytes([pair[0], pair[1]])),
        None => Err(Ignored::CutShort),
    }
}

#[cfg(test)]
mod tests;
