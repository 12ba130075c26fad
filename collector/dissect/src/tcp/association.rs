//! An SCTP association's packets: the same life as a TCP connection's, told by chunks. Its id is its pair of initiate tags
//! (client's, server's), as TCP's is its pair of initial sequence numbers; an association over several addresses
//! shows as one flow for each pair of them.

use std::net::IpAddr;

use super::connection::{Connection, micros};
use super::{Options, Protocol, Rows};
use crate::ip::Packet;
use crate::sctp::{Chunk, Tags, chunks};
use crate::tls::Side;

impl Connection {
    pub(super) fn sctp(
        time_ns: i64,
        src: (IpAddr, u16),
        dst: (IpAddr, u16),
        packet: &Packet<'_>,
        options: &Options,
    ) -> Connection {
        let client_sent = match chunks(packet.payload, packet.payload_length).next() {
            Some(Chunk::Init(_) | Chunk::CookieEcho) => true,
            Some(Chunk::InitAck(_) | Chunk::CookieAck) => false,
            // Of an association that was open before: the server has the lower, better known port.
            _ => src.1 >= dst.1,
        };
        let (client, server) = if client_sent { (src, dst) } else { (dst, src) };
        Connection::new(time_ns, Protocol::Sctp, client, server, options)
    }

    /// Whether a packet opens another association between the same two ports.
    pub(super) fn is_succeeded_by_association(&self, packet: &Packet<'_>, src: (IpAddr, u16)) -> bool {
        // INIT travels alone (RFC 9260 §3.3.2).
        let first = chunks(packet.payload, packet.payload_length).next();
        let Some(Chunk::Init(tags)) = first else { return false };
        if src != self.client {
            // Both ends may open at the same time (§5.2.1): then ours was not answered yet.
            return self.closed.is_some() || self.halves[1].spoke() || self.halves[0].isn.is_none();
        }
        self.halves[0].isn != Some(tags.initiate)
    }

    pub(super) fn chunks(
        &mut self,
        time_ns: i64,
        src: (IpAddr, u16),
        packet: &Packet<'_>,
        options: &Options,
        rows: &mut Rows,
    ) {
        self.move_to(time_ns, options, rows);
        let side = self.heard(src, false);
        self.halves[side.index()].packets += 1;
        for chunk in chunks(packet.payload, packet.payload_length) {
            match chunk {
                Chunk::Init(tags) => {
                    self.begins(side, tags);
                    if side == Side::Client {
                        self.opened_ns.get_or_insert(time_ns);
                    }
                }
                Chunk::InitAck(tags) => self.begins(side, tags),
                Chunk::CookieAck => {
                    self.established_ns.get_or_insert(time_ns);
                }
                Chunk::Sack { tsn } => self.halves[side.peer().index()].acknowledged(time_ns, tsn),
                Chunk::Data { tsn, length } => {
                    self.halves[side.index()].chunk(time_ns, tsn, length);
                    if side == Side::Server && self.first_byte_us.is_none() {
                        self.first_byte_us =
                            self.established_ns.map(|established| micros(established, time_ns));
                    }
                }
                Chunk::Abort => {
                    self.resets += 1;
                    self.closing(time_ns, side, false, true);
                }
                Chunk::ShutdownComplete => {
                    for half in &mut self.halves {
                        half.finished = true;
                    }
                    self.closing(time_ns, side, true, false);
                }
                Chunk::CookieEcho | Chunk::Other => {}
            }
        }
    }

    fn begins(&mut self, side: Side, tags: Tags) {
        let half = &mut self.halves[side.index()];
        half.isn.get_or_insert(tags.initiate);
        half.begins(tags.tsn);
    }
}
