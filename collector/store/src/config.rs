//! The store's folder and its limits.

use std::path::PathBuf;
use std::time::Duration;

use crate::{Compaction, Retention, Shared};

/// Where the store lies and when it seals.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The data folder; made when it is missing. One process at a time.
    pub dir: PathBuf,
    /// Where files and catalog are, where several writers share them; the log stays in the data folder. `None`: all in there.
    pub shared: Option<Shared>,
    /// Rows of a table in memory that make it be sealed.
    pub seal_rows: usize,
    /// Bytes of a table in memory that make it be sealed; no more are sealed at a time, which takes about as much again.
    pub seal_bytes: usize,
    /// Bytes of rows in memory, all tables together: from half of it on the largest table is sealed, beyond it appends wait.
    pub memory_bytes: usize,
    /// How long rows stay in memory at most. Shorter makes more and smaller files, longer a longer start.
    pub seal_age: Duration,
    /// Size at which a new log file is begun.
    pub wal_segment_bytes: u64,
    /// When small files are merged.
    pub compaction: Compaction,
    /// How long rows are kept.
    pub retention: Retention,
    /// A test: after so many steps the store can write nothing more, as if its process had been stopped there.
    #[cfg(test)]
    pub(crate) steps: Option<u64>,
    /// A test: when rows come into files, ns.
    #[cfg(test)]
    pub(crate) came: Option<i64>,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            dir: PathBuf::from("weir-data"),
            shared: None,
            seal_rows: 262_144,
            seal_bytes: 64 << 20,
            memory_bytes: 256 << 20,
            seal_age: Duration::from_mins(10),
            wal_segment_bytes: 64 << 20,
            compaction: Compaction::default(),
            retention: Retention::default(),
            #[cfg(test)]
            steps: None,
            #[cfg(test)]
            came: None,
        }
    }
}
