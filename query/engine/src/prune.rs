//! Which files, and which of their row groups, a time range can touch: each one's earliest and latest row are known.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, TimestampNanosecondArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

/// Rows that lie together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// The earliest and the latest time, ns; `None`: not known.
    pub(crate) times: Option<(i64, i64)>,
    pub(crate) rows: u64,
}

/// Which of the spans may hold a row for which `predicate` is true; `time` is the column that they are known by.
pub(crate) fn by_time(
    spans: &[Span],
    predicate: Option<&Arc<dyn PhysicalExpr>>,
    time: &str,
    schema: &SchemaRef,
) -> Result<Vec<bool>> {
    let pruning = predicate.map(|predicate| {
        PruningPredicateBuilder::new().with_file_schema(schema.clone()).try_build(predicate.clone())
    });
    match pruning {
        Some(Ok(pruning)) => pruning.prune(&Times { spans, time }),
        // A predicate that says nothing of columns' ranges prunes nothing.
        Some(Err(_)) | None => Ok(vec![true; spans.len()]),
    }
}

struct Times<'a> {
    spans: &'a [Span],
    time: &'a str,
}

impl Times<'_> {
    fn column(&self, column: &Column, value: impl Fn((i64, i64)) -> i64) -> Option<ArrayRef> {
        if column.name != self.time {
            return None;
        }
        let times: TimestampNanosecondArray = self.spans.iter().map(|span| span.times.map(&value)).collect();
        Some(Arc::new(times.with_timezone("UTC")))
    }
}

impl PruningStatistics for Times<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.column(column, |(earliest, _)| earliest)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.column(column, |(_, latest)| latest)
    }

    fn num_containers(&self) -> usize {
        self.spans.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        // A row's own time is never null; of other columns nothing is known.
        (column.name == self.time).then(|| Arc::new(UInt64Array::from(vec![0; self.spans.len()])) as ArrayRef)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.spans.iter().map(|span| span.rows).collect::<UInt64Array>()))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
