//! Through [`FlowTracker`] only, as its callers use it: a [`Talk`] sends segments, rows come out.

mod associations;
mod handshakes;
mod life;
mod numbers;
mod properties;

use std::net::IpAddr;

use super::*;
use crate::ip;
use crate::testing::{CLIENT, SERVER};
use crate::tls::Side;

const MS: i64 = 1_000_000;
const SYN: u8 = Tcp::SYN;
const ACK: u8 = Tcp::ACK;
const FIN: u8 = Tcp::FIN;
const RST: u8 = Tcp::RST;
const CLIENT_PORT: u16 = 40_000;
const SERVER_PORT: u16 = 443;
/// An interval begins here.
const START_NS: i64 = 1_700_000_000 * SECOND_NS;

/// A connection between [`CLIENT`] and [`SERVER`], segment by segment.
struct Talk {
    tracker: FlowTracker,
    now_ns: i64,
    /// The next sequence number of each side.
    next: [u32; 2],
    /// How much of a payload the capture keeps.
    snaplen: usize,
}

impl Talk {
    fn new() -> Talk {
        Talk::between(1000, 2000)
    }

    /// With the given initial sequence numbers.
    fn between(client: u32, server: u32) -> Talk {
        let tracker = FlowTracker::new(Options::default());
        Talk { tracker, now_ns: START_NS, next: [client, server], snaplen: usize::MAX }
    }

    /// Lets time pass.
    fn wait(&mut self, ns: i64) -> &mut Talk {
        self.now_ns += ns;
        self
    }

    /// The next segment of `from`, right after what it sent before; acknowledges all that the other sent.
    fn say(&mut self, from: Side, flags: u8, payload: &[u8]) -> &mut Talk {
        let sequence = self.next[from.index()];
        let span = payload.len() as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        self.next[from.index()] = sequence.wrapping_add(span);
        self.raw(from, sequence, self.next[from.peer().index()], flags, payload)
    }

    /// A segment whose first byte lies `back` bytes before what comes next.
    fn again(&mut self, from: Side, back: u32, flags: u8, payload: &[u8]) -> &mut Talk {
        let sequence = self.next[from.index()].wrapping_sub(back);
        self.raw(from, sequence, self.next[from.peer().index()], flags, payload)
    }

    /// Bytes that the capture doesn't show, at least not now.
    fn skip(&mut self, from: Side, bytes: u32) -> &mut Talk {
        self.next[from.index()] = self.next[from.index()].wrapping_add(bytes);
        self
    }

    fn raw(&mut self, from: Side, sequence: u32, acknowledged: u32, flags: u8, payload: &[u8]) -> &mut Talk {
        let (client, server) = ((IpAddr::V4(CLIENT), CLIENT_PORT), (IpAddr::V4(SERVER), SERVER_PORT));
        let (src, dst) = if from == Side::Client { (client, server) } else { (server, client) };
        let header = Tcp { src_port: src.1, dst_port: dst.1, sequence, acknowledged, flags };
        let packet = Packet {
            src: src.0,
            dst: dst.0,
            transport: Transport::Tcp(header),
            payload: &payload[..payload.len().min(self.snaplen)],
            payload_length: payload.len(),
        };
        self.tracker.packet(self.now_ns, &packet);
        self
    }

    /// Three-way handshake: 10 ms to the server's side and back, 1 ms to the client's.
    fn open(&mut self) -> &mut Talk {
        self.say(Side::Client, SYN, &[]);
        self.wait(10 * MS).say(Side::Server, SYN | ACK, &[]);
        self.wait(MS).say(Side::Client, ACK, &[])
    }

    /// Both ends hang up, the client first, with the same times as [`Talk::open`].
    fn close(&mut self) -> &mut Talk {
        self.say(Side::Client, FIN | ACK, &[]);
        self.wait(10 * MS).say(Side::Server, FIN | ACK, &[]);
        self.wait(MS).say(Side::Client, ACK, &[])
    }

    fn rows(&mut self) -> Rows {
        self.tracker.finish()
    }

    /// The capture ends; there must be one flow.
    #[track_caller]
    fn flow(&mut self) -> FlowRow {
        let mut flows = self.rows().flows;
        assert_eq!(flows.len(), 1, "{flows:#?}");
        flows.remove(0)
    }
}

/// The words of a row that tell its life.
fn life(row: &FlowRow) -> (&str, Option<&str>) {
    (row.state.as_deref().unwrap_or_default(), row.close_reason.as_deref())
}

fn retransmits(row: &FlowRow) -> (i64, i64) {
    (row.client_retransmits.unwrap(), row.server_retransmits.unwrap())
}

fn bytes(row: &FlowRow) -> (i64, i64) {
    (row.client_bytes, row.server_bytes)
}

fn packets(row: &FlowRow) -> (i64, i64) {
    (row.client_packets, row.server_packets)
}

fn datagram(src: (u8, u16), dst: (u8, u16), payload: &[u8]) -> Packet<'_> {
    Packet {
        src: IpAddr::from([10, 0, 0, src.0]),
        dst: IpAddr::from([10, 0, 0, dst.0]),
        transport: Transport::Udp { src_port: src.1, dst_port: dst.1 },
        payload,
        payload_length: payload.len(),
    }
}
