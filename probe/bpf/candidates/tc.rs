//! On devices, at every packet.

use aya_ebpf::bindings::{__sk_buff, BPF_NOEXIST};
use aya_ebpf::btf_maps::{HashMap, LruHashMap, PerCpuHashMap};
use aya_ebpf::macros::btf_map;

use crate::kernel::{add, now};

/// `TCX_NEXT`.
pub const NEXT: i32 = -1;

const ETHERNET: usize = 14;
const ETH_IP4: u16 = 0x0800;
const ETH_IP6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FLAG_SYN: u8 = 2;

/// 5-tuple as the packet has it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Tuple {
    from: [u32; 4],
    to: [u32; 4],
    ports: u32,
    protocol: u32,
}

/// What agents of this kind count.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Counted {
    first_ns: u64,
    last_ns: u64,
    bytes: u64,
    packets: u64,
    flags: u64,
}

#[btf_map(name = "SHARED")]
static SHARED: HashMap<Tuple, Counted, 120_000> = HashMap::new();
#[btf_map(name = "PER_CPU")]
static PER_CPU: PerCpuHashMap<Tuple, Counted, 120_000> = PerCpuHashMap::new();
/// Flow → whether its first bytes are taken.
#[btf_map(name = "GATE")]
static GATE: LruHashMap<Tuple, u64, 120_000> = LruHashMap::new();
/// Initial sequence number and ports → where its SYN was seen.
#[btf_map(name = "SYNS")]
static SYNS: LruHashMap<[u32; 2], Tuple, 65_536> = LruHashMap::new();

struct Packet {
    tuple: Tuple,
    /// TCP's sequence number; 0 for others.
    sequence: u32,
    flags: u8,
    /// Where TCP's payload begins.
    payload: usize,
}

/// What begins at `at`, if the packet has it in its linear part.
#[inline(always)]
pub fn at<T: Copy>(skb: *mut __sk_buff, at: usize) -> Option<T> {
    unsafe {
        let (start, end) = ((*skb).data as usize, (*skb).data_end as usize);
        if start + at + size_of::<T>() > end {
            return None;
        }
        Some(((start + at) as *const T).read_unaligned())
    }
}

#[inline(always)]
fn parse(skb: *mut __sk_buff) -> Option<Packet> {
    let mut tuple = Tuple { from: [0; 4], to: [0; 4], ports: 0, protocol: 0 };
    let kind = u16::from_be(at::<u16>(skb, 12)?);
    let (protocol, layer4) = if kind == ETH_IP4 {
        if at::<u8>(skb, ETHERNET)? != 0x45 {
            return None;
        }
        (tuple.from[2], tuple.to[2]) = (0xffff_0000, 0xffff_0000);
        tuple.from[3] = at(skb, ETHERNET + 12)?;
        tuple.to[3] = at(skb, ETHERNET + 16)?;
        (at::<u8>(skb, ETHERNET + 9)?, ETHERNET + 20)
    } else if kind == ETH_IP6 {
        tuple.from = at(skb, ETHERNET + 8)?;
        tuple.to = at(skb, ETHERNET + 24)?;
        (at::<u8>(skb, ETHERNET + 6)?, ETHERNET + 40)
    } else {
        return None;
    };
    tuple.protocol = u32::from(protocol);
    if protocol == UDP {
        tuple.ports = at(skb, layer4)?;
        return Some(Packet { tuple, sequence: 0, flags: 0, payload: layer4 + 8 });
    }
    if protocol != TCP {
        return None;
    }
    tuple.ports = at(skb, layer4)?;
    let sequence = at(skb, layer4 + 4)?;
    let [length, flags] = at::<[u8; 2]>(skb, layer4 + 12)?;
    Some(Packet { tuple, sequence, flags, payload: layer4 + (length as usize >> 4) * 4 })
}

#[inline(always)]
unsafe fn count(counted: *mut Counted, skb: *mut __sk_buff, flags: u8) {
    unsafe {
        (*counted).last_ns = now();
        (*counted).flags |= u64::from(flags);
        add(&raw mut (*counted).bytes, u64::from((*skb).len));
        add(&raw mut (*counted).packets, 1);
    }
}

#[inline(always)]
fn first(skb: *mut __sk_buff, flags: u8) -> Counted {
    let now = now();
    let bytes = u64::from(unsafe { (*skb).len });
    Counted { first_ns: now, last_ns: now, bytes, packets: 1, flags: u64::from(flags) }
}

#[inline(always)]
fn shared(skb: *mut __sk_buff) -> i32 {
    let Some(packet) = parse(skb) else { return NEXT };
    match SHARED.get_ptr_mut(&packet.tuple) {
        Some(counted) => unsafe { count(counted, skb, packet.flags) },
        None => {
            let _ = SHARED.insert(&packet.tuple, first(skb, packet.flags), u64::from(BPF_NOEXIST));
        }
    }
    NEXT
}

#[inline(always)]
fn per_cpu(skb: *mut __sk_buff) -> i32 {
    let Some(packet) = parse(skb) else { return NEXT };
    match PER_CPU.get_ptr_mut(&packet.tuple) {
        Some(counted) => unsafe { count(counted, skb, packet.flags) },
        None => {
            let _ = PER_CPU.insert(&packet.tuple, first(skb, packet.flags), u64::from(BPF_NOEXIST));
        }
    }
    NEXT
}

/// The first bytes of a flow: looked at until they prove to be no TLS.
#[inline(always)]
fn gated(skb: *mut __sk_buff) -> i32 {
    let Some(packet) = parse(skb) else { return NEXT };
    if packet.tuple.protocol != u32::from(TCP) {
        return NEXT;
    }
    if GATE.get_ptr(&packet.tuple).is_some() {
        return NEXT;
    }
    if unsafe { (*skb).len } as usize > packet.payload {
        let first = at::<[u8; 5]>(skb, packet.payload).map_or(0, |head| u64::from(head[0]));
        let _ = GATE.insert(&packet.tuple, first, 0);
    }
    NEXT
}

/// Only what opens a connection.
#[inline(always)]
fn syn(skb: *mut __sk_buff) -> i32 {
    let Some(kind) = at::<u16>(skb, 12) else { return NEXT };
    let (protocol_at, flags_at) = match u16::from_be(kind) {
        ETH_IP4 => (ETHERNET + 9, ETHERNET + 33),
        ETH_IP6 => (ETHERNET + 6, ETHERNET + 53),
        _ => return NEXT,
    };
    if at::<u8>(skb, protocol_at) != Some(TCP) {
        return NEXT;
    }
    let Some(flags) = at::<u8>(skb, flags_at) else { return NEXT };
    if flags & FLAG_SYN == 0 {
        return NEXT;
    }
    let Some(packet) = parse(skb) else { return NEXT };
    let _ = SYNS.insert([packet.sequence, packet.tuple.ports], packet.tuple, 0);
    NEXT
}

macro_rules! both_ways {
    ($($work:ident: $ingress:ident, $egress:ident;)+) => {$(
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "classifier")]
        fn $ingress(skb: *mut __sk_buff) -> i32 {
            $work(skb)
        }

        #[unsafe(no_mangle)]
        #[unsafe(link_section = "classifier")]
        fn $egress(skb: *mut __sk_buff) -> i32 {
            $work(skb)
        }
    )+};
}

both_ways! {
    shared: tc_shared_in, tc_shared_out;
    per_cpu: tc_percpu_in, tc_percpu_out;
    gated: tls_tc_in, tls_tc_out;
    syn: path_in, path_out;
}
