//! One table's newest rows. While a part is being sealed it stays visible, apart from what comes after it.

use std::time::Instant;

use arrow::array::{Array, RecordBatch};

use crate::wal::Position;

/// Batches in the order they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) count: usize,
    pub(crate) bytes: usize,
    /// Where the log has the oldest of them, and when it came.
    pub(crate) oldest: Option<(Position, Instant)>,
}

impl Rows {
    fn push(&mut self, batch: RecordBatch, bytes: usize, position: Position, now: Instant) {
        self.count += batch.num_rows();
        self.bytes += bytes;
        self.batches.push(batch);
        self.oldest.get_or_insert((position, now));
    }
}

/// One table's newest rows.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    active: Rows,
    sealing: Rows,
}

impl Memtable {
    pub(crate) fn push(&mut self, batch: RecordBatch, bytes: usize, position: Position, now: Instant) {
        if batch.num_rows() > 0 {
            self.active.push(batch, bytes, position, now);
        }
    }

    /// Everything that is not in a file.
    pub(crate) fn batches(&self) -> Vec<RecordBatch> {
        self.sealing.batches.iter().chain(&self.active.batches).cloned().collect()
    }

    pub(crate) fn rows(&self) -> usize {
        self.sealing.count + self.active.count
    }

    pub(crate) fn bytes(&self) -> usize {
        self.sealing.bytes + self.active.bytes
    }

    /// What would be sealed now.
    pub(crate) fn active(&self) -> &Rows {
        &self.active
    }

    /// Where the log has the oldest row that is not in a file.
    pub(crate) fn oldest(&self) -> Option<Position> {
        [&self.sealing, &self.active]
            .into_iter()
            .filter_map(|rows| rows.oldest)
            .map(|(position, _)| position)
            .min()
    }

    /// Takes what is active for sealing. One sealing at a time.
    pub(crate) fn freeze(&mut self) -> Rows {
        debug_assert!(self.sealing.batches.is_empty(), "one sealing at a time");
        self.sealing = std::mem::take(&mut self.active);
        self.sealing.clone()
    }

    /// The frozen rows are in files now.
    pub(crate) fn sealed(&mut self) {
        self.sealing = Rows::default();
    }

    /// Sealing failed: they wait for the next time.
    pub(crate) fn thaw(&mut self) {
        let newer = std::mem::replace(&mut self.active, std::mem::take(&mut self.sealing));
        self.active.count += newer.count;
        self.active.bytes += newer.bytes;
        self.active.oldest = self.active.oldest.or(newer.oldest);
        self.active.batches.extend(newer.batches);
    }
}

/// Bytes that a batch's values take; what its buffers share with others is not counted twice.
pub(crate) fn size_of(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}
