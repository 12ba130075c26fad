//! What was told of a connection at interfaces: how far its rows have come. In the kernel's layout: the journal writes it
//! as it is.

use weir_abi::PathKey;

use super::join::Join;

/// Counters of one direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) again: u64,
}

impl Sent {
    /// What came since.
    pub(crate) fn since(&self, before: &Sent) -> Sent {
        Sent {
            packets: self.packets.saturating_sub(before.packets),
            bytes: self.bytes.saturating_sub(before.bytes),
            again: self.again.saturating_sub(before.again),
        }
    }
}

/// What its rows have said.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Which.
    pub(crate) join: Join,
    /// The flow that is counted: one interface's.
    pub(crate) counting: PathKey,
    /// [`weir_abi::PathFlow::born_ns`] of that.
    pub(crate) born_ns: u64,
    /// First packet, the kernel's time: with the 5-tuple, what some ids are made of.
    pub(crate) first_ns: u64,
    /// The same, UTC; the same in all its rows.
    pub(crate) opened_ns: i64,
    /// End of its last row, on the kernel's clock.
    pub(crate) end_ns: u64,
    /// Counters at its last row, of the client and of the server.
    pub(crate) sent: [Sent; 2],
    /// Whether the client is the kernel side's lower end; of connections by 5-tuple.
    pub(crate) client_is_low: u8,
    /// Whether its last row was made.
    pub(crate) is_over: u8,
    /// Whether its opening was seen.
    pub(crate) is_opening_seen: u8,
    /// Whether rows of its dropped packets stand for it.
    pub(crate) is_silent: u8,
    /// Named: it is written as bytes.
    pub(crate) _pad: u32,
}

const _: () = assert!(size_of::<Told>() == 184 && align_of::<Told>() == 8);
