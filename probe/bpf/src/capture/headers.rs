//! A packet's headers: addresses, ports, and where its payload begins.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_skb_load_bytes;
use weir_abi::capture::{COUNT_UNREADABLE, PacketFacts};

const IPPROTO_ICMP: u8 = 1;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_ICMPV6: u8 = 58;
const IPPROTO_SCTP: u8 = 132;
const IPPROTO_UDPLITE: u8 = 136;

/// IPv6 extension headers that are stepped over; more are as good as never, and then the packet has no ports.
const MOST_EXTENSIONS: u32 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// What the headers say.
pub struct Headers {
    pub facts: PacketFacts,
    /// Bytes from the IP header to the payload; may lie beyond the end of a packet that is cut.
    pub len: u32,
}

impl Headers {
    /// Reads them.
    #[inline(always)]
    pub fn read(skb: *mut __sk_buff, sent: u8) -> Result<Headers, u32> {
        let mut facts = PacketFacts { sent, ..PacketFacts::default() };
        let first: [u8; 20] = load(skb, 0)?;
        facts.version = first[0] >> 4;
        let (ip_len, is_first) = if facts.version == 4 {
            facts.protocol = first[9];
            facts.source_ip = mapped([first[12], first[13], first[14], first[15]]);
            facts.destination_ip = mapped([first[16], first[17], first[18], first[19]]);
            let offset = u16::from_be_bytes([first[6], first[7]]) & 0x1fff;
            (u32::from(first[0] & 15) * 4, offset == 0)
        } else {
            facts.source_ip = load(skb, 8)?;
            facts.destination_ip = load(skb, 24)?;
            extensions(skb, first[6], &mut facts.protocol)?
        };
        // A later fragment has no header of what it carries.
        let len = if is_first { ip_len + transport(skb, ip_len, &mut facts)? } else { ip_len };
        Ok(Headers { facts, len })
    }
}

/// Steps over IPv6's extension headers: `(length of all headers, whether it is no later fragment)`.
#[inline(always)]
fn extensions(skb: *mut __sk_buff, first: u8, protocol: &mut u8) -> Result<(u32, bool), u32> {
    let mut next = first;
    let mut len = 40;
    let mut is_first = true;
    for _ in 0..MOST_EXTENSIONS {
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | AUTHENTICATION | FRAGMENT => {}
            _ => break,
        }
        let head: [u8; 4] = load(skb, len)?;
        len += match next {
            FRAGMENT => {
                is_first = is_first && u16::from_be_bytes([head[2], head[3]]) & 0xfff8 == 0;
                8
            }
            AUTHENTICATION => (u32::from(head[1]) + 2) * 4,
            _ => (u32::from(head[1]) + 1) * 8,
        };
        next = head[0];
    }
    *protocol = next;
    Ok((len, is_first))
}

/// Ports, and the length of the transport's header.
#[inline(always)]
fn transport(skb: *mut __sk_buff, at: u32, facts: &mut PacketFacts) -> Result<u32, u32> {
    let len = match facts.protocol {
        IPPROTO_TCP => 20,
        IPPROTO_UDP | IPPROTO_UDPLITE => 8,
        IPPROTO_SCTP => 12,
        // Its payload is what a ping carries, or a part of another packet.
        IPPROTO_ICMP | IPPROTO_ICMPV6 => return Ok(8),
        _ => return Ok(0),
    };
    let ports: [u8; 4] = load(skb, at)?;
    facts.source_port = u16::from_be_bytes([ports[0], ports[1]]);
    facts.destination_port = u16::from_be_bytes([ports[2], ports[3]]);
    if facts.protocol != IPPROTO_TCP {
        return Ok(len);
    }
    let offset = u32::from(load::<u8>(skb, at + 12)? >> 4) * 4;
    Ok(if offset > len { offset } else { len })
}

/// ::ffff:a.b.c.d
#[inline(always)]
fn mapped(ip4: [u8; 4]) -> [u64; 2] {
    [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, ip4[0], ip4[1], ip4[2], ip4[3]])]
}

/// Bytes of the packet, wherever they lie.
#[inline(always)]
fn load<T: Copy>(skb: *mut __sk_buff, at: u32) -> Result<T, u32> {
    let mut value = core::mem::MaybeUninit::<T>::zeroed();
    let failed =
        unsafe { bpf_skb_load_bytes(skb.cast(), at, value.as_mut_ptr().cast(), size_of::<T>() as u32) };
    if failed != 0 { Err(COUNT_UNREADABLE) } else { Ok(unsafe { value.assume_init() }) }
}
