//! A prepared statement's handle: its text, and the values that were bound. `length of the text: u32le | text | Arrow IPC
//! stream of one row`, the last part absent until values are bound.

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use tonic::Status;
use weir_query::{Question, ScalarValue};

/// A statement and its values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Handle {
    pub(super) text: String,
    /// One row.
    pub(super) values: Option<RecordBatch>,
}

impl Handle {
    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = (self.text.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(self.text.as_bytes());
        if let Some(values) = &self.values {
            // Into memory, of types that came as Arrow: it can't fail.
            if let Ok(mut writer) = StreamWriter::try_new(&mut bytes, &values.schema())
                && writer.write(values).is_ok()
            {
                let _ = writer.finish();
            }
        }
        bytes.into()
    }

    /// # Errors
    /// `INVALID_ARGUMENT` for what this server never gave.
    pub(super) fn decode(bytes: &[u8]) -> Result<Handle, Status> {
        let wrong =
            || Status::invalid_argument("this is no handle of a prepared statement: prepare it once more");
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(wrong)?;
        let (text, values) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(wrong)?;
        let text = String::from_utf8(text.to_vec()).map_err(|_| wrong())?;
        if values.is_empty() {
            return Ok(Handle { text, values: None });
        }
        let mut reader = StreamReader::try_new(values, None).map_err(|_| wrong())?;
        let values =
            reader.next().and_then(Result::ok).filter(|batch| batch.num_rows() == 1).ok_or_else(wrong)?;
        Ok(Handle { text, values: Some(values) })
    }

    /// What it asks.
    pub(super) fn question(self) -> Result<Question, Status> {
        let columns = self.values.iter().flat_map(RecordBatch::columns);
        let values =
            columns.map(|column| ScalarValue::try_from_array(column, 0)).collect::<Result<Vec<_>, _>>();
        let parameters = values.map_err(|err| Status::invalid_argument(format!("sql.parameter: {err}")))?;
        Ok(Question { text: self.text, parameters, ..Question::default() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_handle_is_read_as_it_was_written_and_nothing_else_is_one() {
        let number: ArrayRef = Arc::new(Int64Array::from(vec![443]));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        let values = RecordBatch::try_from_iter([("1", number), ("2", text)]).expect("a batch");
        for values in [None, Some(values)] {
            let handle = Handle { text: "SELECT $1, 'ä'".to_owned(), values };
            let bytes = handle.encode();
            assert_eq!(Handle::decode(&bytes).expect("a handle"), handle);
            let question = handle.clone().question().expect("a question");
            assert_eq!(question.parameters.len(), if handle.values.is_some() { 2 } else { 0 });
        }
        for wrong in [&b""[..], b"abc", b"\xff\0\0\0abc", b"\x01\0\0\0\xff", b"\x01\0\0\0xyz"] {
            assert!(Handle::decode(wrong).is_err(), "{wrong:?}");
        }
    }
}
