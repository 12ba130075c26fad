//! The store: rows are durable in a log and queryable in memory at once, then sealed into Parquet.
//!
//! | file           | subject                                                                       |
//! |----------------|-------------------------------------------------------------------------------|
//! | `arrivals.rs`  | what a table's rows go through between the log and memory, where a stage is given   |
//! | `read.rs`      | stored rows, for stages that go on from them                                      |
//! | `config.rs`    | the folder and its limits                                                       |
//! | `store.rs`     | open, append, snapshot, close                                                   |
//! | `wal/`         | write-ahead log: group commit, replay                                           |
//! | `commit.rs`    | the one thread that writes the log and makes batches visible                    |
//! | `view.rs`      | what a snapshot is taken of: memory, files, batches seen                        |
//! | `memtable.rs`  | one table's newest rows                                                         |
//! | `seen.rs`      | which batches were stored, so that a resent one is stored once                   |
//! | `seal.rs`      | memory → files: when, in which order, and what makes it atomic                  |
//! | `segment/`     | sorted rows → one Parquet file a day                                           |
//! | `replace.rs`   | files give way to others, or to nothing, while readers go on                      |
//! | `compact.rs`   | many small files → few large ones                                                 |
//! | `retain.rs`    | what is deleted for its age, or for want of room                                  |
//! | `mend.rs`      | a folder that was left in a hurry, at the next start                              |
//! | `check.rs`     | whether everything is readable, without changing anything                         |
//! | `catalog/`     | which files a table has: commits and checkpoints                                |
//! | `lag.rs`       | what the log holds that no file does, and what waits for the log                |
//! | `shared.rs`    | where several writers have one store, and what each does for all                   |
//! | `scan.rs`      | a consistent view for a reader, whose files outlive it                          |
//! | `source.rs`    | a file's bytes by their place                                                     |
//! | `objects.rs`   | the object store, made durable                                                  |
//! | `quarantine.rs`| damaged files are set aside and reported, the rest stays readable               |
//!
//! The folder: `LOCK`, `wal/`, `catalog/`, `tables/<table>/date=YYYY-MM-DD/*.parquet`, `rollups/`, `quarantine/`; format in
//! `collector/adr/0001-store-format.md`, of several writers (who have all but `LOCK` and `wal/` in common) in
//! `collector/adr/0004-object-stores.md`; `spill/` and `export/` beside them are others'. **Invariant**: the only code that
//! knows this layout; a row is in memory or in exactly one file of a snapshot. Not here: queries.

mod arrivals;
mod catalog;
mod check;
mod commit;
mod compact;
mod config;
mod delta;
mod error;
mod lag;
mod memtable;
mod mend;
mod objects;
mod quarantine;
mod read;
mod replace;
mod retain;
mod scan;
mod seal;
mod seen;
mod segment;
mod shared;
mod source;
#[cfg(test)]
mod stops;
mod store;
mod view;
pub mod wal;

pub use arrivals::{Arrivals, Change, Lacking};
pub use catalog::LostRows;
pub use check::{Checked, CheckedTable, check};
pub use compact::{Compacted, Compaction};
pub use config::StoreConfig;
pub use delta::{Export, Exported, ExportedTable, export_delta};
pub use error::StoreError;
pub use lag::Lag;
pub use quarantine::Examined;
pub use retain::Retention;
pub use scan::{RollUpFile, Segment, Snapshot};
pub use shared::Shared;
pub use store::{Opened, Part, Store, TableStats};
