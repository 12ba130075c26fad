//! weir-kit.
