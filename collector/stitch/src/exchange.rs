//! A turn of a connection → the spans of its ends: kind `client` by what the client's end saw, kind `server` below it by
//! what the server's did.

use weir_model::{ExchangeRow, SmolStr, SpanRow, format_smolstr, ids};

use crate::attributes::Attributes;
use crate::connection::span_of;
use crate::ends::{self, Side};

/// What tells a turn from all others, at both of its ends alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) connection_id: SmolStr,
    pub(crate) request_offset: i64,
}

impl Key {
    pub(crate) fn of(row: &ExchangeRow) -> Option<Key> {
        Some(Key { connection_id: row.connection_id.clone()?, request_offset: row.request_offset? })
    }

    /// The turn that this row's was made for.
    pub(crate) fn of_cause(row: &ExchangeRow) -> Option<Key> {
        Some(Key {
            connection_id: row.cause_connection_id.clone()?,
            request_offset: row.cause_request_offset?,
        })
    }

    /// The trace whose first turn this one is.
    pub(crate) fn trace_id(&self) -> SmolStr {
        ids::trace_id(&self.text())
    }

    /// The span of one of its ends.
    pub(crate) fn span_id(&self, side: Side) -> SmolStr {
        ids::span_id(&self.text(), side.role())
    }

    fn text(&self) -> SmolStr {
        format_smolstr!("{}/{}", self.connection_id, self.request_offset)
    }
}

/// A turn, as far as it was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) key: &'a Key,
    pub(crate) client: Option<&'a ExchangeRow>,
    pub(crate) server: Option<&'a ExchangeRow>,
}

/// The span above one, and how that is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parent {
    pub(crate) span_id: SmolStr,
    pub(crate) method: SmolStr,
    pub(crate) confidence: f64,
}

/// How long before a request its connection may have opened, handshake included, to have been opened for it, ns.
const OPENED_FOR_IT_NS: i64 = 1_000_000_000;

/// From when to when the connection was opened for its first request, at the client's end.
fn opening(row: &ExchangeRow) -> Option<(i64, i64)> {
    let is_for_it = |start: &i64| (0..=OPENED_FOR_IT_NS).contains(&row.time.saturating_sub(*start));
    let start = row.opened_time.filter(is_for_it)?;
    Some((start, start + row.connect_us?.saturating_mul(1_000).clamp(0, row.time - start)))
}

/// What the client's end did before it could ask: children of its span. `handshake` is the connection's, by the same end.
pub(crate) fn before(
    turn: Turn<'_>,
    row: &ExchangeRow,
    trace_id: &SmolStr,
    handshake: Option<SpanRow>,
) -> Vec<SpanRow> {
    let Some((start, end)) = opening(row) else { return Vec::new() };
    let (client, server) = ends::of_turn(turn.client, turn.server);
    let mut attributes = Attributes::default();
    let transport = SmolStr::new_static("tcp");
    ends::between(&mut attributes, Side::Client, &client, &server, Some(&transport), None);
    attributes.text("weir.connection.id", row.connection_id.as_ref());
    let child = |what: &str, span: SpanRow| SpanRow {
        trace_id: Some(trace_id.clone()),
        span_id: Some(ids::span_id(&turn.key.text(), what)),
        parent_span_id: Some(turn.key.span_id(Side::Client)),
        ..span
    };
    let mut connect = SpanRow {
        confidence: Some(1.0),
        operation: Some(SmolStr::new_static("TCP connect")),
        kind: Some(SmolStr::new_static("internal")),
        ..span_of(&turn.key.connection_id, "client-connect", (start, end), None, row.node.as_ref())
    };
    (connect.attributes, connect.attribute_types) = attributes.finish();
    client.own(&mut connect, row.node.as_ref());
    let connect = child("connect", connect);
    let handshake = handshake.filter(|span| span.time >= start && span.time <= row.time);
    std::iter::once(connect).chain(handshake.map(|span| child("tls", span))).collect()
}

/// The span of what `row`, this end's, saw of `turn`, which came by way of the services in `path`; with the opening of the connection,
/// where that was for it. `told` is the application's own span of the same at this end.
pub(crate) fn span(
    turn: Turn<'_>,
    side: Side,
    row: &ExchangeRow,
    trace_id: &SmolStr,
    parent: Option<Parent>,
    path: Option<&SmolStr>,
    told: Option<SmolStr>,
) -> SpanRow {
    let (client, server) = ends::of_turn(turn.client, turn.server);
    let mut attributes = Attributes::default();
    ends::between(&mut attributes, side, &client, &server, Some(&SmolStr::new_static("tcp")), None);
    let (protocol, version) = protocol(row);
    attributes.text("network.protocol.name", protocol.as_ref());
    attributes.text("network.protocol.version", version.as_ref());
    attributes.text("weir.connection.id", row.connection_id.as_ref());
    attributes.text("weir.observer", row.observer.as_ref());
    attributes.int("weir.exchange.number", row.number);
    attributes.int("weir.exchange.request_offset", row.request_offset);
    attributes.int("weir.exchange.request_bytes", Some(row.request_bytes));
    attributes.int("weir.exchange.response_bytes", Some(row.response_bytes));
    attributes.int("weir.exchange.first_byte_us", row.first_byte_us);
    attributes.int("weir.exchange.network_us", network_us(turn));
    attributes.flag("weir.exchange.multiplexed", row.multiplexed.filter(|&is| is));
    attributes.flag("weir.exchange.pipelined", row.pipelined.filter(|&is| is));
    attributes.int("thread.id", row.thread_id);
    attributes.text("thread.name", row.thread_name.as_ref());
    attributes.text("error.type", row.error.as_ref());
    attributes.text("weir.path", path);
    let origin = path.and_then(|path| path.split(" > ").next()).map(SmolStr::new);
    attributes.text("weir.path.origin", origin.as_ref());
    attributes.text("weir.link.method", parent.as_ref().map(|parent| &parent.method));

    let start = opening(row).filter(|_| side == Side::Client).map_or(row.time, |(start, _)| start);
    let times = (start, row.end_time.unwrap_or(row.time).max(row.time));
    let failure = row.error.as_deref().map(failure);
    let mut span = SpanRow {
        trace_id: Some(trace_id.clone()),
        span_id: Some(turn.key.span_id(side)),
        confidence: parent.as_ref().map(|parent| parent.confidence),
        parent_span_id: parent.map(|parent| parent.span_id),
        operation: Some(operation(row)),
        kind: Some(SmolStr::new_static(side.role())),
        links: Some(link(&turn.key.connection_id, side)),
        request: Some(told.is_none() && row.multiplexed != Some(true)),
        application_span_id: told,
        ..span_of(&turn.key.connection_id, side.role(), times, failure, row.node.as_ref())
    };
    (span.attributes, span.attribute_types) = attributes.finish();
    side.pick(client, server).own(&mut span, row.node.as_ref());
    span
}

/// What is spoken and that it was asked and answered once; or, where several requests share a turn, that it was a burst.
fn operation(row: &ExchangeRow) -> SmolStr {
    let spoken = match row.application_protocol.as_deref() {
        None => "TCP",
        Some("http/1.1") => "HTTP/1.1",
        Some("h2") => "HTTP/2",
        Some("postgresql") => "PostgreSQL",
        Some("mysql") => "MySQL",
        Some("redis") => "Redis",
        Some("smtp") => "SMTP",
        Some("ssh") => "SSH",
        Some(other) => other,
    };
    let what = if row.multiplexed == Some(true) { "burst" } else { "exchange" };
    format_smolstr!("{spoken} {what}")
}

/// Name and version, as OpenTelemetry has them.
fn protocol(row: &ExchangeRow) -> (Option<SmolStr>, Option<SmolStr>) {
    match row.application_protocol.as_deref() {
        Some("http/1.1") => (Some("http".into()), Some("1.1".into())),
        Some("h2") => (Some("http".into()), Some("2".into())),
        _ => (row.application_protocol.clone(), None),
    }
}

/// How much longer the client's end saw it take than the server's: what the network took both ways, with the queues before
/// the programs. No clock but each end's own is needed for it.
fn network_us(turn: Turn<'_>) -> Option<i64> {
    let (client, server) = (turn.client?, turn.server?);
    let is_one = |row: &ExchangeRow| row.multiplexed != Some(true) && row.pipelined != Some(true);
    if !is_one(client) || !is_one(server) {
        return None;
    }
    Some(client.total_us?.saturating_sub(server.total_us?).max(0))
}

/// The connection's own span, in a trace of its own: a link, as OTLP JSON.
fn link(connection_id: &SmolStr, side: Side) -> SmolStr {
    let (trace, span) = (ids::trace_id(connection_id), ids::span_id(connection_id, side.role()));
    format_smolstr!(r#"[{{"traceId":"{trace}","spanId":"{span}"}}]"#)
}

/// What went wrong, for a person.
fn failure(error: &str) -> SmolStr {
    SmolStr::new_static(match error {
        "reset_by_client" => "the client reset the connection before it had the answer",
        "reset_by_server" => "the server reset the connection before it had answered",
        "timed_out" => "the connection timed out before there was an answer",
        "closed_by_client" => "the client closed the connection before it had the answer",
        "closed_by_server" => "the server closed the connection before it had answered",
        _ => return SmolStr::new(error),
    })
}
