//! Packets in packets. `None`: what only looks like a tunnel is a datagram like any other.

use super::{Ignored, MAX_DEPTH, Packet, be16, ether_type, ethernet, from, ip, wifi};

type Inner<'a> = Option<Result<Packet<'a>, Ignored>>;

/// What a UDP datagram to (or from) a tunnel's port carries.
pub(super) fn in_udp(src_port: u16, dst_port: u16, payload: &[u8], depth: u8) -> Inner<'_> {
    match dst_port {
        4789 | 4790 | 8472 => vxlan(payload, depth),
        6081 => geneve(payload, depth),
        2152 => gtp(payload, depth),
        5247 => capwap(payload, depth),
        // The access controller answers from the port that the access point sends to.
        _ if src_port == 5247 => capwap(payload, depth),
        _ => None,
    }
}

/// RFC 7348: the flag that says the network id is valid, and no other but the one of group policies; then Ethernet, or
/// what the generic protocol extension names.
fn vxlan(bytes: &[u8], depth: u8) -> Inner<'_> {
    let header = bytes.first_chunk::<8>()?;
    if header[7] != 0 {
        return None;
    }
    match (header[0] & 0x7f, header[3]) {
        (0x08, _) | (0x0c, 3) => Some(ethernet(&bytes[8..], depth)),
        (0x0c, 1 | 2) => Some(ip(&bytes[8..], depth)),
        _ => None,
    }
}

/// RFC 8926: version 0, options in words of 4 bytes, then what `protocol type` says.
fn geneve(bytes: &[u8], depth: u8) -> Inner<'_> {
    let header = bytes.first_chunk::<8>()?;
    if header[0] >> 6 != 0 || header[7] != 0 {
        return None;
    }
    let inner = bytes.get(8 + usize::from(header[0] & 0x3f) * 4..)?;
    match u16::from_be_bytes([header[2], header[3]]) {
        0x6558 => Some(ethernet(inner, depth)),
        kind @ (0x0800 | 0x86dd) => Some(ether_type(kind, inner, depth)),
        _ => None,
    }
}

/// 3GPP TS 29.281: version 1, a G-PDU, perhaps with extension headers; then IP.
fn gtp(bytes: &[u8], depth: u8) -> Inner<'_> {
    let header = bytes.first_chunk::<8>()?;
    if header[0] & 0xf0 != 0x30 || header[1] != 0xff {
        return None;
    }
    let mut at = if header[0] & 0x07 > 0 { 12 } else { 8 };
    let mut next = if header[0] & 0x04 == 0 { 0 } else { *bytes.get(11)? };
    while next != 0 {
        let length = usize::from(*bytes.get(at)?).max(1) * 4;
        next = *bytes.get(at + length - 1)?;
        at += length;
    }
    Some(ip(bytes.get(at..)?, depth))
}

/// RFC 5415 §4.3: a whole, unencrypted data packet; 802.3 or, by the flag T, 802.11.
fn capwap(bytes: &[u8], depth: u8) -> Inner<'_> {
    let header = bytes.first_chunk::<8>()?;
    let (length, native, fragment) =
        (usize::from(header[1] >> 3) * 4, header[2] & 1 != 0, header[3] & 0x80 != 0);
    if header[0] != 0 || length < 8 || fragment {
        return None;
    }
    let inner = bytes.get(length..)?;
    Some(if native { wifi(inner, depth) } else { ethernet(inner, depth) })
}

/// RFC 2784 and 2890: optional checksum, key and sequence number.
pub(super) fn gre(bytes: &[u8], depth: u8) -> Result<Packet<'_>, Ignored> {
    let (flags, kind) = (be16(bytes, 0)?, be16(bytes, 2)?);
    if flags & 0x0007 != 0 {
        return Err(Ignored::OtherProtocol);
    }
    let options = [0x8000, 0x2000, 0x1000].iter().filter(|flag| flags & **flag != 0).count();
    let inner = from(bytes, 4 + options * 4)?;
    match kind {
        0x6558 if depth <= MAX_DEPTH => ethernet(inner, depth),
        0x0800 | 0x86dd => ip(inner, depth),
        _ => Err(Ignored::OtherProtocol),
    }
}
