//! All maps. Sizes are defaults; user space sets them before load.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE};
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, RingBuf};
use aya_ebpf::helpers::bpf_sk_storage_get;
use aya_ebpf::macros::btf_map;
use weir_abi::{CHUNK_LARGE, Chunk, Conn, Heads, Lost, Sweep, UdpFlow, UdpKey};

/// Records on their way to user space. 8 MiB holds 40,000 connections' ends, far more than end between two
/// polls. Full: the record is dropped and counted.
#[btf_map(name = "WEIR_EVENTS")]
pub static EVENTS: RingBuf<u8, { 8 << 20 }> = RingBuf::new();

/// What is known of a TCP socket; 192 bytes in the socket's own memory, gone with it. A socket that is accepted
/// inherits its listener's, and so its owner. Full (`optmem_max`): the connection is counted as lost.
#[btf_map(name = "WEIR_CONNS")]
pub static CONNS: SkStorage<ConnState> = SkStorage::new();

/// UDP flows: 144 bytes and the hash's own 48 an entry, so 12 MiB when full. Full: packets of new flows are
/// counted as lost; user space removes idle ones.
#[btf_map(name = "WEIR_UDP")]
pub static UDP: HashMap<UdpKey, UdpFlow, 65_536, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Losses since load, by [`Lost`]; never full.
#[btf_map(name = "WEIR_LOST")]
pub static LOST: PerCpuArray<u64, { Lost::COUNT }> = PerCpuArray::new();

/// Connections opened since load; never full.
#[btf_map(name = "WEIR_OPENED")]
pub static OPENED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Payload that came with the last ACK of a handshake, on its way to the socket that it makes; 2.2 KiB a CPU. Both
/// happen in one go on one CPU, so there is never more than one.
#[btf_map(name = "WEIR_FIRST")]
pub static FIRST: PerCpuArray<First, 1> = PerCpuArray::new();

/// What the next iteration reports; never full.
#[btf_map(name = "WEIR_SWEEP")]
pub static SWEEP: Array<Sweep, 1> = Array::new();

/// How far the copying of one direction's first bytes has come.
pub const STREAM_NEW: u8 = 0;
/// It looks like TLS; bytes are copied.
pub const STREAM_COPYING: u8 = 1;
/// Nothing more is wanted.
pub const STREAM_DONE: u8 = 2;

/// Value of [`CONNS`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ConnState {
    pub conn: Conn,
    pub heads: Heads,
    /// Where in each direction's stream the next TLS record begins.
    pub next_record: [u32; 2],
    /// How far each direction's stream was copied without a hole.
    pub copied: [u32; 2],
    /// `STREAM_*` of each direction.
    pub stream: [u8; 2],
    /// This end's FIN is queued behind what the application wrote.
    pub fin_queued: u8,
    /// The last record was sent; what follows is silence.
    pub closed: u8,
    /// Whether an iteration reported it yet.
    pub reported: u8,
    pub _pad: [u8; 3],
    /// Segments in and out when it was last reported.
    pub reported_segs: u64,
}

const _: () = assert!(size_of::<ConnState>() == 176);

/// Value of [`FIRST`].
#[repr(C)]
pub struct First {
    /// Sequence number of the first byte.
    pub seq: u32,
    /// Ports in host order.
    pub remote_port: u16,
    pub local_port: u16,
    /// Bytes kept; 0: none.
    pub len: u32,
    pub _pad: u32,
    pub chunk: Chunk<CHUNK_LARGE>,
}

/// Socket storage that accepted sockets inherit (`BPF_F_CLONE`), which aya's type has no flag for.
#[repr(C)]
pub struct SkStorage<T> {
    r#type: *const [i32; 24], // BPF_MAP_TYPE_SK_STORAGE
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize | 512], // BPF_F_CLONE
}

// SAFETY: the fields are what the loader reads from BTF; nothing dereferences them.
unsafe impl<T> Sync for SkStorage<T> {}

impl<T> SkStorage<T> {
    const fn new() -> Self {
        Self {
            r#type: core::ptr::null(),
            key: core::ptr::null(),
            value: core::ptr::null(),
            max_entries: core::ptr::null(),
            map_flags: core::ptr::null(),
        }
    }

    /// The socket's value, or null.
    #[inline(always)]
    pub fn get(&self, sk: *mut c_void) -> *mut T {
        self.lookup(sk, 0)
    }

    /// The socket's value, made of zeros if there was none; null when memory is short.
    #[inline(always)]
    pub fn get_or_create(&self, sk: *mut c_void) -> *mut T {
        self.lookup(sk, u64::from(BPF_SK_STORAGE_GET_F_CREATE))
    }

    #[inline(always)]
    fn lookup(&self, sk: *mut c_void, flags: u64) -> *mut T {
        let map = core::ptr::from_ref(self).cast_mut().cast();
        unsafe { bpf_sk_storage_get(map, sk, core::ptr::null_mut(), flags) }.cast()
    }
}
