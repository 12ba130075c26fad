//! Candidate hooks, drafted far enough to be judged by `probe/agent/benches/hooks.rs` and by nothing else: what Weir
//! runs is in `../src`. `probe/adr/0001-hooks.md` has the figures and the choice.
//!
//! | file           | candidates                                                                      |
//! |----------------|---------------------------------------------------------------------------------|
//! | `tc.rs`        | on devices: the usual agent's 5-tuple hash, first bytes gated by flow, SYN only     |
//! | `life.rs`      | TCP life cycle: state-change tracepoint, sock_ops                                   |
//! | `living.rs`    | counters of the living: iterators, each packet                                      |
//! | `packet.rs`    | at the socket: first bytes gated by storage, UDP by hash and by storage             |
//! | `exchange.rs`  | turns at send and receive; drops                                                    |
//! | `kernel.rs`    | reading structs, maps that several use                                              |
//!
//! The empty programs below cost what calling a program and measuring it costs.
#![no_std]
#![no_main]
#![allow(internal_features)]
#![feature(core_intrinsics)]

mod exchange;
mod fields;
mod kernel;
mod life;
mod living;
mod packet;
mod tc;

use core::ffi::c_void;

use aya_ebpf::bindings::{__sk_buff, bpf_sock_ops};

#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/inet_sock_set_state")]
fn empty_tp(_: *mut c_void) -> i32 {
    0
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup_skb/egress")]
fn empty_skb(_: *mut __sk_buff) -> i32 {
    1
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
fn empty_tc(_: *mut __sk_buff) -> i32 {
    tc::NEXT
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "sockops")]
fn empty_ops(_: *mut bpf_sock_ops) -> i32 {
    1
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
