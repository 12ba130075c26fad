//! How far behind the store is: what the log holds that no file does yet, and what waits to be written.

use crate::{Store, wal};

/// What waits, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Bytes of the log's files: they stay until all in them is sealed.
    pub wal_bytes: u64,
    /// Appends that wait for the log's thread.
    pub queued: usize,
}

impl Store {
    /// How far behind it is.
    pub fn lag(&self) -> Lag {
        let inner = self.inner();
        let dir = inner.wal_dir();
        // A file that is deleted meanwhile is no lag.
        let size = |segment| std::fs::metadata(wal::path_of(&dir, segment)).map_or(0, |file| file.len());
        let wal_bytes = wal::segments(&dir).unwrap_or_default().into_iter().map(size).sum();
        Lag { wal_bytes, queued: inner.queued() }
    }
}
