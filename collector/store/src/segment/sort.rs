//! Rows by hour, short time bucket, then the table's own order. Text is compared once per distinct value, not per
//! row: each gets its rank, and rows are sorted by ranks.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray, UInt32Array,
    new_null_array,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Int32Type, TimestampNanosecondType};
use arrow::error::ArrowError;
use hashbrown::HashMap;
use weir_model::{Table, time};

use super::Hour;

/// Rows of one bucket lie together, by who; so a question about a short time or about one workload reads little.
const BUCKET_NS: i64 = 60 * time::SECOND_NS;
/// What rows are compared by, packed so that three comparisons decide: bucket (counted from the first) and first
/// rank; second and third; fourth and the row's place, so that equal rows keep the order they came in.
type Key = [u64; 3];

/// All rows of `batches` (each with the table's own schema), sorted and split by hour.
pub(super) fn by_hour(table: &'static Table, batches: &[RecordBatch]) -> Result<Vec<Hour>, ArrowError> {
    let texts: Vec<Option<Unified<'_>>> =
        (0..table.columns.len()).map(|column| Unified::of(column, batches)).collect();
    let first_bucket = first_bucket(batches);
    let keys = sorted(table, batches, &texts, first_bucket);
    let order: UInt32Array = keys.iter().map(|key| key[2] as u32).collect::<Vec<_>>().into();
    let columns = (0..table.columns.len())
        .map(|column| match &texts[column] {
            Some(text) => Ok(text.gather(&order)),
            None => gather(column, batches, &order),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let rows = RecordBatch::try_new(table.schema(), columns)?;
    Ok(split(&keys, first_bucket, &rows))
}

fn times(batch: &RecordBatch) -> &[i64] {
    batch.column(0).as_primitive::<TimestampNanosecondType>().values()
}

fn first_bucket(batches: &[RecordBatch]) -> i64 {
    let earliest = batches.iter().flat_map(times).min();
    earliest.copied().unwrap_or_default().div_euclid(BUCKET_NS)
}

/// The rows' keys, in order.
fn sorted(
    table: &'static Table,
    batches: &[RecordBatch],
    texts: &[Option<Unified<'_>>],
    first_bucket: i64,
) -> Vec<Key> {
    let all_times = batches.iter().flat_map(times);
    let mut keys: Vec<Key> = (0_u64..)
        .zip(all_times)
        .map(|(place, time)| {
            // A bucket is a minute: 32 bits are 8,000 years of them.
            let bucket = (time.div_euclid(BUCKET_NS) - first_bucket) as u64;
            [bucket << 32, 0, place]
        })
        .collect();
    let sort_columns = table
        .sorted_by
        .iter()
        .filter_map(|name| texts[table.columns.iter().position(|column| column.name == *name)?].as_ref());
    for ((word, shift), text) in [(0, 0), (1, 32), (1, 0), (2, 32)].into_iter().zip(sort_columns) {
        let ranks = text.ranks();
        for (key, row) in keys.iter_mut().zip(&text.keys) {
            // Nulls first: rank 0.
            let rank = usize::try_from(*row).map_or(0, |row| ranks[row]);
            key[word] |= u64::from(rank) << shift;
        }
    }
    keys.sort_unstable();
    keys
}

/// Cuts sorted rows where the hour changes; an hour is a whole number of buckets.
fn split(keys: &[Key], first_bucket: i64, rows: &RecordBatch) -> Vec<Hour> {
    let hour_of = |key: &Key| time::day_and_hour(((key[0] >> 32) as i64 + first_bucket) * BUCKET_NS);
    let mut hours = Vec::new();
    let mut start = 0;
    for run in keys.chunk_by(|left, right| hour_of(left) == hour_of(right)) {
        let (days, of_day) = hour_of(&run[0]);
        hours.push(Hour { days, of_day, rows: rows.slice(start, run.len()) });
        start += run.len();
    }
    hours
}

fn gather(column: usize, batches: &[RecordBatch], order: &UInt32Array) -> Result<ArrayRef, ArrowError> {
    let arrays: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(column).as_ref()).collect();
    if let [first, ..] = arrays[..]
        && arrays.iter().all(|array| array.null_count() == array.len())
    {
        return Ok(new_null_array(first.data_type(), order.len()));
    }
    take(&concat(&arrays)?, order, None)
}

/// A null among [`Unified::keys`].
const NULL: i32 = -1;

/// One text column of all batches over one dictionary.
struct Unified<'a> {
    /// Each distinct text once, in the order of first appearance.
    values: Vec<&'a str>,
    /// Each row's place in `values`, or [`NULL`].
    keys: Vec<i32>,
}

impl<'a> Unified<'a> {
    /// `None` where the column is no dictionary.
    fn of(column: usize, batches: &'a [RecordBatch]) -> Option<Unified<'a>> {
        let mut places: HashMap<&'a str, i32> = HashMap::new();
        let mut values = Vec::new();
        let mut keys = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
        for batch in batches {
            let array = batch.column(column);
            let DataType::Dictionary(_, _) = array.data_type() else { return None };
            let dictionary = array.as_dictionary_opt::<Int32Type>()?;
            let texts: &'a StringArray = dictionary.values().as_string_opt::<i32>()?;
            let mut place_of = |text: Option<&'a str>| {
                let Some(text) = text else { return NULL };
                *places.entry(text).or_insert_with(|| {
                    values.push(text);
                    values.len() as i32 - 1
                })
            };
            let map: Vec<i32> = texts.iter().map(&mut place_of).collect();
            let in_batch = dictionary.keys();
            match in_batch.nulls() {
                _ if map.is_empty() => keys.resize(keys.len() + batch.num_rows(), NULL),
                None => keys.extend(in_batch.values().iter().map(|key| map[*key as usize])),
                Some(nulls) => keys.extend(
                    in_batch
                        .values()
                        .iter()
                        .zip(nulls)
                        .map(|(key, is_there)| if is_there { map[*key as usize] } else { NULL }),
                ),
            }
        }
        Some(Unified { values, keys })
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

    fn gather(&self, order: &UInt32Array) -> ArrayRef {
        if self.values.is_empty() {
            return new_null_array(&weir_model::DataKind::Text.data_type(), order.len());
        }
        let keys: Vec<i32> = order.values().iter().map(|place| self.keys[*place as usize]).collect();
        let nulls = keys.contains(&NULL).then(|| keys.iter().map(|key| *key != NULL).collect::<NullBuffer>());
        let keys = keys.into_iter().map(|key| key.max(0)).collect::<ScalarBuffer<i32>>();
        let values = Arc::new(StringArray::from_iter_values(&self.values));
        Arc::new(DictionaryArray::new(Int32Array::new(keys, nulls), values))
    }
}
