//! All maps. Sizes are defaults; user space sets them before load.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE};
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::helpers::bpf_sk_storage_get;
use aya_ebpf::macros::btf_map;
use weir_abi::{
    CHUNK_LARGE, Cause, Chunk, Conn, DropKey, Dropped, ExchangeRecord, GoLayout, Heads, Lost, Opening, Owner,
    PATH_COUNTS, PastKey, PathFlow, PathKey, Sweep, UdpFlow, UdpKey,
};

/// Records on their way to user space. 8 MiB holds 33,000 connections' ends, far more than end between two
/// polls. Full: the record is dropped and counted.
#[btf_map(name = "WEIR_EVENTS")]
pub static EVENTS: RingBuf<u8, { 8 << 20 }> = RingBuf::new();

/// What is known of each TCP connection, by its socket's address, until the socket closes; 256 bytes an entry, taken as
/// they are needed. Beside the sockets, and not in their own storage, which costs several times as much for each new
/// connection (ADR 1). Full: the connection is counted as lost.
#[btf_map(name = "WEIR_CONNS")]
pub static CONNS: BySocket<ConnState> = HashMap::new();

/// Who listens; 32 bytes in the listener's own memory, gone with it. Full (`optmem_max`): who accepts is known later.
#[btf_map(name = "WEIR_LISTENERS")]
pub static LISTENERS: SkStorage<Owner> = SkStorage::new();

/// A [`ConnState`] on its way into its map: there is no room for it on the stack. One for each program that makes
/// them, since one may interrupt the other.
#[btf_map(name = "WEIR_FRESH")]
pub static FRESH: PerCpuArray<ConnState, 2> = PerCpuArray::new();

/// The state-change program's, in [`FRESH`].
pub const FRESH_OPENED: u32 = 0;
/// The iterator's over sockets that are older than the probe.
pub const FRESH_OLDER: u32 = 1;

/// UDP flows: 144 bytes and the hash's own 48 an entry, so 12 MiB when full. Full: packets of new flows are
/// counted as lost; user space removes idle ones.
#[btf_map(name = "WEIR_UDP")]
pub static UDP: HashMap<UdpKey, UdpFlow, 65_536, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Packets that the kernel dropped, until user space takes them out: 144 bytes and the hash's own 48 an entry, all there
/// from the beginning since this hook may not ask for memory: 1.5 MiB. Full: further 5-tuples are counted as lost.
#[btf_map(name = "WEIR_DROPS")]
pub static DROPS: HashMap<DropKey, Dropped, 8_192> = HashMap::new();

/// How many were counted there since load.
#[btf_map(name = "WEIR_DROPPED")]
pub static DROPPED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Losses since load, by [`Lost`]; never full.
#[btf_map(name = "WEIR_LOST")]
pub static LOST: PerCpuArray<u64, { Lost::COUNT }> = PerCpuArray::new();

/// Connections opened since load; never full.
#[btf_map(name = "WEIR_OPENED")]
pub static OPENED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// The last ACK of a handshake, with the payload that may have come with it and the listener's owner, on its way to the
/// socket that it makes; 2.2 KiB a CPU. Both happen in one go on one CPU, so there is never more than one.
#[btf_map(name = "WEIR_FIRST")]
pub static FIRST: PerCpuArray<First, 1> = PerCpuArray::new();

/// What the next iteration reports; never full.
#[btf_map(name = "WEIR_SWEEP")]
pub static SWEEP: Array<Sweep, 1> = Array::new();

/// The turn under way on a TCP socket, by its address, until it closes; 216 bytes an entry. Only there from level
/// `exchanges` on, from the connection's first byte. Full: the connection's exchanges are counted as lost.
#[btf_map(name = "WEIR_TURNS")]
pub static TURNS: BySocket<Turn> = HashMap::new();

/// What a [`Turn`] begins as; never written.
#[btf_map(name = "WEIR_BLANK")]
pub static BLANK: PerCpuArray<Turn, 1> = PerCpuArray::new();

/// Exchanges begun since load; never full.
#[btf_map(name = "WEIR_BEGUN")]
pub static BEGUN: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Whether the ring has room for exchanges, as each CPU saw it last; never full.
#[btf_map(name = "WEIR_ROOM")]
pub static ROOM: PerCpuArray<Room, 1> = PerCpuArray::new();

/// Value of [`ROOM`].
#[repr(C)]
pub struct Room {
    /// Exchanges told so far.
    pub told: u64,
    /// Whether the ring was short of room at the last look.
    pub is_short: u64,
}

/// Threads and goroutines that serve: what they have open. 150 bytes an entry, 2.4 MiB. Full: those that served longest
/// ago are forgotten, and what they call is without cause.
#[btf_map(name = "WEIR_TASKS")]
pub static TASKS: LruHashMap<TaskKey, TaskState, 16_384, 0> = LruHashMap::new();

/// Processes written in Go, told by user space; 64 bytes an entry. Full: more are taken for any other process.
#[btf_map(name = "WEIR_GO")]
pub static GO: HashMap<u32, GoLayout, 4_096, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Tasks that received on a connection whose TLS handshake is under way, until they send there; 100 bytes an entry.
/// Full: those noted longest ago are forgotten, and the certificate that they read then is not seen.
#[btf_map(name = "WEIR_HANDSHAKING")]
pub static HANDSHAKING: LruHashMap<TaskKey, Handshaking, 4_096, 0> = LruHashMap::new();

/// Processes of Go's that have begun a TLS handshake, told by themselves: user space may not know them yet. 64 bytes an entry.
/// Full: those that began one longest ago are forgotten.
#[btf_map(name = "WEIR_GO_HANDSHAKING")]
pub static GO_HANDSHAKING: LruHashMap<u32, GoLayout, 1_024, 0> = LruHashMap::new();

/// Flows at chosen interfaces: 296 bytes and the hash's own 48 an entry, so 43 MiB when full; only there at level `packets`.
/// Full: packets of new flows are counted as lost; user space removes those that ended or fell silent.
#[btf_map(name = "WEIR_PATH")]
pub static PATH: HashMap<PathKey, PathFlow, 131_072, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Those whose ports were used again before user space had told them; 304 bytes and 48 an entry. Full: counted as lost.
#[btf_map(name = "WEIR_PATH_PAST")]
pub static PATH_PAST: HashMap<PastKey, PathFlow, 131_072, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Where each client's SYN was seen first and last, by its initial sequence number and protocol; 96 bytes and some 64 an
/// entry, 2.5 MiB. Full: the oldest are forgotten, which user space has asked for by then.
#[btf_map(name = "WEIR_PATH_SYNS")]
pub static PATH_SYNS: LruHashMap<u64, Opening, 16_384, 0> = LruHashMap::new();

/// Ports of datagrams that come in fragments; 48 bytes and some 64 an entry. Full: the oldest are forgotten, and their later
/// fragments have no ports.
#[btf_map(name = "WEIR_PATH_PIECE")]
pub static PATH_PIECES: LruHashMap<PiecesKey, u32, 4_096, 0> = LruHashMap::new();

/// Flows begun there and ended, since load; never full.
#[btf_map(name = "WEIR_PATH_COUNT")]
pub static PATH_COUNTERS: PerCpuArray<u64, PATH_COUNTS> = PerCpuArray::new();

/// What a [`PathFlow`] begins as; never written.
#[btf_map(name = "WEIR_PATH_BLANK")]
pub static PATH_BLANK: PerCpuArray<PathFlow, 1> = PerCpuArray::new();

/// Where headers are read; never full.
#[btf_map(name = "WEIR_PATH_WORK")]
pub static PATH_WORK: PerCpuArray<crate::path::Work, 1> = PerCpuArray::new();

/// Key of [`PATH_PIECES`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PiecesKey {
    pub from: [u64; 2],
    pub to: [u64; 2],
    /// IP's, the same in all fragments of a datagram.
    pub id: u32,
    pub protocol: u32,
}

/// How far the copying of one direction's first bytes has come.
pub const STREAM_NEW: u8 = 0;
/// It looks like TLS; bytes are copied.
pub const STREAM_COPYING: u8 = 1;
/// Nothing more is wanted.
pub const STREAM_DONE: u8 = 2;
/// It began in clear and may turn to TLS; only the beginnings of segments are looked at.
pub const STREAM_WATCHED: u8 = 3;
/// As [`STREAM_COPYING`], but a segment came before one that it should follow: its records may not be followed any more.
pub const STREAM_OVERTAKEN: u8 = 4;

/// Value of [`CONNS`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ConnState {
    pub conn: Conn,
    pub heads: Heads,
    /// Where in each direction's stream the next TLS record begins; counts from `begun_at`.
    pub next_record: [u32; 2],
    /// How far each direction's stream was copied without a hole; counts from `begun_at`. While it is watched: how far
    /// it was seen.
    pub copied: [u32; 2],
    /// Where in the client's stream the requests begin, behind the TLS handshake; 0: not known (yet).
    pub requests_from: u32,
    /// Where in each direction's stream TLS began, if that was later than at its beginning; else 0.
    pub begun_at: [u16; 2],
    /// `STREAM_*` of each direction.
    pub stream: [u8; 2],
    /// The last record was sent; what follows is silence.
    pub closed: u8,
    /// Whether an iteration reported it yet.
    pub reported: u8,
    /// Segments of each direction that were looked at while it was watched.
    pub looked: [u8; 2],
    /// Whether the peer's window or the send buffer held this end back when it was last reported.
    pub held_back: u8,
    pub _pad: u8,
    /// Segments in and out when it was last reported.
    pub reported_segs: u64,
}

const _: () = assert!(size_of::<ConnState>() == 200);

/// Before the first request, or after a turn that was told for its silence or by another's beginning.
pub const PHASE_IDLE: u8 = 0;
/// The client asked, the server didn't answer yet.
pub const PHASE_ASKED: u8 = 1;
/// The server answers, or did.
pub const PHASE_ANSWERED: u8 = 2;
/// Was told for its silence; a late rest of the answer is counted.
pub const PHASE_TOLD: u8 = 3;
/// The connection went over to another protocol: no turns any more.
pub const PHASE_OVER: u8 = 4;

/// Whether the connection is in a TLS handshake is not known, or it is.
pub const UNSETTLED: u8 = 0;
/// The TLS handshake is over, or proved to be none.
pub const SETTLED: u8 = 1;
/// In clear, and may turn to TLS.
pub const MAY_TURN: u8 = 2;

/// Value of [`TURNS`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Turn {
    /// Whoever made it 1 may change the rest.
    pub busy: u32,
    /// Whether the fields below are set.
    pub ready: u8,
    /// `UNSETTLED`, `SETTLED` or `MAY_TURN`.
    pub settled: u8,
    /// `PHASE_*`.
    pub phase: u8,
    /// `ROLE_*`.
    pub role: u8,
    /// Sequence number of the first byte of this end's stream.
    pub own_base: u32,
    /// Sequence number of the first byte of the other end's stream.
    pub other_base: u32,
    /// How far the client's stream has come.
    pub asked_to: u32,
    /// How far the server's stream has come.
    pub answered_to: u32,
    /// Whether user space knows the connection.
    pub introduced: u8,
    /// The connection was there before us, or its sequence numbers are not sure.
    pub unsure: u8,
    /// Whether the next turn is the first behind a TLS handshake.
    pub follows_tls: u8,
    /// Whether what was received last may still be read by the TLS library (`library.rs`).
    pub parsing: u8,
    /// Turns so far.
    pub number: u32,
    /// What the thread that opened the connection was at.
    pub connected_for: Cause,
    /// The turn under way.
    pub turn: ExchangeRecord,
}

const _: () = assert!(size_of::<Turn>() == 160);

/// Value of [`HANDSHAKING`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Handshaking {
    /// The connection's socket cookie.
    pub cookie: u64,
    /// When the task last received there.
    pub time_ns: u64,
    /// How far it had read the other end's stream then.
    pub received: u32,
    /// Whether its certificate was taken.
    pub taken: u32,
}

/// Key of [`TASKS`] and [`HANDSHAKING`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TaskKey {
    /// Thread, or goroutine.
    pub id: u64,
    pub pid: u32,
    /// Whether `id` is a goroutine's.
    pub is_goroutine: u32,
}

/// Inbound exchanges of a task that are told apart; those beyond are only counted.
pub const OPEN_SLOTS: usize = 4;

/// Value of [`TASKS`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TaskState {
    /// Inbound exchanges that it has open.
    pub open: u32,
    /// The slot that it last received for.
    pub last: u32,
    pub slots: [Inbound; OPEN_SLOTS],
}

/// An inbound exchange that is open.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Inbound {
    pub client_isn: u32,
    pub server_isn: u32,
    pub request_seq: u32,
    /// Whether this slot is taken.
    pub taken: u32,
}

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
    /// Whether it still waits for its socket.
    pub waits: u32,
    pub owner: Owner,
    pub chunk: Chunk<CHUNK_LARGE>,
}

/// A hash by the address of a socket; user space sets its size before load.
pub type BySocket<T> = HashMap<u64, T, 131_072, { BPF_F_NO_PREALLOC as usize }>;

/// Access to a hash by the address of a socket.
pub trait Table<T> {
    /// The socket's value, or null.
    fn of(&self, sk: *mut c_void) -> *mut T;
    /// Takes the socket's value out.
    fn forget(&self, sk: *mut c_void);
}

impl<T> Table<T> for BySocket<T> {
    #[inline(always)]
    fn of(&self, sk: *mut c_void) -> *mut T {
        self.get_ptr_mut(sk as u64).unwrap_or(core::ptr::null_mut())
    }

    #[inline(always)]
    fn forget(&self, sk: *mut c_void) {
        // Not there: nothing to do.
        let _ = self.remove(sk as u64);
    }
}

/// Socket storage, as aya's type, for any kind of socket pointer.
#[repr(C)]
pub struct SkStorage<T> {
    r#type: *const [i32; 24], // BPF_MAP_TYPE_SK_STORAGE
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
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
