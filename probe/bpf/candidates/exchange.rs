//! Request and response turns at the send and receive calls; drops.

use core::ffi::c_void;

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_skc_to_tcp_sock};
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;

use crate::kernel::{self, EVENTS, QUIET, SkStorage, add};

const SEND: u32 = 1;
const RECEIVE: u32 = 2;

#[repr(C)]
#[derive(Clone, Copy)]
struct Turns {
    /// Who spoke first, and who spoke last.
    first: u32,
    last: u32,
    begun_ns: u64,
    answered_ns: u64,
    bytes: [u64; 2],
    thread: u64,
    number: u64,
}

#[btf_map(name = "TURNS")]
static TURNS: SkStorage<Turns> = SkStorage::new();
/// Drops by reason.
#[btf_map(name = "DROPS")]
static DROPS: PerCpuArray<u64, 512> = PerCpuArray::new();

#[inline(always)]
fn said(ctx: &BtfTracePointContext, direction: u32) {
    let (sk, length): (*mut c_void, i32) = (ctx.arg(0), ctx.arg(1));
    if length <= 0 {
        return;
    }
    if unsafe { bpf_skc_to_tcp_sock(sk) }.is_null() {
        return;
    }
    let turns = TURNS.get_or_create(sk);
    let Some(turns) = (unsafe { turns.as_mut() }) else { return };
    if turns.last == direction {
        turns.bytes[usize::from(direction == RECEIVE)] += length as u64;
        return;
    }
    let now = kernel::now();
    if turns.first == 0 {
        turns.first = direction;
    }
    if direction == turns.first {
        if turns.last != 0 {
            if let Some(mut entry) = EVENTS.reserve_untyped::<Turns>(0) {
                entry.write(*turns);
                entry.submit(QUIET);
            }
        }
        turns.begun_ns = now;
        turns.bytes = [0; 2];
        turns.number += 1;
        turns.thread = bpf_get_current_pid_tgid();
    } else {
        turns.answered_ns = now;
    }
    turns.bytes[usize::from(direction == RECEIVE)] = length as u64;
    turns.last = direction;
}

#[btf_tracepoint(function = "sock_send_length")]
fn turn_send(ctx: BtfTracePointContext) -> i32 {
    said(&ctx, SEND);
    0
}

#[btf_tracepoint(function = "sock_recv_length")]
fn turn_receive(ctx: BtfTracePointContext) -> i32 {
    said(&ctx, RECEIVE);
    0
}

/// `(skb, location, reason, rx_sk)`.
#[btf_tracepoint(function = "kfree_skb")]
fn drops(ctx: BtfTracePointContext) -> i32 {
    let reason: u32 = ctx.arg(2);
    // Not a drop (consumed), or nobody says why.
    if reason <= 2 {
        return 0;
    }
    if let Some(counter) = DROPS.get_ptr_mut(reason) {
        unsafe { add(counter, 1) };
    }
    0
}
