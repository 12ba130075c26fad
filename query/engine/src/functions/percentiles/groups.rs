//! A sketch for each group, filled from columns of values and from columns of others' sketches.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Float64Builder, Int64Builder, ListBuilder,
};
use arrow::datatypes::{Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use super::sketch::Sketch;

/// The sketches of all groups.
#[derive(Debug)]
pub(super) struct Groups {
    share: f64,
    sketches: Vec<Sketch>,
}

impl Groups {
    pub(super) fn new(share: f64) -> Groups {
        Groups { share, sketches: Vec::new() }
    }
}

/// Sketches as two columns: the values of those with few, bins and counts by turns of those with many.
fn state(sketches: Vec<Sketch>) -> Vec<ArrayRef> {
    let mut values = ListBuilder::new(Float64Builder::new());
    let mut bins = ListBuilder::new(Int64Builder::new());
    for sketch in sketches {
        match sketch {
            Sketch::Few(few) => values.values().append_slice(&few),
            Sketch::Many(many) => {
                for (bin, count) in many {
                    bins.values().append_slice(&[bin, count as i64]);
                }
            }
        }
        values.append(true);
        bins.append(true);
    }
    vec![Arc::new(values.finish()), Arc::new(bins.finish())]
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.sketches.resize_with(count, Sketch::default);
        let values = values[0].as_primitive::<Float64Type>();
        for (row, group) in groups.iter().enumerate() {
            if values.is_valid(row) && passes(filter, row) {
                self.sketches[*group].add(values.value(row));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let share = self.share;
        let taken = emit_to.take_needed(&mut self.sketches);
        let found = taken.into_iter().map(|mut sketch| sketch.percentile(share));
        Ok(Arc::new(found.collect::<Float64Array>()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(state(emit_to.take_needed(&mut self.sketches)))
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.sketches.resize_with(count, Sketch::default);
        let (values, bins) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        let all_values = values.values().as_primitive::<Float64Type>().values();
        let all_bins = bins.values().as_primitive::<Int64Type>().values();
        let within = |ends: &[i32], row: usize| ends[row] as usize..ends[row + 1] as usize;
        for (row, group) in groups.iter().enumerate() {
            let sketch = &mut self.sketches[*group];
            for value in &all_values[within(values.value_offsets(), row)] {
                sketch.add(*value);
            }
            for pair in all_bins[within(bins.value_offsets(), row)].chunks_exact(2) {
                sketch.add_bin(pair[0], pair[1] as u64);
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<Float64Type>();
        let each = (0..values.len()).map(|row| {
            let mut sketch = Sketch::default();
            if values.is_valid(row) && passes(filter, row) {
                sketch.add(values.value(row));
            }
            sketch
        });
        Ok(state(each.collect()))
    }

    fn size(&self) -> usize {
        let own = self.sketches.capacity() * size_of::<Sketch>();
        own + self.sketches.iter().map(Sketch::size).sum::<usize>()
    }
}

fn passes(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

/// All rows as one group.
#[derive(Debug)]
pub(super) struct Alone(pub(super) Groups);

impl Accumulator for Alone {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values, &vec![0; values[0].len()], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let share = self.0.share;
        Ok(ScalarValue::Float64(self.0.sketches.first_mut().and_then(|sketch| sketch.percentile(share))))
    }

    fn size(&self) -> usize {
        size_of::<Alone>() + self.0.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.sketches.resize_with(1, Sketch::default);
        let columns = state(self.0.sketches.clone());
        columns.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states, &vec![0; states[0].len()], 1)
    }
}
