//! Packets that pass chosen interfaces, forwarded ones too: counted by flow and interface, so that user space can tell
//! what a node did with a connection (NAT, tunnels, where it came in and went out).
//!
//! | file         | subject                                                              |
//! |--------------|----------------------------------------------------------------------|
//! | `headers.rs` | a packet's headers, and those of the packet in its tunnel               |
//! | `pieces.rs`  | ports of packets that come in fragments                                 |
//!
//! This runs for each packet, so it is a lookup, the clock and some additions; what takes more is done at a flow's first
//! packet and at SYNs. Nothing is handed on: user space looks at the map.
//!
//! Payload bytes of TCP are told by sequence numbers: how far the stream has come. What is sent again, or passes as a copy,
//! is not counted twice, and what was lost before it came here is counted when something behind it passes.

mod headers;
mod pieces;

use core::intrinsics::{AtomicOrdering, atomic_cxchg};

use aya_ebpf::bindings::{__sk_buff, BPF_NOEXIST};
use headers::Packet;
use weir_abi::{
    KNOWN_CLIENT_ISN, KNOWN_SERVER_ISN, Lane, Lost, OPENER_HIGH, OPENER_LOW, Opening, PATH_ACK, PATH_BEGUN,
    PATH_ENDS, PATH_FIN, PATH_RST, PATH_SYN, PastKey, PathFlow, PathKey, Tuple, lane,
};

use crate::kernel;
use crate::lost::add;
use crate::maps::{PATH, PATH_BLANK, PATH_COUNTERS, PATH_PAST, PATH_SYNS};

pub use headers::{Link, Work};

const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_SCTP: u8 = 132;

/// A SYN with a sequence number that was seen so long ago is another connection's: longer than TCP tries one.
const SYN_NS: u64 = 150_000_000_000;
/// Further than this no stream comes in one packet: the packets between were not ours to see.
const FAR: u32 = 1 << 30;
/// Others that move a stream forward at the same time, at most.
const TRIES: u32 = 8;

/// A packet comes in by an interface, or leaves by it.
#[inline(always)]
pub fn passed(skb: *mut __sk_buff, link: Link, out: bool) -> Result<(), Lost> {
    let mut packet = Packet::BLANK;
    match headers::read(skb, link, &mut packet) {
        headers::READ => flow(skb, &packet, out),
        headers::NOTHING => Ok(()),
        headers::OTHER => Err(Lost::PathOther),
        _ => Err(Lost::PathUnreadable),
    }
}

#[inline(always)]
fn flow(skb: *mut __sk_buff, packet: &Packet, out: bool) -> Result<(), Lost> {
    let from_high = is_high(packet);
    let mut key = PathKey::default();
    if from_high {
        (key.low_ip, key.low_port) = (bytes(packet.to), packet.to_port);
        (key.high_ip, key.high_port) = (bytes(packet.from), packet.from_port);
    } else {
        (key.low_ip, key.low_port) = (bytes(packet.from), packet.from_port);
        (key.high_ip, key.high_port) = (bytes(packet.to), packet.to_port);
    }
    key.ifindex = unsafe { (*skb).ifindex };
    (key.protocol, key.tunnel, key.tunnel_id) = (packet.protocol, packet.tunnel, packet.tunnel_id);
    let now = kernel::now();
    let mut flow = match PATH.get_ptr_mut(&key) {
        Some(flow) => flow,
        None => begin(&key, packet, from_high, now)?,
    };
    if packet.flags & (PATH_SYN | PATH_FIN | PATH_RST) != 0 {
        flow = turning_point(flow, &key, packet, from_high, now)?;
    }
    let lane = unsafe { &raw mut (*flow).lanes[lane(from_high, out) & 3] };
    unsafe { count(lane, packet, segments(skb, packet), now) };
    Ok(())
}

/// Any order of the two ends will do, as long as it is the same for both directions.
#[inline(always)]
fn is_high(packet: &Packet) -> bool {
    if packet.from[1] != packet.to[1] {
        return packet.from[1] > packet.to[1];
    }
    if packet.from[0] != packet.to[0] {
        return packet.from[0] > packet.to[0];
    }
    packet.from_port > packet.to_port
}

#[inline(always)]
fn bytes(ip: [u64; 2]) -> [u8; 16] {
    unsafe { core::mem::transmute(ip) }
}

/// How many packets the network sees in this one (GSO, GRO).
#[inline(always)]
fn segments(skb: *mut __sk_buff, packet: &Packet) -> u64 {
    let (segments, size) = unsafe { ((*skb).gso_segs, (*skb).gso_size) };
    if segments > 0 {
        return u64::from(segments);
    }
    // From a virtual machine: its kernel left the counting to us.
    if size > 0 && packet.payload > size { u64::from(packet.payload.div_ceil(size)) } else { 1 }
}

#[inline(always)]
fn begin(key: &PathKey, packet: &Packet, from_high: bool, now: u64) -> Result<*mut PathFlow, Lost> {
    let Some(blank) = PATH_BLANK.get_ptr(0) else { return Err(Lost::PathMapFull) };
    // Refused because another CPU was faster: then the lookup below finds that one's.
    let _ = PATH.insert(key, unsafe { &*blank }, u64::from(BPF_NOEXIST));
    let Some(flow) = PATH.get_ptr_mut(key) else { return Err(Lost::PathMapFull) };
    unsafe {
        if (*flow).born_ns == 0 {
            (*flow).born_ns = now;
            let outer = if from_high { [packet.outer[1], packet.outer[0]] } else { packet.outer };
            (*flow).outer = [bytes(outer[0]), bytes(outer[1])];
        }
    }
    counted(PATH_BEGUN);
    Ok(flow)
}

#[inline(always)]
fn counted(which: u32) {
    if let Some(counter) = PATH_COUNTERS.get_ptr_mut(which) {
        unsafe { add(counter, 1) };
    }
}

/// A flow opens or ends.
#[inline(always)]
fn turning_point(
    flow: *mut PathFlow,
    key: &PathKey,
    packet: &Packet,
    from_high: bool,
    now: u64,
) -> Result<*mut PathFlow, Lost> {
    if packet.flags & (PATH_FIN | PATH_RST) != 0 {
        counted(PATH_ENDS);
    }
    if packet.flags & PATH_SYN == 0 {
        return Ok(flow);
    }
    let mut flow = flow;
    unsafe {
        if packet.flags & PATH_ACK == 0 {
            note_opening(packet, now);
            let is_known = (*flow).known & KNOWN_CLIENT_ISN != 0;
            if is_known && (*flow).client_isn == packet.seq {
                return Ok(flow);
            }
            if is_known || has_passed(flow) {
                // Its ports are used again.
                flow = replace(flow, key, packet, from_high, now)?;
            }
            (*flow).client_isn = packet.seq;
            (*flow).known |= KNOWN_CLIENT_ISN;
            (*flow).opener = if from_high { OPENER_HIGH } else { OPENER_LOW };
            return Ok(flow);
        }
        let client_isn = packet.ack.wrapping_sub(1);
        if (*flow).known & KNOWN_CLIENT_ISN != 0 && (*flow).client_isn != client_isn {
            // An answer to an earlier one that was under way for long.
            return Ok(flow);
        }
        if (*flow).known & KNOWN_CLIENT_ISN == 0 && has_passed(flow) {
            return Ok(flow);
        }
        (*flow).client_isn = client_isn;
        (*flow).server_isn = packet.seq;
        (*flow).known |= KNOWN_CLIENT_ISN | KNOWN_SERVER_ISN;
        (*flow).opener = if from_high { OPENER_LOW } else { OPENER_HIGH };
    }
    Ok(flow)
}

#[inline(always)]
unsafe fn has_passed(flow: *mut PathFlow) -> bool {
    let lanes = unsafe { &(*flow).lanes };
    lanes[0].first_ns | lanes[1].first_ns | lanes[2].first_ns | lanes[3].first_ns != 0
}

/// Puts the flow's end where user space finds it, and a new flow in its place.
#[inline(always)]
unsafe fn replace(
    flow: *mut PathFlow,
    key: &PathKey,
    packet: &Packet,
    from_high: bool,
    now: u64,
) -> Result<*mut PathFlow, Lost> {
    let past = PastKey { key: *key, born_ns: unsafe { (*flow).born_ns } };
    if PATH_PAST.insert(&past, unsafe { &*flow }, 0).is_err() {
        crate::lost::count(Err(Lost::PathPastFull));
    }
    counted(PATH_ENDS);
    let _ = PATH.remove(key);
    begin(key, packet, from_high, now)
}

/// Where a SYN was seen first and last: what NAT made of it, before user space has looked.
#[inline(always)]
fn note_opening(packet: &Packet, now: u64) {
    let which = u64::from(packet.protocol) << 32 | u64::from(packet.seq);
    let tuple = Tuple {
        from_ip: bytes(packet.from),
        to_ip: bytes(packet.to),
        from_port: packet.from_port,
        to_port: packet.to_port,
    };
    if let Some(opening) = PATH_SYNS.get_ptr_mut(&which) {
        if now.wrapping_sub(unsafe { (*opening).last_ns }) < SYN_NS {
            unsafe { ((*opening).last, (*opening).last_ns) = (tuple, now) };
            return;
        }
    }
    let opening = Opening { first_ns: now, last_ns: now, first: tuple, last: tuple };
    // It makes room by itself.
    let _ = PATH_SYNS.insert(&which, &opening, 0);
}

#[inline(always)]
unsafe fn count(lane: *mut Lane, packet: &Packet, segments: u64, now: u64) {
    unsafe {
        if (*lane).first_ns == 0 {
            (*lane).first_ns = now;
        }
        (*lane).last_ns = now;
        if (*lane).flags & packet.flags != packet.flags {
            (*lane).flags |= packet.flags;
        }
        add(&raw mut (*lane).packets, segments);
        if packet.protocol == IPPROTO_TCP {
            stream(lane, packet, segments);
        } else if packet.payload > 0 {
            add(&raw mut (*lane).bytes, u64::from(packet.payload));
        }
    }
}

/// How far a stream has come: whoever moves it forward counts what is between, so that no byte is counted twice whichever
/// CPUs its segments pass on.
#[inline(always)]
unsafe fn stream(lane: *mut Lane, packet: &Packet, segments: u64) {
    if packet.is_piece {
        return;
    }
    let start = packet.seq.wrapping_add(u32::from(packet.flags & PATH_SYN != 0));
    let end = start.wrapping_add(packet.payload);
    unsafe {
        if (*lane).has_high == 0 {
            ((*lane).high, (*lane).has_high) = (end, 1);
            add(&raw mut (*lane).bytes, u64::from(packet.payload));
            return;
        }
        if packet.payload == 0 {
            return;
        }
        for _ in 0..TRIES {
            let high = (&raw const (*lane).high).read_volatile();
            let mut ahead = end.wrapping_sub(high);
            if ahead == 0 || ahead >> 31 != 0 {
                add(&raw mut (*lane).again, segments);
                return;
            }
            if ahead > FAR {
                ahead = packet.payload;
            }
            let (_, is_ours) = atomic_cxchg::<u32, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
                &raw mut (*lane).high,
                high,
                end,
            );
            if is_ours {
                add(&raw mut (*lane).bytes, u64::from(ahead));
                return;
            }
        }
    }
}
