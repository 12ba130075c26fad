//! OTLP traces ↔ the rows of the `spans` table, and OTLP/JSON. Nothing is lost on the way: rows give back the
//! spans that they were made of.
//!
//! | file        | subject                                                          |
//! |-------------|------------------------------------------------------------------|
//! | `value.rs`  | one attribute's value ↔ its text and the letter of its type        |
//! | `rows.rs`   | OTLP → rows, with what has to be refused; rows → OTLP             |
//! | `access.rs` | proxies' access logs → rows of `http_requests`                    |
//! | `json/`     | OTLP/JSON (hex ids, 64-bit numbers as strings), read leniently     |
//!
//! Both the collector (receives) and the API (answers) need it and must not know each other. Pure: no I/O, no
//! clocks.

pub mod access;
pub mod json;
pub mod rows;
pub mod value;

pub use opentelemetry_proto::tonic as proto;
pub use rows::{Refused, resource_spans, rows_of};

#[cfg(test)]
mod tests;
