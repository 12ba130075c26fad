//! Whose packet it was: which flow, and which of its ends is the client.

use smol_str::{SmolStr, format_smolstr};
use weir_abi::{Conn, DROP_OUT, DropKey, Dropped, UdpKey};
use weir_model::ids;

use crate::ends::address;

pub(super) const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
const SCTP: u8 = 132;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// TCP state (`include/net/tcp_states.h`): `connect()` waits for an answer.
const SYN_SENT: u8 = 2;
/// Ports from here on are given to whoever asks.
const FIRST_EPHEMERAL: u16 = 32_768;

/// A flow as one of its ends knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlowKey {
    local: ([u8; 16], u16),
    remote: ([u8; 16], u16),
    netns: u32,
    protocol: u8,
}

impl FlowKey {
    /// Of a TCP connection.
    pub(crate) fn of_connection(conn: &Conn) -> FlowKey {
        FlowKey {
            local: (conn.local_ip, conn.local_port),
            remote: (conn.remote_ip, conn.remote_port),
            netns: conn.netns,
            protocol: TCP,
        }
    }

    /// Of a UDP flow.
    pub(crate) fn of_datagrams(key: &UdpKey, netns: u32) -> FlowKey {
        FlowKey {
            local: (key.local_ip, key.local_port),
            remote: (key.remote_ip, key.remote_port),
            netns,
            protocol: UDP,
        }
    }

    /// The flow that a dropped packet belongs to, at the end where it was dropped.
    pub(super) fn of_drop(key: &DropKey) -> FlowKey {
        let (from, to) = ((key.from_ip, key.from_port), (key.to_ip, key.to_port));
        let (local, remote) = if FlowKey::sender_is_local(key) { (from, to) } else { (to, from) };
        FlowKey { local, remote, netns: key.netns, protocol: key.protocol }
    }

    pub(super) fn sender_is_local(key: &DropKey) -> bool {
        key.flags & DROP_OUT != 0
    }

    /// The same where the namespace isn't known.
    pub(super) fn anywhere(self) -> FlowKey {
        FlowKey { netns: 0, ..self }
    }
}

/// What else may tell of the connection that a dropped packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// A `connect()` of this node that waits for an answer: its flow's row comes when it ends.
    Connecting,
    /// A TCP connection that was established, or asks to be.
    Tcp {
        /// Whether this packet asks for, or grants, a new connection.
        is_opening: bool,
    },
    /// Another protocol.
    Other,
}

impl Whose {
    pub(super) fn of(key: &DropKey, dropped: &Dropped) -> Whose {
        if key.protocol != TCP {
            return Whose::Other;
        }
        if FlowKey::sender_is_local(key) && dropped.sender_state == SYN_SENT {
            return Whose::Connecting;
        }
        Whose::Tcp { is_opening: dropped.tcp_flags & SYN != 0 }
    }

    /// Whether a connection may live on without this packet.
    pub(super) fn may_live(self) -> bool {
        matches!(self, Whose::Tcp { is_opening: false })
    }

    /// Whether it may be of a flow that only exists in what was dropped.
    pub(super) fn may_be_denied(self, is_forwarded: bool) -> bool {
        match self {
            Whose::Connecting => false,
            Whose::Tcp { is_opening } => is_opening || is_forwarded,
            Whose::Other => true,
        }
    }
}

/// The id of the TCP connection that a dropped packet would have opened.
pub(super) fn unopened_id(key: &DropKey, dropped: &Dropped) -> Option<SmolStr> {
    if key.protocol != TCP || dropped.tcp_flags & SYN == 0 {
        return None;
    }
    let from = (address(key.from_ip), key.from_port);
    let to = (address(key.to_ip), key.to_port);
    Some(if dropped.tcp_flags & ACK == 0 {
        ids::unopened_id(from, to, dropped.seq)
    } else {
        ids::unopened_id(to, from, dropped.ack.wrapping_sub(1))
    })
}

/// Whether the packet's sender opened the connection: by the packet, or else by the ports.
pub(super) fn sender_is_client(key: &DropKey, dropped: &Dropped) -> bool {
    if key.protocol == TCP && dropped.tcp_flags & SYN != 0 {
        return dropped.tcp_flags & ACK == 0;
    }
    let is_service = |port: u16| port < FIRST_EPHEMERAL;
    !is_service(key.from_port) || is_service(key.to_port)
}

/// As `flows` names protocols; the number of those that have no name there.
pub(super) fn protocol_name(protocol: u8) -> SmolStr {
    match protocol {
        TCP => SmolStr::new_static("tcp"),
        UDP => SmolStr::new_static("udp"),
        SCTP => SmolStr::new_static("sctp"),
        ICMP | ICMP6 => SmolStr::new_static("icmp"),
        _ => format_smolstr!("ip-{protocol}"),
    }
}
