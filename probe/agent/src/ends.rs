//! Both ends of a connection as a row has them: client and server, whichever of them is ours.

use std::net::{IpAddr, Ipv6Addr};

use smol_str::{SmolStr, ToSmolStr};
use weir_abi::{Conn, FLAG_ISNS, ROLE_CLIENT};
use weir_model::{ExchangeRow, FlowRow, TlsHandshakeRow, ids};

use crate::identity::Holder;

/// An address and a port.
pub(crate) type End = (IpAddr, u16);

/// Who talks to whom, and which of them this node sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) client: End,
    pub(crate) server: End,
    /// Whether the client's end is ours; else the server's.
    pub(crate) client_is_ours: bool,
}

impl Ends {
    /// From this end's point of view.
    pub(crate) fn new(local: End, remote: End, client_is_ours: bool) -> Ends {
        let (client, server) = if client_is_ours { (local, remote) } else { (remote, local) };
        Ends { client, server, client_is_ours }
    }

    /// Of a TCP connection.
    pub(crate) fn of(conn: &Conn) -> Ends {
        let local = (address(conn.local_ip), conn.local_port);
        let remote = (address(conn.remote_ip), conn.remote_port);
        Ends::new(local, remote, conn.role == ROLE_CLIENT)
    }

    /// `client` or `server`: which end reports.
    pub(crate) fn observer(&self) -> SmolStr {
        SmolStr::new_static(if self.client_is_ours { "client" } else { "server" })
    }

    /// What is known of our end goes into its columns; the other end's stay empty.
    pub(crate) fn fill_flow(&self, row: &mut FlowRow, node: &SmolStr, holder: Holder) {
        row.node = Some(node.clone());
        row.observer = Some(self.observer());
        (row.client_ip, row.client_port) = (Some(address_text(self.client.0)), Some(self.client.1));
        (row.server_ip, row.server_port) = (Some(address_text(self.server.0)), Some(self.server.1));
        let Holder { pid, process, workload } = holder;
        let kind = workload.unit.is_some().then(|| SmolStr::new_static("unit"));
        let identity = SmolStr::new_static(if workload.pod.is_some() { "pod" } else { "process" });
        if self.client_is_ours {
            (row.client_pid, row.client_process) = (pid, process);
            (row.client_container, row.client_pod) = (workload.container, workload.pod);
            (row.client_workload, row.client_workload_kind) = (workload.unit, kind);
            (row.client_node, row.client_identity) = (Some(node.clone()), Some(identity));
        } else {
            (row.server_pid, row.server_process) = (pid, process);
            (row.server_container, row.server_pod) = (workload.container, workload.pod);
            (row.server_workload, row.server_workload_kind) = (workload.unit, kind);
            (row.server_node, row.server_identity) = (Some(node.clone()), Some(identity));
        }
    }

    /// Both ends, and what is known of ours.
    pub(crate) fn fill_exchange(&self, row: &mut ExchangeRow, node: &SmolStr, holder: Holder) {
        row.node = Some(node.clone());
        row.observer = Some(self.observer());
        (row.client_ip, row.client_port) = (Some(address_text(self.client.0)), Some(self.client.1));
        (row.server_ip, row.server_port) = (Some(address_text(self.server.0)), Some(self.server.1));
        (row.pid, row.process) = (holder.pid, holder.process);
        (row.container, row.pod) = (holder.workload.container, holder.workload.pod);
    }

    /// As [`Ends::fill_flow`], for a handshake.
    pub(crate) fn fill_handshake(&self, row: &mut TlsHandshakeRow, node: &SmolStr, holder: Holder) {
        row.node = Some(node.clone());
        row.observer = Some(self.observer());
        (row.client_ip, row.client_port) = (Some(address_text(self.client.0)), Some(self.client.1));
        (row.server_ip, row.server_port) = (Some(address_text(self.server.0)), Some(self.server.1));
        if self.client_is_ours {
            (row.client_pid, row.client_process) = (holder.pid, holder.process);
        } else {
            (row.server_pid, row.server_process) = (holder.pid, holder.process);
        }
    }
}

/// The id of a TCP connection: its initial sequence numbers, or a hash where they are not known. `opened_ns` is the
/// kernel's, which no correction of the clock changes.
pub(crate) fn tcp_id(conn: &Conn, node: &str, opened_ns: u64) -> SmolStr {
    let ends = Ends::of(conn);
    if conn.opened_ns == 0 {
        return ids::unopened_id(ends.client, ends.server, conn.local_isn);
    }
    if conn.flags & FLAG_ISNS == 0 {
        return ids::flow_id(node, "tcp", ends.client, ends.server, opened_ns as i64);
    }
    if ends.client_is_ours {
        ids::tcp_connection_id(conn.local_isn, conn.remote_isn)
    } else {
        ids::tcp_connection_id(conn.remote_isn, conn.local_isn)
    }
}

/// An address as rows have it. Each row has two, so IPv4's is written by hand: formatting is much of what a row costs.
pub(crate) fn address_text(address: IpAddr) -> SmolStr {
    let IpAddr::V4(address) = address else { return address.to_smolstr() };
    let mut text = [0; "255.255.255.255".len()];
    let mut len = 0;
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            text[len] = b'.';
            len += 1;
        }
        for unit in [100, 10, 1] {
            if octet >= unit || unit == 1 {
                text[len] = b'0' + octet / unit % 10;
                len += 1;
            }
        }
    }
    SmolStr::new(std::str::from_utf8(&text[..len]).unwrap_or_default())
}

/// An address out of the kernel: IPv4 comes mapped.
pub(crate) fn address(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_reads_as_everywhere(four: [u8; 4], six: [u16; 8]) {
            for address in [IpAddr::from(four), IpAddr::from(six), IpAddr::from(four.map(|octet| octet % 12))] {
                prop_assert_eq!(address_text(address), address.to_string());
            }
        }
    }
}
