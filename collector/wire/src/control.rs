//! The way back, from the collector to a probe: a probe has no port, so it keeps a stream to the collector open, over which
//! it is asked for captures.
//!
//! | file             | subject                                                              |
//! |------------------|----------------------------------------------------------------------|
//! | `messages.rs`    | what both sides say, and the bounds of it                              |
//! | `line.rs`        | the probe: keeps the line open, answers orders                         |
//! | `switchboard.rs` | the collector: who is connected, captures under way                    |
//!
//! On the wire, `DoExchange` with the path `control`: the probe's first message is a [`Hello`], after it only the collector
//! speaks, an [`Order`] a message. For each order the probe opens another `DoExchange` with the path `capture`, whose first
//! message names the order; then come [`Report`]s, the last of which says why it ended. Whoever ends that stream ends the
//! capture. Messages are protobuf in `data_body`.
//!
//! Never here: which packets are taken, files.

mod line;
mod messages;
mod switchboard;

pub use line::{Captures, LineConfig, keep_line};
pub use messages::{Hello, MOST_PACKETS_OF_REPORT, MOST_REPORT_BYTES, Order, Packet, Report};
pub use switchboard::{NotConnected, Reports, Switchboard};

pub(crate) use messages::{CAPTURE, CONTROL};
