//! What is streamed: an answer, batch by batch, as pieces of a file. An error on the way ends the transfer unfinished, so
//! that no reader takes the part for the whole.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use axum::body::Bytes;
use futures::Stream;
use weir_query::Answer;

use super::parquet::ParquetFile;
use crate::encode;

/// A format that is streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Ndjson,
    Arrow,
    Parquet,
}

impl Format {
    /// The first that `Accept` names; `None` means JSON.
    pub(super) fn of(accept: &str) -> Option<Format> {
        accept.split(',').find_map(|kind| match kind.split(';').next().unwrap_or_default().trim() {
            "text/csv" => Some(Some(Format::Csv)),
            "application/x-ndjson" | "application/jsonl" => Some(Some(Format::Ndjson)),
            "application/vnd.apache.arrow.stream" => Some(Some(Format::Arrow)),
            "application/vnd.apache.parquet" => Some(Some(Format::Parquet)),
            "application/json" => Some(None),
            _ => None,
        })?
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Format::Csv => "text/csv; charset=utf-8",
            Format::Ndjson => "application/x-ndjson",
            Format::Arrow => "application/vnd.apache.arrow.stream",
            Format::Parquet => "application/vnd.apache.parquet",
        }
    }
}

/// Makes the pieces of one answer.
pub(super) enum Encoder {
    /// RFC 4180, with a header line, also where there are no rows.
    Csv { wants_header: bool },
    /// One JSON object a line.
    Ndjson,
    /// Arrow IPC stream format.
    Arrow(Box<StreamWriter<Vec<u8>>>),
    /// A Parquet file.
    Parquet(Box<ParquetFile>),
}

impl Encoder {
    /// # Errors
    /// Where the format has no place for one of the columns' types.
    pub(super) fn new(format: Format, schema: &SchemaRef) -> Result<Encoder, ArrowError> {
        Ok(match format {
            Format::Csv => Encoder::Csv { wants_header: true },
            Format::Ndjson => Encoder::Ndjson,
            Format::Arrow => Encoder::Arrow(Box::new(StreamWriter::try_new(Vec::new(), schema)?)),
            Format::Parquet => Encoder::Parquet(Box::new(ParquetFile::new(schema)?)),
        })
    }

    /// The piece with these rows; empty where it comes later.
    fn rows(&mut self, batch: &RecordBatch) -> std::io::Result<Bytes> {
        match self {
            Encoder::Csv { wants_header } => {
                crate::export::csv_chunk(batch, std::mem::replace(wants_header, false))
            }
            Encoder::Ndjson => encode::lines(encode::objects(batch, false)),
            Encoder::Arrow(writer) => {
                writer.write(batch).map_err(std::io::Error::other)?;
                Ok(std::mem::take(writer.get_mut()).into())
            }
            Encoder::Parquet(file) => file.rows(batch),
        }
    }

    /// The last piece.
    fn end(&mut self, schema: &SchemaRef) -> std::io::Result<Bytes> {
        match self {
            Encoder::Csv { wants_header: true } => {
                crate::export::csv_chunk(&RecordBatch::new_empty(schema.clone()), true)
            }
            Encoder::Csv { .. } | Encoder::Ndjson => Ok(Bytes::new()),
            Encoder::Arrow(writer) => {
                writer.finish().map_err(std::io::Error::other)?;
                Ok(std::mem::take(writer.get_mut()).into())
            }
            Encoder::Parquet(file) => file.end(),
        }
    }
}

/// The pieces, as the rows come.
pub(super) fn stream(answer: Answer, encoder: Encoder) -> impl Stream<Item = std::io::Result<Bytes>> {
    futures::stream::unfold(Some((answer, encoder)), async |state| {
        let (mut answer, mut encoder) = state?;
        loop {
            let (piece, is_over) = match answer.next().await {
                Some(Ok(batch)) => (encoder.rows(&batch), false),
                Some(Err(err)) => (Err(std::io::Error::other(err)), true),
                None => (encoder.end(&answer.schema), true),
            };
            let is_over = is_over || piece.is_err();
            if is_over {
                return Some((piece, None));
            }
            if piece.as_ref().is_ok_and(|piece| !piece.is_empty()) {
                return Some((piece, Some((answer, encoder))));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_kind_of_accept_counts() {
        assert_eq!(Format::of("*/*"), None);
        assert_eq!(Format::of("application/json, text/csv"), None);
        assert_eq!(Format::of("text/html, text/csv;q=0.9"), Some(Format::Csv));
        assert_eq!(Format::of("application/x-ndjson"), Some(Format::Ndjson));
        assert_eq!(Format::of("application/vnd.apache.arrow.stream"), Some(Format::Arrow));
        assert_eq!(Format::of("application/vnd.apache.parquet"), Some(Format::Parquet));
    }
}
