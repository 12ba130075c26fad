//! A packet at its socket: its headers, read where they lie, and whose subject it is.
//!
//! This runs for every packet of every socket, so what can be told without a lookup is told first: packets without
//! payload go on at once, and so do those of connections that are long past their first bytes.
//!
//! Never here: what is recorded.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::{bpf_skb_load_bytes, bpf_tcp_sock};
use weir_abi::{DNS_PORT, Lost};

use crate::hello;
use crate::icmp;
use crate::kernel::{self, tcp};
use crate::maps::{CONNS, Table};
use crate::udp;

const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
/// Without options.
const IP4_HEADER: u32 = 20;
const IP6_HEADER: u32 = 40;
const FLAG_SYN: u8 = 2;
const FLAG_ACK: u8 = 16;
/// After so many segments with payload a direction's first bytes have passed; one packet may be hundreds of them (GSO).
const FIRST_SEGMENTS: u32 = 1_024;

/// The IP header.
pub struct Ip {
    pub is_v4: bool,
    /// Its length; for IPv6 without extension headers, which in front of TCP or UDP are as good as never.
    pub len: u32,
}

/// The TCP header, and the payload behind it.
pub struct Packet {
    /// Ports in network order.
    pub source: u16,
    pub destination: u16,
    /// Sequence number of the first byte of payload.
    pub seq: u32,
    /// Where the payload lies in the packet.
    pub at: u32,
    /// Its length.
    pub len: u32,
}

/// A packet of a socket goes by.
#[inline(always)]
pub fn passed(skb: *mut __sk_buff, sent: bool) -> Result<(), Lost> {
    let sk = kernel::socket_of(skb);
    if sk.is_null() {
        return Ok(());
    }
    let Headers { protocol, ip, tcp } = headers(skb)?;
    if protocol == IPPROTO_UDP {
        return udp::packet(skb, &ip, sent);
    }
    if protocol != IPPROTO_TCP {
        return if sent { icmp::sent(skb, protocol, ip.len) } else { Ok(()) };
    }
    let (packet, flags) = tcp_packet(skb, &ip, &tcp);
    if !sent && state(sk) == tcp::LISTEN {
        // A SYN alone says nothing yet, and may be one of a flood.
        let says = flags & (FLAG_SYN | FLAG_ACK) == FLAG_ACK || packet.len > 0;
        return if says { hello::for_listener(skb, sk, &packet) } else { Ok(()) };
    }
    if packet.len == 0 || is_past_its_beginning(sk, &packet, sent) {
        return Ok(());
    }
    let conn = CONNS.of(sk);
    if conn.is_null() {
        return Ok(());
    }
    hello::packet(skb, unsafe { &mut *conn }, &packet, sent)
}

/// The state of a packet's socket, which has a type of its own here.
#[inline(always)]
fn state(sk: *mut c_void) -> i32 {
    unsafe { (&raw const (*sk.cast::<aya_ebpf::bindings::bpf_sock>()).state).read_volatile() as i32 }
}

/// Whether nobody wants this direction's payload any more, whatever its entry says. Of DNS each message counts.
#[inline(always)]
fn is_past_its_beginning(sk: *mut c_void, packet: &Packet, sent: bool) -> bool {
    if packet.source == DNS_PORT.to_be() || packet.destination == DNS_PORT.to_be() {
        return false;
    }
    let tp = unsafe { bpf_tcp_sock(sk.cast()) };
    if tp.is_null() {
        return false;
    }
    let passed = unsafe {
        if sent {
            (&raw const (*tp).data_segs_out).read_volatile()
        } else {
            (&raw const (*tp).data_segs_in).read_volatile()
        }
    };
    passed > FIRST_SEGMENTS
}

struct Headers {
    protocol: u8,
    ip: Ip,
    /// Of TCP; what lies there, if it is another protocol.
    tcp: Header,
}

/// The part of TCP's header that is looked at (RFC 9293 §3.1), in network order.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    source: u16,
    destination: u16,
    seq: u32,
    ack: u32,
    length: u8,
    flags: u8,
    window: u16,
}

impl Header {
    const NONE: Header = Header { source: 0, destination: 0, seq: 0, ack: 0, length: 0, flags: 0, window: 0 };
}

/// Bytes of a header of `IP` bytes, and of the part of TCP's behind it.
const fn reach(ip: u32) -> usize {
    ip as usize + size_of::<Header>()
}

/// The headers: read where they lie, if they are of the usual length and in the packet's linear part.
#[inline(always)]
fn headers(skb: *mut __sk_buff) -> Result<Headers, Lost> {
    let (start, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    // Whole headers at once: a look at a single byte becomes a comparison that the verifier doesn't know.
    if start + reach(IP4_HEADER) <= end {
        let at = |offset: u32| (start + offset as usize) as *const u8;
        let version = unsafe { at(0).read() };
        if version == 0x45 {
            let ip = Ip { is_v4: true, len: IP4_HEADER };
            let (protocol, tcp) = unsafe { (at(9).read(), at(IP4_HEADER).cast::<Header>().read()) };
            return Ok(Headers { protocol, ip, tcp });
        }
        if version >> 4 == 6 && start + reach(IP6_HEADER) <= end {
            let ip = Ip { is_v4: false, len: IP6_HEADER };
            let (protocol, tcp) = unsafe { (at(6).read(), at(IP6_HEADER).cast::<Header>().read()) };
            return Ok(Headers { protocol, ip, tcp });
        }
    }
    let version = load::<u8>(skb, 0)?;
    let (protocol, ip) = if version >> 4 == 4 {
        (load::<u8>(skb, 9)?, Ip { is_v4: true, len: u32::from(version & 15) * 4 })
    } else {
        (load::<u8>(skb, 6)?, Ip { is_v4: false, len: IP6_HEADER })
    };
    let tcp = if protocol == IPPROTO_TCP { load(skb, ip.len)? } else { Header::NONE };
    Ok(Headers { protocol, ip, tcp })
}

/// The packet as TCP sees it, and its flags.
#[inline(always)]
fn tcp_packet(skb: *mut __sk_buff, ip: &Ip, header: &Header) -> (Packet, u8) {
    let at = ip.len + u32::from(header.length >> 4) * 4;
    let total = unsafe { (*skb).len };
    let seq = u32::from_be(header.seq).wrapping_add(u32::from(header.flags & FLAG_SYN != 0));
    let len = if total > at { total - at } else { 0 };
    (Packet { source: header.source, destination: header.destination, seq, at, len }, header.flags)
}

/// Bytes of the packet, wherever they lie.
#[inline(always)]
pub fn load<T: Copy>(skb: *mut __sk_buff, at: u32) -> Result<T, Lost> {
    let mut value = MaybeUninit::<T>::zeroed();
    let failed = unsafe {
        bpf_skb_load_bytes(skb.cast::<c_void>(), at, value.as_mut_ptr().cast(), size_of::<T>() as u32)
    };
    if failed != 0 { Err(Lost::HeaderUnreadable) } else { Ok(unsafe { value.assume_init() }) }
}
