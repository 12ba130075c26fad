//! Messages and servers as `make proto` makes them of `query/api/proto`; a test asks whether they still are what it makes.

use prost_types::{Duration, Timestamp};

/// Defines a module of generated code.
macro_rules! made {
    ($(#[$doc:meta])* $name:ident = $file:literal) => {
        $(#[$doc])*
        #[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "as the generator writes it")]
        pub mod $name {
            include!(concat!(env!("CARGO_MANIFEST_DIR"), "/proto/generated/", $file));
        }
    };
}

made! {
    /// `jaeger.api_v2`
    api_v2 = "jaeger.api_v2.rs"
}
made! {
    /// `jaeger.api_v3`
    api_v3 = "jaeger.api_v3.rs"
}
made! {
    /// `jaeger.storage.v2`
    storage_v2 = "jaeger.storage.v2.rs"
}

/// All .proto files and what they import, as a `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/proto/generated/descriptors.bin"));

const SECOND_NS: u64 = 1_000_000_000;

/// A time, from UTC nanoseconds.
pub(crate) fn timestamp(ns: u64) -> Timestamp {
    Timestamp { seconds: (ns / SECOND_NS) as i64, nanos: (ns % SECOND_NS) as i32 }
}

/// A length of time, from nanoseconds.
pub(crate) fn duration(ns: u64) -> Duration {
    Duration { seconds: (ns / SECOND_NS) as i64, nanos: (ns % SECOND_NS) as i32 }
}
