//! Batches that own what they show.
//!
//! Rows in memory come in as many batches as there were appends, often of a few rows; their text points into buffers that
//! many batches share, such as a message as it arrived, and columns that say nothing share one buffer with every other.
//! Operators that keep batches (sorting, joining) count each one's buffers whole: a few thousand rows would be refused as a
//! hundred megabytes. So what passed the filter is copied here, into batches of a sensible size whose buffers hold their
//! rows and nothing else: then what is counted is what there is.

use std::fmt::Formatter;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{BatchCoalescer, take};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};

/// About what a batch takes: a sort that keeps some rows of each of its batches keeps little.
const BATCH_BYTES: usize = 1 << 20;
/// Rows of a batch: as many as operators work on best, and never so few that there are more batches than work.
const ROWS: (usize, usize) = (256, 8_192);
/// What a text takes beside its view, and a list, about: most are short, or none.
const TEXT_BYTES: usize = 8;
/// A column is copied when it holds more than this many times its own bytes, and this many besides.
const WASTE: (usize, usize) = (2, 1 << 10);

/// Copies its input into batches that own their rows.
#[derive(Debug)]
pub(crate) struct CompactExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl CompactExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>) -> CompactExec {
        // Partitions, their order and their end stay as they are.
        let properties = input.properties().clone();
        CompactExec { input, properties, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl DisplayAs for CompactExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "CompactExec")
    }
}

impl ExecutionPlan for CompactExec {
    fn name(&self) -> &'static str {
        "CompactExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    /// It does, and says that it doesn't: a sort would be moved below it, to the batches that it is there to copy.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop().filter(|_| children.is_empty()) else {
            return internal_err!("CompactExec has one input");
        };
        Ok(Arc::new(CompactExec::new(input)))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.input.schema();
        let rows = rows_of(&schema).min(context.session_config().batch_size());
        let is_narrow = rows == ROWS.1;
        Ok(Box::pin(Compacted {
            input: Some(self.input.execute(partition, context)?),
            // What is large enough goes on as it is, unless it is too large.
            gathered: BatchCoalescer::new(schema.clone(), rows)
                .with_biggest_coalesce_batch_size(is_narrow.then_some(rows / 2)),
            schema,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(inputs[0].clone())
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// How many rows make a batch of about [`BATCH_BYTES`].
fn rows_of(schema: &Schema) -> usize {
    (BATCH_BYTES / row_bytes(schema)).clamp(ROWS.0, ROWS.1)
}

/// What a row takes, about.
pub(crate) fn row_bytes(schema: &Schema) -> usize {
    let width = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Boolean => 1,
        kind => kind.primitive_width().unwrap_or(16 + TEXT_BYTES),
    });
    width.sum::<usize>().max(1)
}

struct Compacted {
    /// `None` once it has ended.
    input: Option<SendableRecordBatchStream>,
    gathered: BatchCoalescer,
    schema: SchemaRef,
    metrics: BaselineMetrics,
}

impl Compacted {
    fn poll_compacted(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        loop {
            if let Some(batch) = self.gathered.next_completed_batch() {
                let _timer = self.metrics.elapsed_compute().timer();
                return Poll::Ready(Some(owned(&batch)));
            }
            let Some(input) = &mut self.input else { return Poll::Ready(None) };
            let next = ready!(input.poll_next_unpin(context)).transpose()?;
            let _timer = self.metrics.elapsed_compute().timer();
            if let Some(batch) = next {
                self.gathered.push_batch(batch)?;
            } else {
                self.input = None;
                self.gathered.finish_buffered_batch()?;
            }
        }
    }
}

impl Stream for Compacted {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        let next = self.poll_compacted(context);
        self.metrics.record_poll(next)
    }
}

impl RecordBatchStream for Compacted {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// The same rows, in buffers that hold nothing else.
fn owned(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(own).collect::<Result<Vec<_>>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
}

fn own(column: &ArrayRef) -> Result<ArrayRef> {
    let is_wasteful = |own: usize| column.get_buffer_memory_size() > WASTE.0 * own + WASTE.1;
    if let Some(views) = column.as_string_view_opt() {
        let own = views.len() * 16 + views.total_buffer_bytes_used();
        return Ok(if is_wasteful(own) { Arc::new(views.gc()) } else { column.clone() });
    }
    if !is_wasteful(column.to_data().get_slice_memory_size()?) {
        return Ok(column.clone());
    }
    let rows = UInt32Array::from_iter_values(0..column.len() as u32);
    Ok(take(column, &rows, None)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};

    use super::*;

    #[test]
    fn a_few_rows_of_a_large_buffer_become_small() {
        let texts = (0..10_000).map(|row| format!("a text that is too long to be inlined, number {row}"));
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_000));
        let whole = RecordBatch::try_from_iter([("text", texts), ("number", numbers)]).expect("a batch");
        let part = whole.slice(5_000, 10);
        let small = owned(&part).expect("a batch");
        assert_eq!(small, part);
        let bytes = small.get_array_memory_size();
        assert!(bytes < 4_000, "{bytes} bytes of {}", whole.get_array_memory_size());
    }

    #[test]
    fn wide_rows_make_short_batches() {
        let table = |columns: &[&'static str]| {
            let viewed = crate::plain::viewed(&weir_model::tables::FLOWS);
            let columns = columns.iter().map(|name| viewed.index_of(name).expect("a column"));
            viewed.project(&columns.collect::<Vec<_>>()).expect("columns")
        };
        assert_eq!(rows_of(&table(&["time", "client_bytes"])), ROWS.1);
        let whole = rows_of(&crate::plain::viewed(&weir_model::tables::FLOWS));
        assert!((ROWS.0..2_000).contains(&whole), "{whole}");
    }
}
