//! Rows on their way into a file → its roll-up: rows of one minute that have the kept columns in common become one.
//!
//! Columns come one after another, as they are written ([`super::merge`]), so rows are grouped column by column: each row
//! has the number of its group so far, and the next kept column splits groups. Memory holds a number a row, and what is to
//! be summed, of one row group; the groups of the minutes that may go on; and the roll-up's own bytes.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::{Int32Type, Int64Type, TimestampNanosecondType};
use bytes::Bytes;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use weir_model::rollup::{ROLLED_NS, RollUp};
use weir_model::{DataKind, SmolStr, Table};

use super::sort::bucket_start;

/// Rows of a roll-up that are written together.
const ROW_GROUP_ROWS: usize = 16_384;
/// Groups that may go on. Beyond, they are written, and go on as another row: roll-ups are added up anyway.
const MOST_OPEN: usize = 16_384;
/// A roll-up that has more than one row for so many of the file's isn't worth having.
const WORTH: u64 = 3;
/// From so many of the file's rows on that is looked at.
const LOOKED_AT: u64 = 32_768;

/// What a column of the table is for the roll-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Time,
    Kept(usize),
    Summed(usize),
    Ranged(usize),
    None,
}

/// A roll-up that grows as its file does.
pub(super) struct Rolling {
    rollup: &'static RollUp,
    uses: Vec<Use>,
    /// Of a counter that an older file lacks nothing is known, and sums of such are another thing than sums of zero.
    always_known: Vec<bool>,
    texts: Vec<Texts>,
    now: RowGroup,
    open: HashMap<Key, Sums>,
    ready: Vec<(Key, Sums)>,
    writer: ArrowWriter<Vec<u8>>,
    rows: u64,
    rolled: u64,
    has_given_up: bool,
}

/// Minute, and the values of each kept column, by their numbers.
type Key = (i64, Box<[u32]>);

/// One row group's columns.
#[derive(Default)]
struct RowGroup {
    minutes: Vec<i64>,
    /// Each row's group so far.
    groups: Vec<u32>,
    /// By kept column: the group before it, and the value, of each group.
    levels: Vec<Vec<(u32, u32)>>,
    summed: Vec<Option<ArrayRef>>,
    ranged: Vec<Option<ArrayRef>>,
}

/// Values of one kept column; 0 is none.
#[derive(Default)]
struct Texts {
    numbers: HashMap<SmolStr, u32>,
    all: Vec<SmolStr>,
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let text = SmolStr::from(text);
        self.all.push(text.clone());
        let number = self.all.len() as u32;
        self.numbers.insert(text, number);
        number
    }

    fn get(&self, number: u32) -> Option<&str> {
        self.all.get((number as usize).checked_sub(1)?).map(SmolStr::as_str)
    }
}

/// What rows of one group add up to.
struct Sums {
    rows: i64,
    summed: Box<[Option<i64>]>,
    /// Least and greatest.
    ranged: Box<[Option<(i64, i64)>]>,
}

impl Sums {
    fn none(summed: usize, ranged: usize) -> Sums {
        Sums { rows: 0, summed: vec![None; summed].into(), ranged: vec![None; ranged].into() }
    }

    fn add(&mut self, other: &Sums) {
        self.rows += other.rows;
        for (sum, more) in self.summed.iter_mut().zip(&other.summed) {
            *sum = added(*sum, *more);
        }
        for (range, more) in self.ranged.iter_mut().zip(&other.ranged) {
            *range = spanned(*range, *more);
        }
    }
}

impl Rolling {
    /// `None` where the table has no roll-up.
    pub(super) fn of(table: &'static Table) -> Result<Option<Rolling>, ParquetError> {
        let Some(rollup) = weir_model::rollup::of(table) else { return Ok(None) };
        let place = |names: &[&str], name: &str| names.iter().position(|other| *other == name);
        let uses = table.columns.iter().enumerate().map(|(number, column)| match number {
            0 => Use::Time,
            _ => place(rollup.kept, column.name)
                .map(Use::Kept)
                .or_else(|| place(rollup.summed, column.name).map(Use::Summed))
                .or_else(|| place(rollup.ranged, column.name).map(Use::Ranged))
                .unwrap_or(Use::None),
        });
        let is_count = |name: &&str| table.column(name).is_some_and(|column| column.kind == DataKind::Count);
        let properties = WriterProperties::builder()
            .set_created_by(format!("weir {}", env!("CARGO_PKG_VERSION")))
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        Ok(Some(Rolling {
            rollup,
            uses: uses.collect(),
            always_known: rollup.summed.iter().map(is_count).collect(),
            texts: rollup.kept.iter().map(|_| Texts::default()).collect(),
            now: RowGroup::default(),
            open: HashMap::new(),
            ready: Vec::new(),
            writer: ArrowWriter::try_new(Vec::new(), rollup.schema(), Some(properties))?,
            rows: 0,
            rolled: 0,
            has_given_up: false,
        }))
    }

    /// The next column of the row group; text is plain.
    pub(super) fn column(&mut self, number: usize, values: &ArrayRef) {
        if self.has_given_up {
            return;
        }
        match self.uses[number] {
            Use::None => {}
            Use::Time => self.begin(values),
            Use::Kept(place) => self.split(place, values),
            Use::Summed(place) => {
                self.has_given_up = self.always_known[place] && values.null_count() > 0;
                self.now.summed[place] = Some(values.clone());
            }
            Use::Ranged(place) => self.now.ranged[place] = Some(values.clone()),
        }
    }

    fn begin(&mut self, times: &ArrayRef) {
        let times = times.as_primitive::<TimestampNanosecondType>();
        let minutes: Vec<i64> = times.values().iter().map(|time| time - time.rem_euclid(ROLLED_NS)).collect();
        self.now = RowGroup {
            groups: vec![0; minutes.len()],
            minutes,
            levels: Vec::with_capacity(self.rollup.kept.len()),
            summed: vec![None; self.rollup.summed.len()],
            ranged: vec![None; self.rollup.ranged.len()],
        };
    }

    /// Splits groups by the values of a kept column.
    fn split(&mut self, place: usize, values: &ArrayRef) {
        let mut numbers: HashMap<(u32, u32), u32> = HashMap::new();
        let mut level: Vec<(u32, u32)> = Vec::new();
        let mut last: Option<((u32, u32), u32)> = None;
        let groups = &mut self.now.groups;
        let mut number_of = |row: usize, value: u32| {
            let key = (groups[row], value);
            // Rows are sorted: the next one is like the last one more often than not.
            let number = match last {
                Some((before, number)) if before == key => number,
                _ => *numbers.entry(key).or_insert_with(|| {
                    level.push(key);
                    level.len() as u32 - 1
                }),
            };
            last = Some((key, number));
            groups[row] = number;
        };
        if let Some(texts) = values.as_string_opt::<i32>() {
            let known = &mut self.texts[place];
            let mut before: Option<(&str, u32)> = None;
            for (row, text) in texts.iter().enumerate() {
                let value = match (text, before) {
                    (None, _) => 0,
                    (Some(text), Some((same, value))) if same == text => value,
                    (Some(text), _) => known.number(text),
                };
                before = text.map(|text| (text, value));
                number_of(row, value);
            }
        } else {
            // Ports; 0 is none, so each is one more.
            let ports = values.as_primitive::<Int32Type>();
            for (row, port) in ports.iter().enumerate() {
                number_of(row, port.map_or(0, |port| port.unsigned_abs() + 1));
            }
        }
        // Levels are in the order in which the table has the columns.
        self.now.levels.push(level);
    }

    /// The row group is complete.
    pub(super) fn end(&mut self) -> Result<(), ParquetError> {
        if self.has_given_up {
            self.forget();
            return Ok(());
        }
        let now = std::mem::take(&mut self.now);
        let numbers =
            |array: &Option<ArrayRef>| array.as_ref().map(|array| array.as_primitive::<Int64Type>().clone());
        let summed: Vec<Option<Int64Array>> = now.summed.iter().map(numbers).collect();
        let ranged: Vec<Option<Int64Array>> = now.ranged.iter().map(numbers).collect();
        // A group's key is made once, not for each row.
        let mut found: HashMap<(i64, u32), Sums> = HashMap::new();
        for (row, (minute, group)) in now.minutes.iter().zip(&now.groups).enumerate() {
            let sums =
                found.entry((*minute, *group)).or_insert_with(|| Sums::none(summed.len(), ranged.len()));
            sums.rows += 1;
            for (sum, values) in sums.summed.iter_mut().zip(&summed) {
                *sum = added(*sum, value_at(values.as_ref(), row));
            }
            for (range, values) in sums.ranged.iter_mut().zip(&ranged) {
                let value = value_at(values.as_ref(), row);
                *range = spanned(*range, value.map(|value| (value, value)));
            }
        }
        for ((minute, group), sums) in found {
            let key = (minute, key_of(&now.levels, group));
            match self.open.entry(key) {
                Entry::Occupied(mut before) => before.get_mut().add(&sums),
                Entry::Vacant(none) => {
                    none.insert(sums);
                }
            }
        }
        self.rows += now.minutes.len() as u64;
        // Rows lie by bucket, then by who: groups go on in the next row group, or later, where a bucket is several.
        let bucket = now.minutes.iter().copied().max().map_or(i64::MIN, bucket_start);
        self.settle(if self.open.len() > MOST_OPEN { i64::MAX } else { bucket })?;
        let is_worth_it = (self.rolled + self.open.len() as u64) * WORTH <= self.rows;
        if self.rows >= LOOKED_AT && !is_worth_it {
            self.forget();
        }
        Ok(())
    }

    /// Groups of minutes before `minute` are complete.
    fn settle(&mut self, minute: i64) -> Result<(), ParquetError> {
        self.ready.extend(self.open.extract_if(|(of, _), _| *of < minute));
        if self.ready.len() >= ROW_GROUP_ROWS {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), ParquetError> {
        self.ready.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        let rows = &self.ready;
        let minutes = rows.iter().map(|((minute, _), _)| *minute);
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(TimestampNanosecondArray::from_iter_values(minutes).with_timezone("UTC"))];
        let kept = self.uses.iter().filter_map(|uses| match uses {
            Use::Kept(place) => Some(*place),
            _ => None,
        });
        let mut arrays: Vec<Option<ArrayRef>> = vec![None; self.rollup.kept.len()];
        let schema = self.rollup.schema();
        for (level, place) in kept.enumerate() {
            let values = rows.iter().map(|((_, key), _)| key[level]);
            let is_port = schema.field(1 + place).data_type() == &arrow::datatypes::DataType::Int32;
            arrays[place] = Some(if is_port {
                Arc::new(
                    values.map(|port| port.checked_sub(1).map(|port| port as i32)).collect::<Int32Array>(),
                )
            } else {
                Arc::new(values.map(|number| self.texts[place].get(number)).collect::<StringArray>())
            });
        }
        columns.extend(arrays.into_iter().flatten());
        columns.push(Arc::new(rows.iter().map(|(_, sums)| Some(sums.rows)).collect::<Int64Array>()));
        for place in 0..self.rollup.summed.len() {
            columns.push(Arc::new(rows.iter().map(|(_, sums)| sums.summed[place]).collect::<Int64Array>()));
        }
        for place in 0..self.rollup.ranged.len() {
            let range = |(_, sums): &(_, Sums)| sums.ranged[place];
            let least = rows.iter().map(|row| range(row).map(|(least, _)| least));
            let greatest = rows.iter().map(|row| range(row).map(|(_, greatest)| greatest));
            columns.push(Arc::new(least.collect::<Int64Array>()));
            columns.push(Arc::new(greatest.collect::<Int64Array>()));
        }
        let batch = RecordBatch::try_new(schema, columns)?;
        self.rolled += batch.num_rows() as u64;
        self.ready.clear();
        self.writer.write(&batch)
    }

    fn forget(&mut self) {
        self.has_given_up = true;
        (self.now, self.open, self.ready) = (RowGroup::default(), HashMap::new(), Vec::new());
    }

    /// The roll-up's bytes and its rows; `None` where it isn't worth having.
    pub(super) fn finish(mut self) -> Result<Option<(Bytes, u64)>, ParquetError> {
        if !self.has_given_up {
            self.settle(i64::MAX)?;
            self.write()?;
        }
        if self.has_given_up || self.rolled * WORTH > self.rows || self.rows == 0 {
            return Ok(None);
        }
        Ok(Some((self.writer.into_inner()?.into(), self.rolled)))
    }
}

/// The values of a group, of each kept column.
fn key_of(levels: &[Vec<(u32, u32)>], mut group: u32) -> Box<[u32]> {
    let mut values = vec![0; levels.len()];
    for (value, level) in values.iter_mut().zip(levels).rev() {
        (group, *value) = level[group as usize];
    }
    values.into()
}

/// As SUM does: what is unknown adds nothing, and too much wraps.
fn added(sum: Option<i64>, value: Option<i64>) -> Option<i64> {
    match (sum, value) {
        (Some(sum), Some(value)) => Some(sum.wrapping_add(value)),
        (known, None) | (None, known) => known,
    }
}

fn spanned(range: Option<(i64, i64)>, more: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (range, more) {
        (Some((least, greatest)), Some((less, more))) => Some((least.min(less), greatest.max(more))),
        (known, None) | (None, known) => known,
    }
}

fn value_at(values: Option<&Int64Array>, row: usize) -> Option<i64> {
    values.filter(|values| values.is_valid(row)).map(|values| values.value(row))
}
