//! weir-stitch.
