//! What a service tells the parent: one JSON object a line on its standard output.

use std::io::Write;

use serde::{Deserialize, Serialize};

/// One line from a service.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// It listens.
    Ready,
    /// Something to count, such as `requests`.
    Event { name: String },
    /// A finished span of the service.
    Span(Span),
    /// It can't go on; said by the parent too when the output ends.
    Failed { message: String },
}

/// A span as the service saw it; the parent makes OTLP of it.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Span {
    pub(super) trace: String,
    pub(super) id: String,
    /// Empty for the first span of a trace.
    pub(super) parent: String,
    pub(super) name: String,
    pub(super) side: Side,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) method: String,
    pub(super) path: String,
    /// HTTP status; `None` when no answer came.
    pub(super) status: Option<u16>,
    /// The other end, `address:port`.
    pub(super) peer: Option<std::net::SocketAddr>,
    /// Why no answer came.
    pub(super) error: Option<String>,
}

/// Which end of the request a span describes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Side {
    Client,
    Server,
}

/// Counts one `name` at the parent.
pub(super) fn event(name: &str) {
    line(&Line::Event { name: name.into() });
}

/// Sends a line to the parent. A parent that is gone is noticed by the service's standard input, not here.
pub(super) fn line(line: &Line) {
    if let Ok(mut text) = serde_json::to_vec(line) {
        text.push(b'\n');
        let _ = std::io::stdout().lock().write_all(&text);
    }
}
