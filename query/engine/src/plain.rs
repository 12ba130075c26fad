//! The types of text: views while a question is worked on, plain text in the answer, which every reader of Arrow and
//! of the other formats understands.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use weir_model::Table;

/// A table's schema with views for all text.
pub(crate) fn viewed(table: &'static Table) -> SchemaRef {
    views(&table.schema())
}

/// The same of any columns.
pub(crate) fn views(stored: &SchemaRef) -> SchemaRef {
    let fields = stored.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 | DataType::Dictionary(_, _) => retyped(field, DataType::Utf8View),
        _ => field.clone(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The schema of an answer whose plan has `schema`.
pub(crate) fn answered(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match plain(field.data_type()) {
        Some(kind) => retyped(field, kind),
        None => field.clone(),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// A batch of a plan as one of the answer.
pub(crate) fn answer(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if batch.schema_ref() == schema {
        return Ok(batch);
    }
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() {
            return Ok(column.clone());
        }
        cast(column, field.data_type())
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}

/// What a type is called in SQL, for people.
pub fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Dictionary(_, value) => type_name(value),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".to_owned(),
        DataType::Timestamp(_, _) => "TIMESTAMP".to_owned(),
        DataType::Int64 | DataType::UInt64 => "BIGINT".to_owned(),
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => "INTEGER".to_owned(),
        DataType::Float32 | DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::List(item) => format!("{}[]", type_name(item.data_type())),
        DataType::Map(_, _) => "MAP(VARCHAR, VARCHAR)".to_owned(),
        other => other.to_string(),
    }
}

fn plain(kind: &DataType) -> Option<DataType> {
    match kind {
        DataType::Utf8View => Some(DataType::Utf8),
        DataType::BinaryView => Some(DataType::Binary),
        DataType::List(item) => plain(item.data_type()).map(|inner| DataType::List(retyped(item, inner))),
        _ => None,
    }
}

fn retyped(field: &Arc<Field>, kind: DataType) -> Arc<Field> {
    Arc::new(field.as_ref().clone().with_data_type(kind))
}
