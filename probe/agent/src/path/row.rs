//! A connection's row, and what NAT did to it for the rows of its own ends.

use smol_str::{SmolStr, ToSmolStr};
use weir_model::{FlowRow, ids};

use super::conn::{CLIENT, Conn, Over, SERVER, is_opening_seen};
use super::join::{BY_CLIENT, BY_PAIR, Join, SCTP, TCP, UDP};
use super::told::{Sent, Told};
use super::way::Way;
use crate::ends::{End, address_text};
use crate::flows::since;
use crate::handshakes::Context;
use crate::load::Interfaces;

/// What a row is about.
pub(super) struct Subject<'a> {
    pub(super) join: &'a Join,
    pub(super) conn: &'a Conn,
    pub(super) way: &'a Way,
    pub(super) over: Option<Over>,
    /// End of the interval, on the kernel's clock; of one that is over, now.
    pub(super) end_ns: u64,
    /// End of the interval before.
    pub(super) cut_ns: u64,
}

/// A connection's next row, and what was told then. `None`: nothing counts it.
pub(super) fn row(
    subject: &Subject<'_>,
    interfaces: Option<&Interfaces>,
    context: &Context<'_>,
) -> Option<(FlowRow, Told)> {
    let Subject { join, conn, way, over, cut_ns, .. } = subject;
    let counting = conn.counting()?;
    let first = conn.told.is_none();
    let before = conn.told.unwrap_or_else(|| {
        let first_ns = conn.first_ns();
        Told {
            join: **join,
            counting: counting.key,
            born_ns: counting.born_ns,
            first_ns,
            opened_ns: context.clock.utc(first_ns),
            end_ns: first_ns,
            sent: [Sent::default(); 2],
            client_is_low: u8::from(counting.client_is_low),
            is_over: 0,
            is_opening_seen: u8::from(is_opening_seen(join)),
            is_silent: 0,
            _pad: 0,
        }
    });
    // One that began when the interval had ended is told with what passed since.
    let is_over = over.is_some() || subject.end_ns <= before.end_ns;
    let end_ns = if is_over { conn.last_ns.max(before.end_ns) } else { subject.end_ns };
    let start_ns = since(before.end_ns, if first { 0 } else { *cut_ns }, end_ns);
    let told =
        Told { join: **join, end_ns, sent: counting.sent, is_over: u8::from(over.is_some()), ..before };
    let is_opened = first && before.is_opening_seen != 0;
    let utc = |boot_ns| context.clock.utc(boot_ns);
    let mut row = FlowRow { time: utc(start_ns), end_time: Some(utc(end_ns)), ..FlowRow::default() };
    row.opened_time = (before.is_opening_seen != 0).then_some(before.opened_ns);
    row.state = Some(SmolStr::new_static(match (is_opened, over.is_some()) {
        (true, true) => "only",
        (true, false) => "opened",
        (false, true) => "closed",
        (false, false) => "ongoing",
    }));
    row.close_reason = over.map(|over| SmolStr::new_static(over.reason()));
    row.resets = i64::from(matches!(over, Some(Over::ResetByClient | Over::ResetByServer | Over::Refused)));
    let id = id(join, way, before.first_ns, context.node);
    row.trace_id = Some(ids::trace_id(&id));
    row.connection_id = Some(id);
    row.node = Some(context.node.clone());
    row.observer = Some(SmolStr::new_static("path"));
    row.protocol = Some(protocol_name(join.protocol));
    fill_way(&mut row, way, interfaces);
    let [client, server] = [CLIENT, SERVER].map(|end| counting.sent[end].since(&before.sent[end]));
    (row.client_bytes, row.client_packets) = (client.bytes as i64, client.packets as i64);
    (row.server_bytes, row.server_packets) = (server.bytes as i64, server.packets as i64);
    if !first {
        let [client, server] = [CLIENT, SERVER].map(|end| counting.sent[end]);
        (row.client_bytes_total, row.client_packets_total) =
            (Some(client.bytes as i64), Some(client.packets as i64));
        (row.server_bytes_total, row.server_packets_total) =
            (Some(server.bytes as i64), Some(server.packets as i64));
    }
    if join.protocol == TCP {
        (row.client_retransmits, row.server_retransmits) =
            (Some(client.again as i64), Some(server.again as i64));
    }
    row.encryption = Some(SmolStr::new_static("unknown"));
    row.direction = Some(SmolStr::new_static("node"));
    row.source = Some(SmolStr::new_static("probe"));
    Some((row, told))
}

fn fill_way(row: &mut FlowRow, way: &Way, interfaces: Option<&Interfaces>) {
    let port = |port: u16| (port != 0).then_some(port);
    (row.client_ip, row.client_port) = (Some(address_text(way.first.0.0)), port(way.first.0.1));
    (row.server_ip, row.server_port) = (Some(address_text(way.last.1.0)), port(way.last.1.1));
    if let Some((ip, dialled)) = way.dialled() {
        (row.service_ip, row.service_port) = (Some(address_text(ip)), port(dialled));
    }
    row.egress_ip = way.left_by().map(address_text);
    let name = |index: u32| {
        interfaces.and_then(|interfaces| interfaces.name(index)).unwrap_or_else(|| index.to_smolstr())
    };
    row.ingress_interface = way.ingress.map(name);
    row.egress_interface = way.egress.map(name);
    if let Some(tunnel) = &way.tunnel {
        row.tunnel_type = Some(SmolStr::new_static(tunnel.kind));
        row.tunnel_id = tunnel.id.map(i64::from);
        row.tunnel_client_ip = tunnel.ends.map(|[client, _]| address_text(client));
        row.tunnel_server_ip = tunnel.ends.map(|[_, server]| address_text(server));
    }
}

/// The same as at the ends, where a pair of numbers says it.
fn id(join: &Join, way: &Way, first_ns: u64, node: &str) -> SmolStr {
    let (client, server) = way.first;
    match (join.by, join.protocol) {
        (BY_PAIR, TCP) => ids::tcp_connection_id(join.client_isn, join.server_isn),
        (BY_PAIR, _) => ids::sctp_association_id(join.client_isn, join.server_isn),
        (BY_CLIENT, _) => ids::unopened_id(client, server, join.client_isn),
        (_, protocol) => {
            ids::flow_id(node, &format!("path|{}", protocol_name(protocol)), client, server, first_ns as i64)
        }
    }
}

fn protocol_name(protocol: u8) -> SmolStr {
    match protocol {
        TCP => SmolStr::new_static("tcp"),
        UDP => SmolStr::new_static("udp"),
        SCTP => SmolStr::new_static("sctp"),
        other => other.to_smolstr(),
    }
}

/// Says in the row of one of its ends what was done to the connection on its way: `socket` has the client and the server
/// as that end's socket does.
pub(super) fn fill_end(row: &mut FlowRow, way: &Way, socket: (End, End)) {
    let (client, server) = socket;
    let (dialled, left_by) = if row.observer.as_deref() == Some("client") {
        if way.first.0 != client {
            return;
        }
        ((way.last.1 != server).then_some(server), Some(way.last.0.0))
    } else {
        if way.last.1 != server {
            return;
        }
        ((way.first.1 != server).then_some(way.first.1), Some(client.0))
    };
    if let Some((ip, port)) = dialled {
        (row.service_ip, row.service_port) = (Some(address_text(ip)), Some(port));
    }
    row.egress_ip = left_by.filter(|ip| *ip != way.first.0.0).map(address_text);
}

/// Client and server as the row of one of its ends has them; of others, nothing.
pub(super) fn ends(row: &FlowRow) -> Option<(End, End)> {
    let is_ours = matches!(row.observer.as_deref(), Some("client" | "server"));
    if !is_ours || row.protocol.as_deref() != Some("tcp") {
        return None;
    }
    let client = (row.client_ip.as_deref()?.parse().ok()?, row.client_port?);
    let server = (row.server_ip.as_deref()?.parse().ok()?, row.server_port?);
    Some((client, server))
}

/// The initial sequence numbers that a connection's id is made of, if it is.
pub(super) fn numbers(row: &FlowRow) -> Option<(u32, u32)> {
    const DIGITS: usize = 16;
    let id = row.connection_id.as_deref().filter(|id| id.len() == DIGITS)?;
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    Some((number(id.get(..DIGITS / 2)?)?, number(id.get(DIGITS / 2..)?)?))
}
