//! Batches from one process to another: Arrow Flight `DoPut`, acknowledged only when durable.
//!
//! | file         | subject                                                                |
//! |--------------|------------------------------------------------------------------------|
//! | `shipper.rs` | the client: bounded queue, one stream a table, resend until acknowledged |
//! | `server.rs`  | the Flight service: messages → batches → a [`Sink`] → acknowledgements   |
//! | `encode.rs`  | a batch → Flight messages, complete in themselves                        |
//! | `decode.rs`  | Flight messages → a batch that fits its table, within limits             |
//! | `ack.rs`     | what a `PutResult` says                                                  |
//! | `busy.rs`    | "not now, come again after": gRPC's `RESOURCE_EXHAUSTED` with `RetryInfo`  |
//! | `control/`   | the way back: a probe's line, over which it is asked for captures         |
//!
//! On the wire, for each table one `DoPut` stream: the schema, then per batch its dictionaries (every time, all of
//! them, so that any batch can be decoded, stored and sent again alone) and the record batch, whose `app_metadata`
//! is a [`weir_model::BatchMeta`] as JSON. IPC bodies are compressed with zstd. Every batch is answered by one
//! `PutResult`, in order ([`Ack`]). **Invariant**: an acknowledgement means that the sink said durable.
//!
//! Never here: what a row means, disks, a decision which rows to drop.

mod ack;
mod busy;
pub mod control;
mod decode;
mod encode;
mod server;
mod shipper;

pub use ack::{Ack, Refusal, RefusalReason};
pub use busy::{busy, retry_after};
pub use decode::{Limits, decode};
pub use encode::{Encoded, MAX_BATCH_ROWS, schema_message};
pub use server::{
    FlightIngest, IngestError, Sink, flight_service, flight_service_until, flight_service_with,
};
pub use shipper::{ShipError, ShipStats, Shipper, ShipperConfig};
