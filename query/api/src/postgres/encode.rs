//! Rows of Arrow batches → `DataRow` messages, each value as text or binary as its column was asked for. Written straight into
//! what is sent: pgwire's own message would copy each row once more.

mod copy;
pub(super) mod numeric;
mod text;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use bytes::{BufMut, BytesMut};

use weir_query::postgres::{Scalar, Type};

use super::{EPOCH_DAYS, EPOCH_US};
use crate::encode::values;

pub(super) use copy::CopyForm;

/// How a column's values are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) kind: Type,
    pub(super) is_binary: bool,
}

/// What becomes of rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Each is a `DataRow`.
    Rows,
    /// Each is a `CopyData`.
    Copy(CopyForm),
    /// They are passed over.
    Nothing,
}

/// A batch, ready to be sent row by row.
pub(super) struct Rows {
    columns: Vec<(Column, ArrayRef)>,
    /// Rows there are.
    len: usize,
    /// Rows that were sent.
    sent: usize,
}

impl Rows {
    /// # Errors
    /// Where a column has no form in the type that it was told to have.
    pub(super) fn new(batch: &RecordBatch, columns: &[Column]) -> Result<Rows, ArrowError> {
        let arrays = columns
            .iter()
            .zip(batch.columns())
            .map(|(column, array)| Ok((*column, formed(array, column.kind)?)));
        Ok(Rows { columns: arrays.collect::<Result<_, ArrowError>>()?, len: batch.num_rows(), sent: 0 })
    }

    /// Says which columns of the rows that are left are binary.
    pub(super) fn in_form(&mut self, columns: &[Column]) {
        for ((column, _), told) in self.columns.iter_mut().zip(columns) {
            column.is_binary = told.is_binary;
        }
    }

    /// Rows that are left.
    pub(super) fn left(&self) -> usize {
        self.len - self.sent
    }

    /// Writes rows until `most` of them, all, or about `bytes` are there; gives how many.
    pub(super) fn write(&mut self, form: &mut Form, most: usize, bytes: usize, to: &mut BytesMut) -> usize {
        let from = self.sent;
        while self.sent < self.len && self.sent - from < most && to.len() < bytes {
            match form {
                Form::Rows => self.row(to),
                Form::Copy(form) => form.row(&self.columns, self.sent, to),
                Form::Nothing => {
                    self.sent += (most - (self.sent - from)).min(self.left());
                    break;
                }
            }
            self.sent += 1;
        }
        self.sent - from
    }

    /// Writes the next row.
    fn row(&self, to: &mut BytesMut) {
        to.put_u8(b'D');
        sized(to, |to| {
            to.put_u16(self.columns.len() as u16);
            for (column, array) in &self.columns {
                value(array, self.sent, *column, to);
            }
        });
    }
}

/// Writes what `write` does behind its length, which counts itself.
fn sized(to: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let at = to.len();
    to.put_i32(0);
    write(to);
    let length = (to.len() - at) as i32;
    to[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// The array in the one Arrow type in which values of this type are written.
fn formed(array: &ArrayRef, kind: Type) -> Result<ArrayRef, ArrowError> {
    if kind.scalar == Scalar::Json && !kind.is_list {
        let texts = values(array).into_iter().map(|value| (!value.is_null()).then(|| value.to_string()));
        return Ok(std::sync::Arc::new(texts.collect::<StringArray>()));
    }
    let wanted = kind.arrow();
    if *array.data_type() == wanted {
        return Ok(array.clone());
    }
    cast_with_options(array, &wanted, &CastOptions { safe: false, ..CastOptions::default() })
}

/// One value behind its length; −1 without a value.
fn value(array: &ArrayRef, row: usize, column: Column, to: &mut BytesMut) {
    if array.is_null(row) {
        return to.put_i32(-1);
    }
    let at = to.len();
    to.put_i32(0);
    match (column.kind.is_list, column.is_binary) {
        (true, true) => list(&array.as_list::<i32>().value(row), column.kind.scalar, to),
        (false, true) => binary(array, row, column.kind.scalar, to),
        (_, false) => written(array, row, column.kind, to),
    }
    let length = (to.len() - at - 4) as i32;
    to[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// A value that is there, as text.
fn written(array: &ArrayRef, row: usize, kind: Type, to: &mut BytesMut) {
    if kind.is_list {
        text::list(&array.as_list::<i32>().value(row), kind.scalar, to);
    } else {
        text::value(array, row, kind.scalar, to);
    }
}

/// A value as its type's binary form has it (`…send` of PostgreSQL's types).
fn binary(array: &ArrayRef, row: usize, kind: Scalar, to: &mut BytesMut) {
    match kind {
        Scalar::Bool => to.put_u8(array.as_boolean().value(row).into()),
        Scalar::Bytea => to.put_slice(array.as_binary::<i32>().value(row)),
        Scalar::Int2 => to.put_i16(array.as_primitive::<Int16Type>().value(row)),
        Scalar::Int4 => to.put_i32(array.as_primitive::<Int32Type>().value(row)),
        Scalar::Int8 => to.put_i64(array.as_primitive::<Int64Type>().value(row)),
        Scalar::Oid => to.put_u32(array.as_primitive::<Int64Type>().value(row) as u32),
        Scalar::Float4 => to.put_f32(array.as_primitive::<Float32Type>().value(row)),
        Scalar::Float8 => to.put_f64(array.as_primitive::<Float64Type>().value(row)),
        Scalar::Numeric => numeric::binary(array.as_string::<i32>().value(row), to),
        Scalar::Text | Scalar::Name | Scalar::Json => {
            to.put_slice(array.as_string::<i32>().value(row).as_bytes());
        }
        Scalar::Date => to.put_i32(array.as_primitive::<Date32Type>().value(row).saturating_sub(EPOCH_DAYS)),
        Scalar::Time => to.put_i64(array.as_primitive::<Time64MicrosecondType>().value(row)),
        Scalar::Timestamp | Scalar::Timestamptz => {
            to.put_i64(array.as_primitive::<TimestampMicrosecondType>().value(row).saturating_sub(EPOCH_US));
        }
        Scalar::Interval => {
            let span = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            to.put_i64(span.nanoseconds / 1_000);
            to.put_i32(span.days);
            to.put_i32(span.months);
        }
    }
}

/// A list of one dimension: how many dimensions, whether there are nulls, the type, the length, the first index, the values.
fn list(items: &ArrayRef, kind: Scalar, to: &mut BytesMut) {
    to.put_i32(i32::from(!items.is_empty()));
    to.put_i32(i32::from(items.null_count() > 0));
    to.put_u32(kind.oid());
    if items.is_empty() {
        return;
    }
    to.put_i32(items.len() as i32);
    to.put_i32(1);
    let column = Column { kind: Type { scalar: kind, is_list: false }, is_binary: true };
    for row in 0..items.len() {
        value(items, row, column, to);
    }
}

#[cfg(test)]
mod tests;
