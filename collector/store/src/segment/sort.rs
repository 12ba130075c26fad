//! Rows by day, short time bucket, then the table's own order. Text is compared once per distinct value, not per
//! row: each gets its rank, and rows are sorted by ranks. Only their order is made: columns follow it one by one
//! (`gather.rs`).

use std::ops::Range;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::TimestampNanosecondType;
use weir_model::{DataKind, Table, time};

use super::gather::Unified;

/// Rows of one bucket lie together, by who; so a question about a short time or about one workload reads little. Longer ones
/// make smaller files and slower questions about minutes.
const BUCKET_NS: i64 = 600 * time::SECOND_NS;
/// What rows are compared by, packed so that three comparisons decide: bucket (counted from the first) and first
/// rank; second and third; fourth and the row's place, so that equal rows keep the order they came in.
type Key = [u64; 3];

/// The rows of one day: a run of the order.
#[derive(Clone, Debug)]
pub(super) struct Day {
    /// Days since the epoch.
    pub(super) number: i64,
    pub(super) rows: Range<usize>,
    pub(super) min_time: i64,
    pub(super) max_time: i64,
}

/// The places of all rows of `batches` (each with the table's own schema) in their order, and the days in it.
pub(super) fn order(table: &'static Table, batches: &[RecordBatch]) -> (Vec<u32>, Vec<Day>) {
    let first_bucket = first_bucket(batches);
    let keys = sorted(table, batches, first_bucket);
    let order: Vec<u32> = keys.iter().map(|key| key[2] as u32).collect();
    let days = split(&keys, &order, first_bucket, batches);
    (order, days)
}

fn times(batch: &RecordBatch) -> &[i64] {
    batch.column(0).as_primitive::<TimestampNanosecondType>().values()
}

fn first_bucket(batches: &[RecordBatch]) -> i64 {
    let earliest = batches.iter().flat_map(times).min();
    bucket(earliest.copied().unwrap_or_default())
}

/// The columns that rows of one bucket are compared by: texts that repeat by themselves, ids by their [`beginning`].
pub(super) fn compared(table: &'static Table) -> impl Iterator<Item = usize> {
    let place = |name: &&str| table.columns.iter().position(|column| column.name == *name);
    let is_text = |place: &usize| matches!(table.columns[*place].kind, DataKind::Text | DataKind::Str);
    table.sorted_by.iter().filter_map(place).filter(is_text).take(4)
}

/// The number of the bucket that holds `time`.
pub(super) fn bucket(time: i64) -> i64 {
    time.div_euclid(BUCKET_NS)
}

/// When the bucket that holds `time` begins, ns.
pub(super) fn bucket_start(time: i64) -> i64 {
    bucket(time) * BUCKET_NS
}

/// The rows' keys, in order.
fn sorted(table: &'static Table, batches: &[RecordBatch], first_bucket: i64) -> Vec<Key> {
    let all_times = batches.iter().flat_map(times);
    let mut keys: Vec<Key> = (0_u64..)
        .zip(all_times)
        .map(|(place, time)| {
            // 32 bits are 80,000 years of ten minutes.
            let after = (bucket(*time) - first_bucket) as u64;
            [after << 32, 0, place]
        })
        .collect();
    for ((word, shift), column) in [(0, 0), (1, 32), (1, 0), (2, 32)].into_iter().zip(compared(table)) {
        // Nulls first: rank 0.
        let mut place = |(key, rank): (&mut Key, u32)| key[word] |= u64::from(rank) << shift;
        if let Some(text) = Unified::of(column, batches) {
            let ranks = text.ranks();
            let of_rows = text.keys.iter().map(|row| usize::try_from(*row).map_or(0, |row| ranks[row]));
            keys.iter_mut().zip(of_rows).for_each(&mut place);
        } else if let Some(ids) = texts(column, batches) {
            let ids = ids.into_iter().flatten();
            keys.iter_mut().zip(ids.map(|id| id.map_or(0, beginning))).for_each(&mut place);
        }
    }
    keys.sort_unstable();
    keys
}

/// A column of plain text in all batches; `None` where it is something else, by which rows are not sorted.
fn texts(column: usize, batches: &[RecordBatch]) -> Option<Vec<&StringArray>> {
    batches.iter().map(|batch| batch.column(column).as_string_opt::<i32>()).collect()
}

/// The first digits of an id in hex, which tell most ids apart: those that they don't lie among each other, as they came.
pub(super) fn beginning(id: &str) -> u32 {
    id.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

/// Cuts sorted rows where the day changes; a day is a whole number of buckets.
fn split(keys: &[Key], order: &[u32], first_bucket: i64, batches: &[RecordBatch]) -> Vec<Day> {
    let day_of = |key: &Key| time::day(((key[0] >> 32) as i64 + first_bucket) * BUCKET_NS);
    let times: Vec<i64> = batches.iter().flat_map(times).copied().collect();
    let mut days = Vec::new();
    let mut start = 0;
    for run in keys.chunk_by(|left, right| day_of(left) == day_of(right)) {
        let rows = start..start + run.len();
        start = rows.end;
        let of_rows = || order[rows.clone()].iter().map(|place| times[*place as usize]);
        let (min_time, max_time) = (of_rows().min().unwrap_or_default(), of_rows().max().unwrap_or_default());
        days.push(Day { number: day_of(&run[0]), rows, min_time, max_time });
    }
    days
}
