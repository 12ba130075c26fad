//! TCP connections opened and closed: a record of 200 bytes at the end of each.

use core::ffi::c_void;

use aya_ebpf::bindings::{
    BPF_F_NO_PREALLOC, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB,
    BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock_ops,
};
use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_socket_cookie,
    bpf_skc_to_tcp_sock, bpf_sock_ops_cb_flags_set,
};
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;

use crate::kernel::{self, EVENTS, QUIET, SkStorage, WAKE, read};

const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const CLOSE: i32 = 7;

/// Known of a connection since its beginning.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Born {
    syn_ns: u64,
    opened_ns: u64,
    cookie: u64,
    process: u64,
    cgroup: u64,
    comm: [u8; 16],
    addresses: [u32; 8],
    ports: [u16; 4],
    /// Segments when an iterator last reported it.
    pub reported: u64,
    pub counted: [u64; 4],
}

#[repr(C)]
struct Ended {
    time_ns: u64,
    born: Born,
    acked: u64,
    received: u64,
    segments: [u32; 2],
    rtt: u32,
    retransmits: u32,
    sequences: [u32; 2],
    state: u64,
}

#[btf_map(name = "BORN")]
pub static BORN: SkStorage<Born> = SkStorage::new();

/// The same beside the sockets: preallocated, so that a connection allocates and frees nothing.
#[btf_map(name = "BORN_BESIDE")]
static BORN_BESIDE: HashMap<u64, Born, 131_072> = HashMap::new();

/// The same, allocated as connections come, from the kernel's own pools for programs.
#[btf_map(name = "BORN_GROWING")]
pub static BORN_GROWING: HashMap<u64, Born, 131_072, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

#[inline(always)]
fn begin(born: &mut Born) {
    born.syn_ns = kernel::now();
    born.process = bpf_get_current_pid_tgid();
    born.comm = bpf_get_current_comm().unwrap_or_default();
}

/// Where what is known of a connection is kept.
trait Keep {
    fn get(sk: *mut c_void) -> *mut Born;
    fn get_or_create(sk: *mut c_void) -> *mut Born;
    fn forget(sk: *mut c_void);
}

/// In the socket's own storage.
struct InSocket;

impl Keep for InSocket {
    #[inline(always)]
    fn get(sk: *mut c_void) -> *mut Born {
        BORN.get(sk)
    }

    #[inline(always)]
    fn get_or_create(sk: *mut c_void) -> *mut Born {
        BORN.get_or_create(sk)
    }

    #[inline(always)]
    fn forget(_: *mut c_void) {}
}

/// In a hash by the socket's address.
macro_rules! beside {
    ($name:ident, $map:ident) => {
        struct $name;

        impl Keep for $name {
            #[inline(always)]
            fn get(sk: *mut c_void) -> *mut Born {
                $map.get_ptr_mut(sk as u64).unwrap_or(core::ptr::null_mut())
            }

            #[inline(always)]
            fn get_or_create(sk: *mut c_void) -> *mut Born {
                let found = $name::get(sk);
                if !found.is_null() {
                    return found;
                }
                let new: Born = unsafe { core::mem::zeroed() };
                let _ = $map.insert(sk as u64, &new, 0);
                $name::get(sk)
            }

            #[inline(always)]
            fn forget(sk: *mut c_void) {
                let _ = $map.remove(sk as u64);
            }
        }
    };
}

beside!(Beside, BORN_BESIDE);
beside!(Growing, BORN_GROWING);

#[inline(always)]
fn changed<K: Keep>(ctx: &BtfTracePointContext, wake: u64) {
    let (sk, old, new): (*mut c_void, i32, i32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    let tp = unsafe { bpf_skc_to_tcp_sock(sk) }.cast::<c_void>();
    if tp.is_null() {
        return;
    }
    match new {
        SYN_SENT => {
            let born = K::get_or_create(sk);
            if let Some(born) = unsafe { born.as_mut() } {
                begin(born);
                born.cgroup = unsafe { bpf_get_current_cgroup_id() };
            }
        }
        ESTABLISHED => {
            let born = K::get_or_create(sk);
            if let Some(born) = unsafe { born.as_mut() } {
                born.opened_ns = kernel::now();
                born.cookie = unsafe { bpf_get_socket_cookie(sk) };
                unsafe {
                    born.addresses[0] = read(sk, kernel::LOCAL_IP);
                    born.addresses[4] = read(sk, kernel::REMOTE_IP);
                    born.ports[0] = read(tp, kernel::LOCAL_PORT);
                    born.ports[1] = read(sk, kernel::REMOTE_PORT);
                }
            }
        }
        CLOSE => {
            let born = K::get(sk);
            let Some(born) = (unsafe { born.as_mut() }) else { return };
            let Some(mut entry) = EVENTS.reserve_untyped::<Ended>(0) else { return };
            let ended = unsafe { entry.assume_init_mut() };
            ended.time_ns = kernel::now();
            ended.born = *born;
            unsafe {
                ended.acked = read(tp, kernel::BYTES_ACKED);
                ended.received = read(tp, kernel::BYTES_RECEIVED);
                ended.segments = [read(tp, kernel::SEGS_IN), read(tp, kernel::SEGS_OUT)];
                ended.rtt = read(tp, kernel::SRTT);
                ended.retransmits = read(tp, kernel::RETRANSMITS);
                ended.sequences = [read(tp, kernel::SND_UNA), read(tp, kernel::RCV_NXT)];
            }
            ended.state = old as u64;
            entry.submit(wake);
            K::forget(sk);
        }
        _ => {}
    }
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn life_tp(ctx: BtfTracePointContext) -> i32 {
    changed::<InSocket>(&ctx, QUIET);
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn life_tp_wake(ctx: BtfTracePointContext) -> i32 {
    changed::<InSocket>(&ctx, WAKE);
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn life_tp_hash(ctx: BtfTracePointContext) -> i32 {
    changed::<Beside>(&ctx, QUIET);
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn life_tp_growing(ctx: BtfTracePointContext) -> i32 {
    changed::<Growing>(&ctx, QUIET);
    0
}

macro_rules! field {
    ($ctx:ident, $name:ident) => {
        // Volatile: the verifier wants each field of the context loaded alone, at its own width.
        unsafe { core::ptr::read_volatile(&raw const (*$ctx).$name) }
    };
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "sockops")]
fn life_ops(ctx: *mut bpf_sock_ops) -> i32 {
    let operation = field!(ctx, op);
    let sk: *mut c_void = unsafe { (*ctx).__bindgen_anon_2.sk }.cast();
    if sk.is_null() {
        return 1;
    }
    match operation {
        BPF_SOCK_OPS_TCP_CONNECT_CB => {
            let born = BORN.get_or_create(sk);
            if let Some(born) = unsafe { born.as_mut() } {
                begin(born);
            }
            unsafe { bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG as i32) };
        }
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB | BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
            let born = BORN.get_or_create(sk);
            if let Some(born) = unsafe { born.as_mut() } {
                born.opened_ns = kernel::now();
                born.cookie = unsafe { bpf_get_socket_cookie(ctx.cast()) };
                born.addresses[0] = field!(ctx, local_ip4);
                born.addresses[4] = field!(ctx, remote_ip4);
                born.ports[0] = field!(ctx, local_port) as u16;
                born.ports[1] = (field!(ctx, remote_port) >> 16) as u16;
            }
            if operation == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB {
                unsafe { bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG as i32) };
            }
        }
        BPF_SOCK_OPS_STATE_CB => {
            let (old, new) = unsafe {
                let arguments = &raw const (*ctx).__bindgen_anon_1.args;
                let first = arguments.cast::<u32>();
                (first.read_volatile(), first.add(1).read_volatile())
            };
            if new != CLOSE as u32 {
                return 1;
            }
            let born = BORN.get(sk);
            let Some(born) = (unsafe { born.as_mut() }) else { return 1 };
            let Some(mut entry) = EVENTS.reserve_untyped::<Ended>(0) else { return 1 };
            let ended = unsafe { entry.assume_init_mut() };
            ended.time_ns = kernel::now();
            ended.born = *born;
            ended.acked = field!(ctx, bytes_acked);
            ended.received = field!(ctx, bytes_received);
            ended.segments = [field!(ctx, segs_in), field!(ctx, segs_out)];
            ended.rtt = field!(ctx, srtt_us);
            ended.retransmits = field!(ctx, total_retrans);
            ended.sequences = [field!(ctx, snd_una), field!(ctx, rcv_nxt)];
            ended.state = u64::from(old);
            entry.submit(QUIET);
        }
        _ => {}
    }
    1
}
