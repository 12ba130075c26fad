//! Spans out of what was seen on the wire: each TCP connection becomes a trace, and each request with all that it
//! caused, in OpenTelemetry's semantic conventions. Pure and deterministic: the same rows give the same spans with
//! the same ids, at every observer and each time that a batch is sent again.
//!
//! | file            | subject                                                           |
//! |-----------------|-------------------------------------------------------------------|
//! | `connection.rs` | a flow that says how a connection ended → its span, and `connect`  |
//! | `handshake.rs`  | a TLS handshake → a child span of its connection                   |
//! | `exchange.rs`   | a turn of a connection → the spans of its ends                     |
//! | `traces.rs`     | turns that were made for each other → one trace                    |
//! | `graph.rs`      | spans and flows → who asked whom, and what went between them         |
//! | `ends.rs`       | the two ends: which service, which resource                        |
//! | `attributes.rs` | attributes with their types                                        |
//! | `infer.rs`      | exchanges → which one was made for which                           |
//!
//! One trace a connection, its id made of the connection's. The client's end (or an observer on the path) gives
//! the root, kind `client`; the server's end its child, kind `server`; each has `connect` and TLS children of
//! its own. A child may come long before its parent, since a connection's span is made when it ends, or without
//! it, where nobody observed that end: who reads shows such a span as a root.
//!
//! Requests are traces of their own, over all services that they went through. A link leads from each of its spans to
//! the connection's.
//!
//! Never here: I/O, clocks; memory from one batch to the next, except what [`traces`], [`infer`] and [`graph`] keep.

mod attributes;
mod connection;
mod ends;
mod exchange;
pub mod graph;
mod handshake;
pub mod infer;
pub mod traces;

use weir_model::{FlowRow, SmolStr, SpanRow, TlsHandshakeRow, ids};

/// The spans of all TCP connections whose end is among `flows` (state `closed` or `only`).
pub fn spans_of_flows(flows: &[FlowRow]) -> Vec<SpanRow> {
    let mut spans = Vec::new();
    for flow in flows {
        connection::spans(flow, &mut spans);
    }
    spans
}

/// A span for each handshake.
pub fn spans_of_handshakes(handshakes: &[TlsHandshakeRow]) -> Vec<SpanRow> {
    handshakes.iter().filter_map(handshake::span).collect()
}

/// The trace that a connection becomes.
pub fn trace_of(connection_id: &str) -> SmolStr {
    ids::trace_id(connection_id)
}

/// Whether every observer derives the same id for that connection: only a pair of initial sequence numbers is
/// shared, the hash that stands in for it is each observer's own.
fn is_shared_id(connection_id: &str) -> bool {
    connection_id.len() == 16
}

#[cfg(test)]
mod tests;
