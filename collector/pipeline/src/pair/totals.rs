//! Totals in files: one row of a connection and file says all that was counted of it, so that a start goes on from there; and
//! its last row, for people. More would cost room for nothing.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use hashbrown::HashMap;

use super::rows::{CLOSED, Flows, TOTALS};

/// The batches, which go into one file, with the totals that are worth it.
pub(super) fn thinned(batches: Vec<RecordBatch>) -> Vec<RecordBatch> {
    let mut highest: HashMap<u64, (i64, usize, usize)> = HashMap::new();
    for (number, batch) in batches.iter().enumerate() {
        let Some(flows) = Flows::of(batch) else { return batches };
        for row in 0..batch.num_rows() {
            let Some((flow, totals)) = flows.get(row).and_then(|flow| Some((flow, flow.totals?))) else {
                continue;
            };
            // What is counted only grows, so the highest is the last.
            let total = totals.iter().sum();
            let best = highest.entry(flow.key).or_insert((total, number, row));
            if total >= best.0 {
                *best = (total, number, row);
            }
        }
    }
    let mut keeps: Vec<Vec<bool>> = batches.iter().map(|batch| vec![false; batch.num_rows()]).collect();
    for (_, number, row) in highest.into_values() {
        keeps[number][row] = true;
    }
    batches.into_iter().zip(keeps).map(|(batch, keeps)| of_batch(&batch, &keeps)).collect()
}

fn of_batch(batch: &RecordBatch, keeps: &[bool]) -> RecordBatch {
    let Some(flows) = Flows::of(batch) else { return batch.clone() };
    let mut columns = batch.columns().to_vec();
    for name in TOTALS {
        let Some((place, _)) = batch.schema_ref().column_with_name(name) else { continue };
        let totals = columns[place].as_primitive::<Int64Type>();
        let is_kept = |row: usize| keeps[row] || flows.state(row) == CLOSED;
        let totals: Int64Array =
            totals.iter().enumerate().map(|(row, total)| total.filter(|_| is_kept(row))).collect();
        columns[place] = Arc::new(totals);
    }
    RecordBatch::try_new(batch.schema(), columns).expect("the same columns, of the same types")
}
