//! What the store has of a table's newest rows, for stages that go on where an earlier run ended.

use arrow::array::RecordBatch;
use tracing::warn;
use weir_model::Table;
use weir_store::{Segment, Store};

/// Rows that are read at most, the newest files first: half a minute's work.
const MOST_ROWS: u64 = 1_000_000;

/// What `read` takes from the rows in memory, and in files with rows of `since` and later; of files, from these `columns`,
/// or all where none are named. A file that can't be read costs what is in it.
pub(crate) async fn rows<T, F>(
    store: &Store,
    table: &'static Table,
    columns: &'static [&'static str],
    since: i64,
    read: F,
) -> Vec<T>
where
    T: Send + 'static,
    F: Fn(&RecordBatch) -> Vec<T> + Clone + Send + 'static,
{
    let snapshot = store.snapshot(table);
    let mut rows: Vec<T> = snapshot.memory.iter().flat_map(&read).collect();
    let mut segments: Vec<&Segment> =
        snapshot.segments.iter().filter(|segment| segment.max_time >= since).collect();
    segments.sort_unstable_by_key(|segment| std::cmp::Reverse(segment.max_time));
    let mut count = 0;
    for segment in segments {
        count += segment.rows;
        if count > MOST_ROWS {
            warn!(table = table.name, MOST_ROWS, "older rows are left unread: what they tell is missing");
            break;
        }
        match store.read_segment(segment, columns, read.clone()).await {
            Ok(more) => rows.extend(more),
            Err(err) => {
                warn!(table = table.name, path = %segment.path, %err, "a file can't be read back: what it tells is missing");
            }
        }
    }
    rows
}
