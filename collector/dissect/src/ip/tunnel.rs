//! Packets in packets. `None`: what only looks like a tunnel is a datagram like any other.

use super::{Ignored, MAX_DEPTH, Packet, be16, ether_type, ethernet, from, ip, ppp, wifi};

type Inner<'a> = Option<Result<Packet<'a>, Ignored>>;

/// What a UDP datagram to (or from) a tunnel's port carries.
pub(super) fn in_udp(src_port: u16, dst_port: u16, payload: &[u8], depth: u8) -> Inner<'_> {
    match dst_port {
        4789 | 4790 | 8472 => vxlan(payload, depth),
        6081 => geneve(payload, depth),
        2152 => gtp(payload, depth),
        5247 => capwap(payload, depth),
        // These answer from the port that they are sent to.
        _ if src_port == 5247 => capwap(payload, depth),
        _ if src_port == 5072 || dst_port == 5072 => ayiya(payload, depth),
        _ if src_port == 3544 || dst_port == 3544 => teredo(payload, depth),
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

/// draft-massar-v6ops-ayiya-02 §4: identity and signature as long as the header says, then the packet that it names.
fn ayiya(bytes: &[u8], depth: u8) -> Inner<'_> {
    let header = bytes.first_chunk::<8>()?;
    let (identity, signature) = (1 << (header[0] >> 4), usize::from(header[1] >> 4) * 4);
    let inner = bytes.get(8 + identity + signature..)?;
    let is_forwarded = header[2] & 0x0f == 1;
    (is_forwarded && matches!((header[3], inner.first()? >> 4), (41, 6) | (4, 4))).then(|| ip(inner, depth))
}

/// RFC 4380 §5.1.1: perhaps an authentication and an origin, then IPv6 to the datagram's end.
fn teredo(mut bytes: &[u8], depth: u8) -> Inner<'_> {
    if let [0, 1, identity, authentication, ..] = bytes {
        bytes = bytes.get(4 + usize::from(*identity) + usize::from(*authentication) + 9..)?;
    }
    if bytes.starts_with(&[0, 0]) {
        bytes = bytes.get(8..)?;
    }
    let header = bytes.first_chunk::<40>()?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    (header[0] >> 4 == 6 && bytes.len() <= 40 + length).then(|| ip(bytes, depth))
}

/// RFC 2784 and 2890: optional checksum, key and sequence number; version 1 is PPTP's (RFC 2637).
pub(super) fn gre(bytes: &[u8], depth: u8) -> Result<Packet<'_>, Ignored> {
    if depth > MAX_DEPTH {
        return Err(Ignored::Malformed);
    }
    let (flags, kind) = (be16(bytes, 0)?, be16(bytes, 2)?);
    let after = |header: usize, words: &[u16]| {
        from(bytes, header + words.iter().filter(|flag| flags & **flag != 0).count() * 4)
    };
    match (flags & 0x0007, kind) {
        // Without a number of its own it carries nothing but an acknowledgement.
        (1, 0x880b) if flags & 0x1000 != 0 => {
            let inner = after(4, &[0x2000, 0x1000, 0x0080])?;
            ppp(inner.strip_prefix(&[0xff, 0x03]).unwrap_or(inner), depth)
        }
        (0, _) => {
            let inner = after(4, &[0x8000, 0x2000, 0x1000])?;
            match kind {
                0x6558 => ethernet(inner, depth),
                // Mirrored by a switch (draft-foschiano-erspan-03): type I has no header, and no sequence number either.
                0x88be if flags & 0x1000 == 0 => ethernet(inner, depth),
                0x88be => ethernet(from(inner, 8)?, depth),
                // Type III, perhaps with 8 bytes of its platform.
                0x22eb => {
                    let platform = inner.get(11).ok_or(Ignored::CutShort)? & 1;
                    ethernet(from(inner, 12 + usize::from(platform) * 8)?, depth)
                }
                0x0800 | 0x86dd | 0x8847 | 0x8848 => ether_type(kind, inner, depth),
                // Aruba's access points: 802.11.
                0x8200..0x8240 => wifi(inner, depth),
                _ => Err(Ignored::OtherProtocol),
            }
        }
        _ => Err(Ignored::OtherProtocol),
    }
}
