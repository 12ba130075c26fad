//! What comes out of the kernel: connections, handshake bytes, UDP flows, datagrams.

/// [`Conn::role`]: a listening socket; only its owner is known.
pub const ROLE_LISTENER: u8 = 1;
/// [`Conn::role`]: this end opened the connection.
pub const ROLE_CLIENT: u8 = 2;
/// [`Conn::role`]: this end accepted it.
pub const ROLE_SERVER: u8 = 3;

/// [`Conn::flags`]: it was open before the probe; totals count from its own beginning.
pub const FLAG_BACKFILLED: u8 = 1;
/// [`Conn::flags`]: initial sequence numbers are known.
pub const FLAG_ISNS: u8 = 2;

/// Side of a stream: what the client sends.
pub const SIDE_CLIENT: u8 = 0;
/// Side of a stream: what the server sends.
pub const SIDE_SERVER: u8 = 1;

/// First byte of every record: a connection ended ([`ConnRecord`]).
pub const KIND_CLOSED: u8 = 1;
/// First byte of every record: a connection is alive ([`ConnRecord`]).
pub const KIND_LIVING: u8 = 2;
/// First byte of every record: bytes of a handshake ([`ChunkHead`], then the bytes).
pub const KIND_CHUNK: u8 = 3;
/// First byte of every record: a UDP flow began ([`UdpRecord`]).
pub const KIND_UDP: u8 = 4;

/// First byte of every record: a datagram ([`DatagramHead`], then the bytes).
pub const KIND_DATAGRAM: u8 = 5;

/// DNS servers listen here; mDNS has a port of its own, and isn't looked at.
pub const DNS_PORT: u16 = 53;
/// Bytes of a DNS stream (TCP) that are copied whatever its age, per direction: a zone transfer is none of our business.
pub const DNS_STREAM_BYTES: u64 = 256 << 10;
/// What is added to it with every 2^30 ns of the connection's age: a forwarder keeps one connection for all it asks.
pub const DNS_STREAM_BYTES_A_SECOND: u64 = 64 << 10;

/// Most bytes of a stream that are copied for the handshake, per direction.
pub const HELLO_LIMIT: u32 = 16_384;
/// Most bytes in one large chunk.
pub const CHUNK_LARGE: usize = 2_048;
/// Most bytes in one chunk of a DNS stream.
pub const CHUNK_HUGE: usize = 16_384;
/// Most bytes in one small chunk.
pub const CHUNK_SMALL: usize = 640;

/// Most bytes of a small datagram: a question, and most answers.
pub const DATAGRAM_SMALL: usize = 384;
/// Most bytes of a usual datagram: what a link carries in one packet.
pub const DATAGRAM_LARGE: usize = 1_536;
/// Most bytes of any datagram that are copied: the largest that resolvers ask for (EDNS).
pub const DATAGRAM_HUGE: usize = 4_096;
/// Most datagrams of QUIC and DTLS handshakes that are copied of a flow in about half a minute: several times what one
/// handshake takes, each message in a datagram of its own.
pub const HANDSHAKE_DATAGRAMS: u8 = 32;

/// Who holds a socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Inode of its cgroup v2 directory; 0: unknown.
    pub cgroup_id: u64,
    /// Process id in the node's own namespace; 0: unknown.
    pub pid: u32,
    /// Named: holes are not allowed.
    pub _pad: u32,
    /// Name of the process (its main thread's), zero-padded.
    pub comm: [u8; 16],
}

impl Owner {
    /// Not known.
    pub const NOBODY: Owner = Owner { cgroup_id: 0, pid: 0, _pad: 0, comm: [0; 16] };
}

/// What a connection is, the same in all its records.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conn {
    /// The kernel's socket cookie: unique on this node until reboot.
    pub cookie: u64,
    /// Client: when `connect()` began. Server: when the handshake's last ACK came.
    pub syn_ns: u64,
    /// When it was established (or picked up, with [`FLAG_BACKFILLED`]); 0: never.
    pub opened_ns: u64,
    /// Who holds this end.
    pub owner: Owner,
    /// IPv4 as IPv4-mapped IPv6.
    pub local_ip: [u8; 16],
    /// IPv4 as IPv4-mapped IPv6.
    pub remote_ip: [u8; 16],
    /// Host order.
    pub local_port: u16,
    /// Host order.
    pub remote_port: u16,
    /// Initial sequence number of this end.
    pub local_isn: u32,
    /// Initial sequence number of the other end.
    pub remote_isn: u32,
    /// From SYN to established, µs. Server: round trip of its SYN-ACK. 0: unknown.
    pub connect_us: u32,
    /// Inode of the network namespace.
    pub netns: u32,
    /// `ROLE_*`.
    pub role: u8,
    /// `FLAG_*`.
    pub flags: u8,
    /// Named: holes are not allowed.
    pub _pad: [u8; 2],
}

/// A connection's counters since its beginning.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Payload bytes sent at least once.
    pub sent_bytes: u64,
    /// Payload bytes received in order.
    pub received_bytes: u64,
    /// Payload bytes sent again, each time they were.
    pub resent_bytes: u64,
    /// Segments sent.
    pub segs_out: u32,
    /// Segments received.
    pub segs_in: u32,
    /// Segments sent again.
    pub retransmits: u32,
    /// Smoothed round-trip time, µs; 0: no sample.
    pub rtt_us: u32,
    /// Smallest round-trip time in the kernel's window, µs; 0 or `u32::MAX`: no sample.
    pub rtt_min_us: u32,
    /// Segments that this end took for lost.
    pub lost_segs: u32,
    /// Segments that came to this end before one that was sent earlier.
    pub out_of_order_segs: u32,
    /// How long the peer's receive window was all that kept this end from sending, in the kernel's ticks.
    pub window_limited: u32,
    /// How long its own send buffer was, in ticks.
    pub buffer_limited: u32,
    /// Named: holes are not allowed.
    pub _pad: u32,
}

/// How many bytes of a stream's beginning are kept: as far as the status code of an HTTP answer.
pub const HEAD_BYTES: usize = 16;

/// The beginning of both streams, by side (client, server).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// When the first payload passed; 0: none seen.
    pub first_ns: [u64; 2],
    /// The first bytes, zero-padded.
    pub bytes: [[u8; HEAD_BYTES]; 2],
}

/// A connection's counters at a moment: alive, or at its end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnRecord {
    /// `KIND_CLOSED` or `KIND_LIVING`.
    pub kind: u8,
    /// TCP state before the close, or now.
    pub state: u8,
    /// Whether the peer's FIN was received.
    pub fin_received: u8,
    /// Whether this end sent (or queued) its FIN.
    pub fin_sent: u8,
    /// errno of the socket; 0: none.
    pub error: u32,
    /// When.
    pub time_ns: u64,
    /// Which connection.
    pub conn: Conn,
    /// Its counters.
    pub totals: Totals,
    /// Its first bytes.
    pub heads: Heads,
}

/// Bytes of a handshake; `len` bytes follow it in the record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkHead {
    /// `KIND_CHUNK`.
    pub kind: u8,
    /// `SIDE_*`.
    pub side: u8,
    /// How many bytes follow.
    pub len: u16,
    /// Position of the first of them in the stream, or in what of it is TLS where that began later (STARTTLS).
    pub offset: u32,
    /// When they passed.
    pub time_ns: u64,
    /// Which connection.
    pub conn: Conn,
}

/// A chunk as it is reserved in the ring.
#[repr(C)]
pub struct Chunk<const N: usize> {
    /// Who and where.
    pub head: ChunkHead,
    /// The bytes; only `head.len` of them are set.
    pub bytes: [u8; N],
}

/// One UDP flow: a socket and the other end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct UdpKey {
    /// The kernel's socket cookie.
    pub cookie: u64,
    /// IPv4 as IPv4-mapped IPv6.
    pub local_ip: [u8; 16],
    /// IPv4 as IPv4-mapped IPv6.
    pub remote_ip: [u8; 16],
    /// Host order.
    pub local_port: u16,
    /// Host order.
    pub remote_port: u16,
    /// Named: keys are compared with their holes.
    pub _pad: u32,
}

/// What the kernel adds up for one UDP flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpFlow {
    /// First packet.
    pub first_ns: u64,
    /// Last packet.
    pub last_ns: u64,
    /// First packet from the other end, 0: none.
    pub first_received_ns: u64,
    /// Payload bytes.
    pub sent_bytes: u64,
    /// Payload bytes.
    pub received_bytes: u64,
    /// Datagrams.
    pub sent_packets: u64,
    /// Datagrams.
    pub received_packets: u64,
    /// The process that sent the first datagram; the socket's cgroup.
    pub owner: Owner,
    /// Inode of the network namespace; 0: unknown.
    pub netns: u32,
    /// Whether the first packet seen was sent by this end.
    pub began_here: u8,
    /// How far a QUIC or DTLS handshake has come; the kernel's own.
    pub handshake: u8,
    /// Datagrams of handshakes that were handed on in `window`.
    pub handed_on: u8,
    /// When that was, in units of about half a minute, modulo 256.
    pub window: u8,
}

/// News of a UDP flow; its numbers are in `WEIR_UDP`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpRecord {
    /// `KIND_UDP`.
    pub kind: u8,
    /// Named: holes are not allowed.
    pub _pad: [u8; 7],
    /// When.
    pub time_ns: u64,
    /// Which.
    pub key: UdpKey,
}

/// A datagram; `len` bytes of its payload follow it in the record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramHead {
    /// `KIND_DATAGRAM`.
    pub kind: u8,
    /// Whether this end sent it.
    pub sent: u8,
    /// How many bytes follow.
    pub len: u16,
    /// How long its payload was, whether copied or not; of several that went through the kernel as one (GSO), each
    /// one's but the last's, which may be shorter.
    pub whole: u32,
    /// When it passed.
    pub time_ns: u64,
    /// Its flow.
    pub key: UdpKey,
    /// [`UdpFlow::first_ns`]: with the key, what the flow's id is made of.
    pub first_ns: u64,
    /// [`UdpFlow::owner`].
    pub owner: Owner,
    /// [`UdpFlow::netns`].
    pub netns: u32,
    /// [`UdpFlow::began_here`].
    pub began_here: u8,
    /// Named: holes are not allowed.
    pub _pad: [u8; 3],
}

/// A datagram as it is reserved in the ring.
#[repr(C)]
pub struct Datagram<const N: usize> {
    /// Who and when.
    pub head: DatagramHead,
    /// The bytes; only `head.len` of them are set.
    pub bytes: [u8; N],
}

/// [`Sweep::mode`]: connections never reported.
pub const SWEEP_EARLY: u32 = 0;
/// [`Sweep::mode`]: all that moved since they were last reported.
pub const SWEEP_MOVED: u32 = 1;
/// [`Sweep::mode`]: all.
pub const SWEEP_ALL: u32 = 2;

/// Which connections an iteration over all of them reports.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// `SWEEP_*`.
    pub mode: u32,
    /// Named: holes are not allowed.
    pub _pad: u32,
    /// Connections never reported are left for later if they are younger than this.
    pub opened_before_ns: u64,
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<Owner>() == 32);
    assert!(size_of::<Conn>() == 112 && offset_of!(Conn, local_ip) == 56 && offset_of!(Conn, role) == 108);
    assert!(size_of::<Totals>() == 64);
    assert!(size_of::<Heads>() == 48);
    assert!(size_of::<ConnRecord>() == 240 && offset_of!(ConnRecord, totals) == 128);
    assert!(size_of::<ChunkHead>() == 128);
    assert!(size_of::<Chunk<CHUNK_SMALL>>() == 768);
    assert!(size_of::<UdpKey>() == 48);
    assert!(size_of::<UdpFlow>() == 96);
    assert!(size_of::<UdpRecord>() == 64);
    assert!(size_of::<DatagramHead>() == 112 && offset_of!(DatagramHead, owner) == 72);
    assert!(size_of::<Datagram<DATAGRAM_SMALL>>() == 496);
    assert!(size_of::<Sweep>() == 16);
};
