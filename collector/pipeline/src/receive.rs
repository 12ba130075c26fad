//! The ways in.

pub(crate) mod flight;
pub(crate) mod otlp;
pub mod pcap;
