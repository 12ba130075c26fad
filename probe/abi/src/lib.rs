//! weir-abi.
