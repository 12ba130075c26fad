//! Packets in the order of their capture → rows of flows, handshakes and DNS.
//!
//! | file            | subject                                                                   |
//! |-----------------|---------------------------------------------------------------------------|
//! | `connection.rs` | one connection: who is the client, its life, its clock                        |
//! | `association.rs` | SCTP: the same life, told by chunks                                        |
//! | `half.rs`       | one direction of TCP or SCTP: what is new, sent again, out of order; RTT        |
//! | `handshake.rs`  | its TLS handshake: segments put in order, within bounds; UDP's is in `datagrams.rs` |
//! | `adat.rs`       | TLS that FTP carries in its own lines (`GridFTP`)                           |
//! | `questions.rs`  | DNS: questions with their answers, names for the flows                         |
//! | `rows.rs`       | a connection → rows                                                       |
//!
//! One row per connection and interval in which it moved; the sum over a connection's rows is exact. A UDP flow's
//! last row waits for its idle timeout, a TCP connection's last row for stragglers ([`LINGER_NS`]), so that each
//! says how it ended. **Invariant**: memory is bounded by [`Options::max_connections`] and the bounds in
//! `handshake.rs`, `adat.rs`, `questions.rs` and `dns/stream.rs`.

mod adat;
mod association;
mod connection;
mod half;
mod handshake;
mod questions;
mod rows;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use smol_str::SmolStr;
use weir_model::time::{SECOND_NS, interval_start};
use weir_model::{DnsRow, FlowRow, TlsHandshakeRow};

use crate::ip::{Packet, Tcp, Transport};
use crate::tls::Side;
use connection::Connection;
use questions::{Questions, Seen};

/// How long a closed connection still takes in what comes late (a last acknowledgement, a reset after FIN).
pub const LINGER_NS: i64 = 2 * SECOND_NS;

/// The year 2116: later (and before 1970) lies only what a damaged capture says, and sums must not overflow.
const LATEST_NS: i64 = i64::MAX / 2;

/// How packets become flows.
#[derive(Clone, Debug)]
pub struct Options {
    /// The rows' `node`: the capture's name.
    pub node: SmolStr,
    /// Length of an interval, ns.
    pub interval_ns: i64,
    /// A UDP flow ends after that much silence, ns.
    pub udp_idle_ns: i64,
    /// A TCP connection is forgotten after that much silence, ns.
    pub tcp_idle_ns: i64,
    /// More connections than that are not remembered at once: the most idle are forgotten first.
    pub max_connections: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            node: SmolStr::new_static("pcap"),
            interval_ns: 10 * SECOND_NS,
            udp_idle_ns: 30 * SECOND_NS,
            tcp_idle_ns: 3600 * SECOND_NS,
            max_connections: 1 << 18,
        }
    }
}

/// Rows that are ready.
#[derive(Debug, Default)]
pub struct Rows {
    /// Flows, one per connection and interval.
    pub flows: Vec<FlowRow>,
    /// Handshakes, one per TLS connection.
    pub handshakes: Vec<TlsHandshakeRow>,
    /// DNS, one per question.
    pub dns: Vec<DnsRow>,
}

/// What was tracked so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// TCP connections.
    pub tcp_connections: u64,
    /// TCP segments.
    pub tcp_packets: u64,
    /// UDP flows.
    pub udp_flows: u64,
    /// UDP datagrams.
    pub udp_packets: u64,
    /// SCTP associations.
    pub sctp_associations: u64,
    /// SCTP packets.
    pub sctp_packets: u64,
    /// Connections that were forgotten because there were too many.
    pub evicted: u64,
    /// Messages on DNS's port that are no DNS.
    pub not_dns: u64,
}

/// Tracks the connections of one capture.
#[derive(Debug)]
pub struct FlowTracker {
    options: Options,
    connections: HashMap<Key, Box<Connection>>,
    /// Latest time of a packet.
    now_ns: i64,
    /// Where the next interval begins, at which connections are looked through.
    next_sweep_ns: i64,
    questions: Questions,
    rows: Rows,
    totals: Totals,
}

/// A 5-tuple without a direction: the smaller end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    low: (IpAddr, u16),
    high: (IpAddr, u16),
    protocol: Protocol,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl FlowTracker {
    /// Of a capture that begins.
    pub fn new(options: Options) -> FlowTracker {
        FlowTracker {
            options,
            connections: HashMap::new(),
            now_ns: i64::MIN,
            next_sweep_ns: i64::MIN,
            questions: Questions::new(),
            rows: Rows::default(),
            totals: Totals::default(),
        }
    }

    /// Takes in the next packet, seen at `time_ns`.
    pub fn packet(&mut self, time_ns: i64, packet: &Packet<'_>) {
        let time_ns = time_ns.clamp(0, LATEST_NS);
        self.now_ns = self.now_ns.max(time_ns);
        if self.now_ns >= self.next_sweep_ns {
            self.sweep();
        }
        self.questions.expire(self.now_ns, &self.options, &mut self.rows);
        match packet.transport {
            Transport::Tcp(header) => self.tcp(time_ns, packet, header),
            Transport::Udp { src_port, dst_port } => self.udp(time_ns, packet, src_port, dst_port),
            Transport::Sctp { src_port, dst_port } => self.sctp(time_ns, packet, src_port, dst_port),
        }
    }

    /// Time went by without a packet (a capture that is still being written).
    pub fn advance(&mut self, now_ns: i64) {
        self.now_ns = self.now_ns.max(now_ns.clamp(0, LATEST_NS));
        self.questions.expire(self.now_ns, &self.options, &mut self.rows);
        if self.now_ns >= self.next_sweep_ns {
            self.sweep();
        }
    }

    /// The rows that are ready, taken away.
    pub fn take_rows(&mut self) -> Rows {
        std::mem::take(&mut self.rows)
    }

    /// How many rows are ready, of the table that has most.
    pub fn ready(&self) -> usize {
        self.rows.flows.len().max(self.rows.handshakes.len()).max(self.rows.dns.len())
    }

    /// What was tracked so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The capture ended: every connection gives its last row; those still open stay so.
    pub fn finish(&mut self) -> Rows {
        let mut open: Vec<Box<Connection>> =
            self.connections.drain().map(|(_, connection)| connection).collect();
        // The map's order is random, the rows' order must not be.
        open.sort_by_key(|connection| connection.order());
        for mut connection in open {
            connection.expire(self.now_ns, &self.options, true, &mut self.rows);
        }
        self.questions.finish(&self.options, &mut self.rows);
        self.take_rows()
    }

    fn tcp(&mut self, time_ns: i64, packet: &Packet<'_>, header: Tcp) {
        self.totals.tcp_packets += 1;
        let (src, dst) = ((packet.src, header.src_port), (packet.dst, header.dst_port));
        let mut fresh = || {
            self.totals.tcp_connections += 1;
            let mut fresh = Connection::tcp(time_ns, src, dst, header, packet.payload, &self.options);
            fresh.server_name = self.questions.name(fresh.client.0, fresh.server.0, time_ns);
            Box::new(fresh)
        };
        let connection = match self.connections.entry(Key::new(src, dst, Protocol::Tcp)) {
            Entry::Occupied(entry) => {
                let known = entry.into_mut();
                if known.is_succeeded_by(header, src) {
                    known.expire(time_ns, &self.options, true, &mut self.rows);
                    *known = fresh();
                }
                known
            }
            Entry::Vacant(entry) => entry.insert(fresh()),
        };
        connection.segment(time_ns, src, header, packet, &self.options, &mut self.rows);
        if !Questions::are_on(src.1, dst.1) {
            return;
        }
        let mut messages = Vec::new();
        connection
            .dns(src, header, packet, time_ns, |side, at, bytes| messages.push((side, at, bytes.to_vec())));
        for (side, time_ns, bytes) in &messages {
            let id = connection.id(&self.options);
            let (client, server) = (connection.client, connection.server);
            let (src, dst) = if *side == Side::Client { (client, server) } else { (server, client) };
            let seen = Seen { time_ns: *time_ns, src, dst, udp: false, bytes, length: bytes.len() };
            let is_dns = self.questions.message(&seen, id, &self.options, &mut self.rows);
            self.totals.not_dns += u64::from(!is_dns);
        }
    }

    fn udp(&mut self, time_ns: i64, packet: &Packet<'_>, src_port: u16, dst_port: u16) {
        self.totals.udp_packets += 1;
        let (src, dst) = ((packet.src, src_port), (packet.dst, dst_port));
        let mut fresh = || {
            self.totals.udp_flows += 1;
            let mut fresh = Connection::udp(time_ns, src, dst, packet.payload, &self.options);
            fresh.server_name = self.questions.name(fresh.client.0, fresh.server.0, time_ns);
            Box::new(fresh)
        };
        let connection = match self.connections.entry(Key::new(src, dst, Protocol::Udp)) {
            Entry::Occupied(entry) => {
                let known = entry.into_mut();
                if known.is_idle(time_ns, &self.options) {
                    known.expire(time_ns, &self.options, false, &mut self.rows);
                    *known = fresh();
                }
                known
            }
            Entry::Vacant(entry) => entry.insert(fresh()),
        };
        connection.datagram(time_ns, src, packet, &self.options, &mut self.rows);
        if Questions::are_on(src_port, dst_port) {
            let id = connection.id(&self.options);
            let (bytes, length) = (packet.payload, packet.payload_length);
            let seen = Seen { time_ns, src, dst, udp: true, bytes, length };
            let is_dns = self.questions.message(&seen, id, &self.options, &mut self.rows);
            self.totals.not_dns += u64::from(!is_dns);
        }
    }

    fn sctp(&mut self, time_ns: i64, packet: &Packet<'_>, src_port: u16, dst_port: u16) {
        self.totals.sctp_packets += 1;
        let (src, dst) = ((packet.src, src_port), (packet.dst, dst_port));
        let mut fresh = || {
            self.totals.sctp_associations += 1;
            Box::new(Connection::sctp(time_ns, src, dst, packet, &self.options))
        };
        let connection = match self.connections.entry(Key::new(src, dst, Protocol::Sctp)) {
            Entry::Occupied(entry) => {
                let known = entry.into_mut();
                if known.is_succeeded_by_association(packet, src) {
                    known.expire(time_ns, &self.options, true, &mut self.rows);
                    *known = fresh();
                }
                known
            }
            Entry::Vacant(entry) => entry.insert(fresh()),
        };
        connection.chunks(time_ns, src, packet, &self.options, &mut self.rows);
    }

    /// Looks through all connections at an interval's end: gives rows, forgets the dead.
    fn sweep(&mut self) {
        let now = self.now_ns;
        self.next_sweep_ns = interval_start(now, self.options.interval_ns) + self.options.interval_ns;
        let first = self.rows.flows.len();
        let (options, rows) = (&self.options, &mut self.rows);
        self.connections.retain(|_, connection| connection.sweep(now, options, rows));
        // As above: by time, not by the map's order.
        rows.flows[first..].sort_by(|left, right| {
            (left.time, left.connection_id.as_deref()).cmp(&(right.time, right.connection_id.as_deref()))
        });
        if self.connections.len() > self.options.max_connections {
            self.evict();
        }
    }

    fn evict(&mut self) {
        let mut last: Vec<i64> = self.connections.values().map(|connection| connection.last_ns()).collect();
        // Half of what may be: looking through them all must stay rare.
        let surplus = last.len() - self.options.max_connections / 2;
        let threshold = *last.select_nth_unstable(surplus - 1).1;
        let (now, options, rows) = (self.now_ns, &self.options, &mut self.rows);
        let before = self.connections.len();
        self.connections.retain(|_, connection| {
            let keep = connection.last_ns() > threshold;
            if !keep {
                connection.expire(now, options, true, rows);
            }
            keep
        });
        self.totals.evicted += (before - self.connections.len()) as u64;
    }
}

impl Key {
    fn new(src: (IpAddr, u16), dst: (IpAddr, u16), protocol: Protocol) -> Key {
        let (low, high) = if src <= dst { (src, dst) } else { (dst, src) };
        Key { low, high, protocol }
    }
}

impl Protocol {
    /// Its word in rows.
    fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}
