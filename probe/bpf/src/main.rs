//! Weir's kernel programs: TCP life cycle, living connections, first bytes of TLS, UDP flows, drops.
//!
//! | file           | subject                                                              |
//! |----------------|----------------------------------------------------------------------|
//! | `lifecycle.rs` | TCP connections opened, accepted, refused, closed (state-change hook)   |
//! | `sweep.rs`     | iterators: living connections' counters; sockets older than the probe   |
//! | `packet.rs`    | a packet at its socket: its headers, and whose subject it is          |
//! | `hello.rs`     | the first bytes of both directions, until the handshake is over         |
//! | `starttls.rs`  | connections that begin in clear and may turn to TLS                     |
//! | `exchange.rs`  | request/response turns, at the send and receive calls                   |
//! | `cause.rs`     | which inbound exchange an outbound one is for                           |
//! | `library.rs`   | certificates, as TLS libraries read them                              |
//! | `udp.rs`       | UDP flows, counted where packets meet their socket                      |
//! | `handshake.rs` | which of their datagrams are of a QUIC or DTLS handshake                |
//! | `datagram.rs`  | whole datagrams, for protocols that want them                           |
//! | `drops.rs`     | packets that the kernel drops, and why                                  |
//! | `icmp.rs`      | ICMP errors, and the flows that caused them                             |
//! | `path.rs`      | packets that pass chosen interfaces                                     |
//! | `kernel.rs`    | reading the kernel's structs at offsets that user space resolved        |
//! | `maps.rs`      | all maps, with bound and what happens when full                         |
//! | `lost.rs`      | counting what was lost                                                  |
//!
//! Invariants: a packet always goes on; nothing wakes user space (it polls); payload is copied only by
//! `hello.rs`, only of what begins as TLS (or turns to it: `starttls.rs`), and only up to the first encrypted record
//! (where segments overtook each other neither can be known: those are copied up to `HELLO_LIMIT`, and the agent drops
//! what is no handshake), of DNS, by port, there and by `datagram.rs`, and there of what `handshake.rs` takes for QUIC
//! or DTLS, until the first data. Programs' memory is read by `library.rs` only where a certificate lies.
#![no_std]
#![no_main]
#![allow(internal_features)]
#![feature(core_intrinsics)]

mod cause;
mod datagram;
mod exchange;
mod drops;
mod handshake;
mod hello;
mod icmp;
mod kernel;
mod library;
mod lifecycle;
mod lost;
mod maps;
mod packet;
mod path;
mod starttls;
mod sweep;
mod udp;

use core::ffi::c_void;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use kernel::Task;

/// The agent refuses an object that speaks another ABI.
#[unsafe(no_mangle)]
static WEIR_ABI_1: u32 = weir_abi::ABI_VERSION;

/// A socket changed its TCP state: `(struct sock *sk, int oldstate, int newstate)`.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn weir_tcp_state(ctx: BtfTracePointContext) -> i32 {
    let (sk, old, new): (*mut c_void, i32, i32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    lost::count(lifecycle::changed(sk, old, new));
    0
}

/// A program sent: `(struct sock *sk, int result, int flags)`.
#[btf_tracepoint(function = "sock_send_length")]
fn weir_sent(ctx: BtfTracePointContext) -> i32 {
    lost::count(exchange::moved(ctx.arg(0), ctx.arg(1), true));
    0
}

/// A program received: `(struct sock *sk, int result, int flags)`.
#[btf_tracepoint(function = "sock_recv_length")]
fn weir_received(ctx: BtfTracePointContext) -> i32 {
    lost::count(exchange::moved(ctx.arg(0), ctx.arg(1), false));
    0
}

/// A TLS library's function that reads a certificate was called; the attachment's cookie says how (`CALL_*`).
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
fn weir_certificate(ctx: *mut library::Registers) -> i32 {
    lost::count(library::called(ctx));
    0
}

/// Each socket with a turn: `{ meta, map, key, value }`.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_map_elem")]
fn weir_silent(ctx: *const [*mut c_void; 4]) -> i32 {
    let [meta, _, key, value] = unsafe { &*ctx };
    if !key.is_null() && !value.is_null() {
        lost::count(exchange::silent(*meta, unsafe { *key.cast::<u64>() }, value.cast()));
    }
    0
}

/// A packet is freed for a reason: `(struct sk_buff *skb, void *location, enum skb_drop_reason reason)`, and from
/// Linux 6.11 on `struct sock *rx_sk`.
#[btf_tracepoint(function = "kfree_skb")]
fn weir_drop(ctx: BtfTracePointContext) -> i32 {
    lost::count(drops::dropped(&ctx));
    0
}

/// The kernel tells a socket of an error: `(const struct sock *sk)`.
#[btf_tracepoint(function = "inet_sk_error_report")]
fn weir_error(ctx: BtfTracePointContext) -> i32 {
    lost::count(icmp::reported(ctx.arg(0)));
    0
}

/// A packet leaves its socket; the data begins at the IP header.
#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup_skb/egress")]
fn weir_packet_out(skb: *mut __sk_buff) -> i32 {
    lost::count(packet::passed(skb, true));
    1
}

/// A packet reaches its socket; the data begins at the IP header.
#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup_skb/ingress")]
fn weir_packet_in(skb: *mut __sk_buff) -> i32 {
    lost::count(packet::passed(skb, false));
    1
}

/// `TCX_NEXT`, and `TC_ACT_UNSPEC` on kernels without tcx: whoever is next decides.
const NEXT: i32 = -1;

/// A packet comes in by a chosen interface; the data begins at the Ethernet header.
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
fn weir_path_in(skb: *mut __sk_buff) -> i32 {
    lost::count(path::passed(skb, path::Link::Ethernet, false));
    NEXT
}

/// A packet leaves by a chosen interface.
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
fn weir_path_out(skb: *mut __sk_buff) -> i32 {
    lost::count(path::passed(skb, path::Link::Ethernet, true));
    NEXT
}

/// The same of interfaces whose packets begin at the IP header (tunnels).
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
fn weir_ip_in(skb: *mut __sk_buff) -> i32 {
    lost::count(path::passed(skb, path::Link::Ip, false));
    NEXT
}

/// The same of interfaces whose packets begin at the IP header (tunnels).
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
fn weir_ip_out(skb: *mut __sk_buff) -> i32 {
    lost::count(path::passed(skb, path::Link::Ip, true));
    NEXT
}

/// Each connection: `{ meta, map, key, value }`.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_map_elem")]
fn weir_sweep(ctx: *const [*mut c_void; 4]) -> i32 {
    let [meta, _, key, value] = unsafe { &*ctx };
    if !key.is_null() && !value.is_null() {
        lost::count(sweep::living(*meta, unsafe { *key.cast::<u64>() }, value.cast()));
    }
    0
}

/// Each open file of each task: `{ meta, task, fd, file }`.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
fn weir_backfill(ctx: *const [*mut c_void; 4]) -> i32 {
    let [meta, task, _, file] = unsafe { &*ctx };
    if !task.is_null() && !file.is_null() {
        lost::count(sweep::older(*meta, Task(*task), *file));
    }
    0
}

/// Tracing programs with these helpers must be GPL-compatible; Weir's sources stay Apache-2.0.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
