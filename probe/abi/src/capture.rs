//! Captures on demand: the filter as the kernel program reads it, and what it gives for each packet.
//!
//! A filter is a list of tests that jump: on to another test, always a later one, or to the verdict. Both sides use
//! [`passes`], so that what is tested in user space is what runs in the kernel.
#![expect(unsafe_code, reason = "what is set before load is read as the kernel program must read it")]
#![expect(
    clippy::inline_always,
    reason = "the verifier looks at one program, not at calls of functions with unknown bounds"
)]

use crate::Owner;

/// Most tests of a filter.
pub const CAPTURE_TERMS: usize = 32;
/// Jump: take the packet.
pub const CAPTURE_TAKE: u8 = 254;
/// Jump: leave it.
pub const CAPTURE_LEAVE: u8 = 255;

/// [`CaptureTerm::kind`]: passes always.
pub const TERM_TRUE: u8 = 0;
/// [`CaptureTerm::kind`]: the IP protocol is `low`.
pub const TERM_PROTOCOL: u8 = 1;
/// [`CaptureTerm::kind`]: the IP version is `low`.
pub const TERM_VERSION: u8 = 2;
/// [`CaptureTerm::kind`]: the address under `mask` is `value`; both as the address's bytes.
pub const TERM_NET: u8 = 3;
/// [`CaptureTerm::kind`]: the port is within `low` and `high`.
pub const TERM_PORTS: u8 = 4;
/// [`CaptureTerm::kind`]: the process's name is `value`, zero-padded.
pub const TERM_PROCESS: u8 = 5;
/// [`CaptureTerm::kind`]: the process id is `low`.
pub const TERM_PID: u8 = 6;
/// [`CaptureTerm::kind`]: the network namespace's inode is `low`.
pub const TERM_NETNS: u8 = 7;
/// [`CaptureTerm::kind`]: the cgroup's id is `value[0]`.
pub const TERM_CGROUP: u8 = 8;

/// [`CaptureTerm::end`]: of one of the two.
pub const END_EITHER: u8 = 0;
/// [`CaptureTerm::end`]: who sent the packet.
pub const END_SOURCE: u8 = 1;
/// [`CaptureTerm::end`]: whom it goes to.
pub const END_DESTINATION: u8 = 2;
/// [`CaptureTerm::end`]: who opened the connection.
pub const END_CLIENT: u8 = 3;
/// [`CaptureTerm::end`]: the other one.
pub const END_SERVER: u8 = 4;

/// One test.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureTerm {
    /// `TERM_*`.
    pub kind: u8,
    /// `END_*`.
    pub end: u8,
    /// Where to go on if it passes: a later index, `CAPTURE_TAKE` or `CAPTURE_LEAVE`.
    pub on_true: u8,
    /// The same if it doesn't.
    pub on_false: u8,
    /// See `TERM_*`.
    pub low: u32,
    /// See `TERM_*`.
    pub high: u32,
    /// Named: holes are not allowed.
    pub _pad: u32,
    /// See `TERM_*`.
    pub value: [u64; 2],
    /// See `TERM_*`.
    pub mask: [u64; 2],
}

/// What the tests look at.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketFacts {
    /// Who sent it; IPv4 as IPv4-mapped IPv6, the address's bytes.
    pub source_ip: [u64; 2],
    /// Whom it goes to.
    pub destination_ip: [u64; 2],
    /// Host order; 0: it has none.
    pub source_port: u16,
    /// Host order; 0: it has none.
    pub destination_port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// IP version.
    pub version: u8,
    /// Whether the socket here sends it (1) or receives it (0).
    pub sent: u8,
    /// `ROLE_*` of the socket here; 0: unknown.
    pub role: u8,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Named: holes are not allowed.
    pub _pad: u32,
    /// Who holds the socket.
    pub owner: Owner,
}

/// Whether a filter takes a packet. It ends because jumps go forward; the verifier, to which the tests are constants, sees
/// that too, and follows each test once, however it was reached. Counting would have it follow each way there is.
#[inline(always)]
pub fn passes(terms: &[CaptureTerm; CAPTURE_TERMS], facts: &PacketFacts) -> bool {
    let mut at = 0;
    loop {
        let term = &terms[at & (CAPTURE_TERMS - 1)];
        let next = if holds(term, facts) { get(&term.on_true) } else { get(&term.on_false) };
        if next as usize >= CAPTURE_TERMS {
            return next == CAPTURE_TAKE;
        }
        at = next as usize;
    }
}

/// A field of a test. Volatile: in the kernel program the compiler must not take the zeros there for the values, nor read
/// fields together, which hides from the verifier that each is a constant.
#[inline(always)]
fn get<T: Copy>(field: &T) -> T {
    // SAFETY: it is a reference.
    unsafe { core::ptr::read_volatile(field) }
}

#[inline(always)]
fn holds(term: &CaptureTerm, facts: &PacketFacts) -> bool {
    match get(&term.kind) {
        TERM_TRUE => true,
        TERM_PROTOCOL => u32::from(facts.protocol) == get(&term.low),
        TERM_VERSION => u32::from(facts.version) == get(&term.low),
        TERM_NET => {
            let (source, destination) = ends(get(&term.end), facts);
            (source && is_in(term, &facts.source_ip)) || (destination && is_in(term, &facts.destination_ip))
        }
        TERM_PORTS => {
            let (source, destination) = ends(get(&term.end), facts);
            (source && is_among(term, facts.source_port))
                || (destination && is_among(term, facts.destination_port))
        }
        TERM_PROCESS => {
            let comm = &facts.owner.comm;
            word(comm, 0) == get(&term.value[0]) && word(comm, 8) == get(&term.value[1])
        }
        TERM_PID => facts.owner.pid == get(&term.low),
        TERM_NETNS => facts.netns == get(&term.low),
        TERM_CGROUP => facts.owner.cgroup_id == get(&term.value[0]),
        _ => false,
    }
}

/// Which of the packet's ends a test is about: `(source, destination)`.
#[inline(always)]
fn ends(end: u8, facts: &PacketFacts) -> (bool, bool) {
    let is_from_client = is_from_client(facts);
    match end {
        END_EITHER => (true, true),
        END_SOURCE => (true, false),
        END_DESTINATION => (false, true),
        END_CLIENT => (is_from_client, !is_from_client),
        END_SERVER => (!is_from_client, is_from_client),
        _ => (false, false),
    }
}

/// Where nobody knows who opened it, the end with the lower port is taken for the server.
#[inline(always)]
fn is_from_client(facts: &PacketFacts) -> bool {
    match facts.role {
        crate::ROLE_CLIENT => facts.sent != 0,
        crate::ROLE_SERVER | crate::ROLE_LISTENER => facts.sent == 0,
        _ => facts.source_port >= facts.destination_port,
    }
}

#[inline(always)]
fn is_among(term: &CaptureTerm, port: u16) -> bool {
    u32::from(port) >= get(&term.low) && u32::from(port) <= get(&term.high)
}

#[inline(always)]
fn is_in(term: &CaptureTerm, ip: &[u64; 2]) -> bool {
    ip[0] & get(&term.mask[0]) == get(&term.value[0]) && ip[1] & get(&term.mask[1]) == get(&term.value[1])
}

#[inline(always)]
fn word(bytes: &[u8; 16], at: usize) -> u64 {
    u64::from_ne_bytes([
        bytes[at],
        bytes[at + 1],
        bytes[at + 2],
        bytes[at + 3],
        bytes[at + 4],
        bytes[at + 5],
        bytes[at + 6],
        bytes[at + 7],
    ])
}

/// A packet that was taken; `kept` bytes of it follow in the record, from the IP header on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketHead {
    /// When.
    pub time_ns: u64,
    /// Who holds the socket.
    pub owner: Owner,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Length of the packet from the IP header on.
    pub wire_len: u32,
    /// How many bytes follow.
    pub kept: u32,
    /// Whether the socket here sends it (1) or receives it (0).
    pub sent: u8,
    /// Named: holes are not allowed.
    pub _pad: [u8; 3],
}

/// A packet as it is reserved in the ring.
#[repr(C)]
pub struct CapturedPacket<const N: usize> {
    /// Who, when and how much.
    pub head: PacketHead,
    /// The bytes; only `head.kept` of them are set.
    pub bytes: [u8; N],
}

/// Index into the counters: packets that passed the filter.
pub const COUNT_MATCHED: u32 = 0;
/// Index into the counters: of those, lost because the ring was full.
pub const COUNT_RING_FULL: u32 = 1;
/// Index into the counters: packets whose headers could not be read.
pub const COUNT_UNREADABLE: u32 = 2;
/// How many counters there are.
pub const COUNTS: usize = 3;

/// [`names::WANTS`]: a test asks for the socket's holder, namespace or role.
pub const WANTS_OWNER: u32 = 1;

/// Names of maps and globals of the capture object.
pub mod names {
    /// Ring buffer of [`super::PacketHead`]s with bytes.
    pub const PACKETS: &str = "WEIR_PACKETS";
    /// Per-CPU array of [`super::COUNTS`] counters (`u64`).
    pub const COUNTS: &str = "WEIR_COUNTS";
    /// Global: `[CaptureTerm; CAPTURE_TERMS]`.
    pub const TERMS: &str = "WEIR_TERMS";
    /// Global: `u32`, most bytes of payload that are kept.
    pub const PAYLOAD: &str = "WEIR_PAYLOAD";
    /// Global: `u32`, `WANTS_*`.
    pub const WANTS: &str = "WEIR_WANTS";
    /// Global: `u32`, process whose own sockets are left out: the probe's.
    pub const SELF: &str = "WEIR_SELF";
    /// Global: `[u32; 2]`, offsets of `sock…skc_net` and `net.ns.inum`.
    pub const NETNS: &str = "WEIR_NETNS";
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<CaptureTerm>() == 48 && offset_of!(CaptureTerm, value) == 16);
    assert!(size_of::<PacketFacts>() == 80 && offset_of!(PacketFacts, owner) == 48);
    assert!(size_of::<PacketHead>() == 56 && offset_of!(PacketHead, kept) == 48);
};
