//! The first bytes of both directions of a TCP connection, until its TLS handshake is over or proves to be none; and
//! DNS streams, of which every message counts, as far as `DNS_STREAM_BYTES` go.
//!
//! The gate is the connection's entry: after both directions are done a packet costs one lookup. Record headers are
//! followed through the stream, so that copying stops behind the header of the first application-data record:
//! in TLS 1.3 everything after is encrypted, in TLS 1.2 the handshake is over.
//!
//! A segment that overtakes another (one was lost on the way, or took another CPU) is copied whole, and user space puts
//! the stream together. Its records can't be followed, nor can those after it, so such a direction is copied up to the
//! limit; the rest is dropped in user space, which knows when the handshake is over.
//!
//! Where a connection begins in clear and may turn to TLS (`starttls.rs`), positions count from where TLS begins.
//!
//! Where the ACK that ends TCP's handshake is lost, the client's first payload does its work: that packet is shown to
//! the listener, before there is a socket to keep it for. It is kept beside until the socket is there, and so is who
//! listens.

use core::ffi::c_void;

use aya_ebpf::bindings::{__sk_buff, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::{bpf_skb_load_bytes, generated::bpf_ringbuf_output};
use weir_abi::{
    CHUNK_HUGE, CHUNK_LARGE, CHUNK_SMALL, Chunk, ChunkHead, Conn, DNS_PORT, DNS_STREAM_BYTES,
    DNS_STREAM_BYTES_A_SECOND, HEAD_BYTES, HELLO_LIMIT, KIND_CHUNK, Lost, Owner, ROLE_CLIENT, SIDE_CLIENT,
    SIDE_SERVER,
};

use crate::maps::{
    ConnState, EVENTS, FIRST, First, LISTENERS, STREAM_COPYING, STREAM_DONE, STREAM_NEW, STREAM_OVERTAKEN,
    STREAM_WATCHED,
};
use crate::packet::{Packet, load};
use crate::{exchange, kernel, starttls};

const RECORD_HEADER: u32 = 5;
const RECORD_CHANGE_CIPHER_SPEC: u8 = 0x14;
pub const RECORD_HANDSHAKE: u8 = 0x16;
const RECORD_APPLICATION_DATA: u8 = 0x17;
/// Most bytes of one packet, all its segments together (GSO).
const MAX_PACKET: usize = 65_536;

/// Where a segment's payload lies in the packet and in the stream.
pub struct Segment {
    pub at: u32,
    pub offset: u32,
    pub len: u32,
}

/// Takes from a packet with payload what the handshake still wants.
#[inline(always)]
pub fn packet(skb: *mut __sk_buff, state: &mut ConnState, packet: &Packet, sent: bool) -> Result<(), Lost> {
    let by_client = sent == (state.conn.role == ROLE_CLIENT);
    let side = if by_client { SIDE_CLIENT } else { SIDE_SERVER };
    let lane = usize::from(!by_client);
    if state.stream[lane] == STREAM_DONE || state.conn.opened_ns == 0 {
        return Ok(());
    }
    let isn = if sent { state.conn.local_isn } else { state.conn.remote_isn };
    let offset = packet.seq.wrapping_sub(isn).wrapping_sub(1);
    let mut segment = Segment { at: packet.at, offset, len: packet.len };
    if is_dns(&state.conn) {
        return dns(skb, state, lane, side, &segment);
    }
    let begun_at = u32::from(state.begun_at[lane]);
    if begun_at != 0 && !starttls::rebase(&mut segment, begun_at) {
        return Ok(());
    }
    if state.stream[lane] == STREAM_NEW && segment.offset == 0 {
        begin(skb, state, lane, &segment);
        if state.stream[lane] == STREAM_DONE {
            return Ok(());
        }
    }
    if state.stream[lane] == STREAM_WATCHED && !starttls::turns(skb, state, lane, &mut segment)? {
        return Ok(());
    }
    if segment.offset >= HELLO_LIMIT {
        return beyond_limit(state, lane, &segment);
    }
    copy(skb, state, lane, side, &segment)
}

/// A packet for a listener, the last of TCP's handshake: who listens is kept, and its payload, if it has any.
#[inline(always)]
pub fn for_listener(skb: *mut __sk_buff, sk: *mut c_void, packet: &Packet) -> Result<(), Lost> {
    let Some(first) = FIRST.get_ptr_mut(0) else { return Ok(()) };
    let first = unsafe { &mut *first };
    let listener = LISTENERS.get(sk);
    first.owner = if listener.is_null() { Owner::NOBODY } else { unsafe { *listener } };
    first.remote_port = u16::from_be(packet.source);
    first.local_port = u16::from_be(packet.destination);
    first.seq = packet.seq;
    first.waits = 1;
    first.len = 0;
    let len = if packet.len < CHUNK_LARGE as u32 { packet.len } else { CHUNK_LARGE as u32 };
    // As in `send`: the verifier wants to see the check that the compiler could leave out.
    let len = unsafe { core::ptr::read_volatile(&raw const len) };
    if len == 0 || len > CHUNK_LARGE as u32 {
        return Ok(());
    }
    let bytes = (&raw mut first.chunk.bytes).cast();
    if unsafe { bpf_skb_load_bytes(skb.cast(), packet.at, bytes, len) } != 0 {
        return Err(Lost::HeaderUnreadable);
    }
    first.len = len;
    Ok(())
}

/// What was kept of the last ACK for the listener, if it was this connection's.
#[inline(always)]
pub fn kept_for(conn: &Conn) -> Option<&'static mut First> {
    let first: &mut First = unsafe { &mut *FIRST.get_ptr_mut(0)? };
    let waits = first.waits;
    first.waits = 0;
    let is_ours = first.seq == conn.remote_isn.wrapping_add(1)
        && first.remote_port == conn.remote_port
        && first.local_port == conn.local_port;
    if waits != 0 && is_ours { Some(first) } else { None }
}

/// Takes over the payload that was kept for this connection.
#[inline(always)]
pub fn accepted(state: &mut ConnState, first: &mut First) -> Result<(), Lost> {
    let len = first.len;
    if len == 0 || len > CHUNK_LARGE as u32 {
        return Ok(());
    }
    let lane = usize::from(SIDE_CLIENT);
    state.heads.first_ns[lane] = state.conn.opened_ns;
    let mut index = 0;
    while index < HEAD_BYTES && (index as u32) < len {
        state.heads.bytes[lane][index] = first.chunk.bytes[index];
        index += 1;
    }
    if first.chunk.bytes[0] != RECORD_HANDSHAKE && !is_dns(&state.conn) {
        state.stream[lane] = starttls::first_state(state, lane);
        return Ok(());
    }
    state.stream[lane] = STREAM_COPYING;
    state.copied[lane] = len;
    if len >= RECORD_HEADER {
        state.next_record[lane] = RECORD_HEADER + record_len(first.chunk.bytes[3], first.chunk.bytes[4]);
    }
    first.chunk.head = ChunkHead {
        kind: KIND_CHUNK,
        side: SIDE_CLIENT,
        len: len as u16,
        offset: 0,
        time_ns: state.conn.opened_ns,
        conn: state.conn,
    };
    let ring = core::ptr::from_ref(&EVENTS).cast_mut().cast();
    let record = (&raw mut first.chunk).cast();
    let size = size_of::<ChunkHead>() as u64 + u64::from(len);
    if unsafe { bpf_ringbuf_output(ring, record, size, u64::from(BPF_RB_NO_WAKEUP)) } != 0 {
        return Err(Lost::RingFullChunk);
    }
    Ok(())
}

#[inline(always)]
fn is_dns(conn: &Conn) -> bool {
    conn.local_port == DNS_PORT || conn.remote_port == DNS_PORT
}

/// A segment of a DNS stream: copied, each byte once, unless the connection has had its share.
#[inline(always)]
fn dns(
    skb: *mut __sk_buff,
    state: &mut ConnState,
    lane: usize,
    side: u8,
    segment: &Segment,
) -> Result<(), Lost> {
    if state.stream[lane] == STREAM_NEW && segment.offset == 0 {
        begin(skb, state, lane, segment);
        state.stream[lane] = STREAM_COPYING;
    }
    let end = segment_end(segment);
    // Positions wrap at 4 GiB, as sequence numbers do.
    if end.wrapping_sub(state.copied[lane]) as i32 <= 0 {
        return Ok(());
    }
    if segment.offset.wrapping_sub(state.copied[lane]) as i32 <= 0 {
        state.copied[lane] = end;
    }
    let age_s = kernel::now().wrapping_sub(state.conn.opened_ns) >> 30;
    if u64::from(end) > DNS_STREAM_BYTES + age_s * DNS_STREAM_BYTES_A_SECOND {
        state.copied[lane] = end;
        return Err(Lost::DnsStreamTooLong);
    }
    let mut offset = segment.offset;
    // Few and large ones: what the verifier would have to look at for many small ones is beyond its patience.
    for _ in 0..MAX_PACKET / CHUNK_HUGE + 1 {
        let rest = end.wrapping_sub(offset);
        if rest == 0 || rest > MAX_PACKET as u32 {
            break;
        }
        if rest <= CHUNK_SMALL as u32 {
            return send::<CHUNK_SMALL>(skb, state, side, segment, offset, rest);
        }
        if rest <= CHUNK_LARGE as u32 {
            return send::<CHUNK_LARGE>(skb, state, side, segment, offset, rest);
        }
        let part = if rest < CHUNK_HUGE as u32 { rest } else { CHUNK_HUGE as u32 };
        send::<CHUNK_HUGE>(skb, state, side, segment, offset, part)?;
        offset = offset.wrapping_add(part);
    }
    Ok(())
}

/// The first payload of a direction: its time, its first bytes, and whether it can be TLS.
#[inline(always)]
fn begin(skb: *mut __sk_buff, state: &mut ConnState, lane: usize, segment: &Segment) {
    let mut head = [0_u8; HEAD_BYTES];
    let loaded = if segment.len >= HEAD_BYTES as u32 {
        load::<[u8; HEAD_BYTES]>(skb, segment.at).map(|bytes| head = bytes)
    } else if segment.len >= 8 {
        load::<[u8; 8]>(skb, segment.at).map(|bytes| head[..8].copy_from_slice(&bytes))
    } else {
        load::<u8>(skb, segment.at).map(|byte| head[0] = byte)
    };
    if loaded.is_err() {
        return;
    }
    state.heads.first_ns[lane] = kernel::now();
    state.heads.bytes[lane] = head;
    state.stream[lane] =
        if head[0] == RECORD_HANDSHAKE { STREAM_COPYING } else { starttls::first_state(state, lane) };
}

/// Nothing here is wanted. The direction is over, unless a segment before the limit may still come.
#[inline(always)]
fn beyond_limit(state: &mut ConnState, lane: usize, segment: &Segment) -> Result<(), Lost> {
    if state.copied[lane] >= HELLO_LIMIT {
        state.stream[lane] = STREAM_DONE;
        return Err(Lost::HelloTooLong);
    }
    // More than a sender has under way at its start (RFC 6928: ten segments): nothing before it is missing any more.
    if segment.offset >= 4 * HELLO_LIMIT {
        state.stream[lane] = STREAM_DONE;
    }
    Ok(())
}

#[inline(always)]
fn copy(
    skb: *mut __sk_buff,
    state: &mut ConnState,
    lane: usize,
    side: u8,
    segment: &Segment,
) -> Result<(), Lost> {
    // It overtook what should have come before it.
    let is_ahead = segment.offset > state.copied[lane];
    let end = if is_ahead { limited_end(segment) } else { follow_records(skb, state, lane, segment)? };
    if end <= state.copied[lane] {
        return Ok(());
    }
    if !is_ahead {
        state.copied[lane] = end;
    } else if state.stream[lane] == STREAM_COPYING {
        state.stream[lane] = STREAM_OVERTAKEN;
    }
    // Exchanges went without at the half; the last part of the ring is for connections.
    if exchange::ring_use(8) {
        return Err(Lost::ChunkShed);
    }
    let mut offset = segment.offset;
    for _ in 0..HELLO_LIMIT as usize / CHUNK_LARGE + 1 {
        let rest = end.wrapping_sub(offset);
        if rest == 0 || rest > HELLO_LIMIT {
            break;
        }
        if rest <= CHUNK_SMALL as u32 {
            return send::<CHUNK_SMALL>(skb, state, side, segment, offset, rest);
        }
        let part = if rest < CHUNK_LARGE as u32 { rest } else { CHUNK_LARGE as u32 };
        send::<CHUNK_LARGE>(skb, state, side, segment, offset, part)?;
        offset += part;
    }
    Ok(())
}

/// Follows the TLS records through this segment; returns where in the stream copying ends.
#[inline(always)]
fn follow_records(
    skb: *mut __sk_buff,
    state: &mut ConnState,
    lane: usize,
    segment: &Segment,
) -> Result<u32, Lost> {
    let end = segment_end(segment);
    let mut next = state.next_record[lane];
    for _ in 0..8 {
        if next < segment.offset || next.wrapping_add(RECORD_HEADER) > end {
            break;
        }
        let header = load::<[u8; 5]>(skb, segment.at + (next - segment.offset))?;
        let is_record =
            header[0] >= RECORD_CHANGE_CIPHER_SPEC && header[0] <= RECORD_APPLICATION_DATA && header[1] == 3;
        if !is_record || header[0] == RECORD_APPLICATION_DATA {
            state.stream[lane] = STREAM_DONE;
            if lane == usize::from(SIDE_CLIENT) && header[0] == RECORD_APPLICATION_DATA {
                // The server encrypts before the client does only in TLS 1.3: then this is the client's Finished.
                let is_finished = state.stream[usize::from(SIDE_SERVER)] == STREAM_DONE;
                let own = if is_finished { RECORD_HEADER + record_len(header[3], header[4]) } else { 0 };
                state.requests_from = u32::from(state.begun_at[lane]) + next + own;
            }
            return Ok(next + RECORD_HEADER);
        }
        next += RECORD_HEADER + record_len(header[3], header[4]);
    }
    state.next_record[lane] = next;
    Ok(limited_end(segment))
}

#[inline(always)]
fn record_len(high: u8, low: u8) -> u32 {
    u32::from(high) << 8 | u32::from(low)
}

#[inline(always)]
fn segment_end(segment: &Segment) -> u32 {
    segment.offset.wrapping_add(segment.len)
}

#[inline(always)]
fn limited_end(segment: &Segment) -> u32 {
    let end = segment_end(segment);
    if end < HELLO_LIMIT { end } else { HELLO_LIMIT }
}

#[inline(always)]
fn send<const N: usize>(
    skb: *mut __sk_buff,
    state: &ConnState,
    side: u8,
    segment: &Segment,
    offset: u32,
    len: u32,
) -> Result<(), Lost> {
    // Read back, so that the compiler can't know the bounds and leave out the check that the verifier wants to see.
    let len = unsafe { core::ptr::read_volatile(&raw const len) };
    if len == 0 || len > N as u32 {
        return Ok(());
    }
    let Some(mut entry) = EVENTS.reserve_untyped::<Chunk<N>>(0) else {
        return Err(Lost::RingFullChunk);
    };
    let chunk = entry.as_mut_ptr();
    let at = segment.at + offset.wrapping_sub(segment.offset);
    // Field by field: all of it at once would take the stack's room.
    let loaded = unsafe {
        let head: *mut ChunkHead = &raw mut (*chunk).head;
        (*head).kind = KIND_CHUNK;
        (*head).side = side;
        (*head).len = len as u16;
        (*head).offset = offset;
        (*head).time_ns = kernel::now();
        (*head).conn = state.conn;
        bpf_skb_load_bytes(skb.cast(), at, (&raw mut (*chunk).bytes).cast(), len)
    };
    if loaded != 0 {
        entry.discard(u64::from(BPF_RB_NO_WAKEUP));
        return Err(Lost::HeaderUnreadable);
    }
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    Ok(())
}
