//! What makes flows at several interfaces one connection: TCP's pair of initial sequence numbers and SCTP's pair of initiate
//! tags, which no NAT changes; for all else the 5-tuple.

use weir_abi::{KNOWN_CLIENT_ISN, KNOWN_SERVER_ISN, PathFlow, PathKey};

/// IP protocol numbers.
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const SCTP: u8 = 132;

/// By the 5-tuple.
pub(crate) const BY_TUPLE: u8 = 0;
/// By the client's and the server's number.
pub(crate) const BY_PAIR: u8 = 1;
/// By the client's number alone: nobody has answered yet.
pub(crate) const BY_CLIENT: u8 = 2;

/// Names a connection; in the kernel's layout, since the journal has it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Join {
    pub(crate) low_ip: [u8; 16],
    pub(crate) high_ip: [u8; 16],
    pub(crate) low_port: u16,
    pub(crate) high_port: u16,
    pub(crate) client_isn: u32,
    pub(crate) server_isn: u32,
    pub(crate) protocol: u8,
    /// `BY_*`.
    pub(crate) by: u8,
    pub(crate) _pad: u16,
}

impl Join {
    /// By the pair of numbers.
    pub(crate) fn pair(protocol: u8, client_isn: u32, server_isn: u32) -> Join {
        Join { client_isn, server_isn, protocol, by: BY_PAIR, ..Join::default() }
    }

    /// By the client's number.
    pub(crate) fn client(protocol: u8, client_isn: u32) -> Join {
        Join { client_isn, protocol, by: BY_CLIENT, ..Join::default() }
    }

    /// By the 5-tuple.
    pub(crate) fn tuple(key: &PathKey) -> Join {
        Join {
            low_ip: key.low_ip,
            high_ip: key.high_ip,
            low_port: key.low_port,
            high_port: key.high_port,
            protocol: key.protocol,
            by: BY_TUPLE,
            ..Join::default()
        }
    }
}

/// Which connection a flow belongs to, where it says so by itself.
pub(crate) fn sure(key: &PathKey, flow: &PathFlow) -> Option<Join> {
    const BOTH: u8 = KNOWN_CLIENT_ISN | KNOWN_SERVER_ISN;
    match key.protocol {
        TCP | SCTP if flow.known & BOTH == BOTH => {
            Some(Join::pair(key.protocol, flow.client_isn, flow.server_isn))
        }
        TCP | SCTP => None,
        _ => Some(Join::tuple(key)),
    }
}
