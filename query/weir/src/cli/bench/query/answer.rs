//! Answers as values, and whether two engines said the same.

use anyhow::bail;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use serde_json::Value;

/// Percentiles are each engine's own approximation, and of few rows one draws from them, another goes between two of them: so
/// far apart they may be, as a part of the larger.
const PERCENTILES_APART: f64 = 0.5;
/// Real numbers are added in different orders.
const REALS_APART: f64 = 1e-6;

/// One column of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) is_time: bool,
}

/// Our answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) columns: Vec<Column>,
    /// Times are UTC nanoseconds.
    pub(super) rows: Vec<Vec<Value>>,
}

impl Answer {
    /// The rows of `batches`.
    pub(super) fn of(batches: &[RecordBatch]) -> anyhow::Result<Answer> {
        let mut answer = Answer::default();
        for batch in batches {
            if answer.columns.is_empty() {
                let fields = batch.schema_ref().fields().iter();
                answer.columns = fields
                    .map(|field| Column {
                        name: field.name().clone(),
                        is_time: matches!(field.data_type(), DataType::Timestamp(_, _)),
                    })
                    .collect();
            }
            let columns = batch.columns().iter().map(plain).collect::<anyhow::Result<Vec<_>>>()?;
            for row in 0..batch.num_rows() {
                answer.rows.push(columns.iter().map(|column| value(column, row)).collect());
            }
        }
        Ok(answer)
    }

    /// Whether a rival said the same, row by row.
    ///
    /// # Errors
    /// The first difference.
    pub(super) fn compare(&self, theirs: &[Vec<Value>]) -> anyhow::Result<()> {
        if self.rows.is_empty() {
            bail!("no rows: a question that finds nothing measures nothing");
        }
        for (number, (ours, theirs)) in self.rows.iter().zip(theirs).enumerate() {
            let is_same = ours.len() == theirs.len()
                && self.columns.iter().zip(ours.iter().zip(theirs)).all(|(column, (ours, theirs))| {
                    if column.is_time { same_time(ours, theirs) } else { same(&column.name, ours, theirs) }
                });
            if !is_same {
                bail!("row {number}: Weir says {ours:?}, the other {theirs:?}");
            }
        }
        if self.rows.len() != theirs.len() {
            bail!("Weir has {} rows, the other {}", self.rows.len(), theirs.len());
        }
        Ok(())
    }
}

/// As one of the types that [`value`] knows.
fn plain(column: &ArrayRef) -> anyhow::Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Timestamp(_, _) => {
            let ns = cast(column, &DataType::Timestamp(TimeUnit::Nanosecond, None))?;
            cast(&ns, &DataType::Int64)?
        }
        kind if kind.is_integer() => cast(column, &DataType::Int64)?,
        kind if kind.is_floating() => cast(column, &DataType::Float64)?,
        _ => cast(column, &DataType::Utf8)?,
    })
}

fn value(column: &ArrayRef, row: usize) -> Value {
    match column.data_type() {
        _ if column.is_null(row) => Value::Null,
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        _ => column.as_string::<i32>().value(row).into(),
    }
}

/// A rival has seconds where it cut a time to minutes, and one of them keeps microseconds.
fn same_time(ours: &Value, theirs: &Value) -> bool {
    match (ours.as_i64(), theirs.as_i64()) {
        (Some(ours), Some(theirs)) if theirs < 100_000_000_000 => ours == theirs * 1_000_000_000,
        (Some(ours), Some(theirs)) => (ours - theirs).abs() < 1_000,
        _ => ours.is_null() && theirs.is_null(),
    }
}

fn same(name: &str, ours: &Value, theirs: &Value) -> bool {
    if let (Some(ours), Some(theirs)) = (ours.as_i64(), theirs.as_i64())
        && !name.starts_with("p95")
    {
        return ours == theirs;
    }
    match (ours.as_f64(), theirs.as_f64()) {
        (Some(ours), Some(theirs)) => {
            let apart = if name.starts_with("p95") { PERCENTILES_APART } else { REALS_APART };
            (ours - theirs).abs() <= apart * ours.abs().max(theirs.abs())
        }
        (None, None) => text(ours) == text(theirs),
        _ => false,
    }
}

/// ClickHouse's users write no text where others write null.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(column: &str, is_time: bool, ours: Value, theirs: Value) -> bool {
        let columns = vec![Column { name: column.to_owned(), is_time }];
        Answer { columns, rows: vec![vec![ours]] }.compare(&[vec![theirs]]).is_ok()
    }

    #[test]
    fn only_what_means_the_same_is_the_same() {
        assert!(check("flows", false, json!(7), json!(7)));
        assert!(!check("flows", false, json!(10_000_000), json!(10_000_001)), "whole numbers are exact");
        assert!(check("rtt", false, json!(1.000_000_1), json!(1.0)));
        assert!(!check("rtt", false, json!(1.1), json!(1.0)));
        assert!(check("p95_us", false, json!(110), json!(100)));
        assert!(!check("p95_us", false, json!(210), json!(100)));
        assert!(check("pod", false, Value::Null, json!("")));
        assert!(!check("pod", false, json!("a"), json!("b")));
        assert!(!check("pod", false, json!("1"), json!(1)));
        let ns = 1_794_960_060_000_000_000_i64;
        assert!(check("minute", true, json!(ns), json!(1_794_960_060)));
        assert!(check("time", true, json!(ns + 999), json!(ns)));
        assert!(!check("time", true, json!(ns + 1_000), json!(ns)));
        assert!(!check("time", true, json!(ns), Value::Null));
    }

    #[test]
    fn rows_that_are_missing_or_out_of_order_are_told() {
        let columns = vec![Column { name: "n".to_owned(), is_time: false }];
        let answer = Answer { columns, rows: vec![vec![json!(1)], vec![json!(2)]] };
        let error = |theirs: &[Vec<Value>]| answer.compare(theirs).unwrap_err().to_string();
        assert!(error(&[vec![json!(1)]]).contains("2 rows, the other 1"));
        assert!(error(&[vec![json!(2)], vec![json!(1)]]).contains("row 0"));
        assert!(Answer::default().compare(&[]).is_err(), "nothing found is no success");
    }
}
