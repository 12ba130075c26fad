//! What the store has of a table's newest rows, for stages that go on where an earlier run ended.

use arrow::array::RecordBatch;
use tracing::warn;
use weir_model::Table;
use weir_store::{Segment, Store};

/// What `read` takes from the rows in memory, and in files with rows of `since` and later, the newest first, until there are
/// `most`; of files, from these `columns`, or all where none are named. A file that can't be read costs what is in it.
pub(crate) async fn rows<T, F>(
    store: &Store,
    table: &'static Table,
    columns: &'static [&'static str],
    since: i64,
    most: usize,
    read: F,
) -> Vec<T>
where
    T: Send + 'static,
    F: Fn(&RecordBatch) -> Vec<T> + Clone + Send + 'static,
{
    let snapshot = store.snapshot(table);
    let mut rows: Vec<T> = Vec::new();
    for batch in snapshot.memory.iter().rev() {
        if rows.len() >= most {
            break;
        }
        rows.extend(read(batch));
    }
    let mut segments: Vec<&Segment> =
        snapshot.segments.iter().filter(|segment| segment.max_time >= since).collect();
    segments.sort_unstable_by_key(|segment| std::cmp::Reverse(segment.max_time));
    for segment in segments {
        if rows.len() >= most {
            break;
        }
        match store.read_segment(segment, columns, since, most, read.clone()).await {
            Ok(more) => rows.extend(more),
            Err(err) => {
                warn!(table = table.name, path = %segment.path, %err, "a file can't be read back: what it tells is missing");
            }
        }
    }
    if rows.len() >= most {
        warn!(table = table.name, most, "older rows are left unread: what they tell is missing");
    }
    rows
}
