//! How many different texts each group has: each text is kept once and has a number, and a group has a set of numbers.
//!
//! What a part of the rows adds up to is handed on as a list for each group, of numbers into a dictionary of all texts: the
//! same text is in many groups.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Int64Array, ListArray, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{and, cast, filter, is_not_null, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, FieldRef, UInt32Type};
use datafusion::common::{Result, ScalarValue, not_impl_err, resources_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use datafusion::physical_expr_common::binary_map::OutputType;
use datafusion::physical_expr_common::binary_view_map::ArrowBytesViewMap;

use super::ids::Ids;

/// `count(DISTINCT text)` by groups.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct DistinctTexts {
    signature: Signature,
}

impl DistinctTexts {
    pub(super) fn new() -> DistinctTexts {
        DistinctTexts { signature: Signature::uniform(1, vec![DataType::Utf8View], Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for DistinctTexts {
    fn name(&self) -> &'static str {
        "count_distinct_texts"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, _kind: &DataType) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(0)))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let name = format_state_name(args.name, "texts");
        Ok(vec![Arc::new(Field::new(name, DataType::List(item()), false))])
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("only groups are counted so")
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Counting::new()))
    }
}

fn item() -> FieldRef {
    let texts = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
    Arc::new(Field::new_list_field(texts, true))
}

/// Lists of these lengths, of texts by their places.
fn lists(
    lengths: impl ExactSizeIterator<Item = usize>,
    places: Vec<u32>,
    texts: &ArrayRef,
) -> Result<ArrayRef> {
    let texts = cast(texts, &DataType::Utf8)?;
    let items = DictionaryArray::try_new(UInt32Array::from(places), texts)?;
    Ok(Arc::new(ListArray::try_new(item(), OffsetBuffer::from_lengths(lengths), Arc::new(items), None)?))
}

/// Texts and their numbers, and which ones each group has.
struct Counting {
    texts: ArrowBytesViewMap<u32>,
    groups: Vec<Ids>,
    /// What the groups' sets take beside themselves.
    heap_bytes: usize,
    /// Numbers of the texts of one batch; kept for its room.
    numbers: Vec<u32>,
    /// Whether parts of others came in: then the counts are what is wanted next.
    merges: bool,
}

impl Counting {
    fn new() -> Counting {
        let texts = ArrowBytesViewMap::new(OutputType::Utf8View);
        Counting { texts, groups: Vec::new(), heap_bytes: 0, numbers: Vec::new(), merges: false }
    }

    /// Finds each text's number.
    fn number(&mut self, texts: &ArrayRef) {
        self.numbers.clear();
        let mut next = self.texts.len() as u32;
        let of_new = |_: Option<&[u8]>| {
            next += 1;
            next - 1
        };
        self.texts.insert_if_new(texts, of_new, |number| self.numbers.push(number));
    }

    fn add(&mut self, group: usize, number: u32) {
        let all = self.texts.len();
        let ids = &mut self.groups[group];
        let before = ids.heap_bytes();
        ids.insert(number, all);
        self.heap_bytes = self.heap_bytes + ids.heap_bytes() - before;
    }

    fn emitted(&mut self, emit_to: EmitTo) -> Vec<Ids> {
        let emitted = emit_to.take_needed(&mut self.groups);
        self.heap_bytes -= emitted.iter().map(Ids::heap_bytes).sum::<usize>();
        emitted
    }

    /// All texts, by their numbers. They stay known where groups stay.
    fn all_texts(&mut self) -> ArrayRef {
        let texts = self.texts.take().into_state();
        if !self.groups.is_empty() {
            self.number(&texts);
        }
        texts
    }
}

impl GroupsAccumulator for Counting {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize_with(total_num_groups, Ids::default);
        self.number(&values[0]);
        let numbers = std::mem::take(&mut self.numbers);
        if values[0].null_count() == 0 && opt_filter.is_none() {
            for (group, number) in group_indices.iter().zip(&numbers) {
                self.add(*group, *number);
            }
        } else {
            let counts = |row: usize| {
                let passes = |filter: &BooleanArray| filter.is_valid(row) && filter.value(row);
                values[0].is_valid(row) && opt_filter.is_none_or(passes)
            };
            for (row, (group, number)) in group_indices.iter().zip(&numbers).enumerate() {
                if counts(row) {
                    self.add(*group, *number);
                }
            }
        }
        self.numbers = numbers;
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let counts = self.emitted(emit_to).into_iter().map(|ids| ids.len() as i64);
        let counts = Int64Array::from_iter_values(counts);
        if self.groups.is_empty() {
            self.texts.take();
        }
        Ok(Arc::new(counts))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        if self.merges {
            // It is to be spilled, group by group with all of its texts, which takes more memory once more. Asked again, the
            // question is worked on in the way that can spill.
            return resources_err!("sets of {} texts don't fit into memory", self.texts.len());
        }
        let groups = self.emitted(emit_to);
        let mut numbers = Vec::with_capacity(groups.iter().map(Ids::len).sum());
        for ids in &groups {
            ids.for_each(|id| numbers.push(id));
        }
        Ok(vec![lists(groups.iter().map(Ids::len), numbers, &self.all_texts())?])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.merges = true;
        self.groups.resize_with(total_num_groups, Ids::default);
        let lists = values[0].as_list::<i32>();
        let items = lists.values().as_dictionary::<UInt32Type>();
        self.number(&cast(items.values(), &DataType::Utf8View)?);
        let numbers = std::mem::take(&mut self.numbers);
        let places = items.keys().values();
        for (list, group) in lists.offsets().windows(2).zip(group_indices) {
            for place in &places[list[0] as usize..list[1] as usize] {
                self.add(*group, numbers[*place as usize]);
            }
        }
        self.numbers = numbers;
        Ok(())
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let mut counts = is_not_null(&values[0])?;
        if let Some(passes) = opt_filter {
            counts = and(&counts, &prep_null_mask_filter(passes))?;
        }
        let lengths: Vec<usize> = counts.values().iter().map(usize::from).collect();
        let texts = filter(&values[0], &counts)?;
        Ok(vec![lists(lengths.into_iter(), (0..texts.len() as u32).collect(), &texts)?])
    }

    fn size(&self) -> usize {
        self.texts.size()
            + self.groups.capacity() * size_of::<Ids>()
            + self.heap_bytes
            + self.numbers.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::StringViewArray;

    use super::*;

    fn texts(texts: &[Option<&str>]) -> ArrayRef {
        Arc::new(texts.iter().copied().collect::<StringViewArray>())
    }

    fn counts(counts: &ArrayRef) -> Vec<i64> {
        counts.as_primitive::<arrow::datatypes::Int64Type>().values().to_vec()
    }

    const LONG: &str = "a text that is too long to be part of its view";

    #[test]
    fn texts_count_once_for_each_group_and_nothing_counts_for_none() {
        let mut counting = Counting::new();
        let rows = texts(&[Some("a"), Some(LONG), None, Some("a"), Some(LONG), Some("b")]);
        counting.update_batch(std::slice::from_ref(&rows), &[0, 0, 0, 0, 1, 2], None, 4).expect("counted");
        let passes =
            BooleanArray::from(vec![Some(false), Some(true), Some(true), None, Some(true), Some(true)]);
        counting.update_batch(&[rows], &[3, 3, 3, 3, 1, 0], Some(&passes), 4).expect("counted");
        assert_eq!(counts(&counting.evaluate(EmitTo::First(1)).expect("counts")), [3]);
        assert_eq!(counts(&counting.evaluate(EmitTo::All).expect("counts")), [1, 1, 1]);
        assert_eq!(counting.heap_bytes, 0);
    }

    #[test]
    fn parts_that_are_merged_count_as_the_whole_does() {
        let rows: Vec<String> =
            (0..3_000).map(|row| format!("{}{}", row % 700, if row % 2 == 0 { LONG } else { "" })).collect();
        let rows: Vec<Option<&str>> = rows.iter().map(|row| Some(row.as_str())).collect();
        let groups: Vec<usize> = (0..3_000).map(|row| row % 3).collect();
        let mut whole = Counting::new();
        whole.update_batch(&[texts(&rows)], &groups, None, 3).expect("counted");
        let mut merged = Counting::new();
        for part in [0..1_000, 1_000..3_000] {
            let mut counting = Counting::new();
            counting.update_batch(&[texts(&rows[part.clone()])], &groups[part], None, 3).expect("counted");
            let first = counting.state(EmitTo::First(2)).expect("a state");
            merged.merge_batch(&first, &[0, 1], 3).expect("merged");
            let rest = counting.state(EmitTo::All).expect("a state");
            merged.merge_batch(&rest, &[2], 3).expect("merged");
        }
        let singles =
            merged.convert_to_state(&[texts(&[Some("7"), None, Some("new")])], None).expect("a state");
        merged.merge_batch(&[singles[0].slice(1, 2)], &[0, 1], 3).expect("merged");
        let whole = counts(&whole.evaluate(EmitTo::All).expect("counts"));
        let merged = counts(&merged.evaluate(EmitTo::All).expect("counts"));
        assert_eq!(merged, [whole[0], whole[1] + 1, whole[2]]);
    }
}
