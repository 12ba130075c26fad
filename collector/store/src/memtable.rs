//! One table's newest rows. While a part is being sealed it stays visible, apart from what comes after it.

use std::collections::VecDeque;
use std::time::Instant;

use arrow::array::{Array, RecordBatch};

use crate::arrivals::Change;
use crate::wal::Position;

/// A batch in memory.
#[derive(Clone, Debug)]
struct Held {
    /// Its number, which it keeps while it is in memory.
    number: u64,
    batch: RecordBatch,
    bytes: usize,
    /// Where the log has it, and when it came; of rows that became one, the earliest of them.
    position: Position,
    since: Instant,
}

/// Batches in the order they came, which is the log's.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    held: VecDeque<Held>,
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl Rows {
    fn push(&mut self, held: Held) {
        self.count += held.batch.num_rows();
        self.bytes += held.bytes;
        self.held.push_back(held);
    }

    fn place_of(&self, number: u64) -> Option<usize> {
        self.held.iter().position(|held| held.number == number)
    }

    fn replace(&mut self, number: u64, by: RecordBatch) {
        let Some(place) = self.place_of(number) else { return };
        let held = &mut self.held[place];
        let bytes = size_of(&by);
        self.count = self.count + by.num_rows() - held.batch.num_rows();
        self.bytes = self.bytes - held.bytes + bytes;
        (held.batch, held.bytes) = (by, bytes);
        if held.batch.num_rows() == 0 {
            self.bytes -= bytes;
            self.held.remove(place);
        }
    }

    /// Puts what became of rows of the batches `of` before the earliest of those.
    fn insert(&mut self, number: u64, batch: RecordBatch, of: &[u64]) {
        let Some(place) = of.iter().filter_map(|number| self.place_of(*number)).min() else { return };
        let (bytes, Held { position, since, .. }) = (size_of(&batch), &self.held[place]);
        let held = Held { number, bytes, position: *position, since: *since, batch };
        self.count += held.batch.num_rows();
        self.bytes += held.bytes;
        self.held.insert(place, held);
    }

    fn pop(&mut self) -> Option<Held> {
        let held = self.held.pop_front()?;
        self.count -= held.batch.num_rows();
        self.bytes -= held.bytes;
        Some(held)
    }

    /// When the oldest of them came.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.held.front().map(|held| held.since)
    }

    fn oldest(&self) -> Option<Position> {
        self.held.front().map(|held| held.position)
    }

    fn batches(&self) -> impl Iterator<Item = RecordBatch> {
        self.held.iter().map(|held| held.batch.clone())
    }
}

/// Rows to seal, and the place in the log before which the table has no others that aren't in files.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) upto: Position,
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
    pub(crate) fn push(&mut self, batch: RecordBatch, bytes: usize, position: Position, since: Instant) {
        if batch.num_rows() > 0 {
            self.last_number += 1;
            self.active.push(Held { number: self.last_number, batch, bytes, position, since });
        }
    }

    /// What is not being sealed, batch by batch, with their numbers.
    pub(crate) fn numbered(&self) -> Vec<(u64, RecordBatch)> {
        self.active.held.iter().map(|held| (held.number, held.batch.clone())).collect()
    }

    /// Rows became one: as [`crate::Arrivals::merge`] said of [`Memtable::numbered`]. They are sealed with the earliest of
    /// them, so that all that the log has before a place is in files; what it has behind it of them arrives again then.
    pub(crate) fn change(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Replaced { number, by } => self.active.replace(number, by),
                Change::Added { batch, of } => {
                    self.last_number += 1;
                    self.active.insert(self.last_number, batch, &of);
                }
            }
        }
    }

    /// Everything that is not in a file.
    pub(crate) fn batches(&self) -> Vec<RecordBatch> {
        self.sealing.batches().chain(self.active.batches()).collect()
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
        self.sealing.oldest().or(self.active.oldest())
    }

    /// Takes the oldest `most_bytes` of what is active for sealing, but whole records of the log: all or none of one is
    /// in files. `end`: the log's. One sealing at a time.
    pub(crate) fn freeze(&mut self, most_bytes: usize, end: Position) -> Option<Frozen> {
        debug_assert!(self.sealing.held.is_empty(), "one sealing at a time");
        let mut last = self.active.oldest()?;
        while let Some(next) = self.active.oldest()
            && (self.sealing.bytes < most_bytes || next == last)
            && let Some(held) = self.active.pop()
        {
            last = held.position;
            self.sealing.push(held);
        }
        let upto = self.active.oldest().unwrap_or(end);
        Some(Frozen { batches: self.sealing.batches().collect(), upto })
    }

    /// The frozen rows are in files now.
    pub(crate) fn sealed(&mut self) {
        self.sealing = Rows::default();
    }

    /// Sealing failed: they wait for the next time.
    pub(crate) fn thaw(&mut self) {
        let newer = std::mem::replace(&mut self.active, std::mem::take(&mut self.sealing));
        for held in newer.held {
            self.active.push(held);
        }
    }
}

/// What an array takes beside its values.
const ARRAY_BYTES: usize = 400;

/// Bytes that a batch takes. What its buffers share with others is not counted twice, nor are columns in which no row
/// says anything: those are shared by all batches.
pub(crate) fn size_of(batch: &RecordBatch) -> usize {
    let values = |column: &dyn Array| {
        if column.null_count() == column.len() {
            return 0;
        }
        column.to_data().get_slice_memory_size().unwrap_or(0)
    };
    batch.columns().iter().map(|column| values(column) + ARRAY_BYTES).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_model::{FlowRow, Row};

    use super::*;

    fn at(offset: u64) -> Position {
        Position { segment: 1, offset }
    }

    fn first_row(batch: &RecordBatch) -> i64 {
        FlowRow::from_batch(batch).unwrap()[0].client_bytes
    }

    proptest! {
        /// However much is sealed at a time, whether it fails or not: every batch is in files once or still here, and what
        /// lies before `upto` in the log is in files.
        #[test]
        fn whole_records_are_frozen_in_order_and_none_is_forgotten(
            records in prop::collection::vec(1_usize..4, 1..12),
            most in 1_usize..6,
            fails in prop::collection::vec(any::<bool>(), 40),
        ) {
            let mut memory = Memtable::default();
            let mut all = Vec::new();
            for (offset, batches) in records.iter().enumerate() {
                for _ in 0..*batches {
                    let row = FlowRow { client_bytes: all.len() as i64, ..FlowRow::default() };
                    memory.push(FlowRow::to_batch(&[row]), 1, at(offset as u64), Instant::now());
                    all.push((all.len() as i64, at(offset as u64)));
                }
            }
            let end = at(records.len() as u64);
            let mut in_files = 0;
            let mut fails = fails.into_iter();
            while let Some(Frozen { batches, upto }) = memory.freeze(most, end) {
                let frozen: Vec<i64> = batches.iter().map(first_row).collect();
                let expected: Vec<i64> =
                    all[in_files..].iter().take_while(|(_, position)| *position < upto).map(|(id, _)| *id).collect();
                prop_assert_eq!(&frozen, &expected);
                if fails.next().unwrap_or(false) {
                    memory.thaw();
                } else {
                    memory.sealed();
                    in_files += frozen.len();
                }
                prop_assert_eq!(memory.rows(), all.len() - in_files);
                prop_assert_eq!(memory.bytes(), all.len() - in_files);
                prop_assert_eq!(memory.oldest(), all.get(in_files).map(|(_, position)| *position));
            }
            prop_assert_eq!(in_files, all.len());
        }
    }
}
