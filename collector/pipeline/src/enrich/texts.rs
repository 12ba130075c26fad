//! A text column while names are filled in: a row is a key into the column's distinct texts, so that a name costs its text
//! once a batch and a number a row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::Int32Type;
use hashbrown::HashMap;
use weir_model::{DataKind, SmolStr};

/// No text.
pub(super) const NONE: i32 = -1;

/// One column.
#[derive(Debug)]
pub(super) struct Texts {
    keys: Vec<i32>,
    distinct: Vec<SmolStr>,
    /// Text → key, once one was looked for.
    index: HashMap<SmolStr, i32>,
    pub(super) is_changed: bool,
}

impl Texts {
    /// The column of that name; of a batch that has none, one without any text.
    pub(super) fn of(batch: &RecordBatch, name: &str) -> Texts {
        let (keys, distinct) =
            read(batch, name).unwrap_or_else(|| (vec![NONE; batch.num_rows()], Vec::new()));
        Texts { keys, distinct, index: HashMap::new(), is_changed: false }
    }

    pub(super) fn key(&self, row: usize) -> i32 {
        self.keys[row]
    }

    pub(super) fn has(&self, row: usize) -> bool {
        self.keys[row] != NONE
    }

    pub(super) fn get(&self, row: usize) -> Option<&SmolStr> {
        self.text(self.keys[row])
    }

    /// A key's text.
    pub(super) fn text(&self, key: i32) -> Option<&SmolStr> {
        usize::try_from(key).ok().map(|key| &self.distinct[key])
    }

    /// All distinct texts, in the order of their keys.
    pub(super) fn texts(&self) -> &[SmolStr] {
        &self.distinct
    }

    /// A text's key, for [`Texts::set`].
    pub(super) fn key_of(&mut self, text: &SmolStr) -> i32 {
        if self.index.is_empty() {
            // Of a text that is there twice either key will do.
            self.index.extend(self.distinct.iter().cloned().zip(0..));
        }
        *self.index.entry_ref(text).or_insert_with(|| {
            self.distinct.push(text.clone());
            self.distinct.len() as i32 - 1
        })
    }

    pub(super) fn set(&mut self, row: usize, key: i32) {
        let own = self.keys[row];
        if own != key && self.text(own) != self.text(key) {
            self.keys[row] = key;
            self.is_changed = true;
        }
    }

    pub(super) fn array(self) -> ArrayRef {
        let is_there: Vec<bool> = self.keys.iter().map(|key| *key != NONE).collect();
        let nulls = Some(NullBuffer::from(is_there)).filter(|nulls| nulls.null_count() > 0);
        let keys = self.keys.into_iter().map(|key| key.max(0)).collect::<ScalarBuffer<i32>>();
        let values = Arc::new(StringArray::from_iter_values(&self.distinct));
        Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::new(keys, nulls), values))
    }
}

fn read(batch: &RecordBatch, name: &str) -> Option<(Vec<i32>, Vec<SmolStr>)> {
    let column = batch.column_by_name(name)?;
    if column.null_count() == column.len() {
        return None;
    }
    let array = cast(column, &DataKind::Text.data_type()).ok()?;
    let dictionary = array.as_dictionary_opt::<Int32Type>()?;
    let values = dictionary.values().as_string_opt::<i32>()?;
    let texts = values.iter().map(|text| SmolStr::new(text.unwrap_or_default())).collect();
    let is_there = |key: &i32| values.is_valid(*key as usize);
    let keys = dictionary.keys().iter().map(|key| key.filter(is_there).unwrap_or(NONE)).collect();
    Some((keys, texts))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_model::kinds::{Kind, Text};
    use weir_model::{FlowRow, Row};

    use super::*;

    proptest! {
        /// Whatever a column says and is told: the array says what a list of texts would.
        #[test]
        fn it_says_what_a_list_of_texts_would(
            rows in prop::collection::vec(prop::option::of("[ab]{0,2}"), 1..20),
            changes in prop::collection::vec((any::<prop::sample::Index>(), "[abc]{0,2}"), 0..20),
        ) {
            let flows: Vec<FlowRow> = rows
                .iter()
                .map(|text| FlowRow { client_name: text.as_deref().map(SmolStr::new), ..FlowRow::default() })
                .collect();
            let mut texts = Texts::of(&FlowRow::to_batch(&flows), "client_name");
            let mut expected: Vec<Option<SmolStr>> = flows.into_iter().map(|flow| flow.client_name).collect();
            let before = expected.clone();
            for (row, text) in changes {
                let (row, text) = (row.index(expected.len()), SmolStr::new(text));
                let key = texts.key_of(&text);
                texts.set(row, key);
                expected[row] = Some(text);
                prop_assert_eq!(texts.get(row), expected[row].as_ref());
            }
            prop_assert!(texts.is_changed || before == expected);
            prop_assert_eq!(Text::values(&texts.array()).expect("texts"), expected);
        }
    }
}
