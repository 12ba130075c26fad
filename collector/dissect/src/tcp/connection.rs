//! One connection: who is the client, where it is in its life, which interval is being counted.

use std::net::IpAddr;

use smol_str::SmolStr;
use weir_model::ids;
use weir_model::time::interval_start;

use super::half::Half;
use super::handshake::Watch;
use super::{LINGER_NS, Options, Protocol, Rows, rows};
use crate::datagrams::Datagrams;
use crate::dns::Messages;
use crate::ip::{Packet, Tcp};
use crate::tls::{Handshake, Progress, Side};

/// A connection, an association or a UDP flow.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) protocol: Protocol,
    pub(super) client: (IpAddr, u16),
    pub(super) server: (IpAddr, u16),
    pub(super) halves: [Half; 2],
    /// Its first packet.
    pub(super) first_ns: i64,
    last_ns: i64,
    /// The client's SYN or INIT, or the first datagram.
    pub(super) opened_ns: Option<i64>,
    pub(super) established_ns: Option<i64>,
    /// The server is known to have answered, if only by what the client acknowledges (a capture of one direction).
    answered: bool,
    pub(super) first_byte_us: Option<i64>,
    pub(super) resets: i64,
    /// When it ended, and why.
    pub(super) closed: Option<(i64, &'static str)>,
    /// Who first said that it is through, and whether by a reset.
    gave_up: Option<(Side, bool)>,
    /// Start of the interval that is being counted.
    pub(super) interval_ns: i64,
    pub(super) opening_told: bool,
    pub(super) closing_told: bool,
    watch: Option<Box<Watch>>,
    /// DNS's messages in each direction, where they may be some.
    dns: Option<Box<[Messages; 2]>>,
    /// What the client had been told that the server's address is called, when it opened the connection.
    pub(super) server_name: Option<SmolStr>,
    /// UDP's counterpart of it.
    datagrams: Datagrams,
    /// What the handshake told the flow.
    pub(super) tls_version: Option<SmolStr>,
    pub(super) tls_sni: Option<SmolStr>,
    pub(super) encryption: &'static str,
    id: Option<SmolStr>,
}

impl Connection {
    pub(super) fn tcp(
        time_ns: i64,
        src: (IpAddr, u16),
        dst: (IpAddr, u16),
        header: Tcp,
        payload: &[u8],
        options: &Options,
    ) -> Connection {
        let client_sent = match (header.has(Tcp::SYN), header.has(Tcp::ACK)) {
            (true, false) => true,
            (true, true) => false,
            _ => looks_like_client(src.1, dst.1, payload),
        };
        let (client, server) = if client_sent { (src, dst) } else { (dst, src) };
        let mut connection = Connection::new(time_ns, Protocol::Tcp, client, server, options);
        connection.watch = Some(Box::new(Watch::new()));
        connection
    }

    pub(super) fn udp(
        time_ns: i64,
        src: (IpAddr, u16),
        dst: (IpAddr, u16),
        payload: &[u8],
        options: &Options,
    ) -> Connection {
        // The first datagram is the client's, unless it is an answer: then we missed the question. Nobody asks from an
        // address of many; what is sent to one is for all who listen.
        let answer = is_answer(src.1, dst.1, payload) && !is_of_many(dst.0);
        let (client, server) = if answer { (dst, src) } else { (src, dst) };
        let mut connection = Connection::new(time_ns, Protocol::Udp, client, server, options);
        connection.opened_ns = Some(time_ns);
        connection
    }

    pub(super) fn new(
        time_ns: i64,
        protocol: Protocol,
        client: (IpAddr, u16),
        server: (IpAddr, u16),
        options: &Options,
    ) -> Connection {
        Connection {
            protocol,
            client,
            server,
            halves: [Half::default(), Half::default()],
            first_ns: time_ns,
            last_ns: time_ns,
            opened_ns: None,
            established_ns: None,
            answered: false,
            first_byte_us: None,
            resets: 0,
            closed: None,
            gave_up: None,
            interval_ns: interval_start(time_ns, options.interval_ns),
            opening_told: false,
            closing_told: false,
            watch: None,
            dns: None,
            server_name: None,
            datagrams: Datagrams::default(),
            tls_version: None,
            tls_sni: None,
            encryption: "unknown",
            id: None,
        }
    }

    pub(super) fn last_ns(&self) -> i64 {
        self.last_ns
    }

    /// An order that doesn't depend on chance.
    pub(super) fn order(&self) -> (i64, (IpAddr, u16), (IpAddr, u16)) {
        (self.first_ns, self.client, self.server)
    }

    /// The connection's id: by the pair of initial sequence numbers, or by what else there is. Fixed by its first
    /// use, so that all rows agree.
    pub(super) fn id(&mut self, options: &Options) -> SmolStr {
        if let Some(id) = &self.id {
            return id.clone();
        }
        let id = if let (Some(client), Some(server)) = (self.halves[0].isn, self.halves[1].isn) {
            ids::tcp_connection_id(client, server)
        } else {
            ids::flow_id(&options.node, self.protocol.name(), self.client, self.server, self.first_ns)
        };
        self.id.insert(id).clone()
    }

    /// Whether a segment opens another connection between the same two ports.
    pub(super) fn is_succeeded_by(&self, header: Tcp, src: (IpAddr, u16)) -> bool {
        if !header.has(Tcp::SYN) {
            return false;
        }
        if header.has(Tcp::ACK) {
            // An answer to another SYN than ours, after the end; before it, it is a stray.
            let ours = Some(header.acknowledged.wrapping_sub(1)) == self.halves[0].isn;
            return self.closed.is_some() && !ours;
        }
        if src != self.client {
            // Both ends may open at the same time (RFC 9293 §3.5): then ours was not answered yet.
            return self.closed.is_some() || self.halves[1].spoke() || self.halves[0].isn.is_none();
        }
        self.halves[0].isn != Some(header.sequence)
    }

    pub(super) fn is_idle(&self, now_ns: i64, options: &Options) -> bool {
        now_ns - self.last_ns > if self.is_udp() { options.udp_idle_ns } else { options.tcp_idle_ns }
    }

    pub(super) fn datagram(
        &mut self,
        time_ns: i64,
        src: (IpAddr, u16),
        packet: &Packet<'_>,
        options: &Options,
        rows: &mut Rows,
    ) {
        self.move_to(time_ns, options, rows);
        let side = self.side(src);
        let half = &mut self.halves[side.index()];
        half.packets += 1;
        half.bytes += packet.payload_length as i64;
        if let Some(handshake) = self.datagrams.datagram(side, time_ns, packet.payload) {
            self.give(&handshake, options, rows);
        }
    }

    pub(super) fn segment(
        &mut self,
        time_ns: i64,
        src: (IpAddr, u16),
        header: Tcp,
        packet: &Packet<'_>,
        options: &Options,
        rows: &mut Rows,
    ) {
        self.move_to(time_ns, options, rows);
        let side = self.heard(src, header.has(Tcp::ACK) && !header.has(Tcp::RST));
        let length = packet.payload_length;
        let (syn, fin, reset) = (header.has(Tcp::SYN), header.has(Tcp::FIN), header.has(Tcp::RST));
        if syn {
            self.opening(time_ns, side, header);
        }
        let stray = syn && self.halves[side.index()].isn != Some(header.sequence);
        if reset || stray {
            // A reset's payload, if any, is a note to people, and its numbers are often made up; those of a second,
            // different answer to a SYN are of a connection that never came to be.
            self.halves[side.index()].packets += 1;
            self.resets += i64::from(reset);
        } else {
            self.halves[side.index()].sent(time_ns, header.sequence, length as u32, syn, fin);
        }
        if header.has(Tcp::ACK) && !reset {
            self.halves[side.peer().index()].acknowledged(time_ns, header.acknowledged);
            if side == Side::Client && !syn && self.halves[1].isn.is_some() && self.established_ns.is_none() {
                self.established_ns = Some(time_ns);
            }
        }
        if length > 0 && !reset {
            if side == Side::Server && self.first_byte_us.is_none() {
                self.first_byte_us = self.established_ns.map(|established| micros(established, time_ns));
            }
            if !is_padding(header, packet.payload) {
                self.look(time_ns, side, header.sequence.wrapping_add(u32::from(syn)), packet, options, rows);
            }
        }
        self.closing(time_ns, side, fin, reset);
    }

    /// Takes a segment of a connection that may be DNS; calls `on_message` with each message that is whole now, or never
    /// will be.
    pub(super) fn dns(
        &mut self,
        src: (IpAddr, u16),
        header: Tcp,
        packet: &Packet<'_>,
        time_ns: i64,
        mut on_message: impl FnMut(Side, i64, &[u8]),
    ) {
        let side = self.side(src);
        let is_over = self.closed.is_some();
        let streams = self.dns.get_or_insert_default();
        if header.has(Tcp::ACK) && !header.has(Tcp::RST) {
            let peer = side.peer();
            streams[peer.index()].acknowledged(header.acknowledged, |at, bytes| on_message(peer, at, bytes));
        }
        let stream = &mut streams[side.index()];
        let syn = u32::from(header.has(Tcp::SYN));
        let first = header.sequence.wrapping_add(syn);
        if syn == 1 {
            *stream = Messages::from_start(first);
        }
        if packet.payload_length > 0 && !header.has(Tcp::RST) && !is_padding(header, packet.payload) {
            let (payload, length) = (packet.payload, packet.payload_length);
            stream.push(time_ns, first, payload, length, |at, bytes| on_message(side, at, bytes));
        }
        if is_over {
            for side in [Side::Client, Side::Server] {
                streams[side.index()].finish(|at, bytes| on_message(side, at, bytes));
            }
        }
    }

    /// Whose packet it is; any of the server's is an answer, and so is what the client acknowledges.
    pub(super) fn heard(&mut self, src: (IpAddr, u16), acknowledges: bool) -> Side {
        let side = self.side(src);
        self.answered |= acknowledges || side == Side::Server;
        side
    }

    fn is_udp(&self) -> bool {
        self.protocol == Protocol::Udp
    }

    fn side(&self, src: (IpAddr, u16)) -> Side {
        if src == self.client { Side::Client } else { Side::Server }
    }

    fn opening(&mut self, time_ns: i64, side: Side, header: Tcp) {
        let isn = *self.halves[side.index()].isn.get_or_insert(header.sequence);
        if isn != header.sequence {
            return;
        }
        if let Some(watch) = &mut self.watch {
            watch.begins(side, header.sequence.wrapping_add(1));
        }
        match side {
            Side::Client => {
                self.opened_ns.get_or_insert(time_ns);
            }
            // The answer names the client's number too, for when its SYN was missed.
            Side::Server if header.has(Tcp::ACK) => {
                self.halves[0].isn.get_or_insert(header.acknowledged.wrapping_sub(1));
            }
            Side::Server => {}
        }
    }

    pub(super) fn closing(&mut self, time_ns: i64, side: Side, fin: bool, reset: bool) {
        if self.closed.is_some() || !(fin || reset) {
            return;
        }
        self.gave_up.get_or_insert((side, reset));
        let refused =
            self.halves[0].isn.is_some() && self.halves[1].isn.is_none() && self.established_ns.is_none();
        let reason = match (reset, side) {
            (true, Side::Server) if refused => "refused",
            (true, Side::Client) => "reset_by_client",
            (true, Side::Server) => "reset_by_server",
            (false, _) if self.halves.iter().all(|half| half.finished) => "fin",
            (false, _) => return,
        };
        self.closed = Some((time_ns, reason));
    }

    fn look(
        &mut self,
        time_ns: i64,
        side: Side,
        sequence: u32,
        packet: &Packet<'_>,
        options: &Options,
        rows: &mut Rows,
    ) {
        let Some(watch) = &mut self.watch else { return };
        let progress = watch.segment(side, time_ns, sequence, packet.payload, packet.payload_length);
        if progress == Progress::NotTls && self.encryption == "unknown" && self.opened_ns.is_some() {
            self.encryption = "plaintext";
        }
        if let Some(handshake) = watch.handshake() {
            self.encryption = handshake.encryption();
        }
        if progress == Progress::Done {
            self.give_handshake(options, rows);
        }
    }

    /// A connection that is over takes its handshake with it. Not before its last row: an answer may still be on its
    /// way to an end that has already hung up.
    fn handshake_over(&mut self, options: &Options, rows: &mut Rows) {
        if let (Some(watch), Some((at, _))) = (&mut self.watch, self.closed) {
            let (by, reset) = self.gave_up.map_or((None, false), |(side, reset)| (Some(side), reset));
            watch.closed(by, reset, at);
            self.give_handshake(options, rows);
        }
    }

    fn give_handshake(&mut self, options: &Options, rows: &mut Rows) {
        if let Some(handshake) = self.watch.take().as_ref().and_then(|watch| watch.handshake()) {
            self.give(handshake, options, rows);
        }
        if let Some(handshake) = self.datagrams.closed() {
            self.give(&handshake, options, rows);
        }
    }

    fn give(&mut self, handshake: &Handshake, options: &Options, rows: &mut Rows) {
        self.encryption = handshake.encryption();
        self.tls_version.clone_from(&handshake.version);
        self.tls_sni.clone_from(&handshake.sni);
        let row = rows::handshake(self, handshake, options);
        rows.handshakes.push(row);
    }

    /// Ends the interval that was being counted if `time_ns` lies in a later one.
    pub(super) fn move_to(&mut self, time_ns: i64, options: &Options, rows: &mut Rows) {
        self.last_ns = self.last_ns.max(time_ns);
        let interval = interval_start(time_ns, options.interval_ns);
        if interval <= self.interval_ns || self.waits(time_ns) {
            return;
        }
        self.give_row(self.interval_ns + options.interval_ns, options, rows);
        self.interval_ns = interval;
    }

    /// Whether the row must wait though its interval is over: for the number that makes its id, or for stragglers.
    fn waits(&self, now_ns: i64) -> bool {
        let unanswered = self.halves[0].isn.is_some() && !self.answered && self.closed.is_none();
        let lingers = !self.closing_told && self.closed.is_some_and(|(at, _)| now_ns - at <= LINGER_NS);
        !self.is_udp() && (unanswered || lingers)
    }

    /// At an interval's end. False: the connection may be forgotten.
    pub(super) fn sweep(&mut self, now_ns: i64, options: &Options, rows: &mut Rows) -> bool {
        let over = self.closed.is_some_and(|(at, _)| now_ns - at > LINGER_NS);
        let unanswered_for_long = self.waits(now_ns) && self.is_unanswered_for_long(now_ns);
        if self.is_idle(now_ns, options) || unanswered_for_long {
            self.expire(now_ns, options, false, rows);
            return false;
        }
        // UDP's row waits for the next datagram or the timeout: only then is it known whether it was the last.
        if !self.is_udp()
            && !self.waits(now_ns)
            && interval_start(now_ns, options.interval_ns) > self.interval_ns
        {
            self.give_row(self.interval_ns + options.interval_ns, options, rows);
            self.interval_ns = interval_start(now_ns, options.interval_ns);
        }
        // Kept for a while after its last row, so that what comes very late isn't taken for a new connection.
        !(over && self.closing_told && now_ns - self.last_ns > 6 * LINGER_NS)
    }

    /// Two minutes and a bit: as long as Linux keeps sending a SYN.
    fn is_unanswered_for_long(&self, now_ns: i64) -> bool {
        self.closed.is_none() && now_ns - self.last_ns > 130 * weir_model::time::SECOND_NS
    }

    /// Gives what is left, before the connection is forgotten; `open` where that is no proof of its end.
    pub(super) fn expire(&mut self, now_ns: i64, options: &Options, open: bool, rows: &mut Rows) {
        if self.closed.is_none() && (!open || self.is_idle(now_ns, options)) {
            if self.is_udp() {
                self.closed = Some((self.last_ns, "idle"));
            } else if self.waits(now_ns) {
                self.closed = Some((self.last_ns, "timed_out"));
            }
        }
        self.handshake_over(options, rows);
        self.give_handshake(options, rows);
        // Nothing is known of the time behind it.
        self.give_row(self.last_ns, options, rows);
    }

    fn give_row(&mut self, end_ns: i64, options: &Options, rows: &mut Rows) {
        self.handshake_over(options, rows);
        if let Some(handshake) = self.datagrams.handshake() {
            self.encryption = handshake.encryption();
            self.tls_version.clone_from(&handshake.version);
            self.tls_sni.clone_from(&handshake.sni);
        }
        let moved = self.halves.iter().any(|half| half.packets > 0);
        if moved || self.closed.is_some() && !self.closing_told {
            let row = rows::flow(self, end_ns, options);
            rows.flows.push(row);
        }
    }
}

/// From one moment to a later one, µs; none at all where a capture's clock went back.
pub(super) fn micros(from_ns: i64, to_ns: i64) -> i64 {
    (to_ns - from_ns).max(0) / 1000
}

/// Whether a datagram answers: it comes from a well-known port, or says so where both ends have the same one.
fn is_answer(src_port: u16, dst_port: u16, payload: &[u8]) -> bool {
    match (src_port, dst_port) {
        // DHCP.
        (67, 68) | (547, 546) => true,
        (53, 53) => payload.get(2).is_some_and(|flags| flags & 0x80 != 0),
        // NTP's mode 4: a server.
        (123, 123) => payload.first().is_some_and(|flags| flags & 7 == 4),
        _ => src_port < 1024 && dst_port >= 1024,
    }
}

fn is_of_many(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_broadcast() || address.is_multicast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

/// Some network stacks count an Ethernet frame's padding as payload: up to 6 zeros on a bare acknowledgement.
fn is_padding(header: Tcp, payload: &[u8]) -> bool {
    header.flags & !Tcp::SYN == Tcp::ACK && payload.len() <= 6 && payload.iter().all(|byte| *byte == 0)
}

/// Of a connection that was open before the capture: whether the sender of its first packet is the client. A hello
/// says so; else the server is the end with the lower, better known port.
fn looks_like_client(src_port: u16, dst_port: u16, payload: &[u8]) -> bool {
    match payload {
        [0x16, 3, _, _, _, 1, ..] => true,
        [0x16, 3, _, _, _, 2, ..] => false,
        _ => src_port >= dst_port,
    }
}
