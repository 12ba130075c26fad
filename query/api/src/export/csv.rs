//! CSV (RFC 4180): plain values as they are, lists and maps as JSON text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::csv::WriterBuilder;
use arrow::datatypes::{DataType, Field, Schema};
use axum::body::Bytes;

use crate::encode;

/// The rows of a batch, after a header line where one is wanted.
pub(crate) fn chunk(batch: &RecordBatch, wants_header: bool) -> Result<Bytes, std::io::Error> {
    let flat = flat(batch).map_err(std::io::Error::other)?;
    let mut text = Vec::new();
    let mut writer = WriterBuilder::new().with_header(wants_header).build(&mut text);
    writer.write(&flat).map_err(std::io::Error::other)?;
    drop(writer);
    Ok(text.into())
}

fn flat(batch: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    let schema = batch.schema();
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if matches!(
            column.data_type(),
            DataType::List(_) | DataType::LargeList(_) | DataType::Map(_, _) | DataType::Struct(_)
        ) {
            let texts: StringArray = encode::values(column)
                .into_iter()
                .map(|value| (!value.is_null()).then(|| value.to_string()))
                .collect();
            fields.push(Field::new(field.name(), DataType::Utf8, true));
            columns.push(Arc::new(texts));
        } else {
            fields.push(field.as_ref().clone());
            columns.push(column.clone());
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

#[cfg(test)]
mod tests {
    use weir_model::{Row, TlsHandshakeRow};

    use super::*;

    #[test]
    fn a_handshake_with_lists_fits_into_a_line() {
        let row = TlsHandshakeRow {
            time: 1,
            tls_sni: Some("a,b".into()),
            tls_alpn_offered: vec!["h2".into()],
            ..TlsHandshakeRow::default()
        };
        let text = chunk(&TlsHandshakeRow::to_batch(&[row]), true).expect("CSV");
        let text = String::from_utf8(text.to_vec()).expect("UTF-8");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("time,"), "{text}");
        assert!(lines[1].starts_with("1970-01-01T00:00:00.000000001Z"), "{text}");
        assert!(lines[1].contains("\"a,b\"") && lines[1].contains(r#""[""h2""]""#), "{text}");
    }
}
