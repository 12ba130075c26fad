//! One column of all batches, taken in the rows' order: a column at a time, so that the rows are never there twice.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray, UInt32Array,
    new_null_array,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;
use hashbrown::HashMap;

/// One column of all batches, to be asked for rows by their places.
pub(super) enum Column<'a> {
    Text(Unified<'a>),
    Plain(ArrayRef),
    /// No row says anything.
    Empty(DataType),
}

impl<'a> Column<'a> {
    pub(super) fn of(column: usize, batches: &'a [RecordBatch]) -> Result<Column<'a>, ArrowError> {
        let arrays: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(column).as_ref()).collect();
        if let [first, ..] = arrays[..]
            && arrays.iter().all(|array| array.null_count() == array.len())
        {
            return Ok(Column::Empty(first.data_type().clone()));
        }
        Ok(match Unified::of(column, batches) {
            Some(text) => Column::Text(text),
            None => Column::Plain(concat(&arrays)?),
        })
    }

    /// The rows at these places.
    pub(super) fn rows(&self, places: &[u32]) -> Result<ArrayRef, ArrowError> {
        match self {
            Column::Text(text) => Ok(text.rows(places)),
            Column::Plain(array) => take(array, &UInt32Array::from(places.to_vec()), None),
            Column::Empty(kind) => Ok(new_null_array(kind, places.len())),
        }
    }
}

/// A null among [`Unified::keys`].
const NULL: i32 = -1;

/// One text column of all batches over one dictionary.
pub(super) struct Unified<'a> {
    /// Each distinct text once, in the order of first appearance.
    values: Vec<&'a str>,
    /// Each row's place in `values`, or [`NULL`].
    pub(super) keys: Vec<i32>,
    /// `values` as an array.
    dictionary: Arc<StringArray>,
}

impl<'a> Unified<'a> {
    /// `None` where the column is no dictionary.
    pub(super) fn of(column: usize, batches: &'a [RecordBatch]) -> Option<Unified<'a>> {
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
        let dictionary = Arc::new(StringArray::from_iter_values(&values));
        Some(Unified { values, keys, dictionary })
    }

    /// Each value's rank among all, from 1.
    pub(super) fn ranks(&self) -> Vec<u32> {
        let mut by_text: Vec<u32> = (0..self.values.len() as u32).collect();
        by_text.sort_unstable_by_key(|place| self.values[*place as usize]);
        let mut ranks = vec![0; self.values.len()];
        for (rank, place) in by_text.into_iter().enumerate() {
            ranks[place as usize] = rank as u32 + 1;
        }
        ranks
    }

    fn rows(&self, places: &[u32]) -> ArrayRef {
        let keys: Vec<i32> = places.iter().map(|place| self.keys[*place as usize]).collect();
        let nulls = keys.contains(&NULL).then(|| keys.iter().map(|key| *key != NULL).collect::<NullBuffer>());
        let keys = keys.into_iter().map(|key| key.max(0)).collect::<ScalarBuffer<i32>>();
        Arc::new(DictionaryArray::new(Int32Array::new(keys, nulls), self.dictionary.clone()))
    }
}
