//! DNS in a capture: datagrams and streams of port 53 → rows of `dns`, and the names that flows are given.
//!
//! A host is an address here: what it was answered names the connections that it opens.

use std::net::IpAddr;

use smol_str::{SmolStr, ToSmolStr};
use weir_model::DnsRow;

use super::{Options, Rows};
use crate::dns::{self, Exchange, Half, History, Pairs};

/// Questions that are open at once; 20 MiB at most.
const MAX_OPEN: usize = 1 << 16;
/// Addresses whose names are remembered; 30 MiB at most.
const MAX_ADDRESSES: usize = 1 << 16;

type End = (IpAddr, u16);

/// Who asked whom, on which connection.
#[derive(Clone, Debug)]
struct Ends {
    client: End,
    server: End,
    udp: bool,
    connection_id: SmolStr,
}

/// What was asked in a capture.
#[derive(Debug)]
pub(super) struct Questions {
    pairs: Pairs<(End, End, bool), Ends>,
    history: History<IpAddr>,
}

/// A message where it was seen.
pub(super) struct Seen<'a> {
    pub(super) time_ns: i64,
    pub(super) src: End,
    pub(super) dst: End,
    pub(super) udp: bool,
    pub(super) bytes: &'a [u8],
    /// How long it was on the wire.
    pub(super) length: usize,
}

impl Questions {
    pub(super) fn new() -> Questions {
        Questions { pairs: Pairs::new(MAX_OPEN), history: History::new(MAX_ADDRESSES) }
    }

    /// Whether a packet between these ports is looked at.
    pub(super) fn are_on(src_port: u16, dst_port: u16) -> bool {
        src_port == dns::PORT || dst_port == dns::PORT
    }

    /// Takes a message. False: it is none.
    pub(super) fn message(
        &mut self,
        seen: &Seen<'_>,
        connection_id: SmolStr,
        options: &Options,
        rows: &mut Rows,
    ) -> bool {
        let Ok(message) = dns::message(seen.bytes) else { return false };
        let (client, server) = if message.is_response { (seen.dst, seen.src) } else { (seen.src, seen.dst) };
        let tag = Ends { client, server, udp: seen.udp, connection_id };
        let half = Half { time_ns: seen.time_ns, message, bytes: seen.length, tag };
        let Questions { pairs, history } = self;
        pairs.message((client, server, seen.udp), half, |exchange| {
            learn(history, &exchange);
            rows.dns.push(row(&exchange, options));
        });
        true
    }

    /// What `server` was called when `client` opened a connection to it.
    pub(super) fn name(&self, client: IpAddr, server: IpAddr, time_ns: i64) -> Option<SmolStr> {
        self.history.name(&client, 0, server, time_ns).cloned()
    }

    /// Reports what is unanswered for too long.
    pub(super) fn expire(&mut self, now_ns: i64, options: &Options, rows: &mut Rows) {
        self.pairs.expire(now_ns, |exchange| rows.dns.push(row(&exchange, options)));
    }

    /// The capture ended.
    pub(super) fn finish(&mut self, options: &Options, rows: &mut Rows) {
        self.pairs.finish(|exchange| rows.dns.push(row(&exchange, options)));
    }
}

/// Only answers to a question that was seen: anybody may send others.
fn learn(history: &mut History<IpAddr>, exchange: &Exchange<Ends>) {
    let (Some(asked), Some(answered), Some(name)) = (&exchange.asked, &exchange.answered, exchange.name())
    else {
        return;
    };
    history.learn(&asked.tag.client.0, 0, answered.time_ns, name, &answered.message);
}

fn row(exchange: &Exchange<Ends>, options: &Options) -> DnsRow {
    let mut row = DnsRow {
        node: Some(options.node.clone()),
        observer: Some(SmolStr::new_static("path")),
        source: Some(SmolStr::new_static("pcap")),
        ..DnsRow::default()
    };
    if let Some(half) = exchange.asked.as_ref().or(exchange.answered.as_ref()) {
        let Ends { client, server, udp, connection_id } = &half.tag;
        row.connection_id = Some(connection_id.clone());
        row.protocol = Some(SmolStr::new_static(if *udp { "udp" } else { "tcp" }));
        (row.client_ip, row.client_port) = (Some(client.0.to_smolstr()), Some(client.1));
        (row.server_ip, row.server_port) = (Some(server.0.to_smolstr()), Some(server.1));
    }
    exchange.fill(&mut row);
    row
}
