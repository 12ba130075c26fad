//! A connection's span, and the one of its opening, out of the flow that says how it ended.
//!
//! The flow's counters are deltas, so they are the connection's own only where one flow tells its whole life
//! (state `only`); elsewhere `SELECT sum(…) FROM flows` over the connection's id is the exact answer.

use weir_model::{FlowRow, SmolStr, SpanRow, format_smolstr, ids};

use crate::attributes::Attributes;
use crate::ends::{self, Side};
use crate::is_shared_id;

/// Appends the spans of `flow`, where it is a TCP connection's last.
pub(crate) fn spans(flow: &FlowRow, spans: &mut Vec<SpanRow>) {
    let is_over = matches!(flow.state.as_deref(), Some("closed" | "only"));
    let Some(connection_id) = flow.connection_id.as_ref() else { return };
    if !is_over || flow.protocol.as_deref() != Some("tcp") {
        return;
    }
    for &side in Side::of_flow(flow) {
        let whole = connection(flow, connection_id, side);
        let opening = opening(flow, connection_id, side, &whole);
        spans.push(whole);
        spans.extend(opening);
    }
}

fn connection(flow: &FlowRow, connection_id: &SmolStr, side: Side) -> SpanRow {
    let start = flow.opened_time.unwrap_or(flow.time).min(flow.time);
    let end = flow.end_time.unwrap_or(flow.time).max(start);
    let parent = (side == Side::Server && is_shared_id(connection_id))
        .then(|| ids::span_id(connection_id, Side::Client.role()));

    let (client, server) = ends::of_flow(flow);
    let mut attributes = Attributes::default();
    ends::between(&mut attributes, side, &client, &server, flow.protocol.as_ref(), flow.tls_sni.as_ref());
    attributes.text("weir.connection.id", Some(connection_id));
    attributes.text("weir.observer", flow.observer.as_ref());
    attributes.text("weir.direction", flow.direction.as_ref());
    attributes.text("weir.close_reason", flow.close_reason.as_ref());
    attributes.text("weir.encryption", flow.encryption.as_ref());
    attributes.text("tls.protocol.version", flow.tls_version.as_ref());
    attributes.text("weir.service.address", flow.service_ip.as_ref());
    attributes.port("weir.service.port", flow.service_port);
    attributes.int("weir.rtt_us", flow.rtt_us);
    attributes.int("weir.rtt_min_us", flow.rtt_min_us);
    attributes.int("weir.first_byte_us", flow.first_byte_us);
    if flow.state.as_deref() == Some("only") {
        attributes.int("weir.client.bytes", Some(flow.client_bytes));
        attributes.int("weir.server.bytes", Some(flow.server_bytes));
        attributes.int("weir.client.packets", Some(flow.client_packets));
        attributes.int("weir.server.packets", Some(flow.server_packets));
        attributes.int("weir.client.retransmits", flow.client_retransmits);
        attributes.int("weir.server.retransmits", flow.server_retransmits);
        attributes.int("weir.drops", Some(flow.drops).filter(|&drops| drops > 0));
        attributes.text("weir.drop_reason", flow.drop_reason.as_ref());
    } else if flow.opened_time.is_none() {
        attributes.flag("weir.opening_seen", Some(false));
    }
    attributes.text("security_rule.name", flow.policy.as_ref());
    attributes.text("weir.policy.verdict", flow.policy_verdict.as_ref());
    if parent.is_some() {
        attributes.text("weir.link.method", Some(&SmolStr::new_static("sequence_numbers")));
    }
    let failure = failure(flow);
    attributes.text("error.type", failure.as_ref().and(flow.close_reason.as_ref()));

    let mut span = SpanRow {
        confidence: parent.is_some().then_some(1.0),
        parent_span_id: parent,
        operation: Some(SmolStr::new_static("TCP connection")),
        kind: Some(SmolStr::new_static(side.role())),
        ..span_of(connection_id, side.role(), (start, end), failure, flow.node.as_ref())
    };
    (span.attributes, span.attribute_types) = attributes.finish();
    side.pick(client, server).own(&mut span, flow.node.as_ref());
    span
}

/// The opening as a child of `whole`: as long as it took, or the whole life of a connection that never was.
/// `None` where nobody saw it.
fn opening(flow: &FlowRow, connection_id: &SmolStr, side: Side, whole: &SpanRow) -> Option<SpanRow> {
    flow.opened_time?;
    let (start, last) = (whole.time, whole.end_time?);
    let failure = match flow.connect_us {
        Some(_) => None,
        None => Some(failure(flow).filter(|_| is_never_established(flow))?),
    };
    let end =
        flow.connect_us.map_or(last, |us| start.saturating_add(us.saturating_mul(1_000)).clamp(start, last));

    let (client, server) = ends::of_flow(flow);
    let mut attributes = Attributes::default();
    ends::between(&mut attributes, side, &client, &server, flow.protocol.as_ref(), flow.tls_sni.as_ref());
    attributes.text("weir.connection.id", Some(connection_id));
    attributes.text("error.type", failure.as_ref().and(flow.close_reason.as_ref()));
    let role = side.pick("client-connect", "server-connect");
    let mut span = SpanRow {
        parent_span_id: whole.span_id.clone(),
        confidence: Some(1.0),
        operation: Some(SmolStr::new_static(side.pick("TCP connect", "TCP accept"))),
        kind: Some(SmolStr::new_static("internal")),
        ..span_of(connection_id, role, (start, end), failure, flow.node.as_ref())
    };
    (span.attributes, span.attribute_types) = attributes.finish();
    side.pick(client, server).own(&mut span, flow.node.as_ref());
    Some(span)
}

/// What all stitched spans of a connection have in common.
pub(crate) fn span_of(
    connection_id: &SmolStr,
    role: &str,
    (start, end): (i64, i64),
    failure: Option<SmolStr>,
    node: Option<&SmolStr>,
) -> SpanRow {
    SpanRow {
        time: start,
        end_time: Some(end),
        duration_ns: end - start,
        trace_id: Some(ids::trace_id(connection_id)),
        span_id: Some(ids::span_id(connection_id, role)),
        status: Some(SmolStr::new_static(if failure.is_some() { "error" } else { "unset" })),
        status_message: failure,
        scope_name: Some(SmolStr::new_static("weir")),
        scope_version: Some(SmolStr::new_static(env!("CARGO_PKG_VERSION"))),
        source: Some(SmolStr::new_static("stitched")),
        request: Some(false),
        connection_id: Some(connection_id.clone()),
        node: node.cloned(),
        ..SpanRow::default()
    }
}

/// What went wrong, for a person; `None` for an orderly end.
fn failure(flow: &FlowRow) -> Option<SmolStr> {
    let server = || {
        let ip = flow.server_ip.as_deref().unwrap_or("the server");
        match flow.server_port {
            Some(port) if ip.contains(':') => format_smolstr!("[{ip}]:{port}"),
            Some(port) => format_smolstr!("{ip}:{port}"),
            None => SmolStr::new(ip),
        }
    };
    Some(match flow.close_reason.as_deref()? {
        "refused" => format_smolstr!("{} refused the connection", server()),
        "reset_by_client" => SmolStr::new_static("the client reset the connection"),
        "reset_by_server" => SmolStr::new_static("the server reset the connection"),
        "timed_out" if is_never_established(flow) => format_smolstr!("{} did not answer", server()),
        "timed_out" => SmolStr::new_static("the connection timed out"),
        "unreachable" => format_smolstr!("{} is unreachable", server()),
        _ => return None,
    })
}

fn is_never_established(flow: &FlowRow) -> bool {
    flow.connect_us.is_none()
        && flow.opened_time.is_some()
        && flow.server_bytes == 0
        && matches!(flow.close_reason.as_deref(), Some("refused" | "timed_out" | "unreachable"))
}
