//! Sorted rows → Parquet files that any engine reads: plain types, one folder a day.
//!
//! | file        | subject                                                      |
//! |-------------|--------------------------------------------------------------|
//! | `sort.rs`   | the order: by day, short time bucket, then the table's own    |
//! | `gather.rs` | one column in that order                                       |
//! | `merge.rs`  | several files → one in that order                               |
//! | `rollup.rs` | rows of one minute that have much in common, as one              |
//! | `write.rs`  | encodings, statistics, bloom filters                            |
//!
//! Columns are gathered, encoded and compressed one after another: beside the rows themselves there is one column more
//! in memory, and what the files are going to be. Never here: where the rows come from, the catalog.

mod gather;
mod merge;
mod rollup;
mod sort;
mod write;

use arrow::array::RecordBatch;
use bytes::Bytes;
use weir_model::{Table, time};

use crate::StoreError;
pub(crate) use merge::{Merge, MergeError, Merged};
use sort::Day;
use write::Files;

/// A file's content, and what the catalog says of it.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// `date=YYYY-MM-DD`.
    pub(crate) partition: String,
    pub(crate) bytes: Bytes,
    pub(crate) rows: u64,
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
}

/// The files that `batches` become.
pub(crate) fn files(table: &'static Table, batches: &[RecordBatch]) -> Result<Vec<Encoded>, StoreError> {
    let (order, days) = sort::order(table, batches);
    let mut files = Files::begin(table, days.iter().map(|day| day.rows.clone()))?;
    for number in 0..table.columns.len() {
        let column = gather::Column::of(number, batches)?;
        files.column(number, |rows| column.rows(&order[rows]))?;
    }
    let encoded = days.into_iter().zip(files.finish()?).map(|(day, bytes)| {
        let Day { number, rows, min_time, max_time } = day;
        let partition = format!("date={}", time::date_text(number));
        Encoded { partition, bytes, rows: rows.len() as u64, min_time, max_time }
    });
    Ok(encoded.collect())
}

#[cfg(test)]
mod tests;
