//! weir-dissect.
