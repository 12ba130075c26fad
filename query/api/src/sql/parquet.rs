//! An answer as a Parquet file that is sent while it is written: each row group once it is full, the footer at the end.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use axum::body::Bytes;
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

/// A row group is sent once it takes about so much memory, or has so many rows.
const GROUP_BYTES: usize = 4 << 20;
const GROUP_ROWS: usize = 128 << 10;

/// A file under way.
pub(super) struct ParquetFile {
    /// `None` once it has ended.
    writer: Option<ArrowWriter<Written>>,
    written: Written,
}

/// What was written and not yet sent.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock()).into()
    }
}

impl ParquetFile {
    /// # Errors
    /// Where Parquet has no place for a type.
    pub(super) fn new(schema: &SchemaRef) -> Result<ParquetFile, ArrowError> {
        try_out(schema)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let written = Written::default();
        let writer = ArrowWriter::try_new(written.clone(), schema.clone(), Some(properties))?;
        Ok(ParquetFile { writer: Some(writer), written })
    }

    /// Takes rows; gives what is to be sent.
    pub(super) fn rows(&mut self, batch: &RecordBatch) -> std::io::Result<Bytes> {
        let Some(writer) = &mut self.writer else { return Ok(Bytes::new()) };
        writer.write(batch)?;
        if writer.in_progress_size() >= GROUP_BYTES || writer.in_progress_rows() >= GROUP_ROWS {
            writer.flush()?;
            writer.sync()?;
        }
        Ok(self.written.take())
    }

    /// The footer, after what was still kept.
    pub(super) fn end(&mut self) -> std::io::Result<Bytes> {
        if let Some(writer) = self.writer.take() {
            writer.close()?;
        }
        Ok(self.written.take())
    }
}

/// Writes a row without values nowhere: of some types it turns out only with a row that they can't be written.
fn try_out(schema: &SchemaRef) -> Result<(), ArrowError> {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut writer = ArrowWriter::try_new(std::io::sink(), schema.clone(), None)?;
    let columns = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1));
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    writer.write(&RecordBatch::try_new_with_options(schema.clone(), columns.collect(), &options)?)?;
    writer.close()?;
    Ok(())
}
