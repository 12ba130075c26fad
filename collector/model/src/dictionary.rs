//! Texts that repeat → a dictionary array, at the pace of a probe that makes tens of thousands of rows a second.
//!
//! Most columns of a batch are empty, and most others say what one of the two rows before said (rows of clients and of
//! servers take turns): both cost a comparison here, and only what is left is hashed. Never here: the other way, from
//! arrays to texts (`kinds.rs`).

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, NullBufferBuilder, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::Int32Type;
use foldhash::quality::RandomState;
use hashbrown::HashTable;

/// Builds one column.
pub struct DictionaryBuilder {
    /// Rows to come, for the first text's sake: until then nothing is allocated.
    expected: usize,
    /// How many rows there are.
    len: usize,
    keys: Vec<i32>,
    nulls: NullBufferBuilder,
    /// Where each distinct text ends in `bytes`.
    ends: Vec<i32>,
    bytes: Vec<u8>,
    index: HashTable<i32>,
    hasher: RandomState,
    /// The latest two keys that differ.
    latest: [i32; 2],
}

impl DictionaryBuilder {
    /// For about so many rows.
    pub(crate) fn new(expected: usize) -> DictionaryBuilder {
        DictionaryBuilder {
            expected,
            len: 0,
            keys: Vec::new(),
            nulls: NullBufferBuilder::new(0),
            ends: Vec::new(),
            bytes: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            latest: [0; 2],
        }
    }

    /// One more row.
    #[inline]
    pub(crate) fn append(&mut self, text: Option<&str>) {
        self.len += 1;
        match text {
            None if self.keys.is_empty() => {}
            None => {
                self.keys.push(0);
                self.nulls.append_null();
            }
            Some(text) => {
                if self.keys.is_empty() {
                    self.begin();
                }
                let key = self.key(text.as_bytes());
                self.keys.push(key);
                self.nulls.append_non_null();
            }
        }
    }

    /// The rows before the first text have none.
    #[cold]
    fn begin(&mut self) {
        self.keys.reserve(self.expected.max(self.len));
        self.keys.resize(self.len - 1, 0);
        self.nulls = NullBufferBuilder::new(self.expected.max(self.len));
        self.nulls.append_n_nulls(self.len - 1);
    }

    #[inline]
    fn key(&mut self, text: &[u8]) -> i32 {
        let [last, other] = self.latest;
        if self.is(last, text) {
            return last;
        }
        let key = if self.is(other, text) { other } else { self.look_up(text) };
        self.latest = [key, last];
        key
    }

    fn look_up(&mut self, text: &[u8]) -> i32 {
        let (ends, bytes, hasher) = (&self.ends, &self.bytes, &self.hasher);
        let hash_of = |text: &[u8]| {
            let mut state = hasher.build_hasher();
            state.write(text);
            state.finish()
        };
        let hash = hash_of(text);
        if let Some(key) = self.index.find(hash, |key| value(ends, bytes, *key) == text) {
            return *key;
        }
        let key = self.ends.len() as i32;
        self.index.insert_unique(hash, key, |key| hash_of(value(ends, bytes, *key)));
        self.bytes.extend_from_slice(text);
        self.ends.push(i32::try_from(self.bytes.len()).expect("a batch has less than 2 GiB of text"));
        key
    }

    #[inline]
    fn is(&self, key: i32, text: &[u8]) -> bool {
        (key as usize) < self.ends.len() && value(&self.ends, &self.bytes, key) == text
    }

    /// The column.
    pub(crate) fn finish(mut self) -> ArrayRef {
        let keys = if self.keys.is_empty() {
            Int32Array::new_null(self.len)
        } else {
            Int32Array::new(ScalarBuffer::from(self.keys), self.nulls.finish())
        };
        let mut offsets = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.extend(self.ends);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let values = StringArray::new(offsets, Buffer::from_vec(self.bytes), None);
        Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::new(values)))
    }
}

fn value<'a>(ends: &[i32], bytes: &'a [u8], key: i32) -> &'a [u8] {
    let key = key as usize;
    let start = if key == 0 { 0 } else { ends[key - 1] as usize };
    &bytes[start..ends[key] as usize]
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array as _, AsArray as _};
    use proptest::prelude::*;

    use super::*;

    fn texts(array: &ArrayRef) -> Vec<Option<String>> {
        let dictionary = array.as_dictionary::<Int32Type>();
        let typed = dictionary.downcast_dict::<StringArray>().expect("of text");
        typed.into_iter().map(|text| text.map(str::to_owned)).collect()
    }

    proptest! {
        /// Whatever repeats whenever, rows say what they said, and the dictionary has each text once.
        #[test]
        fn rows_are_what_was_appended(
            rows in prop::collection::vec(prop::option::weighted(0.7, "[ab]{0,2}"), 0..200),
        ) {
            let mut builder = DictionaryBuilder::new(3);
            for text in &rows {
                builder.append(text.as_deref());
            }
            let array = builder.finish();
            prop_assert_eq!(texts(&array), rows.clone());
            let mut distinct: Vec<_> = rows.into_iter().flatten().collect();
            distinct.sort();
            distinct.dedup();
            prop_assert_eq!(array.as_dictionary::<Int32Type>().values().len(), distinct.len());
        }
    }
}
