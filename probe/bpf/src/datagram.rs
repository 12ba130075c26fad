//! Whole datagrams into the ring, for protocols of which each one matters (DNS) or the first ones do.
//!
//! Who calls decides which; nothing here is remembered of a flow. The ring is reserved in three sizes, so that a question
//! of 40 bytes doesn't take the room of an answer. What is longer than the largest is cut, and counted.

use aya_ebpf::bindings::{__sk_buff, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::bpf_skb_load_bytes;
use weir_abi::{
    DATAGRAM_HUGE, DATAGRAM_LARGE, DATAGRAM_SMALL, Datagram, DatagramHead, KIND_DATAGRAM, Lost, UdpFlow, UdpKey,
};

use crate::kernel;
use crate::maps::EVENTS;

/// How much of what a packet carries is copied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// One datagram: of several on their way as one (GSO), the first.
    First,
    /// All of them, as far as there is room: user space tells them apart.
    All,
    /// The beginning: that it came is what counts.
    Head,
}

/// Copies what a packet carries `at` bytes into it.
#[inline(always)]
pub fn copy(
    skb: *mut __sk_buff,
    key: &UdpKey,
    flow: *const UdpFlow,
    sent: bool,
    at: u32,
    part: Part,
) -> Result<(), Lost> {
    let total = unsafe { (*skb).len };
    if total <= at {
        return Ok(());
    }
    let segment = unsafe { (*skb).gso_size };
    let whole = if segment > 0 && segment < total - at { segment } else { total - at };
    let len = match part {
        Part::First => whole,
        Part::All => least(total - at, DATAGRAM_HUGE as u32),
        Part::Head => least(whole, DATAGRAM_SMALL as u32),
    };
    let full = if part == Part::First { Lost::RingFullDatagram } else { Lost::RingFullChunk };
    let found = Found { skb, key, flow, sent, at, whole, full };
    if len <= DATAGRAM_SMALL as u32 {
        send::<DATAGRAM_SMALL>(&found, len)
    } else if len <= DATAGRAM_LARGE as u32 {
        send::<DATAGRAM_LARGE>(&found, len)
    } else if len <= DATAGRAM_HUGE as u32 {
        send::<DATAGRAM_HUGE>(&found, len)
    } else {
        send::<DATAGRAM_HUGE>(&found, DATAGRAM_HUGE as u32)?;
        Err(Lost::DatagramTooLong)
    }
}

#[inline(always)]
fn least(one: u32, other: u32) -> u32 {
    if one < other { one } else { other }
}

struct Found<'a> {
    skb: *mut __sk_buff,
    key: &'a UdpKey,
    flow: *const UdpFlow,
    sent: bool,
    at: u32,
    whole: u32,
    /// What is counted where the ring has no room.
    full: Lost,
}

#[inline(always)]
fn send<const N: usize>(found: &Found<'_>, len: u32) -> Result<(), Lost> {
    // Read back, so that the compiler can't know the bounds and leave out the check that the verifier wants to see.
    let len = unsafe { core::ptr::read_volatile(&raw const len) };
    if len == 0 || len > N as u32 {
        return Ok(());
    }
    let Some(mut entry) = EVENTS.reserve_untyped::<Datagram<N>>(0) else {
        return Err(found.full);
    };
    let datagram = entry.as_mut_ptr();
    // Field by field: all of it would not fit on the stack beside the key.
    let loaded = unsafe {
        let head: *mut DatagramHead = &raw mut (*datagram).head;
        (*head).kind = KIND_DATAGRAM;
        (*head).sent = u8::from(found.sent);
        (*head).len = len as u16;
        (*head).whole = found.whole;
        (*head).time_ns = kernel::now();
        (*head).key = *found.key;
        (*head).first_ns = (*found.flow).first_ns;
        (*head).owner = (*found.flow).owner;
        (*head).netns = (*found.flow).netns;
        (*head).began_here = (*found.flow).began_here;
        (*head)._pad = [0; 3];
        bpf_skb_load_bytes(found.skb.cast(), found.at, (&raw mut (*datagram).bytes).cast(), len)
    };
    if loaded != 0 {
        entry.discard(u64::from(BPF_RB_NO_WAKEUP));
        return Err(Lost::HeaderUnreadable);
    }
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    Ok(())
}
