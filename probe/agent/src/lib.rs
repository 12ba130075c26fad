//! weir-probe.
