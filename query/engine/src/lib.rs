//! SQL over the store: memory and files as one table, read-only, within limits.
//!
//! | file              | subject                                                                       |
//! |-------------------|-------------------------------------------------------------------------------|
//! | `engine.rs`       | a question → an answer on its way                                               |
//! | `answer.rs`       | rows as they are found, within their limits                                      |
//! | `question.rs`     | what is asked: text, values, limits                                             |
//! | `caller.rs`       | who asks: the one place for what is known of them                               |
//! | `turns.rs`        | whose turn it is: a queue that is fair between callers, with an end               |
//! | `limits.rs`       | what a question may cost, and its part of the memory                            |
//! | `statement.rs`    | text → one statement that only asks                                             |
//! | `parameters.rs`   | values of `$1`, `$2` …                                                          |
//! | `postgres/`       | what PostgreSQL's clients expect beside answers                                 |
//! | `provider.rs`     | a table over a snapshot: newest rows from memory, the rest from pruned files     |
//! | `files.rs`        | Parquet files as rows of a plan, in pieces, the newest first                      |
//! | `selective.rs`    | whether a filter leaves so little that files should filter while they are read     |
//! | `compact.rs`      | batches that own what they show, so that what is counted is what there is         |
//! | `plain.rs`        | types of text: views inside, plain in the answer                                 |
//! | `prune.rs`        | which files a time range can touch                                              |
//! | `first_rows.rs`   | the first rows of a sort, without reading what can't be among them                |
//! | `distinct.rs`     | distinct counts, without a set of texts for each group                           |
//! | `rules.rs`        | which rules make a plan, and in which order                                      |
//! | `spread/`         | questions that several machines answer together                                   |
//! | `rollup.rs`       | questions that one-minute roll-ups can answer as well                             |
//! | `completeness.rs` | what was lost, shed or late in the time range of a question                      |
//! | `error.rs`        | what was wrong, where in the SQL, and what to do                                |
//! | `hint.rs`         | did you mean …                                                                  |
//! | `range.rs`        | the time range that a question is about                                         |
//! | `functions/`      | what SQL lacks for networks, and the list of all functions                        |
//!
//! **Invariant**: nothing here writes but what doesn't fit into memory, into files that are gone with their question; each
//! table of a query is read from one snapshot, whose files stay until the answer is dropped.

mod answer;
mod caller;
mod compact;
mod completeness;
mod damage;
mod distinct;
mod engine;
mod error;
mod files;
mod first_rows;
mod functions;
mod hint;
mod limits;
mod parameters;
mod plain;
pub mod postgres;
mod provider;
mod prune;
mod question;
mod range;
mod rollup;
mod rules;
mod selective;
pub mod spread;
mod statement;
mod turns;

pub use answer::{Answer, Collected};
pub use caller::Caller;
pub use completeness::Completeness;
pub use datafusion::common::ScalarValue;
pub use datafusion::execution::SendableRecordBatchStream;
pub use engine::{Described, Engine};
pub use error::{Position, QueryError};
pub use functions::FunctionDoc;
pub use limits::{Limits, Lowered};
pub use plain::type_name;
pub use question::Question;
pub use range::TimeRange;
