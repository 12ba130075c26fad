//! Which files a time range can touch: the catalog knows each file's earliest and latest row.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, TimestampNanosecondArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use weir_store::Segment;

/// The segments that may hold a row for which `predicate` is true; `time` is the column that the catalog knows.
pub(crate) fn by_time<'a>(
    segments: &'a [Segment],
    predicate: Option<&Arc<dyn PhysicalExpr>>,
    time: &'static str,
    schema: &SchemaRef,
) -> Result<Vec<&'a Segment>> {
    let Some(predicate) = predicate else { return Ok(segments.iter().collect()) };
    let builder = PruningPredicateBuilder::new().with_file_schema(schema.clone());
    let Ok(pruning) = builder.try_build(predicate.clone()) else {
        // A predicate that says nothing of columns' ranges prunes nothing.
        return Ok(segments.iter().collect());
    };
    let kept = pruning.prune(&Times { segments, time })?;
    Ok(segments.iter().zip(kept).filter_map(|(segment, keep)| keep.then_some(segment)).collect())
}

struct Times<'a> {
    segments: &'a [Segment],
    time: &'static str,
}

impl Times<'_> {
    fn column(&self, column: &Column, value: impl Fn(&Segment) -> i64) -> Option<ArrayRef> {
        if column.name != self.time {
            return None;
        }
        let times = TimestampNanosecondArray::from_iter_values(self.segments.iter().map(value));
        Some(Arc::new(times.with_timezone("UTC")))
    }
}

impl PruningStatistics for Times<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.column(column, |segment| segment.min_time)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.column(column, |segment| segment.max_time)
    }

    fn num_containers(&self) -> usize {
        self.segments.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        // A row's own time is never null; of other columns the catalog knows nothing.
        (column.name == self.time)
            .then(|| Arc::new(UInt64Array::from(vec![0; self.segments.len()])) as ArrayRef)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.segments.iter().map(|segment| segment.rows).collect::<UInt64Array>()))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
