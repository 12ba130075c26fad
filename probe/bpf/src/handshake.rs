//! Which datagrams are of a QUIC or DTLS handshake.
//!
//! Any other datagram costs a look at its first byte. A flow's first datagram must prove what it is: a client's QUIC Initial
//! is as long as RFC 9000 §14.1 makes it, a DTLS hello says so in clear. What follows is known by its first bytes, and
//! only what a bystander can read of it, or what shows that the handshake is over, is handed on: of QUIC the Initials, the
//! Retry, the answer to an unknown version, what the client says until its first 1-RTT packet; of DTLS all records up to
//! the first data. At most [`HANDSHAKE_DATAGRAMS`] in about half a minute, since a port may be used for one connection
//! after the other. Never here: reading any of it, which is user space's.
//!
//! Left out: Google's own QUIC in clear, and DTLS inside TURN's channels.

use weir_abi::{HANDSHAKE_DATAGRAMS, Lost, UdpFlow};

use crate::datagram::Part;
use crate::{exchange, kernel};

/// Bytes of a datagram that decide: as far as the type of a DTLS message. Nothing shorter is of a handshake, but for a
/// QUIC packet that nobody could read.
pub const PEEK: usize = 14;

// [`UdpFlow::handshake`].
const QUIC: u8 = 1;
const DTLS: u8 = 2;
/// The client is this end.
const CLIENT_IS_OURS: u8 = 4;
/// It is over, as far as it shows; another one may begin.
const OVER: u8 = 8;

const RECORD_CHANGE_CIPHER_SPEC: u8 = 20;
const RECORD_HANDSHAKE: u8 = 22;
const RECORD_APPLICATION_DATA: u8 = 23;
const QUIC_VERSION_2: u32 = 0x6b33_43cf;
/// A client pads its Initials to so much (RFC 9000 §14.1).
const INITIAL_BYTES: u32 = 1_200;

/// Whether anything of the datagram must be looked at besides its first byte.
#[inline(always)]
pub fn may_be(first: u8, flow: &UdpFlow) -> bool {
    let is_going_on = flow.handshake != 0 && flow.handshake & OVER == 0;
    first >= 0xc0 || first == RECORD_HANDSHAKE || (is_going_on && first < 0x80)
}

/// What of a datagram is wanted, that begins with `bytes` and is `len` bytes long.
#[inline(always)]
pub fn wanted(flow: &mut UdpFlow, bytes: &[u8; PEEK], len: u32, sent: bool) -> Result<Option<Part>, Lost> {
    let part = match bytes[0] {
        0xc0..=0xff => long(flow, bytes, len, sent),
        0x40..=0x7f => short(flow, sent),
        0x20..=0x3f => unified(flow, sent),
        RECORD_CHANGE_CIPHER_SPEC..=RECORD_APPLICATION_DATA => record(flow, bytes, sent),
        _ => None,
    };
    if part.is_none() {
        return Ok(None);
    }
    let window = (kernel::now() >> 35) as u8;
    if flow.window != window {
        flow.window = window;
        flow.handed_on = 0;
    }
    if flow.handed_on >= HANDSHAKE_DATAGRAMS {
        return Err(Lost::HandshakeDatagrams);
    }
    flow.handed_on += 1;
    if exchange::ring_use(8) {
        return Err(Lost::ChunkShed);
    }
    Ok(part)
}

#[inline(always)]
fn is_going_on(flow: &UdpFlow, protocol: u8) -> bool {
    flow.handshake & protocol != 0 && flow.handshake & OVER == 0
}

#[inline(always)]
fn is_by_client(flow: &UdpFlow, sent: bool) -> bool {
    sent == (flow.handshake & CLIENT_IS_OURS != 0)
}

#[inline(always)]
fn begin(flow: &mut UdpFlow, protocol: u8, client_is_ours: bool) {
    flow.handshake = protocol | if client_is_ours { CLIENT_IS_OURS } else { 0 };
}

/// A QUIC packet with a long header (RFC 8999): type and version, connection ids.
#[inline(always)]
fn long(flow: &mut UdpFlow, bytes: &[u8; PEEK], len: u32, sent: bool) -> Option<Part> {
    let version = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
    let kind = bytes[0] >> 4 & 3;
    // Version 2 numbers the types one further (RFC 9369 §3.2), so that nobody relies on them.
    let kind = if version == QUIC_VERSION_2 { kind.wrapping_sub(1) & 3 } else { kind };
    let goes_on = is_going_on(flow, QUIC);
    match (version, kind) {
        // The server speaks none of what it was asked in.
        (0, _) => (goes_on && !is_by_client(flow, sent)).then_some(Part::All),
        (_, 0) if goes_on => Some(Part::All),
        (_, 0) => {
            // The server's late Initials are of the handshake that is over.
            let is_late = flow.handshake & QUIC != 0 && !is_by_client(flow, sent);
            let id_len = bytes[5];
            if is_late || len < INITIAL_BYTES || !(8..=20).contains(&id_len) {
                return None;
            }
            begin(flow, QUIC, sent);
            Some(Part::All)
        }
        // The client's end of the handshake, which its first 1-RTT packet may share the datagram with.
        (_, 2) => (goes_on && is_by_client(flow, sent)).then_some(Part::All),
        // Retry.
        (_, 3) => (goes_on && !is_by_client(flow, sent)).then_some(Part::All),
        _ => None,
    }
}

/// A QUIC packet with a short header: when the client sends one its handshake is done.
#[inline(always)]
fn short(flow: &mut UdpFlow, sent: bool) -> Option<Part> {
    if !is_going_on(flow, QUIC) || !is_by_client(flow, sent) {
        return None;
    }
    flow.handshake |= OVER;
    Some(Part::Head)
}

/// A DTLS record with its plain header.
#[inline(always)]
fn record(flow: &mut UdpFlow, bytes: &[u8; PEEK], sent: bool) -> Option<Part> {
    const CLIENT_HELLO: u8 = 1;
    const HELLO_VERIFY_REQUEST: u8 = 3;
    if bytes[1] != 0xfe || bytes[2] < 0xfc {
        return None;
    }
    if !is_going_on(flow, DTLS) {
        let (epoch, message) = ([bytes[3], bytes[4]], bytes[13]);
        let is_hello = (CLIENT_HELLO..=HELLO_VERIFY_REQUEST).contains(&message);
        if bytes[0] != RECORD_HANDSHAKE || epoch != [0, 0] || !is_hello {
            return None;
        }
        begin(flow, DTLS, sent == (message == CLIENT_HELLO));
    }
    if bytes[0] == RECORD_APPLICATION_DATA {
        flow.handshake |= OVER;
        return Some(Part::Head);
    }
    Some(Part::All)
}

/// A DTLS 1.3 record with its short header: all is encrypted; the client's first ends the handshake.
#[inline(always)]
fn unified(flow: &mut UdpFlow, sent: bool) -> Option<Part> {
    if !is_going_on(flow, DTLS) || !is_by_client(flow, sent) {
        return None;
    }
    flow.handshake |= OVER;
    Some(Part::Head)
}
