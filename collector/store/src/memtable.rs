//! One table's newest rows. While a part is being sealed it stays visible, apart from what comes after it.

use std::time::Instant;

use arrow::array::{Array, RecordBatch};

use crate::arrivals::Change;
use crate::wal::Position;

/// Batches in the order they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(crate) batches: Vec<RecordBatch>,
    /// Each batch's number, which it keeps while it is in memory.
    numbers: Vec<u64>,
    pub(crate) count: usize,
    pub(crate) bytes: usize,
    /// Where the log has the oldest of them, and when it came.
    pub(crate) oldest: Option<(Position, Instant)>,
}

impl Rows {
    fn push(&mut self, batch: RecordBatch, number: u64, bytes: usize) {
        self.count += batch.num_rows();
        self.bytes += bytes;
        self.batches.push(batch);
        self.numbers.push(number);
    }

    fn replace(&mut self, number: u64, by: RecordBatch) {
        let Some(place) = self.numbers.iter().position(|known| *known == number) else { return };
        let batch = &mut self.batches[place];
        self.count = self.count + by.num_rows() - batch.num_rows();
        self.bytes = self.bytes.saturating_sub(size_of(batch)) + size_of(&by);
        *batch = by;
        if batch.num_rows() == 0 {
            self.batches.remove(place);
            self.numbers.remove(place);
        }
    }
}

/// One table's newest rows.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    active: Rows,
    sealing: Rows,
    /// Batches that there were.
    last_number: u64,
}

impl Memtable {
    pub(crate) fn push(&mut self, batch: RecordBatch, bytes: usize, position: Position, now: Instant) {
        if batch.num_rows() > 0 {
            self.add(batch, bytes);
            self.active.oldest.get_or_insert((position, now));
        }
    }

    fn add(&mut self, batch: RecordBatch, bytes: usize) {
        self.last_number += 1;
        self.active.push(batch, self.last_number, bytes);
    }

    /// What is not being sealed, batch by batch, with their numbers.
    pub(crate) fn numbered(&self) -> Vec<(u64, RecordBatch)> {
        self.active.numbers.iter().copied().zip(self.active.batches.iter().cloned()).collect()
    }

    /// Rows became one: as [`crate::Arrivals::merge`] said of [`Memtable::numbered`].
    pub(crate) fn change(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Replaced { number, by } => self.active.replace(number, by),
                Change::Added(batch) => {
                    let bytes = size_of(&batch);
                    self.add(batch, bytes);
                }
            }
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
        self.active.numbers.extend(newer.numbers);
    }
}

/// Bytes that a batch's values take; what its buffers share with others is not counted twice.
pub(crate) fn size_of(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}
