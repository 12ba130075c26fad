//! A consistent view for a reader: each row once, either in memory or in exactly one file, and no file vanishes
//! while a snapshot names it.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use object_store::path::Path;
use tracing::warn;

/// A table at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The newest rows, in the order they came; all with the table's own schema.
    pub memory: Vec<RecordBatch>,
    /// Everything older.
    pub segments: Arc<Vec<Segment>>,
}

/// One Parquet file.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Where it is in [`crate::Store::objects`].
    pub path: Path,
    /// Its size in bytes.
    pub size: u64,
    /// Its rows.
    pub rows: u64,
    /// The earliest row's time, ns.
    pub min_time: i64,
    /// The latest row's time, ns.
    pub max_time: i64,
    /// What happens to the file once nobody reads it any more.
    pub(crate) file: Arc<SegmentFile>,
}

/// The file behind a segment; the last snapshot that names it lets it go.
#[derive(Debug, Default)]
pub(crate) struct SegmentFile {
    fate: OnceLock<Fate>,
}

/// A file that no longer belongs to its table.
#[derive(Debug)]
pub(crate) struct Fate {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
}

impl SegmentFile {
    pub(crate) fn decide(&self, fate: Fate) {
        // Decided once: a second finder of the same damage changes nothing.
        let _ = self.fate.set(fate);
    }
}

impl Drop for SegmentFile {
    fn drop(&mut self) {
        let Some(Fate { from, to }) = self.fate.take() else { return };
        if let Err(err) = crate::quarantine::set_aside(&from, &to) {
            warn!(path = %from.display(), %err, "a damaged file stays where it is");
        }
    }
}
