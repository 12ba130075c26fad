//! Counters of living connections, and connections that were there before.

use core::ffi::c_void;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::{bpf_seq_write, bpf_skc_to_tcp_sock, bpf_sock_from_file};

use crate::kernel::{self, add, read};
use crate::life::{BORN, Born};

/// What an iterator writes of a connection that moved.
#[repr(C)]
struct Living {
    born: Born,
    acked: u64,
    received: u64,
    segments: [u32; 2],
    rtt: u32,
    retransmits: u32,
}

#[inline(always)]
fn report(meta: *mut c_void, sk: *mut c_void, born: *mut Born) {
    let Some(born) = (unsafe { born.as_mut() }) else { return };
    let tp = unsafe { bpf_skc_to_tcp_sock(sk) }.cast::<c_void>();
    if tp.is_null() {
        return;
    }
    let segments: [u32; 2] = unsafe { [read(tp, kernel::SEGS_IN), read(tp, kernel::SEGS_OUT)] };
    let sum = u64::from(segments[0]) + u64::from(segments[1]);
    if sum == born.reported {
        return;
    }
    let living = unsafe {
        Living {
            born: *born,
            acked: read(tp, kernel::BYTES_ACKED),
            received: read(tp, kernel::BYTES_RECEIVED),
            segments,
            rtt: read(tp, kernel::SRTT),
            retransmits: read(tp, kernel::RETRANSMITS),
        }
    };
    // struct bpf_iter_meta begins with its seq_file.
    let seq = unsafe { *meta.cast::<*mut c_void>() };
    let bytes = (&raw const living).cast_mut().cast();
    if unsafe { bpf_seq_write(seq.cast(), bytes, size_of::<Living>() as u32) } == 0 {
        born.reported = sum;
    }
}

/// Each socket that has storage: `{ meta, map, sk, value }`.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
fn iter_storage(ctx: *const [*mut c_void; 4]) -> i32 {
    let [meta, _, sk, value] = unsafe { &*ctx };
    if !sk.is_null() && !value.is_null() {
        report(*meta, *sk, value.cast());
    }
    0
}

/// Each TCP socket of the reader's namespace: `{ meta, sk_common, uid }`.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
fn iter_tcp(ctx: *const [*mut c_void; 2]) -> i32 {
    let [meta, sk] = unsafe { &*ctx };
    if sk.is_null() {
        return 0;
    }
    let tp = unsafe { bpf_skc_to_tcp_sock(*sk) }.cast::<c_void>();
    if !tp.is_null() {
        report(*meta, tp, BORN.get(tp));
    }
    0
}

/// Each open file of each task: `{ meta, task, fd, file }`.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
fn iter_files(ctx: *const [*mut c_void; 4]) -> i32 {
    let [meta, task, _, file] = unsafe { &*ctx };
    if task.is_null() || file.is_null() {
        return 0;
    }
    let socket = unsafe { bpf_sock_from_file((*file).cast()) }.cast::<c_void>();
    if socket.is_null() {
        return 0;
    }
    let sk: *mut c_void = unsafe { read(socket, kernel::SOCKET_SOCK) };
    let tp = unsafe { bpf_skc_to_tcp_sock(sk) }.cast::<c_void>();
    if !tp.is_null() {
        report(*meta, tp, BORN.get_or_create(tp));
    }
    0
}

#[inline(always)]
fn each(skb: *mut __sk_buff, direction: usize) -> i32 {
    let sk: *mut c_void = unsafe { (*skb).__bindgen_anon_2.sk }.cast();
    if sk.is_null() {
        return 1;
    }
    let born = BORN.get_or_create(sk);
    if let Some(born) = unsafe { born.as_mut() } {
        unsafe {
            add(&raw mut born.counted[direction], u64::from((*skb).len));
            add(&raw mut born.counted[direction + 2], 1);
        }
    }
    1
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup_skb/ingress")]
fn each_in(skb: *mut __sk_buff) -> i32 {
    each(skb, 0)
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup_skb/egress")]
fn each_out(skb: *mut __sk_buff) -> i32 {
    each(skb, 1)
}
