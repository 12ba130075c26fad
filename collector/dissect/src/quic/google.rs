//! Google's QUIC before it was TLS: versions `Q039` to `Q048` send their client hello (CHLO) in clear, `Q050` inside
//! CRYPTO frames. Its tags have the name that the client asks for.

use super::version;

/// How far behind the header a CHLO may begin: packet number, hash, frames in front of its own.
const LOOK: usize = 64;
const MAX_TAGS: usize = 128;

/// What the header of such a packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) version: u32,
    pub(super) connection_id: &'a [u8],
    pub(super) hello: Hello<'a>,
}

/// What a CHLO asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello<'a> {
    pub(super) sni: Option<&'a [u8]>,
}

/// A client's packet in clear with a CHLO in it.
pub(super) fn packet(bytes: &[u8]) -> Option<Packet<'_>> {
    let (flags, rest) = bytes.split_first()?;
    let (version, connection_id, rest) = if flags & 0x80 != 0 {
        // Q046 to Q048: the IETF's header as it was then, both lengths in one byte, three less than they are.
        let (version, rest) = version_in(rest)?;
        let (lengths, rest) = rest.split_first()?;
        let length = |nibble: u8| usize::from(if nibble == 0 { 0 } else { nibble + 3 });
        let (dcid, rest) = rest.split_at_checked(length(lengths >> 4))?;
        (version, dcid, rest.get(length(lengths & 15)..)?)
    } else {
        // Up to Q043: a version, and a connection id of eight bytes.
        if flags & 0x09 != 0x09 || flags & 0x80 != 0 {
            return None;
        }
        let (id, rest) = rest.split_at_checked(8)?;
        let (version, rest) = version_in(rest)?;
        (version, id, rest)
    };
    let at = rest.get(..rest.len().min(LOOK))?.windows(4).position(|tag| tag == b"CHLO")?;
    Some(Packet { version, connection_id, hello: hello(&rest[at..])? })
}

/// A handshake message: its tag, how many tags it has, where each one's value ends, the values; little-endian.
pub(super) fn hello(message: &[u8]) -> Option<Hello<'_>> {
    let rest = message.strip_prefix(b"CHLO")?;
    let (head, rest) = rest.split_first_chunk::<4>()?;
    let count = usize::from(u16::from_le_bytes([head[0], head[1]]));
    if count > MAX_TAGS {
        return None;
    }
    let (index, values) = rest.split_at_checked(count * 8)?;
    let mut start = 0;
    let mut sni = None;
    for entry in index.chunks_exact(8) {
        let end = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]) as usize;
        if end < start {
            return None;
        }
        if &entry[..4] == b"SNI\0" {
            sni = values.get(start..end);
        }
        start = end;
    }
    Some(Hello { sni })
}

/// Whether a message that begins so is whole; `None` where it is none of these.
pub(super) fn is_whole(message: &[u8]) -> Option<bool> {
    let head = message.get(..8)?;
    if &head[..4] != b"CHLO" {
        return None;
    }
    let count = usize::from(u16::from_le_bytes([head[4], head[5]]));
    let last = message.get(8 + count.checked_sub(1)? * 8..).and_then(|entry| entry.get(4..8));
    let Some(last) = last else { return Some(false) };
    let values = u32::from_le_bytes([last[0], last[1], last[2], last[3]]) as usize;
    Some(message.len() >= 8 + count * 8 + values)
}

fn version_in(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    let version = u32::from_be_bytes(*number);
    let digits = number[1..].iter().all(u8::is_ascii_digit);
    (version::is_google_crypto(version) && digits).then_some((version, rest))
}
