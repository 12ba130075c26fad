//! weir-store.
