//! What routers, switches and other exporters tell of flows (NetFlow v5, v7, v9, IPFIX; sFlow v5) → rows of `flows`.
//!
//! | file         | subject                                                                      |
//! |--------------|------------------------------------------------------------------------------|
//! | `netflow.rs` | NetFlow and IPFIX: templates by exporter, records → rows                        |
//! | `sflow.rs`   | sFlow: sampled packets → rows                                                  |
//!
//! A record tells of one direction (IPFIX's may tell of both), and not who opened the connection: the end with the lower port
//! is taken for the server, so that both directions' rows are of one connection. Bytes are those of IP packets, headers
//! included, and where the exporter samples they are what it saw times how much it leaves out.

mod netflow;
mod sflow;

use std::net::IpAddr;

use weir_model::{FlowRow, SmolStr, ids};

pub use netflow::Netflow;
pub use sflow::sflow;

/// What became of a datagram's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Records that are rows now.
    pub records: u64,
    /// Sets of records whose template the exporter has not sent (yet).
    pub without_template: u64,
    /// Fields that nobody here knows; the records have rows all the same.
    pub unknown_fields: u64,
    /// Records without addresses, of which nothing can be told.
    pub without_addresses: u64,
    /// Samples of packets that are no IP, or cut too short.
    pub unreadable_samples: u64,
}

/// One direction of a flow, as an exporter tells of it.
#[derive(Clone, Debug)]
struct Direction {
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    protocol: u8,
    bytes: u64,
    packets: u64,
    /// What went the other way, where the record tells of both.
    reverse: Option<(u64, u64)>,
    /// From the first packet to the last, ns.
    times: (i64, i64),
}

impl Direction {
    /// `exporter` sent it, `source` is how.
    fn row(&self, exporter: IpAddr, source: &'static str) -> FlowRow {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let there = [number(self.bytes), number(self.packets)];
        let (bytes, packets) = self.reverse.unwrap_or_default();
        let back = [number(bytes), number(packets)];
        // Who tells of both knows who began.
        let is_answer = self.reverse.is_none() && self.source.1 < self.destination.1;
        let (client, server, sent, got) = if is_answer {
            (self.destination, self.source, back, there)
        } else {
            (self.source, self.destination, there, back)
        };
        let protocol = protocol(self.protocol);
        let address = |ip: IpAddr| Some(SmolStr::new(ip.to_canonical().to_string()));
        let has_ports = matches!(self.protocol, 6 | 17 | 132);
        let port = |port: u16| Some(port).filter(|_| has_ports);
        let id = ids::flow_id(&exporter.to_string(), &protocol, client, server, 0);
        FlowRow {
            time: self.times.0,
            end_time: Some(self.times.1.max(self.times.0)),
            trace_id: Some(ids::trace_id(&id)),
            connection_id: Some(id),
            node: address(exporter),
            observer: Some(SmolStr::new_static("path")),
            protocol: Some(protocol),
            client_ip: address(client.0),
            client_port: port(client.1),
            server_ip: address(server.0),
            server_port: port(server.1),
            client_bytes: sent[0],
            client_packets: sent[1],
            server_bytes: got[0],
            server_packets: got[1],
            encryption: Some(SmolStr::new_static("unknown")),
            source: Some(SmolStr::new_static(source)),
            ..FlowRow::default()
        }
    }
}

/// The protocol's name, or its number.
fn protocol(number: u8) -> SmolStr {
    match number {
        1 | 58 => SmolStr::new_static("icmp"),
        6 => SmolStr::new_static("tcp"),
        17 => SmolStr::new_static("udp"),
        132 => SmolStr::new_static("sctp"),
        other => weir_model::format_smolstr!("{other}"),
    }
}

#[cfg(test)]
mod tests;
