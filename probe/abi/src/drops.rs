//! What the kernel adds up for packets that it drops, read and cleared by user space.

use crate::Owner;

/// [`DropKey::flags`]: a packet of this node's own socket, on its way out.
pub const DROP_OUT: u8 = 1;

/// Reasons below this are the kernel's own; each other 2^16 belong to one subsystem (`enum skb_drop_reason_subsys`).
pub const CORE_REASONS: usize = 256;

/// [`DropKey::reason`]: not a drop, but an ICMP error that this node sent about such a packet; type and code below.
pub const REASON_ICMP: u32 = 0x4000_0000;
/// [`DropKey::reason`]: the same of `ICMPv6`.
pub const REASON_ICMP6: u32 = 0x4100_0000;
/// [`DropKey::reason`]: not a drop, but an error that the kernel told the socket that sent such a packet; errno below.
pub const REASON_SOCKET: u32 = 0x4200_0000;
/// What tells these three from reasons of drops, and from each other.
pub const REASON_CLASS: u32 = 0xff00_0000;

/// Which packets are counted together: those of one 5-tuple that one place drops for one reason.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DropKey {
    /// Sender, IPv4 as IPv4-mapped IPv6.
    pub from_ip: [u8; 16],
    /// Receiver, IPv4 as IPv4-mapped IPv6.
    pub to_ip: [u8; 16],
    /// The instruction behind the call that freed the packet.
    pub location: u64,
    /// `enum skb_drop_reason`.
    pub reason: u32,
    /// Inode of the network namespace; 0: unknown.
    pub netns: u32,
    /// Host order; 0 where the protocol has none, or the packet is a later fragment.
    pub from_port: u16,
    /// Host order.
    pub to_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// `DROP_*`.
    pub flags: u8,
    /// Named: keys are compared with their holes.
    pub _pad: [u8; 2],
}

/// What is known of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// First packet.
    pub first_ns: u64,
    /// Last packet.
    pub last_ns: u64,
    /// Packets, those that were on their way as one counted one by one.
    pub packets: u64,
    /// Bytes, network layer.
    pub bytes: u64,
    /// What the route would have done with the first packet (`dst_entry.input`), 0: it had no route yet.
    pub input: u64,
    /// The process that sent the first packet, where it's UDP: of TCP, the connection has it.
    pub owner: Owner,
    /// Sequence number of the first packet, where it's TCP.
    pub seq: u32,
    /// Acknowledgement number of the first packet, where it's TCP.
    pub ack: u32,
    /// TCP flags of the first packet.
    pub tcp_flags: u8,
    /// TCP state of the socket that sent it; 0: none.
    pub sender_state: u8,
    /// Named: holes are not allowed.
    pub _pad: [u8; 6],
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<DropKey>() == 56 && offset_of!(DropKey, reason) == 40);
    assert!(size_of::<Dropped>() == 88 && offset_of!(Dropped, seq) == 72);
};
