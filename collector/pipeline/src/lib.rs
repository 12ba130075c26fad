//! weir-collector.
