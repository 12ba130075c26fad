//! A connection → its rows.

use smol_str::{SmolStr, ToSmolStr};
use weir_model::{FlowRow, TlsHandshakeRow};

use super::connection::{Connection, micros};
use super::half::Half;
use super::{Options, Protocol};
use crate::tls::Handshake;

/// The row of the interval that ends, and a fresh start for the next.
pub(super) fn flow(connection: &mut Connection, end_ns: i64, options: &Options) -> FlowRow {
    let opens = connection.opened_ns.is_some() && !connection.opening_told;
    let closes = connection.closed.is_some() && !connection.closing_told;
    let state = match (opens, closes) {
        (true, true) => "only",
        (true, false) => "opened",
        (false, true) => "closed",
        (false, false) => "ongoing",
    };
    let closed = connection.closed.filter(|_| closes);
    let [client, server] = &connection.halves;
    let time = connection.interval_ns.max(connection.first_ns);
    let mut row = FlowRow {
        time,
        // A capture's clock may have gone back in the meantime.
        end_time: Some(closed.map_or(end_ns, |(at, _)| at).max(time)),
        opened_time: connection.opened_ns,
        state: word(state),
        close_reason: closed.and_then(|(_, reason)| word(reason)),
        node: Some(options.node.clone()),
        observer: word("path"),
        protocol: word(connection.protocol.name()),
        client_ip: Some(connection.client.0.to_smolstr()),
        client_port: Some(connection.client.1),
        server_ip: Some(connection.server.0.to_smolstr()),
        server_port: Some(connection.server.1),
        client_bytes: client.bytes,
        server_bytes: server.bytes,
        client_packets: client.packets,
        server_packets: server.packets,
        rtt_us: whole(client, server, |half| half.srtt_ns),
        rtt_min_us: whole(client, server, |half| half.min_rtt_ns),
        connect_us: connect_us(connection),
        first_byte_us: connection.first_byte_us,
        resets: connection.resets,
        server_name: connection.tls_sni.clone().or_else(|| connection.server_name.clone()),
        encryption: word(connection.encryption),
        tls_version: connection.tls_version.clone(),
        tls_sni: connection.tls_sni.clone(),
        source: word("pcap"),
        ..FlowRow::default()
    };
    if connection.protocol != Protocol::Udp {
        row.client_retransmits = Some(client.retransmits);
        row.server_retransmits = Some(server.retransmits);
    }
    let id = connection.id(options);
    row.trace_id = (connection.protocol == Protocol::Tcp).then(|| weir_model::ids::trace_id(&id));
    row.connection_id = Some(id);

    connection.opening_told = true;
    connection.closing_told |= closes;
    connection.resets = 0;
    for half in &mut connection.halves {
        (half.bytes, half.packets, half.retransmits) = (0, 0, 0);
    }
    row
}

/// The row of a handshake that is over, or can't be followed further.
pub(super) fn handshake(
    connection: &mut Connection,
    handshake: &Handshake,
    options: &Options,
) -> TlsHandshakeRow {
    let mut row = TlsHandshakeRow {
        connection_id: Some(connection.id(options)),
        node: Some(options.node.clone()),
        observer: word("path"),
        protocol: word(connection.protocol.name()),
        client_ip: Some(connection.client.0.to_smolstr()),
        client_port: Some(connection.client.1),
        server_ip: Some(connection.server.0.to_smolstr()),
        server_port: Some(connection.server.1),
        connect_us: connect_us(connection),
        source: word("pcap"),
        ..TlsHandshakeRow::default()
    };
    handshake.fill(&mut row);
    row
}

fn connect_us(connection: &Connection) -> Option<i64> {
    Some(micros(connection.opened_ns?, connection.established_ns?))
}

/// From one end to the other and back: the way is cut in two where we look, and each direction's acknowledgements
/// time one of the parts. Captured at an end, the part on that side is next to nothing.
fn whole(client: &Half, server: &Half, part: impl Fn(&Half) -> Option<i64>) -> Option<i64> {
    match (part(client), part(server)) {
        (None, None) => None,
        (there, back) => Some((there.unwrap_or(0) + back.unwrap_or(0)) / 1000),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a column that may be absent, as all text columns")]
fn word(text: &'static str) -> Option<SmolStr> {
    Some(SmolStr::new_static(text))
}
