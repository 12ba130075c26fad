//! A batch → Flight messages, complete in themselves: all dictionaries with every batch.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::{FlightData, FlightDescriptor};
use weir_model::{BatchMeta, Table};

/// Most rows in one batch on the wire (DESIGN §6).
pub const MAX_BATCH_ROWS: usize = 8_192;

/// Higher levels cost the probe more than they save the network: rows are mostly dictionary keys and nulls.
const ZSTD_LEVEL: i32 = 1;

/// One batch as Flight messages.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Dictionaries first, the record batch last.
    pub messages: Vec<FlightData>,
    /// Rows in it.
    pub rows: usize,
}

impl Encoded {
    /// Encodes and compresses `batch`; [`Encoded::stamp`] gives it its metadata.
    ///
    /// # Errors
    /// When Arrow can't encode a column; a table's own columns always can.
    pub fn of(batch: &RecordBatch) -> Result<Encoded, ArrowError> {
        let options = options();
        let generator = IpcDataGenerator::default();
        let mut tracker = DictionaryTracker::new(false);
        // Gives each dictionary the number that the stream's schema message gave it.
        generator.schema_to_bytes_with_dictionary_tracker(batch.schema_ref(), &mut tracker, &options);
        let mut context = IpcWriteContext::default();
        let (dictionaries, rows) = generator.encode(batch, &mut tracker, &options, &mut context)?;
        let messages = dictionaries.into_iter().chain([rows]).map(FlightData::from).collect();
        Ok(Encoded { messages, rows: batch.num_rows() })
    }

    /// Writes the metadata onto the record batch's message.
    pub fn stamp(&mut self, meta: &BatchMeta) {
        if let Some(last) = self.messages.last_mut() {
            last.app_metadata = meta.encode().into();
        }
    }

    /// Bytes on the wire, nearly.
    pub fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.data_header.len() + message.data_body.len()).sum()
    }
}

/// The first message of a table's stream.
pub(crate) fn opening(table: &'static Table) -> FlightData {
    schema_message(&table.schema()).with_descriptor(FlightDescriptor::new_path(vec![table.name.to_owned()]))
}

/// A stream's first message.
pub fn schema_message(schema: &Schema) -> FlightData {
    let mut tracker = DictionaryTracker::new(false);
    IpcDataGenerator::default()
        .schema_to_bytes_with_dictionary_tracker(schema, &mut tracker, &options())
        .into()
}

fn options() -> IpcWriteOptions {
    IpcWriteOptions::default()
        .try_with_compression(Some(CompressionType::ZSTD))
        .and_then(|options| options.try_with_compression_level(Some(ZSTD_LEVEL)))
        .expect("zstd is compiled in and the level is one of its")
}
