//! The ways in.

pub(crate) mod audit;
pub(crate) mod exported;
pub(crate) mod flight;
pub(crate) mod otlp;
pub mod pcap;
