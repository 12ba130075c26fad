//! Pair: what several observers tell of one connection → counted once, and one row an interval.
//!
//! | file       | subject                                                                |
//! |------------|------------------------------------------------------------------------|
//! | `rows.rs`  | what pairing looks at in a batch of flows                                |
//! | `count.rs` | what a row adds to what is counted already, in whatever order rows come   |
//! | `totals.rs`| which rows keep their totals in files                                     |
//! | `merge.rs` | rows of one connection and interval → one row, of both ends                |
//! | `clocks.rs`| how far nodes' clocks are apart, by connections that both ends saw opening |
//! | `choose.rs`| which end knows best, column by column                                    |
//!
//! The stage lies between the store's log and its memory ([`weir_store::Arrivals`]): rows are durable as they came, and
//! counted in the log's order, so that a start which reads the log again comes to the same. **Invariant**: the sums over a
//! connection's rows are the highest totals that any observer told; a merge changes no sum. Not here: captures and other
//! sources, whose rows stay as they are.

mod choose;
mod clocks;
mod count;
mod merge;
mod rows;
mod totals;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use parking_lot::Mutex;
use weir_model::tables::FLOWS;
use weir_model::{SmolStr, Table};
use weir_store::{Arrivals, Change, Lacking};

use crate::Shares;
use count::{Counting, Counts, Limits};
use merge::Merging;
use rows::{CLOSED, COLUMNS, COUNTED, Flows, OPENED, SEEN, TOTALS};

/// What was told of a connection, in the newer of two maps and in the older one.
const CONNECTION_BYTES: usize = 360;
/// A row that waits for its other half, likewise.
const WAITING_BYTES: usize = 320;

/// The stage, for [`weir_store::Store::open_with`]; the collector asks it how clocks are.
#[derive(Debug)]
pub struct Pairing {
    counting: Mutex<Counting>,
    merging: Mutex<Merging>,
}

impl Default for Pairing {
    fn default() -> Pairing {
        Pairing::with_room(Shares::of(Shares::DEFAULT).pairing)
    }
}

impl Pairing {
    /// One that remembers as much as so many bytes hold.
    pub fn with_room(bytes: usize) -> Pairing {
        let limits = Limits { connections: bytes / 3 * 2 / CONNECTION_BYTES };
        Pairing {
            counting: Mutex::new(Counting::new(limits)),
            merging: Mutex::new(Merging::new(bytes / 3 / WAITING_BYTES)),
        }
    }

    /// How often what was told of connections was forgotten before its time, for want of room.
    pub fn hurried(&self) -> u64 {
        self.counting.lock().hurried()
    }

    /// What to add to nodes' times so that all are by one clock, ns; of nodes whose clocks are certainly apart.
    pub fn clock_corrections(&self) -> BTreeMap<SmolStr, i64> {
        self.merging.lock().clocks.corrections()
    }
}

impl Arrivals for Pairing {
    fn table(&self) -> &'static Table {
        &FLOWS
    }

    fn recalled_columns(&self) -> &'static [&'static str] {
        &COLUMNS
    }

    fn begin(&self, since: i64) {
        self.counting.lock().begin(since);
    }

    fn lacks(&self, batch: &RecordBatch, now: i64) -> Option<Lacking> {
        self.counting.lock().lacks(&Flows::of(batch)?, batch.num_rows(), now)
    }

    fn recall(&self, stored: &RecordBatch, lacking: Option<&Lacking>) {
        if let Some(flows) = Flows::of(stored) {
            self.counting.lock().recall(&flows, stored.num_rows(), lacking);
        }
    }

    fn arrive(&self, batch: &RecordBatch, now: i64, is_again: bool) -> RecordBatch {
        let Some(flows) = Flows::of(batch) else { return batch.clone() };
        let mut counting = self.counting.lock();
        let mut is_stored = vec![false; batch.num_rows()];
        let mut rows = Vec::with_capacity(batch.num_rows());
        for (row, is_stored) in is_stored.iter_mut().enumerate() {
            let flow = flows.get(row);
            *is_stored = is_again && flow.is_some_and(|flow| counting.has_stored(&flow));
            rows.push(flow.filter(|_| !*is_stored).map(|flow| counting.count(&flow, now)));
        }
        drop(counting);
        let batch = counted(batch, &flows, &rows);
        if !is_stored.contains(&true) {
            return batch;
        }
        let stays: BooleanArray = is_stored.iter().map(|is_stored| Some(!is_stored)).collect();
        filter_record_batch(&batch, &stays).expect("one mark a row")
    }

    fn seal(&self, batches: Vec<RecordBatch>) -> Vec<RecordBatch> {
        totals::thinned(batches)
    }

    fn merge(&self, memory: &[(u64, RecordBatch)]) -> Vec<Change> {
        self.merging.lock().merge(memory, crate::stage::now())
    }
}

/// The batch with what each row counts; rows that nobody else can have told of keep what they say.
fn counted(batch: &RecordBatch, flows: &Flows<'_>, rows: &[Option<Counts>]) -> RecordBatch {
    let mut columns = batch.columns().to_vec();
    let mut set = |name: &str, value: &dyn Fn(usize, Option<i64>) -> Option<i64>| {
        let Some((place, _)) = batch.schema_ref().column_with_name(name) else { return };
        let before = batch.column(place).as_primitive::<Int64Type>();
        let values = before.iter().enumerate().map(|(row, before)| value(row, before));
        columns[place] = Arc::new(values.collect::<Int64Array>());
    };
    for (at, name) in COUNTED.into_iter().enumerate() {
        set(name, &|row, said| rows[row].map(|counts| counts.counted[at]).or(said));
    }
    for (at, name) in SEEN.into_iter().enumerate() {
        set(name, &|row, said| said.map(|said| rows[row].map_or(said, |counts| counts.seen[at])));
    }
    set("connections", &|row, _| {
        let of_its_own = i64::from(flows.state(row) & OPENED != 0);
        Some(rows[row].map_or(of_its_own, |counts| counts.connections))
    });
    for (at, name) in TOTALS.into_iter().enumerate() {
        // One that has no other row says it in its counters.
        let is_said = |row: usize| flows.state(row) != (OPENED | CLOSED);
        set(name, &|row, said| rows[row].map(|counts| counts.total[at]).or(said).filter(|_| is_said(row)));
    }
    RecordBatch::try_new(batch.schema(), columns).expect("the same columns, of the same types")
}

#[cfg(test)]
mod tests;
