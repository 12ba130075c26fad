//! DNS: datagrams and streams of port 53 → rows of `dns`, and the names that flows are given.
//!
//! At a client an exchange is known by its socket, since address translation may show the answer from another address
//! than the one that was asked; at a server by its socket and who asks. Names are learnt from what clients on this node
//! were answered, each for its network namespace. Bounded: open questions, streams, addresses; what doesn't fit is counted.

use std::net::IpAddr;

use hashbrown::HashMap;
use smol_str::SmolStr;
use weir_abi::{ChunkHead, Conn, DNS_PORT, DatagramHead, Owner, SIDE_CLIENT, UdpKey};
use weir_dissect::dns::{Exchange, Half, History, Messages, Pairs, message};
use weir_model::{DnsRow, FlowRow};

use crate::ends::{End, Ends, address, address_text, tcp_id};
use crate::flows::opened;
use crate::handshakes::Context;
use crate::udp;

/// Questions that are open at once.
const MAX_OPEN: usize = 16_384;
/// Addresses whose names are remembered.
const MAX_ADDRESSES: usize = 32_768;
/// TCP connections that are read at once.
const MAX_STREAMS: usize = 1_024;

/// What an exchange is known by besides its id: the socket, and at a server the client.
type Talk = (u64, Option<End>);

/// Who asked whom, on which connection.
#[derive(Clone, Debug)]
struct Tag {
    ends: Ends,
    connection_id: SmolStr,
    protocol: &'static str,
    owner: Owner,
    netns: u32,
}

/// All that is asked and answered on this node.
pub(crate) struct Dns {
    pairs: Pairs<Talk, Tag>,
    names: History<u32>,
    streams: HashMap<u64, [Messages; 2]>,
    /// Messages on DNS's port that are no DNS.
    pub(crate) unreadable: u64,
    given_up: u64,
}

impl Dns {
    pub(crate) fn new() -> Dns {
        Dns {
            pairs: Pairs::new(MAX_OPEN),
            names: History::new(MAX_ADDRESSES),
            streams: HashMap::new(),
            unreadable: 0,
            given_up: 0,
        }
    }

    /// Whether a connection is one of DNS.
    pub(crate) fn is_on(conn: &Conn) -> bool {
        conn.local_port == DNS_PORT || conn.remote_port == DNS_PORT
    }

    /// Whether a datagram is one of DNS.
    pub(crate) fn has(key: &UdpKey) -> bool {
        key.local_port == DNS_PORT || key.remote_port == DNS_PORT
    }

    /// Questions that were told before their time for want of room, and holes in streams.
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up + self.pairs.evicted()
    }

    /// Takes a datagram.
    pub(crate) fn datagram(
        &mut self,
        head: &DatagramHead,
        bytes: &[u8],
        context: &mut Context<'_>,
        rows: &mut Vec<DnsRow>,
    ) {
        let Ok(message) = message(bytes) else {
            self.unreadable += 1;
            return;
        };
        let key = &head.key;
        let (_, connection_id) = udp::ends_and_id(key, head.first_ns, head.began_here != 0, context.node);
        let local = (address(key.local_ip), key.local_port);
        let remote = (address(key.remote_ip), key.remote_port);
        // Who sends a question is the client, whatever the ports say.
        let ends = Ends::new(local, remote, (head.sent != 0) != message.is_response);
        let tag = Tag { ends, connection_id, protocol: "udp", owner: head.owner, netns: head.netns };
        // The kernel's clock, until there is a row: what lies between question and answer may not jump.
        let time_ns = head.time_ns as i64;
        let half = Half { time_ns, message, bytes: head.whole as usize, tag };
        self.half(key.cookie, half, context, rows);
    }

    /// Takes bytes of a stream.
    pub(crate) fn chunk(
        &mut self,
        head: &ChunkHead,
        bytes: &[u8],
        context: &mut Context<'_>,
        rows: &mut Vec<DnsRow>,
    ) {
        let cookie = head.conn.cookie;
        if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&cookie) {
            self.given_up += 1;
            return;
        }
        let fresh = || [Messages::from_start(0), Messages::from_start(0)];
        let stream =
            &mut self.streams.entry(cookie).or_insert_with(fresh)[usize::from(head.side != SIDE_CLIENT)];
        let gaps = stream.gaps();
        let mut messages = Vec::new();
        let time_ns = head.time_ns as i64;
        stream
            .push(time_ns, head.offset, bytes, bytes.len(), |at, bytes| messages.push((at, bytes.to_vec())));
        self.given_up += stream.gaps() - gaps;
        self.messages(&head.conn, &messages, context, rows);
    }

    /// A connection ended: what waits behind a hole is read as far as it goes.
    pub(crate) fn closed(&mut self, conn: &Conn, context: &mut Context<'_>, rows: &mut Vec<DnsRow>) {
        let Some(streams) = self.streams.remove(&conn.cookie) else { return };
        let mut messages = Vec::new();
        for mut stream in streams {
            let gaps = stream.gaps();
            stream.finish(|at, bytes| messages.push((at, bytes.to_vec())));
            self.given_up += stream.gaps() - gaps;
        }
        self.messages(conn, &messages, context, rows);
    }

    /// Forgets connections that are no longer there (their end was lost).
    pub(crate) fn retain(&mut self, is_alive: impl Fn(u64) -> bool) {
        self.streams.retain(|cookie, _| is_alive(*cookie));
    }

    /// Reports what is unanswered for too long. `now_ns` is the kernel's.
    pub(crate) fn expire(&mut self, now_ns: u64, context: &mut Context<'_>, rows: &mut Vec<DnsRow>) {
        self.pairs.expire(now_ns as i64, |exchange| rows.extend(row(&exchange, context)));
    }

    /// Reports all that is open: the probe stops.
    pub(crate) fn finish(&mut self, context: &mut Context<'_>, rows: &mut Vec<DnsRow>) {
        self.pairs.finish(|exchange| rows.extend(row(&exchange, context)));
    }

    /// Gives a client's flow the name that its server had when it was opened (on the kernel's clock), unless it has one
    /// (SNI).
    pub(crate) fn name(&self, row: &mut FlowRow, netns: u32, pid: u32, opened_ns: u64) {
        if row.server_name.is_some() || row.observer.as_deref() != Some("client") || self.names.is_empty() {
            return;
        }
        let address = row.server_ip.as_ref().and_then(|text| text.parse::<IpAddr>().ok());
        let (Some(address), Some(_)) = (address, row.opened_time) else { return };
        row.server_name = self.names.name(&netns, pid, address, opened_ns as i64).cloned();
    }

    fn messages(
        &mut self,
        conn: &Conn,
        messages: &[(i64, Vec<u8>)],
        context: &mut Context<'_>,
        rows: &mut Vec<DnsRow>,
    ) {
        for (time_ns, bytes) in messages {
            let Ok(message) = message(bytes) else {
                self.unreadable += 1;
                continue;
            };
            let connection_id = tcp_id(conn, context.node, opened(conn));
            let (owner, netns) = (conn.owner, conn.netns);
            let tag = Tag { ends: Ends::of(conn), connection_id, protocol: "tcp", owner, netns };
            let half = Half { time_ns: *time_ns, message, bytes: bytes.len(), tag };
            self.half(conn.cookie, half, context, rows);
        }
    }

    fn half(&mut self, cookie: u64, half: Half<Tag>, context: &mut Context<'_>, rows: &mut Vec<DnsRow>) {
        let ends = half.tag.ends;
        let talk = (cookie, (!ends.client_is_ours).then_some(ends.client));
        let Dns { pairs, names, .. } = self;
        pairs.message(talk, half, |exchange| {
            learn(names, &exchange);
            rows.extend(row(&exchange, context));
        });
    }
}

/// Only answers to a question that was seen: anybody may send others.
fn learn(names: &mut History<u32>, exchange: &Exchange<Tag>) {
    let (Some(asked), Some(answered), Some(name)) = (&exchange.asked, &exchange.answered, exchange.name())
    else {
        return;
    };
    let Tag { ends, owner, netns, .. } = &asked.tag;
    if ends.client_is_ours && *netns != 0 {
        names.learn(netns, owner.pid, answered.time_ns, name, &answered.message);
    }
}

fn row(exchange: &Exchange<Tag>, context: &mut Context<'_>) -> Option<DnsRow> {
    let halves = [exchange.asked.as_ref(), exchange.answered.as_ref()];
    let first = &halves.into_iter().flatten().next()?.tag;
    let mut row = DnsRow {
        node: Some(context.node.clone()),
        observer: Some(first.ends.observer()),
        connection_id: Some(first.connection_id.clone()),
        protocol: Some(SmolStr::new_static(first.protocol)),
        client_ip: Some(address_text(first.ends.client.0)),
        client_port: Some(first.ends.client.1),
        server_ip: Some(address_text(first.ends.server.0)),
        server_port: Some(first.ends.server.1),
        source: Some(SmolStr::new_static("probe")),
        ..DnsRow::default()
    };
    // Before a server answers for the first time, its process isn't known.
    let known = halves.into_iter().flatten().find(|half| half.tag.owner.pid != 0);
    let holder = context.identities.holder(&known.map_or(first, |half| &half.tag).owner);
    if first.ends.client_is_ours {
        (row.client_pid, row.client_process) = (holder.pid, holder.process);
        (row.client_container, row.client_pod) = (holder.workload.container, holder.workload.pod);
    } else {
        (row.server_pid, row.server_process) = (holder.pid, holder.process);
        (row.server_container, row.server_pod) = (holder.workload.container, holder.workload.pod);
    }
    exchange.fill(&mut row);
    row.time = context.clock.utc(row.time as u64);
    Some(row)
}
