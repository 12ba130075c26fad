//! A packet's headers at an interface: link, VLANs, IP, one tunnel and the packet in it, transport.
//!
//! Most packets are TCP or UDP in plain IP in plain Ethernet, and those are read where they lie, at fixed places. All
//! others are copied out header by header.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_skb_load_bytes;
use weir_abi::{
    Lost, PATH_ACK, PATH_FIN, PATH_RST, PATH_SYN, PATH_WIREGUARD, PATH_WIREGUARD_DATA, TUNNEL_GENEVE,
    TUNNEL_GRE, TUNNEL_IP6, TUNNEL_IPIP, TUNNEL_NONE, TUNNEL_VXLAN,
};

use super::pieces;
use super::{IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP};
use crate::maps::PATH_WORK;

const IPPROTO_IPIP: u8 = 4;
const IPPROTO_IPV6: u8 = 41;
const IPPROTO_GRE: u8 = 47;

const ETHERNET: u32 = 14;
const ETH_IP4: u16 = 0x0800;
const ETH_IP6: u16 = 0x86dd;
const ETH_VLAN: u16 = 0x8100;
const ETH_QINQ: u16 = 0x88a8;
/// Ethernet in GENEVE or GRE.
const ETH_BRIDGED: u16 = 0x6558;
const MOST_VLANS: u32 = 2;

const IP4_HEADER: u32 = 20;
const IP6_HEADER: u32 = 40;
const TCP_HEADER: u32 = 20;
const UDP_HEADER: u32 = 8;
const SCTP_HEADER: u32 = 12;

/// IANA's, and the one that Linux used before.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const GENEVE_PORT: u16 = 6081;

/// IPv6 extension headers that are stepped over; more are as good as never, and then it is another protocol.
const MOST_EXTENSIONS: u32 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// SCTP's chunks (RFC 9260) that open or end an association.
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const SHUTDOWN_COMPLETE: u8 = 14;

/// What packets of an interface begin with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// The IP header.
    Ip,
}

/// What is counted of a packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Packet {
    /// IPv4 as IPv4-mapped IPv6; the address's bytes.
    pub from: [u64; 2],
    pub to: [u64; 2],
    pub from_port: u16,
    pub to_port: u16,
    /// Bytes behind the transport's header.
    pub payload: u32,
    /// TCP's sequence number; of SCTP's INIT and INIT ACK, the initiate tag.
    pub seq: u32,
    /// TCP's acknowledgement number; of SCTP's INIT ACK, one more than the tag that it answers.
    pub ack: u32,
    pub tunnel_id: u32,
    /// The tunnel's sender and receiver.
    pub outer: [[u64; 2]; 2],
    pub protocol: u8,
    /// `PATH_*`.
    pub flags: u8,
    /// `TUNNEL_*`.
    pub tunnel: u8,
    /// A later fragment: there is no transport header in it.
    pub is_piece: bool,
}

impl Packet {
    /// Nothing read yet.
    pub const BLANK: Packet = Packet {
        from: [0; 2],
        to: [0; 2],
        from_port: 0,
        to_port: 0,
        payload: 0,
        seq: 0,
        ack: 0,
        tunnel_id: 0,
        outer: [[0; 2]; 2],
        protocol: 0,
        flags: 0,
        tunnel: TUNNEL_NONE,
        is_piece: false,
    };
}

/// Reads them; the code says whether there is something to count. Numbers and not an `Option` of the packet, of which the
/// compiler copies what isn't set, and the verifier refuses that.
#[inline(always)]
pub fn read(skb: *mut __sk_buff, link: Link, packet: &mut Packet) -> u32 {
    let is_read = match link {
        Link::Ethernet => plain::<{ ETHERNET as usize }>(skb, packet),
        Link::Ip => plain::<0>(skb, packet),
    };
    if is_read { READ } else { slowly(skb, u32::from(link == Link::Ip), packet) }
}

/// There is something to count.
pub const READ: u32 = 0;
/// There is nothing (ARP, …).
pub const NOTHING: u32 = 1;
/// It is of a protocol that isn't told of.
pub const OTHER: u32 = 2;
const UNREADABLE: u32 = 3;

/// A function of its own, which all programs share: it is as long as all the rest. It works in a map's memory: what is
/// read back from there is a number that the verifier knows nothing of, so that it doesn't follow each way through the
/// headers to the end.
#[inline(never)]
fn slowly(skb: *mut __sk_buff, is_ip: u32, packet: &mut Packet) -> u32 {
    let Some(work) = PATH_WORK.get_ptr_mut(0) else { return UNREADABLE };
    let work = unsafe { &mut *work };
    *work = Work { packet: Packet::BLANK, ip: Ip { at: 0, length: 0, id: 0, is_fragment: false }, kind: 0 };
    let result = slow(skb, if is_ip == 0 { Link::Ethernet } else { Link::Ip }, work);
    *packet = work.packet;
    match result {
        Ok(true) => READ,
        Ok(false) => NOTHING,
        Err(Lost::PathOther) => OTHER,
        Err(_) => UNREADABLE,
    }
}

/// What [`slowly`] works in; one a CPU, where nothing else of ours comes in between.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Work {
    packet: Packet,
    ip: Ip,
    /// What comes next.
    kind: u32,
}

/// What stands there now: not what the compiler remembers of it.
#[inline(always)]
fn again<T: Copy>(place: &T) -> T {
    unsafe { core::ptr::read_volatile(place) }
}

/// TCP and UDP in IP without options, in one piece, in no tunnel. Whether it was that.
#[inline(always)]
fn plain<const LINK: usize>(skb: *mut __sk_buff, packet: &mut Packet) -> bool {
    let (start, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    // The shortest TCP segment.
    if start + (LINK + 40) > end {
        return false;
    }
    let head = start as *const u8;
    let kind = if LINK == 0 {
        match unsafe { head.read() } >> 4 {
            4 => ETH_IP4,
            _ => ETH_IP6,
        }
    } else {
        u16::from_be(unsafe { head.add(12).cast::<u16>().read_unaligned() })
    };
    let ip = unsafe { head.add(LINK) };
    if kind == ETH_IP4 {
        let (first, fragment) = unsafe { (ip.read(), ip.add(6).cast::<u16>().read_unaligned()) };
        if first != 0x45 || fragment & 0x3fff_u16.to_be() != 0 {
            return false;
        }
        let length = u32::from(u16::from_be(unsafe { ip.add(2).cast::<u16>().read_unaligned() }));
        // Longer than its field can say (BIG TCP).
        if length < IP4_HEADER {
            return false;
        }
        unsafe {
            packet.protocol = ip.add(9).read();
            packet.from = mapped(ip.add(12).cast::<u32>().read_unaligned());
            packet.to = mapped(ip.add(16).cast::<u32>().read_unaligned());
            return transport(packet, ip.add(20), length - IP4_HEADER);
        }
    }
    if kind != ETH_IP6 || start + (LINK + 60) > end {
        return false;
    }
    unsafe {
        if LINK == 0 && ip.read() >> 4 != 6 {
            return false;
        }
        let length = u32::from(u16::from_be(ip.add(4).cast::<u16>().read_unaligned()));
        if length == 0 {
            return false;
        }
        packet.protocol = ip.add(6).read();
        packet.from = [ip.add(8).cast::<u64>().read_unaligned(), ip.add(16).cast::<u64>().read_unaligned()];
        packet.to = [ip.add(24).cast::<u64>().read_unaligned(), ip.add(32).cast::<u64>().read_unaligned()];
        transport(packet, ip.add(40), length)
    }
}

/// The transport's header, of which 20 bytes are there; what is left to the slow way is a tunnel, or neither TCP nor UDP.
#[inline(always)]
unsafe fn transport(packet: &mut Packet, at: *const u8, length: u32) -> bool {
    unsafe {
        let ports = u32::from_be(at.cast::<u32>().read_unaligned());
        (packet.from_port, packet.to_port) = ((ports >> 16) as u16, ports as u16);
        if packet.protocol == IPPROTO_TCP {
            packet.seq = u32::from_be(at.add(4).cast::<u32>().read_unaligned());
            packet.ack = u32::from_be(at.add(8).cast::<u32>().read_unaligned());
            packet.flags = at.add(13).read() & (PATH_FIN | PATH_SYN | PATH_RST | PATH_ACK);
            packet.payload = behind(length, u32::from(at.add(12).read() >> 4) * 4);
            return true;
        }
        if packet.protocol != IPPROTO_UDP || is_tunnel(packet.to_port) {
            return false;
        }
        packet.payload = behind(length, UDP_HEADER);
        packet.flags = wireguard(packet.payload, at.add(8).cast::<u32>().read_unaligned());
        true
    }
}

#[inline(always)]
fn behind(length: u32, header: u32) -> u32 {
    if length > header { length - header } else { 0 }
}

#[inline(always)]
fn is_tunnel(port: u16) -> bool {
    port == VXLAN_PORTS[0] || port == VXLAN_PORTS[1] || port == GENEVE_PORT
}

/// What WireGuard's messages look like: a type, three zeros, and the lengths that its paper gives them (§5.4).
#[inline(always)]
fn wireguard(length: u32, first: u32) -> u8 {
    match (u32::from_le(first), length) {
        (1, 148) | (2, 92) => PATH_WIREGUARD,
        (4, 32..) if length & 15 == 0 => PATH_WIREGUARD_DATA,
        _ => 0,
    }
}

/// What an IP header says.
#[repr(C)]
#[derive(Clone, Copy)]
struct Ip {
    /// Where what it carries begins.
    at: u32,
    /// How long that is.
    length: u32,
    /// The datagram's id, if it is a fragment.
    id: u32,
    /// Whether it is one.
    is_fragment: bool,
}

/// Everything else, header by header. Whether there is something to count.
#[inline(always)]
fn slow(skb: *mut __sk_buff, link: Link, work: &mut Work) -> Result<bool, Lost> {
    let (kind, at) = match link {
        Link::Ethernet => ethernet(skb, 0)?,
        Link::Ip => (version(skb, 0)?, 0),
    };
    (work.kind, work.ip.at) = (u32::from(kind), at);
    if !is_ip(work) {
        return Ok(false);
    }
    network(skb, work)?;
    if !again(&work.packet.is_piece) {
        let ip = again(&work.ip);
        let (kind, at) = tunnel(skb, &ip, &mut work.packet)?;
        if again(&work.packet.tunnel) != TUNNEL_NONE {
            (work.kind, work.ip.at) = (u32::from(kind), at);
            if !is_ip(work) {
                // ARP between the tunnel's ends, say.
                return Ok(false);
            }
            work.packet.outer = [work.packet.from, work.packet.to];
            network(skb, work)?;
        }
    }
    let ip = again(&work.ip);
    let packet = &mut work.packet;
    if again(&packet.is_piece) {
        packet.payload = ip.length;
        (packet.from_port, packet.to_port, packet.flags) = (0, 0, 0);
        pieces::later(packet, ip.id);
        return match again(&packet.protocol) {
            IPPROTO_TCP | IPPROTO_UDP | IPPROTO_SCTP => Ok(true),
            _ => Err(Lost::PathOther),
        };
    }
    match again(&packet.protocol) {
        IPPROTO_TCP | IPPROTO_SCTP => {
            let mut head = [0_u8; TCP_HEADER as usize];
            // SCTP's header with that of its first chunk, which may be all there is.
            if ip.length < TCP_HEADER {
                head[..16].copy_from_slice(&load::<[u8; 16]>(skb, ip.at)?);
            } else {
                head = load(skb, ip.at)?;
            }
            ports(packet, &head);
            let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            if packet.protocol == IPPROTO_TCP {
                (packet.seq, packet.ack) = (word(4), word(8));
                packet.flags = head[13] & (PATH_FIN | PATH_SYN | PATH_RST | PATH_ACK);
                packet.payload = behind(ip.length, u32::from(head[12] >> 4) * 4);
            } else {
                packet.flags = chunk(head[12]);
                (packet.seq, packet.ack) = (word(16), word(4).wrapping_add(1));
                packet.payload = behind(ip.length, SCTP_HEADER);
            }
        }
        IPPROTO_UDP => {
            let head: [u8; UDP_HEADER as usize] = load(skb, ip.at)?;
            ports(packet, &head);
            packet.payload = behind(ip.length, UDP_HEADER);
            packet.flags = 0;
            if packet.payload >= 32 {
                packet.flags = wireguard(packet.payload, load(skb, ip.at + UDP_HEADER)?);
            }
        }
        _ => return Err(Lost::PathOther),
    }
    if ip.is_fragment {
        pieces::first(packet, ip.id);
    }
    Ok(true)
}

#[inline(always)]
fn ports(packet: &mut Packet, head: &[u8]) {
    packet.from_port = u16::from_be_bytes([head[0], head[1]]);
    packet.to_port = u16::from_be_bytes([head[2], head[3]]);
}

/// What an SCTP packet's first chunk would be in TCP. Those that open and end are never behind others.
#[inline(always)]
fn chunk(kind: u8) -> u8 {
    match kind {
        INIT => PATH_SYN,
        INIT_ACK => PATH_SYN | PATH_ACK,
        ABORT => PATH_RST,
        SHUTDOWN | SHUTDOWN_ACK | SHUTDOWN_COMPLETE => PATH_FIN,
        _ => 0,
    }
}

/// What an Ethernet header that begins at `at` is followed by, behind VLAN tags, and where.
#[inline(always)]
fn ethernet(skb: *mut __sk_buff, at: u32) -> Result<(u16, u32), Lost> {
    let mut kind = u16::from_be(load(skb, at + 12)?);
    let mut at = at + ETHERNET;
    for _ in 0..MOST_VLANS {
        if kind != ETH_VLAN && kind != ETH_QINQ {
            break;
        }
        kind = u16::from_be(load(skb, at + 2)?);
        at += 4;
    }
    Ok((kind, at))
}

/// Which IP begins at `at`.
#[inline(always)]
fn version(skb: *mut __sk_buff, at: u32) -> Result<u16, Lost> {
    Ok(match load::<u8>(skb, at)? >> 4 {
        4 => ETH_IP4,
        6 => ETH_IP6,
        _ => 0,
    })
}

/// The packet in the tunnel: what it is, and where. Where there is a tunnel, its kind and id are set.
#[inline(always)]
fn tunnel(skb: *mut __sk_buff, ip: &Ip, packet: &mut Packet) -> Result<(u16, u32), Lost> {
    match packet.protocol {
        IPPROTO_IPIP => {
            packet.tunnel = TUNNEL_IPIP;
            Ok((ETH_IP4, ip.at))
        }
        IPPROTO_IPV6 => {
            packet.tunnel = TUNNEL_IP6;
            Ok((ETH_IP6, ip.at))
        }
        IPPROTO_GRE => {
            let [flags, version, high, low]: [u8; 4] = load(skb, ip.at)?;
            let kind = u16::from_be_bytes([high, low]);
            if version & 7 != 0 || !matches!(kind, ETH_IP4 | ETH_IP6 | ETH_BRIDGED) {
                return Ok((0, 0));
            }
            packet.tunnel = TUNNEL_GRE;
            let mut at = ip.at + 4 + u32::from(flags >> 7) * 4;
            if flags & 0x20 != 0 {
                packet.tunnel_id = u32::from_be(load(skb, at)?);
                at += 4;
            }
            at += u32::from(flags >> 4 & 1) * 4;
            if kind == ETH_BRIDGED { ethernet(skb, at) } else { Ok((kind, at)) }
        }
        IPPROTO_UDP => {
            let port = u16::from_be(load(skb, ip.at + 2)?);
            if !is_tunnel(port) {
                return Ok((0, 0));
            }
            let head: [u8; 8] = load(skb, ip.at + UDP_HEADER)?;
            packet.tunnel_id = u32::from_be_bytes([0, head[4], head[5], head[6]]);
            let at = ip.at + UDP_HEADER + 8;
            if port == GENEVE_PORT {
                packet.tunnel = TUNNEL_GENEVE;
                let at = at + u32::from(head[0] & 0x3f) * 4;
                let kind = u16::from_be_bytes([head[2], head[3]]);
                return if kind == ETH_BRIDGED { ethernet(skb, at) } else { Ok((kind, at)) };
            }
            packet.tunnel = TUNNEL_VXLAN;
            ethernet(skb, at)
        }
        _ => Ok((0, 0)),
    }
}

#[inline(always)]
fn is_ip(work: &Work) -> bool {
    let kind = again(&work.kind) as u16;
    kind == ETH_IP4 || kind == ETH_IP6
}

/// Reads the IP header that is next.
#[inline(always)]
fn network(skb: *mut __sk_buff, work: &mut Work) -> Result<(), Lost> {
    let whole = unsafe { (*skb).len };
    let (kind, at) = (again(&work.kind) as u16, again(&work.ip.at));
    let Work { packet, ip, .. } = work;
    if kind == ETH_IP4 {
        let head: [u8; IP4_HEADER as usize] = load(skb, at)?;
        let address = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        (packet.from, packet.to) = (mapped(address(12)), mapped(address(16)));
        packet.protocol = head[9];
        let fragment = u16::from_be_bytes([head[6], head[7]]);
        packet.is_piece = fragment & 0x1fff != 0;
        let header = u32::from(head[0] & 15) * 4;
        let mut length = u32::from(u16::from_be_bytes([head[2], head[3]]));
        if length == 0 {
            // Longer than its field can say (BIG TCP).
            length = behind(whole, at);
        }
        *ip = Ip {
            at: at + header,
            length: behind(length, header),
            id: u32::from(u16::from_be_bytes([head[4], head[5]])),
            is_fragment: fragment & 0x3fff != 0,
        };
        return Ok(());
    }
    let head: [u8; 8] = load(skb, at)?;
    packet.from = load(skb, at + 8)?;
    packet.to = load(skb, at + 24)?;
    packet.is_piece = false;
    let mut length = u32::from(u16::from_be_bytes([head[4], head[5]]));
    if length == 0 {
        length = behind(whole, at + IP6_HEADER);
    }
    let end = at + IP6_HEADER + length;
    *ip = Ip { at: at + IP6_HEADER, length, id: 0, is_fragment: false };
    packet.protocol = head[6];
    for _ in 0..MOST_EXTENSIONS {
        let protocol = again(&packet.protocol);
        if !matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
            || again(&packet.is_piece)
        {
            break;
        }
        let head: [u8; 8] = load(skb, again(&ip.at))?;
        ip.at += match protocol {
            FRAGMENT => {
                ip.is_fragment = true;
                packet.is_piece = u16::from_be_bytes([head[2], head[3]]) & 0xfff8 != 0;
                ip.id = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
                8
            }
            AUTHENTICATION => (u32::from(head[1]) + 2) * 4,
            _ => (u32::from(head[1]) + 1) * 8,
        };
        packet.protocol = head[0];
    }
    ip.length = behind(end, again(&ip.at));
    Ok(())
}

/// ::ffff:a.b.c.d
#[inline(always)]
fn mapped(ip4: u32) -> [u64; 2] {
    [0, u64::from(ip4) << 32 | 0xffff_0000]
}

/// Bytes of the packet, wherever they lie.
#[inline(always)]
fn load<T: Copy>(skb: *mut __sk_buff, at: u32) -> Result<T, Lost> {
    let mut value = core::mem::MaybeUninit::<T>::zeroed();
    let failed =
        unsafe { bpf_skb_load_bytes(skb.cast(), at, value.as_mut_ptr().cast(), size_of::<T>() as u32) };
    if failed != 0 { Err(Lost::PathUnreadable) } else { Ok(unsafe { value.assume_init() }) }
}
