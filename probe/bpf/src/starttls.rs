//! Connections that begin in clear and may turn to TLS: SMTP, FTP, IMAP, POP3, MySQL, PostgreSQL, LDAP.
//!
//! Only what can be one of them by its first bytes is watched: of each segment the first bytes are looked at for a
//! TLS handshake, for `WATCH_SEGMENTS` and `WATCH_BYTES` of a direction; then both are over. Nothing in clear is
//! copied: copying begins where TLS does, which is at the beginning of a segment, as both ends wait for each other
//! before they turn (MySQL's client alone may not). If the first segment of a hello comes after another of its, that
//! one is missing: it is counted.

use aya_ebpf::bindings::__sk_buff;
use weir_abi::{Lost, SIDE_CLIENT, SIDE_SERVER};

use crate::hello::{RECORD_HANDSHAKE, Segment};
use crate::maps::{ConnState, STREAM_COPYING, STREAM_DONE, STREAM_NEW, STREAM_WATCHED};
use crate::packet::load;

/// Most segments of a direction that are looked at; who greets longer doesn't turn.
const WATCH_SEGMENTS: u8 = 64;
/// Most bytes of a direction within which it may turn.
const WATCH_BYTES: u32 = 1 << 16;
/// MySQL's SSLRequest: header and body, sent by the client before its hello, maybe in the same segment.
const MYSQL_SSL_REQUEST: u32 = 36;
const RECORD_ALERT: u8 = 0x15;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// The state of a direction whose first bytes are known and are not TLS.
#[inline(always)]
pub fn first_state(state: &ConnState, lane: usize) -> u8 {
    let other = state.stream[1 - (lane & 1)];
    let may_turn = other == STREAM_WATCHED || (other == STREAM_NEW && opens(state, lane));
    if may_turn { STREAM_WATCHED } else { STREAM_DONE }
}

/// Whether these are the first bytes of the end that speaks first in a protocol that may turn to TLS.
#[inline(always)]
fn opens(state: &ConnState, lane: usize) -> bool {
    if lane == usize::from(SIDE_CLIENT) {
        let head = &state.heads.bytes[0];
        // LDAP: a BER sequence. PostgreSQL: SSLRequest.
        return head[0] == 0x30 || head[..8] == [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
    }
    let head = &state.heads.bytes[1];
    match [head[0], head[1], head[2], head[3]] {
        [b'2', b'2', b'0', b' ' | b'-'] | [b'*', b' ', b'O', b'K'] | [b'+', b'O', b'K', _] => true,
        // MySQL: length, sequence number 0, protocol version 10, the server's version in digits.
        [_, _, 0, 0] => head[4] == 10 && head[5].is_ascii_digit(),
        _ => false,
    }
}

/// Looks at a segment of a watched direction. If TLS begins here, the segment is cut to it, the direction is to be
/// copied and this is true.
#[inline(always)]
pub fn turns(
    skb: *mut __sk_buff,
    state: &mut ConnState,
    lane: usize,
    segment: &mut Segment,
) -> Result<bool, Lost> {
    let looked = state.looked[lane];
    if looked >= WATCH_SEGMENTS || segment.offset >= WATCH_BYTES {
        state.stream[lane] = STREAM_DONE;
        if state.stream[1 - (lane & 1)] == STREAM_WATCHED {
            state.stream[1 - (lane & 1)] = STREAM_DONE;
        }
        return Ok(false);
    }
    state.looked[lane] = looked + 1;
    let is_client = lane == usize::from(SIDE_CLIENT);
    let shares = is_client
        && segment.offset == 0
        && segment.len > MYSQL_SSL_REQUEST
        && state.heads.bytes[0][..4] == [32, 0, 0, 1];
    let skip = if shares { MYSQL_SSL_REQUEST } else { 0 };
    let record = if segment.len - skip < 7 { [0; 7] } else { load::<[u8; 7]>(skb, segment.at + skip)? };
    let is_version = record[1] == 3 && record[2] <= 4;
    let hello = if is_client { CLIENT_HELLO } else { SERVER_HELLO };
    let is_hello = record[0] == RECORD_HANDSHAKE && record[3] <= 0x48 && record[5] == hello && record[6] == 0;
    // The server may refuse what the client said.
    let is_alert = record[0] == RECORD_ALERT
        && record[3] == 0
        && record[4] == 2
        && lane == usize::from(SIDE_SERVER)
        && state.begun_at[0] != 0;
    // A position of 0 would mean that nothing came before TLS, and is none of ours.
    let begun_at = segment.offset + skip;
    if !is_version || !(is_hello || is_alert) || begun_at == 0 || begun_at >= WATCH_BYTES {
        let end = segment.offset + segment.len;
        if end > state.copied[lane] {
            state.copied[lane] = end;
        }
        return Ok(false);
    }
    if state.copied[lane] > begun_at {
        crate::lost::count(Err(Lost::HelloOvertaken));
    }
    state.copied[lane] = 0;
    state.begun_at[lane] = begun_at as u16;
    state.stream[lane] = STREAM_COPYING;
    Ok(rebase(segment, begun_at))
}

/// Makes the segment's position count from where TLS began; false where all of it came before.
#[inline(always)]
pub fn rebase(segment: &mut Segment, begun_at: u32) -> bool {
    let offset = segment.offset.wrapping_sub(begun_at);
    if offset as i32 >= 0 {
        segment.offset = offset;
        return true;
    }
    let before = offset.wrapping_neg();
    if before >= segment.len {
        return false;
    }
    segment.at += before;
    segment.len -= before;
    segment.offset = 0;
    true
}
