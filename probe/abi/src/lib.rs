//! What the kernel programs (`probe/bpf`) and the agent (`probe/agent`) say to each other: records, map names,
//! kernel fields, loss counters.
//!
//! | file         | subject                                                            |
//! |--------------|--------------------------------------------------------------------|
//! | `records.rs` | what comes out of the kernel: connections, first bytes, UDP, DNS      |
//! | `capture.rs` | captures on demand: the filter, a packet                              |
//! | `certificate.rs` | certificates that a TLS library was given to read                 |
//! | `exchange.rs`| request/response turns, and what caused them                        |
//! | `drops.rs`   | what it adds up for packets that it drops                              |
//! | `path.rs`    | what it adds up for packets that pass chosen interfaces                 |
//! | `fields.rs`  | the kernel fields whose offsets user space resolves before load     |
//! | `lost.rs`    | every way to lose something, one counter each                       |
//!
//! `repr(C)`, fixed-width integers, named padding, host byte order unless a comment says otherwise. An IPv4
//! address is an IPv4-mapped IPv6 one: one key, one code path. Times are nanoseconds of `CLOCK_BOOTTIME`.
//! Never here: anything that only one side uses, and anything with `std`.
#![no_std]
#![expect(clippy::pub_underscore_fields, reason = "padding has a name and is written by both sides")]

pub mod capture;
mod certificate;
mod drops;
mod exchange;
mod fields;
mod lost;
mod path;
mod records;

pub use certificate::*;
pub use drops::*;
pub use exchange::*;
pub use fields::{FIELD_NAMES, Field};
pub use lost::Lost;
pub use path::*;
pub use records::*;

/// Rises with every change that makes an older object and a newer agent misread each other; [`names::ABI`] and the
/// object's global of that name rise with it.
pub const ABI_VERSION: u32 = 1;

/// Names of maps and globals, as the object's symbols have them.
pub mod names {
    /// Ring buffer: [`crate::ConnRecord`], [`crate::ChunkHead`] with bytes, [`crate::UdpRecord`],
    /// [`crate::DatagramHead`] with bytes, exchanges, [`crate::CertificateHead`] with bytes.
    pub const EVENTS: &str = "WEIR_EVENTS";
    /// Hash: address of a socket → what is known of its connection.
    pub const CONNS: &str = "WEIR_CONNS";
    /// Socket storage: the [`crate::Owner`] of each listener.
    pub const LISTENERS: &str = "WEIR_LISTENERS";
    /// Hash: [`crate::UdpKey`] → [`crate::UdpFlow`].
    pub const UDP: &str = "WEIR_UDP";
    /// Per-CPU array of [`crate::Lost::COUNT`] counters (`u64`).
    pub const LOST: &str = "WEIR_LOST";
    /// Array of one [`crate::Sweep`]: which connections the next iteration reports.
    pub const SWEEP: &str = "WEIR_SWEEP";
    /// Per-CPU array of one `u64`: connections opened since load. Unchanged means no new ones to report early.
    pub const OPENED: &str = "WEIR_OPENED";
    /// Hash: address of a socket → the turn that is under way on it.
    pub const TURNS: &str = "WEIR_TURNS";
    /// Per-CPU array of one `u64`: exchanges begun since load. Unchanged means that none can have fallen silent.
    pub const BEGUN: &str = "WEIR_BEGUN";
    /// Hash: process id → [`crate::GoLayout`].
    pub const GO: &str = "WEIR_GO";
    /// Global: whether exchanges are wanted, `u32`.
    pub const EXCHANGES: &str = "WEIR_EXCHANGES";
    /// Global: whether TLS libraries are probed, `u32`.
    pub const LIBRARIES: &str = "WEIR_LIBRARIES";
    /// Hash: [`crate::DropKey`] → [`crate::Dropped`].
    pub const DROPS: &str = "WEIR_DROPS";
    /// Per-CPU array of one `u64`: packets counted in [`DROPS`] since load. Unchanged means that there is nothing to read.
    pub const DROPPED: &str = "WEIR_DROPPED";
    /// Hash: [`crate::PathKey`] → [`crate::PathFlow`].
    pub const PATH: &str = "WEIR_PATH";
    /// Hash: [`crate::PastKey`] → [`crate::PathFlow`].
    pub const PATH_PAST: &str = "WEIR_PATH_PAST";
    /// Hash: initial sequence number, and the protocol above it, as `u64` → [`crate::Opening`].
    pub const PATH_OPENINGS: &str = "WEIR_PATH_SYNS";
    /// Hash: ports of packets that come in pieces; the kernel's own.
    pub const PATH_PIECES: &str = "WEIR_PATH_PIECE";
    /// Per-CPU array of [`crate::PATH_COUNTS`] counters (`u64`).
    pub const PATH_COUNTERS: &str = "WEIR_PATH_COUNT";
    /// Global: the kernel's own reasons that are no loss, a bit each, `[u64; CORE_REASONS / 64]`.
    pub const NO_LOSS: &str = "WEIR_NO_LOSS";
    /// Global: how many arguments this kernel's tracepoint `kfree_skb` has, `u32`.
    pub const KFREE_ARGUMENTS: &str = "WEIR_KFREE_ARGS";
    /// Global: offsets of [`crate::Field`]s, `[u32; Field::COUNT]`.
    pub const OFFSETS: &str = "WEIR_OFFSETS";
    /// Global whose name says the object's [`crate::ABI_VERSION`]: loading another version's object finds none.
    pub const ABI: &str = "WEIR_ABI_1";
}
