//! A span → the end of a request that it tells of, and which other spans are of the same request.

use std::net::IpAddr;

use weir_model::{SmolStr, SpanRow};

use super::{Call, Id};
use crate::ends::Side;

/// One end of a request, as one span has it.
#[derive(Clone, Debug)]
pub(super) struct Half {
    pub(super) service: SmolStr,
    pub(super) is_stitched: bool,
    /// Whether an application's own span tells of it.
    pub(super) is_told: bool,
    pub(super) is_error: bool,
    pub(super) is_message: bool,
    pub(super) duration_ns: i64,
    pub(super) end_ns: i64,
    pub(super) trace_id: SmolStr,
    pub(super) span_id: SmolStr,
    pub(super) parent: Option<SmolStr>,
    /// What this end calls the other one.
    pub(super) peer: Option<SmolStr>,
    /// The other one's service, where it is known.
    pub(super) known_peer: Option<SmolStr>,
}

/// A half, and the spans that are of its request.
pub(super) struct Known {
    pub(super) half: Half,
    pub(super) side: Side,
    pub(super) spans: Vec<Id>,
}

/// What a client calls its server, the surest first (the last three of the service graph connector).
const PEERS: [&str; 6] =
    ["service.peer.name", "peer.service", "server.address", "db.namespace", "db.name", "db.system"];

/// `None` for spans of no request.
pub(super) fn of(span: &SpanRow) -> Option<Known> {
    let (side, is_message) = match span.kind.as_deref()? {
        "client" => (Side::Client, false),
        "producer" => (Side::Client, true),
        "server" => (Side::Server, false),
        "consumer" => (Side::Server, true),
        _ => return None,
    };
    let is_told = span.application_span_id.is_some();
    if span.request == Some(false) && !is_told {
        return None;
    }
    let (trace, id) = (span.trace_id.clone()?, span.span_id.clone()?);
    let is_stitched = span.source.as_deref() == Some("stitched");
    let at = |side, id: &SmolStr| (side, trace.clone(), id.clone());
    let mut spans = vec![at(side, &id)];
    spans.extend(span.application_span_id.as_ref().map(|told| at(side, told)));
    // A server's parent is its client. A client's is what it asked for, unless it was found to be the same request.
    let is_below_its_own = is_stitched && attribute(span, "weir.link.method") == Some("trace_context");
    if side == Side::Server || is_below_its_own {
        spans.extend(span.parent_span_id.as_ref().map(|parent| at(Side::Client, parent)));
    }
    let known_peer = attribute(span, "service.peer.name").or_else(|| attribute(span, "peer.service"));
    let named = |key: &&str| attribute(span, key).filter(|name| name.parse::<IpAddr>().is_err());
    // An address is better than nothing; but not one for each client that comes along.
    let peer = PEERS.iter().find_map(named).or_else(|| attribute(span, "server.address"));
    let half = Half {
        service: span.service.clone()?,
        is_stitched,
        is_told,
        is_error: span.status.as_deref() == Some("error"),
        is_message,
        duration_ns: span.duration_ns,
        end_ns: span.end_time.unwrap_or(span.time),
        trace_id: trace.clone(),
        span_id: id,
        parent: span.parent_span_id.clone(),
        peer: peer.map(SmolStr::new),
        known_peer: known_peer.map(SmolStr::new),
    };
    Some(Known { half, side, spans })
}

impl Half {
    /// The call of `server` that this end tells of.
    pub(super) fn call(&self, server: SmolStr) -> Call {
        Call {
            client: self.service.clone(),
            server,
            is_virtual: false,
            is_message: self.is_message,
            is_error: self.is_error,
            client_ns: None,
            server_ns: None,
            end_ns: self.end_ns,
            trace_id: self.trace_id.clone(),
            span_id: self.span_id.clone(),
        }
    }
}

fn attribute<'a>(span: &'a SpanRow, key: &str) -> Option<&'a str> {
    let (_, value) = span.attributes.iter().find(|(name, _)| name == key)?;
    Some(value.as_str()).filter(|value| !value.is_empty())
}
