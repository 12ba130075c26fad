//! What the kernel adds up for packets that pass chosen interfaces, read and removed by user space.

/// [`PathKey::tunnel`]: none.
pub const TUNNEL_NONE: u8 = 0;
/// [`PathKey::tunnel`]: RFC 7348; the id is the VNI.
pub const TUNNEL_VXLAN: u8 = 1;
/// [`PathKey::tunnel`]: RFC 8926; the id is the VNI.
pub const TUNNEL_GENEVE: u8 = 2;
/// [`PathKey::tunnel`]: IP in IPv4 or IPv6, IP protocol 4 (RFC 2003).
pub const TUNNEL_IPIP: u8 = 3;
/// [`PathKey::tunnel`]: IPv6 in IP, IP protocol 41 (RFC 4213).
pub const TUNNEL_IP6: u8 = 4;
/// [`PathKey::tunnel`]: RFC 2784 and 2890; the id is the key, 0 without.
pub const TUNNEL_GRE: u8 = 5;

/// Flags of a [`Lane`], as TCP's header has them; SCTP's chunks are told as what they are to TCP.
pub const PATH_FIN: u8 = 1;
/// The client's SYN, or INIT.
pub const PATH_SYN: u8 = 2;
/// RST, or ABORT.
pub const PATH_RST: u8 = 4;
/// With `PATH_SYN`: the server's answer, or INIT ACK.
pub const PATH_ACK: u8 = 16;
/// No TCP flag: a datagram of this lane is one of those that open a `WireGuard` session.
pub const PATH_WIREGUARD: u8 = 32;
/// The same of messages that carry data; four bytes and a length alone are not proof, in both directions they are.
pub const PATH_WIREGUARD_DATA: u8 = 64;

/// [`PathFlow::known`]: the client's initial sequence number (SCTP: initiate tag).
pub const KNOWN_CLIENT_ISN: u8 = 1;
/// [`PathFlow::known`]: the server's.
pub const KNOWN_SERVER_ISN: u8 = 2;

/// [`PathFlow::opener`]: nobody knows.
pub const OPENER_UNKNOWN: u8 = 0;
/// [`PathFlow::opener`]: the lower end.
pub const OPENER_LOW: u8 = 1;
/// [`PathFlow::opener`]: the higher end.
pub const OPENER_HIGH: u8 = 2;

/// A flow at one interface, both its directions: the ends in an order of the kernel side's own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PathKey {
    /// IPv4 as IPv4-mapped IPv6.
    pub low_ip: [u8; 16],
    /// IPv4 as IPv4-mapped IPv6.
    pub high_ip: [u8; 16],
    /// Host order; 0 in fragments whose first one nobody saw.
    pub low_port: u16,
    /// Host order.
    pub high_port: u16,
    /// Index of the interface.
    pub ifindex: u32,
    /// VNI or key of the tunnel that it came in.
    pub tunnel_id: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// `TUNNEL_*`.
    pub tunnel: u8,
    /// Named: keys are compared with their holes.
    pub _pad: u16,
}

/// One direction of a flow through one side of an interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// First packet; 0: none.
    pub first_ns: u64,
    /// Last packet.
    pub last_ns: u64,
    /// Packets, those that pass as one (GSO, GRO) counted one by one.
    pub packets: u64,
    /// Payload bytes: of TCP, how far its stream has come here; of others, all that passed.
    pub bytes: u64,
    /// TCP segments with payload and nothing new.
    pub again: u64,
    /// Sequence number behind the highest byte that passed.
    pub high: u32,
    /// Whether `high` is set.
    pub has_high: u8,
    /// `PATH_*`, all that were seen.
    pub flags: u8,
    /// Named: holes are not allowed.
    pub _pad: u16,
}

/// Index into [`PathFlow::lanes`]: the direction (0: from the lower end) and the side (0: came in by the interface, 1: left).
pub const fn lane(from_high: bool, out: bool) -> usize {
    (from_high as usize) << 1 | out as usize
}

/// What is known of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathFlow {
    /// When it was first seen here: tells lives of one 5-tuple apart.
    pub born_ns: u64,
    /// By [`lane`].
    pub lanes: [Lane; 4],
    /// The tunnel's ends, as the first packet had them: on the lower end's side, and on the higher's.
    pub outer: [[u8; 16]; 2],
    /// Initial sequence number of the client; with `KNOWN_CLIENT_ISN`.
    pub client_isn: u32,
    /// The server's; with `KNOWN_SERVER_ISN`.
    pub server_isn: u32,
    /// `KNOWN_*`.
    pub known: u8,
    /// `OPENER_*`.
    pub opener: u8,
    /// Named: holes are not allowed.
    pub _pad: [u8; 6],
}

/// A flow that another one of the same 5-tuple has taken the place of.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PastKey {
    /// Which.
    pub key: PathKey,
    /// [`PathFlow::born_ns`].
    pub born_ns: u64,
}

/// Addresses and ports as a packet has them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuple {
    /// IPv4 as IPv4-mapped IPv6.
    pub from_ip: [u8; 16],
    /// IPv4 as IPv4-mapped IPv6.
    pub to_ip: [u8; 16],
    /// Host order.
    pub from_port: u16,
    /// Host order.
    pub to_port: u16,
}

/// Where a client's SYN was seen first and last; by its initial sequence number and protocol.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// When first.
    pub first_ns: u64,
    /// When last.
    pub last_ns: u64,
    /// As it came.
    pub first: Tuple,
    /// As it went on.
    pub last: Tuple,
}

/// Index into the counters of [`crate::names::PATH_COUNTERS`]: flows begun since load.
pub const PATH_BEGUN: u32 = 0;
/// Index into them: packets that may end a flow (FIN, RST) since load.
pub const PATH_ENDS: u32 = 1;
/// How many there are.
pub const PATH_COUNTS: usize = 2;

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<PathKey>() == 48 && offset_of!(PathKey, ifindex) == 36);
    assert!(size_of::<Lane>() == 48);
    assert!(size_of::<PathFlow>() == 248 && offset_of!(PathFlow, client_isn) == 232);
    assert!(size_of::<PastKey>() == 56);
    assert!(size_of::<Tuple>() == 36);
    assert!(size_of::<Opening>() == 88);
};
