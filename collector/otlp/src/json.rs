//! OTLP/JSON: protobuf's JSON mapping, but with trace and span ids in hex.
//!
//! Read leniently, as the mapping asks: unknown fields are skipped, `null` is absent, 64-bit numbers come as
//! strings or numbers, enums as numbers or names, fields in camelCase or as in the `.proto`. Written as
//! OpenTelemetry's own exporters do: 64-bit numbers as strings, enums as numbers, empty fields left out.

pub mod decode;
pub mod encode;
