//! Weir's capture programs, an object of their own: loaded only while somebody captures packets (`weir capture`), with
//! the filter as read-only data, and taken out after it. Without a capture they cost nothing.
//!
//! | file         | subject                                             |
//! |--------------|-----------------------------------------------------|
//! | `main.rs`    | the hooks: what is taken of a packet that passes      |
//! | `headers.rs` | addresses, ports and where the payload begins         |
//! | `holder.rs`  | who holds the socket, out of the probe's own maps     |
//!
//! Invariants: a packet always goes on; no byte of payload beyond `WEIR_PAYLOAD` is copied, which is 0 unless somebody
//! asked for more; every packet that passes and isn't copied is counted.
#![no_std]
#![no_main]
#![allow(internal_features)]
#![feature(core_intrinsics)]

mod headers;
mod holder;

use aya_ebpf::bindings::{__sk_buff, BPF_RB_NO_WAKEUP};
use aya_ebpf::btf_maps::{PerCpuArray, RingBuf};
use aya_ebpf::helpers::{bpf_ktime_get_boot_ns, bpf_skb_load_bytes};
use aya_ebpf::macros::btf_map;
use headers::Headers;
use weir_abi::capture::{
    CAPTURE_TERMS, COUNT_MATCHED, COUNT_RING_FULL, COUNT_UNREADABLE, COUNTS, CaptureTerm, CapturedPacket,
    PacketFacts, PacketHead, WANTS_OWNER, passes,
};

/// Most bytes that are kept of a packet.
const MOST: u32 = 65_536;

/// Packets on their way to user space. Full: the packet is counted as lost to the capture. User space sets the size.
#[btf_map(name = "WEIR_PACKETS")]
static PACKETS: RingBuf<u8, { 8 << 20 }> = RingBuf::new();

/// `COUNT_*`; never full.
#[btf_map(name = "WEIR_COUNTS")]
static COUNTERS: PerCpuArray<u64, COUNTS> = PerCpuArray::new();

const TRUE: CaptureTerm = CaptureTerm {
    kind: 0,
    end: 0,
    on_true: 0,
    on_false: 0,
    low: 0,
    high: 0,
    _pad: 0,
    value: [0; 2],
    mask: [0; 2],
};

/// Set by user space before load, as all that follow.
#[unsafe(no_mangle)]
static WEIR_TERMS: [CaptureTerm; CAPTURE_TERMS] = [TRUE; CAPTURE_TERMS];
#[unsafe(no_mangle)]
static WEIR_PAYLOAD: u32 = 0;
#[unsafe(no_mangle)]
static WEIR_WANTS: u32 = 0;
#[unsafe(no_mangle)]
static WEIR_SELF: u32 = 0;

/// A packet leaves its socket; the data begins at the IP header.
#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup_skb/egress")]
fn weir_capture_out(skb: *mut __sk_buff) -> i32 {
    count(packet(skb, 1));
    1
}

/// A packet reaches its socket; the data begins at the IP header.
#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup_skb/ingress")]
fn weir_capture_in(skb: *mut __sk_buff) -> i32 {
    count(packet(skb, 0));
    1
}

/// `Err`: which counter says that a packet was lost.
#[inline(always)]
fn packet(skb: *mut __sk_buff, sent: u8) -> Result<(), u32> {
    let headers = Headers::read(skb, sent)?;
    let mut facts = headers.facts;
    let wants_owner = setting(&WEIR_WANTS) & WANTS_OWNER != 0;
    if wants_owner {
        holder::fill(skb, &mut facts);
    }
    if !passes(&WEIR_TERMS, &facts) {
        return Ok(());
    }
    if !wants_owner {
        holder::fill(skb, &mut facts);
    }
    // What we send on would be captured again, and sent on, …
    if facts.owner.pid != 0 && facts.owner.pid == setting(&WEIR_SELF) {
        return Ok(());
    }
    add(COUNT_MATCHED);
    let wire_len = unsafe { (*skb).len };
    let payload = wire_len.saturating_sub(headers.len);
    let wanted = setting(&WEIR_PAYLOAD);
    let kept = wire_len.min(headers.len) + if payload < wanted { payload } else { wanted };
    let head = PacketHead {
        time_ns: unsafe { bpf_ktime_get_boot_ns() },
        owner: facts.owner,
        netns: facts.netns,
        wire_len,
        kept: if kept < MOST { kept } else { MOST },
        sent,
        _pad: [0; 3],
    };
    give(skb, &head)
}

/// Into the ring, in a record of the next larger size: the kernel wants to know sizes beforehand.
#[inline(always)]
fn give(skb: *mut __sk_buff, head: &PacketHead) -> Result<(), u32> {
    // Read back, so that the compiler can't know the bounds and leave out the checks that the verifier wants to see.
    let kept = unsafe { core::ptr::read_volatile(&raw const head.kept) };
    if kept <= 128 {
        copy::<128>(skb, head, kept)
    } else if kept <= 512 {
        copy::<512>(skb, head, kept)
    } else if kept <= 2_048 {
        copy::<2_048>(skb, head, kept)
    } else if kept <= 16_384 {
        copy::<16_384>(skb, head, kept)
    } else {
        copy::<{ MOST as usize }>(skb, head, kept)
    }
}

#[inline(always)]
fn copy<const N: usize>(skb: *mut __sk_buff, head: &PacketHead, kept: u32) -> Result<(), u32> {
    let kept = unsafe { core::ptr::read_volatile(&raw const kept) };
    if kept == 0 || kept > N as u32 {
        return Err(COUNT_UNREADABLE);
    }
    let Some(mut entry) = PACKETS.reserve_untyped::<CapturedPacket<N>>(0) else {
        return Err(COUNT_RING_FULL);
    };
    let packet = entry.as_mut_ptr();
    let loaded = unsafe {
        (&raw mut (*packet).head).write(*head);
        bpf_skb_load_bytes(skb.cast(), 0, (&raw mut (*packet).bytes).cast(), kept)
    };
    if loaded != 0 {
        entry.discard(u64::from(BPF_RB_NO_WAKEUP));
        return Err(COUNT_UNREADABLE);
    }
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    Ok(())
}

/// A setting as user space left it: volatile, since the compiler must not take the zero above for its value.
#[inline(always)]
fn setting(value: &'static u32) -> u32 {
    unsafe { core::ptr::read_volatile(value) }
}

#[inline(always)]
fn count(result: Result<(), u32>) {
    if let Err(counter) = result {
        add(counter);
    }
}

#[inline(always)]
fn add(counter: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(counter) {
        // An interrupt on this CPU may count in between.
        unsafe {
            core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(
                counter, 1,
            )
        };
    }
}

/// Fills in nothing but what `PacketFacts` starts with; see `headers.rs`.
const _: () = assert!(size_of::<PacketFacts>() <= 128, "it lies on a stack of 512 bytes");

/// Programs with these helpers must be GPL-compatible; Weir's sources stay Apache-2.0.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
