//! SQL over the store: memory and files as one table, read-only, within limits.
//!
//! | file              | subject                                                                       |
//! |-------------------|-------------------------------------------------------------------------------|
//! | `engine.rs`       | a question → an answer that streams                                             |
//! | `provider.rs`     | a table over a snapshot: newest rows from memory, the rest from pruned files     |
//! | `plain.rs`        | types of text: views inside, plain in the answer                                 |
//! | `prune.rs`        | which files a time range can touch                                              |
//! | `distinct.rs`     | counts beside distinct counts, without a set for each group                      |
//! | `completeness.rs` | what was lost, shed or late in the time range of a question                      |
//! | `error.rs`        | what was wrong, where in the SQL, and what to do                                |
//! | `hint.rs`         | did you mean …                                                                  |
//! | `range.rs`        | the time range that a question is about                                         |
//! | `functions.rs`    | `cidr_contains`, `ip_family`                                                    |
//! | `percentiles.rs`  | `p50` … `p99`: their sketches                                                    |
//!
//! **Invariant**: nothing here writes; each table of a query is read from one snapshot, whose files stay until the
//! answer is dropped.

mod completeness;
mod distinct;
mod engine;
mod error;
mod functions;
mod hint;
mod percentiles;
mod plain;
mod provider;
mod prune;
mod range;

pub use completeness::Completeness;
pub use datafusion::execution::SendableRecordBatchStream;
pub use engine::{Answer, Collected, Engine, Limits};
pub use error::{Position, QueryError};
pub use range::TimeRange;
