//! QUIC's long headers (RFC 8999, RFC 9000 §17.2): what can be read before anything is decrypted.

use super::version;

/// Longest connection id of the versions that we know.
pub(super) const MAX_CID: usize = 20;

/// A packet with a long header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Long<'a> {
    pub(super) version: u32,
    pub(super) dcid: &'a [u8],
    pub(super) scid: &'a [u8],
    pub(super) kind: Kind,
    /// The packet alone, without those that share its datagram.
    pub(super) bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Where its packet number begins.
    Initial {
        number_at: usize,
    },
    ZeroRtt,
    Handshake,
    Retry,
    VersionNegotiation,
}

/// Reads the packet that `bytes` begin with. `None`: no long header, or one that breaks off.
pub(super) fn long(bytes: &[u8]) -> Option<Long<'_>> {
    let (head, mut rest) = bytes.split_first_chunk::<5>()?;
    if head[0] & 0x80 == 0 {
        return None;
    }
    let version = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let dcid = connection_id(&mut rest)?;
    let scid = connection_id(&mut rest)?;
    let packet = |kind, bytes| Some(Long { version, dcid, scid, kind, bytes });
    if version == version::NEGOTIATION {
        // At least one version, four bytes each.
        return if rest.len() >= 4 && rest.len() % 4 == 0 {
            packet(Kind::VersionNegotiation, bytes)
        } else {
            None
        };
    }
    let mut kind = head[0] >> 4 & 3;
    if version::has_types_of_version_2(version) {
        kind = kind.wrapping_sub(1) & 3;
    }
    if kind == 3 {
        return packet(Kind::Retry, bytes);
    }
    if kind == 0 {
        let token = usize::try_from(varint(&mut rest)?).ok()?;
        rest = rest.get(token..)?;
    }
    let length = usize::try_from(varint(&mut rest)?).ok()?;
    let number_at = bytes.len() - rest.len();
    // A datagram that the capture cut short may end in the middle of a packet: no use to anyone.
    let whole = bytes.get(..number_at.checked_add(length)?)?;
    packet(
        match kind {
            0 => Kind::Initial { number_at },
            1 => Kind::ZeroRtt,
            _ => Kind::Handshake,
        },
        whole,
    )
}

/// A variable-length integer (RFC 9000 §16), taken off `bytes`.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let length = 1 << (first >> 6);
    let (number, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    let start = u64::from(first & 0x3f);
    Some(number[1..].iter().fold(start, |value, byte| value << 8 | u64::from(*byte)))
}

fn connection_id<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first()?;
    let (id, rest) = rest.split_at_checked(usize::from(*length))?;
    *bytes = rest;
    (id.len() <= MAX_CID).then_some(id)
}
