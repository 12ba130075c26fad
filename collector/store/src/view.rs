//! What a snapshot is taken of. One lock over memory, files and batches seen: whoever holds it sees them agree.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use weir_model::{BatchMeta, Table, tables};

use crate::catalog::{FileEntry, LostRows, News, State};
use crate::memtable::Memtable;
use crate::scan::Segment;
use crate::seen::Seen;
use crate::wal::Position;

/// One table, in memory and in files.
#[derive(Debug, Default)]
pub(crate) struct TableView {
    pub(crate) memory: Memtable,
    /// Shared with snapshots; replaced, never changed under them.
    pub(crate) segments: Arc<Vec<Segment>>,
    /// Rows of this time (ns) and earlier were deleted.
    pub(crate) retired: Option<i64>,
}

/// All tables at one moment.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) tables: Vec<TableView>,
    pub(crate) seen: Seen,
    /// Rows that were lost with their files.
    pub(crate) lost: Vec<LostRows>,
    /// The end of the last group that is visible: all that lies before is in memory or in a file.
    pub(crate) applied: Position,
}

/// A batch that is durable and becomes visible.
pub(crate) struct Visible {
    pub(crate) meta: BatchMeta,
    pub(crate) table: usize,
    pub(crate) batch: RecordBatch,
    pub(crate) bytes: usize,
}

impl View {
    pub(crate) fn new() -> View {
        let tables = tables::ALL.iter().map(|_| TableView::default()).collect();
        View { tables, seen: Seen::default(), lost: Vec::new(), applied: Position::default() }
    }

    /// Makes one batch visible; `today` in days since the epoch.
    pub(crate) fn apply(&mut self, visible: Visible, position: Position, today: i64) {
        self.seen.insert(&visible.meta, today);
        self.tables[visible.table].memory.push(visible.batch, visible.bytes, position, Instant::now());
    }

    /// Shows what other writers committed: files as the catalog has them, and which batches are known.
    pub(crate) fn follow(&mut self, state: &State, news: News) {
        for (view, table) in self.tables.iter_mut().zip(tables::ALL) {
            let files = state.files().filter(|file| file.table == table.name);
            let mut named: HashMap<&str, &FileEntry> = files.map(|file| (file.path.as_str(), file)).collect();
            let mut segments = Vec::with_capacity(named.len());
            for segment in view.segments.iter() {
                let Some(file) = named.remove(segment.path.as_ref()) else { continue };
                let now = Segment::of(file);
                segments.push(if now.rollup == segment.rollup { segment.clone() } else { now });
            }
            let mut others: Vec<&FileEntry> = named.into_values().collect();
            others.sort_unstable_by_key(|file| &file.path);
            segments.extend(others.into_iter().map(Segment::of));
            view.segments = Arc::new(segments);
            view.retired = state.retired(table.name);
        }
        for entry in news.seen {
            self.seen.restore(entry);
        }
    }

    /// Log files below this number hold nothing that is not in a file.
    pub(crate) fn first_needed_segment(&self) -> u64 {
        let oldest = self.tables.iter().filter_map(|table| table.memory.oldest()).min();
        oldest.unwrap_or(self.applied).segment
    }

    /// Bytes of rows in memory, all tables together.
    pub(crate) fn bytes(&self) -> usize {
        self.tables.iter().map(|table| table.memory.bytes()).sum()
    }

    pub(crate) fn of(&self, table: &'static Table) -> &TableView {
        &self.tables[index_of(table)]
    }
}

/// A table's place among all tables.
pub(crate) fn index_of(table: &'static Table) -> usize {
    index_of_name(table.name).expect("tables come from the model")
}

pub(crate) fn index_of_name(name: &str) -> Option<usize> {
    tables::ALL.iter().position(|table| table.name == name)
}
