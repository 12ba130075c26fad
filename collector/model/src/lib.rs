//! The contract between the parts of Weir: tables, their columns, ids, times and batch metadata.
//!
//! | file        | subject                                                              |
//! |-------------|----------------------------------------------------------------------|
//! | `schema.rs` | what a table and a column are, and their Arrow form                    |
//! | `kinds.rs`  | the kinds of column: Rust value ↔ Arrow array                         |
//! | `dictionary.rs` | texts that repeat → a dictionary array                              |
//! | `tables/`   | one file a table: columns, units, docs, names in other vocabularies    |
//! | `rollup.rs` | which columns a table's one-minute roll-up keeps and sums                |
//! | `capture.rs` | a capture on demand: what is asked for, the filter's language              |
//! | `kubernetes.rs` | how Weir's view of Kubernetes is                                   |
//! | `batch.rs`  | batch metadata, schema versions, conforming an older or newer batch    |
//! | `ids.rs`    | connection, trace and span ids, and the names that are types           |
//! | `time.rs`   | UTC nanoseconds and the interval grid                                  |
//!
//! Arrow schemas, the wire, Parquet, `GET /api/v1/tables` and `docs/tables.md` all come from here and
//! nowhere else. Never here: I/O, async, clocks.

pub mod batch;
pub mod capture;
mod dictionary;
pub mod ids;
pub mod kinds;
pub mod kubernetes;
pub mod rollup;
pub mod schema;
pub mod tables;
pub mod time;

pub use batch::{BatchMeta, ModelError, conform};
pub use schema::{Column, DataKind, Row, Table};
pub use smol_str::{SmolStr, ToSmolStr, format_smolstr};
pub use tables::{DnsRow, ExchangeRow, FlowRow, ProbeHealthRow, ProcessRow, SpanRow, TlsHandshakeRow};
