//! Several files → one, in the same order: a row group at a time, and in it a column at a time.
//!
//! First keys alone decide which rows of which file come next. As all files are sorted, these are a run of rows of each of
//! them; then column after column is read of these rows, put in order and encoded. However many files there are, and
//! however large they are, memory holds their keys' pages, one column of one row group, and the row group that comes of
//! it. Never here: which files are merged, and what becomes of them.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, MutableArrayData, RecordBatch, UInt32Array, make_array,
    new_empty_array, new_null_array,
};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, TimestampNanosecondType};
use arrow::row::{RowConverter, Rows, SortField};
use bytes::Bytes;
use hashbrown::HashMap;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use weir_model::{DataKind, Table};

use super::rollup::Rolling;
use super::sort::{beginning, bucket, compared};
use super::write::{self, ROW_GROUP_ROWS};
use crate::StoreError;
use crate::source::Source;

/// How often a column of a row group is in memory.
const COPIES: usize = 3;
/// Texts take so many bytes a row, whatever they take where each is written once.
const LEAST_WIDTH: usize = 64;
/// Row groups are not smaller, whatever they take.
const LEAST_GROUP_ROWS: usize = 8_192;
/// Rows whose keys are looked at at a time, of each file.
const KEYS: usize = 4_096;

/// Why files can't be merged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MergeError {
    /// This one can't be read: it is damaged.
    #[error("file {input}: {why}")]
    Damaged { input: usize, why: String },
    /// This one would lose by it.
    #[error("file {input}: {why}")]
    LeftAlone { input: usize, why: String },
    /// The new file can't be written.
    #[error(transparent)]
    Write(#[from] StoreError),
}

/// What the new file is, when it is whole.
#[derive(Debug)]
pub(crate) struct Merged {
    /// What of it [`Merge::group`] did not give yet.
    pub(crate) rest: Bytes,
    pub(crate) rows: u64,
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    /// Its roll-up's bytes and rows, where one is worth having.
    pub(crate) rollup: Option<(Bytes, u64)>,
}

/// Files on their way to be one.
pub(crate) struct Merge {
    table: &'static Table,
    inputs: Vec<Input>,
    cursors: Vec<Cursor>,
    /// Rows of a row group.
    group_rows: usize,
    output: write::File,
    rolling: Option<Rolling>,
    rows: u64,
    min_time: i64,
    max_time: i64,
}

/// Rows of one file that come together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    input: usize,
    rows: Range<usize>,
}

impl Merge {
    /// Opens the files; of equal rows, those of the first file come first.
    /// Beside the files' keys, about `most_bytes` of rows are in memory.
    pub(crate) fn open(
        table: &'static Table,
        paths: &[impl AsRef<Path>],
        most_bytes: usize,
    ) -> Result<Merge, MergeError> {
        let inputs = paths.iter().enumerate().map(|(number, path)| {
            let damaged = |err: &dyn std::fmt::Display| damaged(number, err);
            let input = Input::open(table, path.as_ref()).map_err(|err| damaged(&err))?;
            match input.unknown(table) {
                Some(column) => {
                    let why = format!("it has the column {column}, which this version doesn't know");
                    Err(MergeError::LeftAlone { input: number, why })
                }
                None => Ok(input),
            }
        });
        let inputs = inputs.collect::<Result<Vec<Input>, _>>()?;
        let cursors = inputs
            .iter()
            .enumerate()
            .map(|(number, input)| Cursor::open(table, input).map_err(|err| damaged(number, &err)));
        let cursors = cursors.collect::<Result<_, _>>()?;
        let rows = inputs.iter().map(|input| input.rows).sum();
        let output = write::File::begin(table, rows).map_err(StoreError::from)?;
        let rolling = Rolling::of(table).map_err(StoreError::from)?;
        Ok(Merge {
            table,
            group_rows: group_rows(&inputs, most_bytes),
            inputs,
            cursors,
            output,
            rolling,
            rows: 0,
            min_time: i64::MAX,
            max_time: i64::MIN,
        })
    }

    /// The next part of the new file; `None` when no rows are left.
    pub(crate) fn group(&mut self) -> Result<Option<Bytes>, MergeError> {
        let taken: Vec<usize> = self.cursors.iter().map(|cursor| cursor.taken).collect();
        let runs = self.next_runs()?;
        let rows = runs.iter().map(|run| run.rows.len()).sum::<usize>();
        if rows == 0 {
            return Ok(None);
        }
        let ranges: Vec<Range<usize>> =
            taken.iter().zip(&self.cursors).map(|(from, cursor)| *from..cursor.taken).collect();
        let mut group = self.output.group(0..rows).map_err(StoreError::from)?;
        for column in 0..self.table.columns.len() {
            let ordered = self.ordered(column, &runs, &ranges)?;
            if let Some(rolling) = &mut self.rolling {
                rolling.column(column, &ordered);
            }
            let field = self.table.columns[column].field();
            group.column(&field, |rows| Ok(ordered.slice(rows.start, rows.len())))?;
        }
        self.output.append(group).map_err(StoreError::from)?;
        if let Some(rolling) = &mut self.rolling {
            rolling.end().map_err(StoreError::from)?;
        }
        self.rows += rows as u64;
        Ok(Some(self.output.take().into()))
    }

    /// The end of the new file.
    pub(crate) fn finish(self) -> Result<Merged, StoreError> {
        let rest = self.output.finish()?;
        let rollup = self.rolling.map(Rolling::finish).transpose()?.flatten();
        Ok(Merged { rest, rows: self.rows, min_time: self.min_time, max_time: self.max_time, rollup })
    }

    /// Which rows come next: a row group's worth.
    fn next_runs(&mut self) -> Result<Vec<Run>, MergeError> {
        let mut runs: Vec<Run> = Vec::new();
        let mut room = self.group_rows;
        while room > 0 {
            for (number, cursor) in self.cursors.iter_mut().enumerate() {
                cursor.fill().map_err(|err| damaged(number, &err))?;
            }
            let Some((first, length)) = next_run(&self.cursors, room) else { break };
            let cursor = &mut self.cursors[first];
            let (min, max) = cursor.take(length);
            (self.min_time, self.max_time) = (self.min_time.min(min), self.max_time.max(max));
            room -= length;
            let rows = cursor.taken - length..cursor.taken;
            match runs.last_mut() {
                Some(last) if last.input == first => last.rows.end = rows.end,
                _ => runs.push(Run { input: first, rows }),
            }
        }
        Ok(runs)
    }

    /// A column of `runs`, all of which lie in the files' `ranges`.
    fn ordered(&self, column: usize, runs: &[Run], ranges: &[Range<usize>]) -> Result<ArrayRef, MergeError> {
        let kind = self.table.columns[column].kind;
        let mut pieces = Vec::with_capacity(ranges.len());
        for (number, (input, rows)) in self.inputs.iter().zip(ranges).enumerate() {
            let piece = input.column(column, kind, rows.clone());
            pieces.push(piece.map_err(|err| damaged(number, &err))?);
        }
        if let [Run { input, .. }] = runs {
            return Ok(pieces.swap_remove(*input));
        }
        let pieces: Vec<_> = pieces.iter().map(Array::to_data).collect();
        let rows = runs.iter().map(|run| run.rows.len()).sum();
        let mut ordered = MutableArrayData::new(pieces.iter().collect(), true, rows);
        for Run { input, rows } in runs {
            let from = ranges[*input].start;
            let extended = ordered.try_extend(*input, rows.start - from, rows.end - from);
            extended.map_err(StoreError::from)?;
        }
        Ok(make_array(ordered.freeze()))
    }
}

/// How many rows a row group may have, so that its widest column fits: as it is read, in order, and encoded.
fn group_rows(inputs: &[Input], most_bytes: usize) -> usize {
    let rows: usize = inputs.iter().map(|input| input.rows).sum();
    let mut columns: HashMap<String, usize> = HashMap::new();
    for group in inputs.iter().flat_map(|input| input.metadata.metadata().row_groups()) {
        for column in group.columns() {
            *columns.entry(column.column_path().string()).or_default() += column.uncompressed_size() as usize;
        }
    }
    let widest = columns.into_values().max().unwrap_or_default() / rows.max(1);
    (most_bytes / COPIES / widest.max(LEAST_WIDTH)).clamp(LEAST_GROUP_ROWS, ROW_GROUP_ROWS)
}

fn damaged(input: usize, why: &dyn std::fmt::Display) -> MergeError {
    MergeError::Damaged { input, why: why.to_string() }
}

/// The cursor whose rows come next, and how many of them before another one's do.
fn next_run(cursors: &[Cursor], room: usize) -> Option<(usize, usize)> {
    let mut first: Option<usize> = None;
    let mut second: Option<usize> = None;
    let is_before = |left: usize, right: Option<usize>| {
        right.is_none_or(|right| (cursors[left].peek(), left) < (cursors[right].peek(), right))
    };
    for number in (0..cursors.len()).filter(|number| cursors[*number].peek().is_some()) {
        if is_before(number, first) {
            (first, second) = (Some(number), first);
        } else if is_before(number, second) {
            second = Some(number);
        }
    }
    let first = first?;
    let length = match second {
        None => cursors[first].left(),
        Some(second) => cursors[first].run_before(&cursors[second], first < second),
    };
    Some((first, length.min(room)))
}

/// One file.
struct Input {
    file: Source,
    metadata: ArrowReaderMetadata,
    rows: usize,
    /// The table's columns → the file's.
    places: Vec<Option<usize>>,
}

impl Input {
    fn open(table: &'static Table, path: &Path) -> Result<Input, ParquetError> {
        let file = Source::open(path)?;
        let options = ArrowReaderOptions::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&file, options)?;
        let schema = metadata.schema();
        let places = table.columns.iter().map(|column| schema.index_of(column.name).ok()).collect();
        let rows = metadata.metadata().row_groups().iter().map(|group| group.num_rows() as usize).sum();
        Ok(Input { file, metadata, rows, places })
    }

    /// A column that the table doesn't have.
    fn unknown(&self, table: &'static Table) -> Option<String> {
        let fields = self.metadata.schema().fields().iter();
        let mut names = fields.map(|field| field.name());
        names.find(|name| table.columns.iter().all(|column| column.name != name.as_str())).cloned()
    }

    fn reader(
        &self,
        columns: impl IntoIterator<Item = usize>,
        rows: Range<usize>,
        at_a_time: usize,
    ) -> Result<ParquetRecordBatchReader, ParquetError> {
        let mut groups = Vec::new();
        let (mut start, mut before) = (0, 0);
        for (number, group) in self.metadata.metadata().row_groups().iter().enumerate() {
            let end = start + group.num_rows() as usize;
            if end > rows.start && start < rows.end {
                groups.push(number);
            } else if end <= rows.start {
                before = end;
            }
            start = end;
        }
        let builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.metadata.clone());
        let projection = ProjectionMask::roots(builder.parquet_schema(), columns);
        builder
            .with_projection(projection)
            .with_row_groups(groups)
            .with_offset(rows.start - before)
            .with_limit(rows.len())
            .with_batch_size(at_a_time)
            .build()
    }

    /// Some rows of one of the table's columns; text is plain.
    fn column(&self, column: usize, kind: DataKind, rows: Range<usize>) -> Result<ArrayRef, ParquetError> {
        let wanted = plain(kind);
        if rows.is_empty() {
            return Ok(new_empty_array(&wanted));
        }
        let Some(place) = self.places[column] else { return Ok(new_null_array(&wanted, rows.len())) };
        let asked = rows.len();
        let mut pieces = Vec::new();
        for batch in self.reader([place], rows, asked)? {
            pieces.push(of_kind(batch?.column(0), &wanted)?);
        }
        let all = match pieces.as_slice() {
            [one] => one.clone(),
            more => concat(&more.iter().map(AsRef::as_ref).collect::<Vec<_>>())?,
        };
        if all.len() != asked {
            return Err(ParquetError::General(format!("{} rows where there should be {asked}", all.len())));
        }
        Ok(all)
    }
}

/// As a column's values are in files.
fn plain(kind: DataKind) -> DataType {
    match kind {
        DataKind::Text => DataType::Utf8,
        other => other.data_type(),
    }
}

fn of_kind(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ParquetError> {
    if array.data_type() == wanted {
        return Ok(array.clone());
    }
    Ok(cast(array, wanted)?)
}

/// The keys of one file's rows, from where the rows are not taken yet.
struct Cursor {
    /// `None` at the end.
    reader: Option<ParquetRecordBatchReader>,
    keys: Keys,
    /// The keys that were read last, and times of their rows; those before `next` are taken.
    rows: Option<Rows>,
    times: Vec<i64>,
    next: usize,
    /// Rows of the file that are taken.
    taken: usize,
}

/// How a row becomes a key.
struct Keys {
    table: &'static Table,
    converter: RowConverter,
}

impl Keys {
    fn of(table: &'static Table) -> Result<Keys, ParquetError> {
        let bucket = SortField::new(DataType::Int64);
        let texts = compared(table).map(|column| SortField::new(key_type(table, column)));
        let converter = RowConverter::new(std::iter::once(bucket).chain(texts).collect())?;
        Ok(Keys { table, converter })
    }

    /// The rows' keys, which compare as the rows do, and their times.
    fn read(&self, batch: &RecordBatch) -> Result<(Rows, Vec<i64>), ParquetError> {
        let wanted = plain(DataKind::Time);
        let of = |column: usize| {
            let column = &self.table.columns[column];
            match batch.column_by_name(column.name) {
                Some(array) => of_kind(array, &plain(column.kind)),
                None => Ok(new_null_array(&plain(column.kind), batch.num_rows())),
            }
        };
        let time = of(0)?;
        let times = time.as_primitive_opt::<TimestampNanosecondType>();
        let times = times.filter(|times| times.null_count() == 0);
        let times = times.ok_or_else(|| ParquetError::General(format!("its rows' time is no {wanted}")))?;
        let times = times.values().to_vec();
        let buckets: ArrayRef = Arc::new(times.iter().map(|time| bucket(*time)).collect::<Int64Array>());
        let mut columns = vec![buckets];
        for column in compared(self.table) {
            let values = of(column)?;
            columns.push(match key_type(self.table, column) {
                DataType::UInt32 => {
                    let ids = values.as_string::<i32>().iter();
                    Arc::new(ids.map(|id| id.map_or(0, beginning)).collect::<UInt32Array>())
                }
                _ => values,
            });
        }
        Ok((self.converter.convert_columns(&columns)?, times))
    }
}

/// What a column is compared as: ids by their beginning, as they are sorted by.
fn key_type(table: &'static Table, column: usize) -> DataType {
    match table.columns[column].kind {
        DataKind::Str => DataType::UInt32,
        _ => DataType::Utf8,
    }
}

impl Cursor {
    fn open(table: &'static Table, input: &Input) -> Result<Cursor, ParquetError> {
        let columns = std::iter::once(0).chain(compared(table));
        let places = columns.filter_map(|column| input.places[column]);
        let reader = input.reader(places, 0..input.rows, KEYS)?;
        Ok(Cursor {
            reader: Some(reader),
            keys: Keys::of(table)?,
            rows: None,
            times: Vec::new(),
            next: 0,
            taken: 0,
        })
    }

    /// Reads the next keys where all are taken.
    fn fill(&mut self) -> Result<(), ParquetError> {
        while self.left() == 0 {
            let Some(reader) = &mut self.reader else { return Ok(()) };
            let Some(batch) = reader.next().transpose()? else {
                (self.reader, self.rows) = (None, None);
                return Ok(());
            };
            let (rows, times) = self.keys.read(&batch)?;
            (self.rows, self.times, self.next) = (Some(rows), times, 0);
        }
        Ok(())
    }

    /// Keys that were read and aren't taken.
    fn left(&self) -> usize {
        self.rows.as_ref().map_or(0, |rows| rows.num_rows() - self.next)
    }

    /// The key that comes next; `None` at the end.
    fn peek(&self) -> Option<&[u8]> {
        let rows = self.rows.as_ref().filter(|rows| self.next < rows.num_rows())?;
        Some(rows.row(self.next).data())
    }

    /// How many of the next keys come before the other one's next; equal ones do where `is_first`.
    fn run_before(&self, other: &Cursor, is_first: bool) -> usize {
        let (Some(rows), Some(bound)) = (&self.rows, other.peek()) else { return self.left() };
        let is_within = |place: usize| {
            let key = rows.row(place).data();
            key < bound || (is_first && key == bound)
        };
        // This one's next does, or it would be the other one's turn.
        let (mut within, mut beyond) = (self.next, rows.num_rows());
        if within + 1 < beyond && !is_within(within + 1) {
            return 1;
        }
        while within + 1 < beyond {
            let middle = usize::midpoint(within, beyond);
            if is_within(middle) {
                within = middle;
            } else {
                beyond = middle;
            }
        }
        beyond - self.next
    }

    /// Takes `rows` of those that were read; the earliest and latest time among them.
    fn take(&mut self, rows: usize) -> (i64, i64) {
        let times = &self.times[self.next..self.next + rows];
        let earliest = times.iter().min().copied().unwrap_or(i64::MAX);
        let latest = times.iter().max().copied().unwrap_or(i64::MIN);
        self.next += rows;
        self.taken += rows;
        (earliest, latest)
    }
}

#[cfg(test)]
mod tests;
