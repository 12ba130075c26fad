//! Packets that the kernel drops, and why, from where it frees them with a reason.
//!
//! What is no loss is left at once: reasons that user space says so of (the packet was used up, or told nothing new),
//! and what isn't IP. The rest is added up by 5-tuple, reason and place, so that a flood of drops costs entries, not
//! records; user space takes the entries out a few times a second, and finds their flows by 5-tuple and network namespace.
//!
//! The packet is read where it lies: this hook has no typed view of its bytes. Nor may its socket's storage be asked here:
//! the verifier wants more trust in a socket for that than in one that a packet points to.

use core::ffi::c_void;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::programs::BtfTracePointContext;
use weir_abi::{CORE_REASONS, DROP_OUT, DropKey, Dropped, Field, Lost};

use crate::kernel::{self, Sock, copy, read};
use crate::lost::add;
use crate::maps::{DROPPED, DROPS};

/// Set by user space before load: reasons that are no loss, a bit each.
#[unsafe(no_mangle)]
static WEIR_NO_LOSS: [u64; CORE_REASONS / 64] = [0; CORE_REASONS / 64];

/// Set by user space before load: how many arguments the tracepoint has.
#[unsafe(no_mangle)]
static WEIR_KFREE_ARGS: u32 = 0;

/// `ETH_P_IP` and `ETH_P_IPV6` as the packet has them.
const PROTOCOL_IP4: u16 = 0x0800_u16.to_be();
const PROTOCOL_IP6: u16 = 0x86dd_u16.to_be();
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_SCTP: u8 = 132;
/// Offset, without its flags, of a fragment in its datagram.
const FRAGMENT_OFFSET: u16 = 0x1fff;
/// Most bytes of a packet that can't be several on their way as one, on most links.
const ONE_PACKET: u32 = 1_500;

/// What the headers say beyond the key.
#[derive(Clone, Copy)]
struct Headers {
    /// Bytes, network layer.
    bytes: u32,
    seq: u32,
    ack: u32,
    tcp_flags: u8,
}

/// The kernel frees a packet.
#[inline(always)]
pub fn dropped(ctx: &BtfTracePointContext) -> Result<(), Lost> {
    let reason: u32 = ctx.arg(2);
    if is_no_loss(reason) {
        return Ok(());
    }
    let skb: *mut c_void = ctx.arg(0);
    let protocol: u16 = unsafe { read(skb, Field::SkbProtocol) };
    if protocol != PROTOCOL_IP4 && protocol != PROTOCOL_IP6 {
        return Ok(());
    }
    let mut key = DropKey { location: ctx.arg(1), reason, ..DropKey::default() };
    let headers = headers(skb, protocol == PROTOCOL_IP4, &mut key)?;
    let received_for: *mut c_void =
        if argument_count() > 3 { ctx.arg(3) } else { core::ptr::null_mut() };
    let sent_by: *mut c_void = unsafe { read(skb, Field::SkbSock) };
    let is_ours = !sent_by.is_null() && unsafe { read::<u32>(skb, Field::SkbInput) } == 0;
    key.netns = if is_ours {
        key.flags = DROP_OUT;
        Sock(sent_by).netns()
    } else if !received_for.is_null() {
        Sock(received_for).netns()
    } else {
        device_netns(skb)
    };
    let packets = if headers.bytes > ONE_PACKET { segments(skb) } else { 1 };
    let now = kernel::now();
    let first = || {
        let mut first = Dropped {
            first_ns: now,
            last_ns: now,
            packets,
            bytes: u64::from(headers.bytes),
            input: route_input(skb),
            seq: headers.seq,
            ack: headers.ack,
            tcp_flags: headers.tcp_flags,
            ..Dropped::default()
        };
        if is_ours && key.protocol == IPPROTO_TCP {
            first.sender_state = unsafe { read(sent_by, Field::State) };
        } else if is_ours && key.protocol == IPPROTO_UDP {
            first.owner = kernel::current_owner();
        }
        first
    };
    if let Some(known) = DROPS.get_ptr_mut(&key) {
        note();
        unsafe { add_to(known, packets, u64::from(headers.bytes), now) };
        return Ok(());
    }
    add_up(&key, first)
}

/// Adds to an entry, or makes it.
#[inline(always)]
pub fn add_up(key: &DropKey, first: impl FnOnce() -> Dropped) -> Result<(), Lost> {
    note();
    let first = first();
    // Refused where there is one, of before or of another CPU that was faster.
    if DROPS.insert(key, &first, u64::from(BPF_NOEXIST)).is_ok() {
        return Ok(());
    }
    let Some(known) = DROPS.get_ptr_mut(key) else { return Err(Lost::DropMapFull) };
    unsafe { add_to(known, first.packets, first.bytes, first.last_ns) };
    Ok(())
}

/// Tells user space that there is something to read.
#[inline(always)]
fn note() {
    if let Some(dropped) = DROPPED.get_ptr_mut(0) {
        unsafe { add(dropped, 1) };
    }
}

#[inline(always)]
unsafe fn add_to(known: *mut Dropped, packets: u64, bytes: u64, now: u64) {
    unsafe {
        (*known).last_ns = now;
        add(&raw mut (*known).packets, packets);
        add(&raw mut (*known).bytes, bytes);
    }
}

#[inline(always)]
fn argument_count() -> u32 {
    // Volatile: the compiler must not take the zero above for the value. To the verifier it is a constant, and the
    // branch behind it is dead where the argument isn't there.
    unsafe { core::ptr::read_volatile(&raw const WEIR_KFREE_ARGS) }
}

#[inline(always)]
fn is_no_loss(reason: u32) -> bool {
    if reason >= CORE_REASONS as u32 {
        return false;
    }
    let word = (reason / 64) as usize & (CORE_REASONS / 64 - 1);
    let bits = unsafe { core::ptr::read_volatile((&raw const WEIR_NO_LOSS).cast::<u64>().add(word)) };
    bits >> (reason % 64) & 1 != 0
}

/// Reads addresses and ports into the key.
#[inline(always)]
fn headers(skb: *mut c_void, is_ip4: bool, key: &mut DropKey) -> Result<Headers, Lost> {
    let head: u64 = unsafe { read(skb, Field::SkbHead) };
    let begin = u32::from(unsafe { read::<u16>(skb, Field::SkbNetwork) });
    let tail: u32 = unsafe { read(skb, Field::SkbTail) };
    let len: u32 = unsafe { read(skb, Field::SkbLen) };
    let (ip_len, total, is_first);
    if is_ip4 {
        let ip: [u8; 20] = bytes(head, begin, tail)?;
        ip_len = u32::from(ip[0] & 15) * 4;
        total = u32::from(u16::from_be_bytes([ip[2], ip[3]]));
        is_first = u16::from_be_bytes([ip[6], ip[7]]) & FRAGMENT_OFFSET == 0;
        key.protocol = ip[9];
        key.from_ip = kernel::mapped(u32::from_ne_bytes([ip[12], ip[13], ip[14], ip[15]]));
        key.to_ip = kernel::mapped(u32::from_ne_bytes([ip[16], ip[17], ip[18], ip[19]]));
    } else {
        let ip: [u32; 10] = bytes(head, begin, tail)?;
        let [high, low, next, _] = ip[1].to_ne_bytes();
        ip_len = 40;
        let payload = u32::from(u16::from_be_bytes([high, low]));
        total = if payload == 0 { 0 } else { payload + ip_len };
        is_first = true;
        key.protocol = next;
        key.from_ip = unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>([ip[2], ip[3], ip[4], ip[5]]) };
        key.to_ip = unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>([ip[6], ip[7], ip[8], ip[9]]) };
    }
    let mut found = Headers { bytes: if total == 0 { len } else { total }, seq: 0, ack: 0, tcp_flags: 0 };
    let at = begin + ip_len;
    if is_first && matches!(key.protocol, IPPROTO_TCP | IPPROTO_UDP | IPPROTO_SCTP) {
        // Where the ports are not in the buffer, or not there at all, the packet still counts, without them.
        let Ok(ports) = bytes::<[u8; 4]>(head, at, tail) else { return Ok(found) };
        key.from_port = u16::from_be_bytes([ports[0], ports[1]]);
        key.to_port = u16::from_be_bytes([ports[2], ports[3]]);
    }
    if is_first && key.protocol == IPPROTO_TCP {
        let Ok(tcp) = bytes::<[u8; 16]>(head, at, tail) else { return Ok(found) };
        found.seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        found.ack = u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]);
        found.tcp_flags = tcp[13];
    }
    Ok(found)
}

/// Bytes of the packet's buffer.
#[inline(always)]
fn bytes<T: Copy>(head: u64, at: u32, tail: u32) -> Result<T, Lost> {
    if at + size_of::<T>() as u32 > tail {
        return Err(Lost::HeaderUnreadable);
    }
    copy(head + u64::from(at)).ok_or(Lost::HeaderUnreadable)
}

/// How many packets are on their way as one.
#[inline(always)]
fn segments(skb: *mut c_void) -> u64 {
    let head: u64 = unsafe { read(skb, Field::SkbHead) };
    let end: u32 = unsafe { read(skb, Field::SkbEnd) };
    let shared = (head + u64::from(end)) as *const c_void;
    let at = unsafe { kernel::address(shared, Field::SharedSegments) };
    let segments = copy::<u16>(at as u64).unwrap_or(1);
    if segments > 1 { u64::from(segments) } else { 1 }
}

/// The namespace of the device that the packet is at. What lies there of a datagram that a socket took is no device:
/// it is read as foreign memory, which gives zero where there is none.
#[inline(always)]
fn device_netns(skb: *mut c_void) -> u32 {
    let device: u64 = unsafe { read(skb, Field::SkbDevice) };
    if device == 0 {
        return 0;
    }
    let at = unsafe { kernel::address(device as *const c_void, Field::DeviceNet) };
    let Some(net) = copy::<u64>(at as u64) else { return 0 };
    let at = unsafe { kernel::address(net as *const c_void, Field::NetInode) };
    copy::<u32>(at as u64).unwrap_or(0)
}

/// What the packet's route does with it; 0 where it has none.
#[inline(always)]
fn route_input(skb: *mut c_void) -> u64 {
    let route = unsafe { read::<u64>(skb, Field::SkbRoute) } & !1;
    if route == 0 {
        return 0;
    }
    let at = unsafe { kernel::address(route as *const c_void, Field::RouteInput) };
    copy::<u64>(at as u64).unwrap_or(0)
}
