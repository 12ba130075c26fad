//! ICMP errors, counted beside drops by the flow that caused them.
//!
//! Where this node sends one, the packet hook sees it: it quotes the packet that it is about. Where one comes in, no hook
//! that runs for few packets sees it; but the kernel hands it to the socket that caused it, as that socket's error. It
//! does so for TCP and for UDP sockets that are connected (or ask for errors): what comes for others stays unseen.

use core::ffi::c_void;

use aya_ebpf::bindings::__sk_buff;
use weir_abi::{DROP_OUT, DropKey, Dropped, Field, Lost, REASON_ICMP, REASON_ICMP6, REASON_SOCKET};

use crate::drops;
use crate::kernel::{self, Sock, read};
use crate::packet::load;

const IPPROTO_ICMP: u8 = 1;
const IPPROTO_ICMP6: u8 = 58;
const IPPROTO_UDP: u8 = 17;
const ICMP_HEADER: u32 = 8;
const DEST_UNREACHABLE: u8 = 3;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;
/// ICMPv6's errors are the types below this.
const FIRST_MESSAGE6: u8 = 128;

/// A packet that is none of a known protocol leaves this node; an ICMP error is counted.
#[inline(always)]
pub fn sent(skb: *mut __sk_buff, protocol: u8, ip_len: u32) -> Result<(), Lost> {
    let is_icmp6 = protocol == IPPROTO_ICMP6;
    if !is_icmp6 && protocol != IPPROTO_ICMP {
        return Ok(());
    }
    let [kind, code] = load::<[u8; 2]>(skb, ip_len)?;
    let is_error = if is_icmp6 {
        kind < FIRST_MESSAGE6
    } else {
        matches!(kind, DEST_UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM)
    };
    if !is_error {
        return Ok(());
    }
    let class = if is_icmp6 { REASON_ICMP6 } else { REASON_ICMP };
    let mut key = DropKey {
        reason: class | u32::from(kind) << 8 | u32::from(code),
        flags: DROP_OUT,
        ..DropKey::default()
    };
    let quote = ip_len + ICMP_HEADER;
    let ports_at = if is_icmp6 {
        key.protocol = load(skb, quote + 6)?;
        key.from_ip = load(skb, quote + 8)?;
        key.to_ip = load(skb, quote + 24)?;
        quote + 40
    } else {
        key.protocol = load(skb, quote + 9)?;
        key.from_ip = kernel::mapped(load(skb, quote + 12)?);
        key.to_ip = kernel::mapped(load(skb, quote + 16)?);
        quote + u32::from(load::<u8>(skb, quote)? & 15) * 4
    };
    let ports = load::<[u8; 4]>(skb, ports_at)?;
    key.from_port = u16::from_be_bytes([ports[0], ports[1]]);
    key.to_port = u16::from_be_bytes([ports[2], ports[3]]);
    count(&key)
}

/// The kernel tells a socket of an error.
#[inline(always)]
pub fn reported(sk: *mut c_void) -> Result<(), Lost> {
    let sock = Sock(sk);
    let error = sock.error();
    let protocol = unsafe { read::<u16>(sk, Field::Protocol) } as u8;
    if error == 0 || protocol != IPPROTO_UDP {
        return Ok(());
    }
    let (from_ip, to_ip) = sock.addresses();
    let mut key = DropKey {
        from_ip,
        to_ip,
        reason: REASON_SOCKET | error & 0xff,
        netns: sock.netns(),
        protocol,
        flags: DROP_OUT,
        ..DropKey::default()
    };
    unsafe {
        key.from_port = read(sk, Field::SockNum);
        key.to_port = u16::from_be(read(sk, Field::RemotePort));
    }
    count(&key)
}

#[inline(always)]
fn count(key: &DropKey) -> Result<(), Lost> {
    let now = kernel::now();
    drops::add_up(key, || Dropped { first_ns: now, last_ns: now, packets: 1, ..Dropped::default() })
}
