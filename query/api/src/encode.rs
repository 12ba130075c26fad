//! Arrow values as JSON: 64-bit integers that JavaScript can't hold are text, times are RFC 3339 with nanoseconds.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::array_value_to_string;
use axum::body::Bytes;
use serde::Serialize;
use serde_json::{Map, Number, Value};

use crate::times;

/// 2^53 − 1: the largest integer that every JSON reader keeps.
const SAFE: i64 = (1 << 53) - 1;

/// Every row as an array of values.
pub(crate) fn rows(batches: &[RecordBatch]) -> Vec<Value> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayRef> = batch.columns().iter().map(plain).collect();
        for row in 0..batch.num_rows() {
            rows.push(Value::Array(columns.iter().map(|column| value(column, row)).collect()));
        }
    }
    rows
}

/// Every row as an object; nulls are left out where `sparse`.
pub(crate) fn objects(batch: &RecordBatch, sparse: bool) -> Vec<Map<String, Value>> {
    let schema = batch.schema();
    let columns: Vec<ArrayRef> = batch.columns().iter().map(plain).collect();
    let object = |row| {
        let mut object = Map::new();
        for (field, column) in schema.fields().iter().zip(&columns) {
            let value = value(column, row);
            if !(sparse && (value.is_null() || value == Value::Array(Vec::new()))) {
                object.insert(field.name().clone(), value);
            }
        }
        object
    };
    (0..batch.num_rows()).map(object).collect()
}

/// One JSON text a line.
pub(crate) fn lines<T: Serialize>(values: impl IntoIterator<Item = T>) -> std::io::Result<Bytes> {
    let mut text = Vec::new();
    for value in values {
        serde_json::to_writer(&mut text, &value)?;
        text.push(b'\n');
    }
    Ok(text.into())
}

/// One column's values.
pub(crate) fn values(array: &ArrayRef) -> Vec<Value> {
    let array = plain(array);
    (0..array.len()).map(|row| value(&array, row)).collect()
}

/// Dictionaries and views unpacked, so that each value is read in one step.
fn plain(array: &ArrayRef) -> ArrayRef {
    let wanted = match array.data_type() {
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        DataType::Utf8View => DataType::Utf8,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
        _ => return array.clone(),
    };
    cast(array, &wanted).unwrap_or_else(|_| array.clone())
}

fn value(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => integer(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => {
            let value = array.as_primitive::<UInt64Type>().value(row);
            if value <= SAFE as u64 { value.into() } else { value.to_string().into() }
        }
        DataType::Float32 => float(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            times::text(array.as_primitive::<arrow::datatypes::TimestampNanosecondType>().value(row)).into()
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row)),
        DataType::Struct(fields) => {
            let parts = array.as_struct();
            let part =
                |(index, name): (usize, &String)| (name.clone(), value(&plain(parts.column(index)), row));
            Value::Object(fields.iter().map(|field| field.name()).enumerate().map(part).collect())
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (plain(entries.column(0)), plain(entries.column(1)));
            let pair = |row| {
                let key = match value(&keys, row) {
                    Value::String(key) => key,
                    other => other.to_string(),
                };
                (key, value(&values, row))
            };
            Value::Object((0..entries.len()).map(pair).collect())
        }
        _ => array_value_to_string(array, row).map_or(Value::Null, Value::String),
    }
}

fn list(items: &ArrayRef) -> Value {
    Value::Array(values(items))
}

fn integer(value: i64) -> Value {
    if value.abs() <= SAFE { value.into() } else { value.to_string().into() }
}

fn float(value: f64) -> Value {
    // JSON has no NaN and no infinity; their names say more than a null.
    Number::from_f64(value).map_or_else(|| Value::String(value.to_string()), Value::Number)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, TimestampNanosecondArray};

    use super::*;

    #[test]
    fn what_javascript_cannot_hold_is_text() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(SAFE), Some(SAFE + 1), None]));
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1, 2, 3]).with_timezone("UTC"));
        let batch = RecordBatch::try_from_iter([("n", numbers), ("t", times)]).expect("a batch");
        let rows = rows(&[batch]);
        assert_eq!(rows[0][0], serde_json::json!(9_007_199_254_740_991_i64));
        assert_eq!(rows[1][0], serde_json::json!("9007199254740992"));
        assert_eq!(rows[2][0], Value::Null);
        assert_eq!(rows[0][1], serde_json::json!("1970-01-01T00:00:00.000000001Z"));
    }
}
