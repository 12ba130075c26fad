//! Rows by hour, short time bucket, then the table's own order. Text is compared once per distinct value, not per
//! row: each gets its rank, and rows are sorted by ranks.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray, new_null_array,
};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Int32Type, TimestampNanosecondType};
use arrow::error::ArrowError;
use hashbrown::HashMap;
use weir_model::{Table, time};

use super::Hour;

/// Rows of one bucket lie together, by who; so a question about a short time or about one workload reads little.
const BUCKET_NS: i64 = 60 * time::SECOND_NS;
/// Columns of `Table::sorted_by` that count; no table has more.
const SORT_COLUMNS: usize = 4;

/// What rows are compared by: bucket, then ranks.
type Key = (i64, [u32; SORT_COLUMNS]);

/// All rows of `batches` (each with the table's own schema), sorted and split by hour.
pub(super) fn by_hour(table: &'static Table, batches: &[RecordBatch]) -> Result<Vec<Hour>, ArrowError> {
    let texts: Vec<Option<Unified<'_>>> =
        (0..table.columns.len()).map(|column| Unified::of(column, batches)).collect();
    let (keys, order) = sorted(table, batches, &texts);
    let columns = (0..table.columns.len())
        .map(|column| match &texts[column] {
            Some(text) => Ok(text.gather(&order)),
            None => gather(column, batches, &order),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let rows = RecordBatch::try_new(table.schema(), columns)?;
    Ok(split(&keys, &rows))
}

/// The rows' keys and places (batch, row), in order.
fn sorted(
    table: &'static Table,
    batches: &[RecordBatch],
    texts: &[Option<Unified<'_>>],
) -> (Vec<Key>, Vec<(usize, usize)>) {
    let ranks: Vec<_> = table
        .sorted_by
        .iter()
        .take(SORT_COLUMNS)
        .filter_map(|name| texts[table.columns.iter().position(|column| column.name == *name)?].as_ref())
        .map(|text| (text, text.ranks()))
        .collect();
    let mut rows: Vec<(Key, (usize, usize))> =
        Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for (number, batch) in batches.iter().enumerate() {
        let times = batch.column(0).as_primitive::<TimestampNanosecondType>();
        let start = rows.len();
        rows.extend(
            times
                .values()
                .iter()
                .enumerate()
                .map(|(row, time)| ((time.div_euclid(BUCKET_NS), [0; SORT_COLUMNS]), (number, row))),
        );
        for (place, (text, ranks)) in ranks.iter().enumerate() {
            for (row, key) in text.keys(number).enumerate() {
                // Nulls first: rank 0.
                rows[start + row].0.1[place] = key.map_or(0, |key| ranks[key as usize]);
            }
        }
    }
    // Stable by the place, so that equal keys keep the order they came in.
    rows.sort_unstable();
    rows.into_iter().unzip()
}

/// Cuts sorted rows where the hour changes; an hour is a whole number of buckets.
fn split(keys: &[Key], rows: &RecordBatch) -> Vec<Hour> {
    let hour_of = |key: &Key| time::day_and_hour(key.0 * BUCKET_NS);
    let mut hours = Vec::new();
    let mut start = 0;
    for run in keys.chunk_by(|left, right| hour_of(left) == hour_of(right)) {
        let (days, of_day) = hour_of(&run[0]);
        hours.push(Hour { days, of_day, rows: rows.slice(start, run.len()) });
        start += run.len();
    }
    hours
}

fn gather(column: usize, batches: &[RecordBatch], order: &[(usize, usize)]) -> Result<ArrayRef, ArrowError> {
    let arrays: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(column).as_ref()).collect();
    if let [first, ..] = arrays[..]
        && arrays.iter().all(|array| array.null_count() == array.len())
    {
        return Ok(new_null_array(first.data_type(), order.len()));
    }
    interleave(&arrays, order)
}

/// One text column of all batches over one dictionary.
struct Unified<'a> {
    /// Each distinct text once, in the order of first appearance.
    values: Vec<&'a str>,
    /// For each batch its keys, and where each of its dictionary's values is in `values` (none for a null value).
    batches: Vec<(&'a Int32Array, Vec<Option<u32>>)>,
}

impl<'a> Unified<'a> {
    /// `None` where the column is no dictionary.
    fn of(column: usize, batches: &'a [RecordBatch]) -> Option<Unified<'a>> {
        let mut places: HashMap<&'a str, u32> = HashMap::new();
        let mut values = Vec::new();
        let mut unified = Vec::with_capacity(batches.len());
        for batch in batches {
            let array = batch.column(column);
            let DataType::Dictionary(_, _) = array.data_type() else { return None };
            let dictionary = array.as_dictionary_opt::<Int32Type>()?;
            let texts: &'a StringArray = dictionary.values().as_string_opt::<i32>()?;
            let map = texts
                .iter()
                .map(|text| {
                    text.map(|text| {
                        *places.entry(text).or_insert_with(|| {
                            values.push(text);
                            values.len() as u32 - 1
                        })
                    })
                })
                .collect();
            unified.push((dictionary.keys(), map));
        }
        Some(Unified { values, batches: unified })
    }

    /// The rows of one batch as places in `values`.
    fn keys(&self, batch: usize) -> impl Iterator<Item = Option<u32>> + '_ {
        let (keys, map) = &self.batches[batch];
        keys.iter().map(|key| key.and_then(|key| map[key as usize]))
    }

    /// Each value's rank among all, from 1.
    fn ranks(&self) -> Vec<u32> {
        let mut by_text: Vec<u32> = (0..self.values.len() as u32).collect();
        by_text.sort_unstable_by_key(|place| self.values[*place as usize]);
        let mut ranks = vec![0; self.values.len()];
        for (rank, place) in by_text.into_iter().enumerate() {
            ranks[place as usize] = rank as u32 + 1;
        }
        ranks
    }

    fn gather(&self, order: &[(usize, usize)]) -> ArrayRef {
        if self.values.is_empty() {
            return new_null_array(&weir_model::DataKind::Text.data_type(), order.len());
        }
        let keys: Int32Array = order
            .iter()
            .map(|(batch, row)| {
                let (keys, map) = &self.batches[*batch];
                if keys.is_null(*row) {
                    None
                } else {
                    map[keys.value(*row) as usize].map(|place| place as i32)
                }
            })
            .collect();
        let values = Arc::new(StringArray::from_iter_values(&self.values));
        Arc::new(DictionaryArray::new(keys, values))
    }
}
