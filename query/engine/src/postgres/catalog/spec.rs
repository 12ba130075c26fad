//! Tables written as text: `"oid:o relname:n"` is one of two columns, of which the letter tells the type. What a row doesn't say
//! is zero, false or NULL.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int16Array, Int32Array, Int64Array, RecordBatch, StringArray,
    new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;

/// A value of a row.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Number(i64),
    Text(String),
    Bool(bool),
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Number(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Text(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

/// What rows say, by column.
pub(super) type Rows = Vec<HashMap<&'static str, Value>>;

/// The columns.
pub(super) fn schema(spec: &str) -> SchemaRef {
    let fields = spec.split_whitespace().map(|column| {
        let (name, letter) = column.split_once(':').unwrap_or((column, "t"));
        let kind = match letter {
            "o" | "8" => DataType::Int64,
            "4" => DataType::Int32,
            "2" => DataType::Int16,
            "f" => DataType::Float32,
            "b" => DataType::Boolean,
            "T" => DataType::new_list(DataType::Utf8, true),
            "O" => DataType::new_list(DataType::Int64, true),
            "I" => DataType::new_list(DataType::Int16, true),
            _ => DataType::Utf8,
        };
        let told = match letter {
            "o" => "oid",
            "n" => "name",
            _ => return Field::new(name, kind, true),
        };
        Field::new(name, kind, true).with_metadata([("postgres".to_owned(), told.to_owned())].into())
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The table.
pub(super) fn batch(spec: &str, rows: &Rows) -> Result<RecordBatch> {
    let schema = schema(spec);
    let columns = schema.fields().iter().map(|field| column(field, rows)).collect();
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn column(field: &Field, rows: &Rows) -> ArrayRef {
    let values = rows.iter().map(|row| row.get(field.name().as_str()));
    let numbers = values.clone().map(|value| match value {
        Some(Value::Number(number)) => *number,
        _ => 0,
    });
    match field.data_type() {
        DataType::Int64 => Arc::new(Int64Array::from_iter_values(numbers)),
        DataType::Int32 => Arc::new(Int32Array::from_iter_values(numbers.map(|number| number as i32))),
        DataType::Int16 => Arc::new(Int16Array::from_iter_values(numbers.map(|number| number as i16))),
        DataType::Float32 => Arc::new(Float32Array::from_iter_values(numbers.map(|number| number as f32))),
        DataType::Boolean => Arc::new(
            values.map(|value| Some(matches!(value, Some(Value::Bool(true))))).collect::<BooleanArray>(),
        ),
        DataType::Utf8 => {
            let texts = values.map(|value| match value {
                Some(Value::Text(text)) => Some(text.as_str()),
                _ => None,
            });
            Arc::new(texts.collect::<StringArray>())
        }
        kind => new_null_array(kind, rows.len()),
    }
}
