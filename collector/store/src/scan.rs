//! A consistent view for a reader: each row once, either in memory or in exactly one file, and no file vanishes
//! while a snapshot names it.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use object_store::path::Path;
use tracing::warn;

use crate::catalog::{FileEntry, RollUpEntry};

/// A table at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The newest rows, in the order they came; all with the table's own schema.
    pub memory: Vec<RecordBatch>,
    /// Everything older.
    pub segments: Arc<Vec<Segment>>,
    /// Rows of this time (ns) and earlier were deleted for their age, or for want of room.
    pub retired: Option<i64>,
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
    /// Its rows of each minute, those that have much in common as one; where it has that.
    pub rollup: Option<RollUpFile>,
    /// When the last of its rows came into a file, ns.
    pub(crate) came: i64,
    /// What happens to the file once nobody reads it any more.
    pub(crate) file: Arc<SegmentFile>,
}

/// The roll-up of one Parquet file: a Parquet file with the columns of [`weir_model::rollup::RollUp::schema`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollUpFile {
    /// Where it is in [`crate::Store::objects`].
    pub path: Path,
    /// Its size in bytes.
    pub size: u64,
    /// Its rows.
    pub rows: u64,
}

impl Segment {
    pub(crate) fn of(file: &FileEntry) -> Segment {
        let now = weir_model::tables::by_name(&file.table).and_then(weir_model::rollup::of);
        let is_of_now = |rollup: &&RollUpEntry| now.is_some_and(|now| now.version == rollup.version);
        let rollup = file.rollup.as_ref().filter(is_of_now).map(RollUpFile::of);
        Segment {
            path: Path::from(file.path.as_str()),
            size: file.size,
            rows: file.rows,
            min_time: file.min_time,
            max_time: file.max_time,
            rollup,
            came: file.came,
            file: Arc::default(),
        }
    }
}

impl RollUpFile {
    pub(crate) fn of(rollup: &RollUpEntry) -> RollUpFile {
        RollUpFile { path: Path::from(rollup.path.as_str()), size: rollup.size, rows: rollup.rows }
    }

    /// To be read as one, by itself.
    pub(crate) fn as_segment(&self) -> Segment {
        let RollUpFile { path, size, rows } = self.clone();
        Segment { path, size, rows, min_time: 0, max_time: 0, rollup: None, came: 0, file: Arc::default() }
    }
}

/// The file behind a segment; the last snapshot that names it lets it go.
#[derive(Debug, Default)]
pub(crate) struct SegmentFile {
    fate: OnceLock<Fate>,
}

/// A file that no longer belongs to its table.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It is damaged: somebody may want to look at it.
    SetAside { from: PathBuf, to: PathBuf, rollup: Option<PathBuf> },
    /// Its rows are in other files, or not wanted any more; with its roll-up.
    Deleted(Vec<PathBuf>),
}

impl SegmentFile {
    pub(crate) fn decide(&self, fate: Fate) {
        // Decided once: a second finder of the same damage changes nothing.
        let _ = self.fate.set(fate);
    }
}

impl Drop for SegmentFile {
    fn drop(&mut self) {
        match self.fate.take() {
            None => {}
            Some(Fate::SetAside { from, to, rollup }) => {
                // It can be made again of the file, should that be mended.
                rollup.map(fs::remove_file);
                if let Err(err) = crate::quarantine::set_aside(&from, &to) {
                    warn!(path = %from.display(), %err, "a damaged file stays where it is");
                }
            }
            Some(Fate::Deleted(paths)) => {
                for path in paths {
                    if let Err(err) = fs::remove_file(&path) {
                        warn!(path = %path.display(), %err, "a file that no table has any more stays until the next start");
                    }
                }
            }
        }
    }
}
