//! Sorted rows → Parquet files that any engine reads: plain types, one folder an hour.
//!
//! | file       | subject                                                       |
//! |------------|---------------------------------------------------------------|
//! | `sort.rs`  | rows by hour, short time bucket, then the table's own order      |
//! | `write.rs` | encodings, statistics, bloom filters                             |
//!
//! Never here: where the rows come from, the catalog.

mod sort;
mod write;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::TimestampNanosecondType;
use bytes::Bytes;
use weir_model::{Table, time};

use crate::StoreError;

pub(crate) use write::encode;

/// The rows of one hour, sorted.
#[derive(Debug)]
pub(crate) struct Hour {
    pub(crate) days: i64,
    pub(crate) of_day: u8,
    pub(crate) rows: RecordBatch,
}

/// A file's content, and what the catalog says of it.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// `date=YYYY-MM-DD/hour=HH`.
    pub(crate) partition: String,
    pub(crate) bytes: Bytes,
    pub(crate) rows: u64,
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
}

/// The files that `batches` become.
pub(crate) fn files(table: &'static Table, batches: &[RecordBatch]) -> Result<Vec<Encoded>, StoreError> {
    let hours = sort::by_hour(table, batches)?;
    hours
        .into_iter()
        .map(|Hour { days, of_day, rows }| {
            let times = rows.column(0).as_primitive::<TimestampNanosecondType>();
            let (min_time, max_time) = (min(times).unwrap_or_default(), max(times).unwrap_or_default());
            let partition = format!("date={}/hour={of_day:02}", time::date_text(days));
            let bytes = encode(table, &rows)?;
            Ok(Encoded { partition, bytes, rows: rows.num_rows() as u64, min_time, max_time })
        })
        .collect()
}

#[cfg(test)]
mod tests;
