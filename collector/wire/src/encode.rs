//! A batch → Flight messages, complete in themselves: all dictionaries with every batch.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::{FlightData, FlightDescriptor};
use bytes::Bytes;
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

    /// As bytes that [`Encoded::from_bytes`] reads, for a sender that keeps batches on disk until they are
    /// acknowledged: of each message `header: u32le | metadata: u32le | body: u32le`, then the three.
    pub fn to_bytes(&self, into: &mut Vec<u8>) {
        into.extend((self.rows as u32).to_le_bytes());
        for message in &self.messages {
            let parts = [&message.data_header, &message.app_metadata, &message.data_body];
            for part in parts {
                into.extend((part.len() as u32).to_le_bytes());
            }
            for part in parts {
                into.extend_from_slice(part);
            }
        }
    }

    /// Reads what [`Encoded::to_bytes`] wrote; copies nothing. `None` where it is cut.
    pub fn from_bytes(mut bytes: Bytes) -> Option<Encoded> {
        let rows = length(&mut bytes)?;
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let lengths = [length(&mut bytes)?, length(&mut bytes)?, length(&mut bytes)?];
            let mut part = |index: usize| {
                let wanted: usize = lengths[index];
                (bytes.len() >= wanted).then(|| bytes.split_to(wanted))
            };
            let (data_header, app_metadata, data_body) = (part(0)?, part(1)?, part(2)?);
            messages.push(FlightData { data_header, app_metadata, data_body, ..FlightData::default() });
        }
        Some(Encoded { messages, rows })
    }

    /// Bytes on the wire, nearly.
    pub fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.data_header.len() + message.data_body.len()).sum()
    }
}

fn length(bytes: &mut Bytes) -> Option<usize> {
    let word = (bytes.len() >= 4).then(|| bytes.split_to(4))?;
    Some(u32::from_le_bytes([word[0], word[1], word[2], word[3]]) as usize)
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

#[cfg(test)]
mod tests {
    use weir_model::{FlowRow, Row};

    use super::*;

    #[test]
    fn a_batch_survives_the_disk_and_a_cut_one_is_none() {
        let rows = vec![FlowRow { time: 1, client_port: Some(443), ..FlowRow::default() }; 3];
        let mut batch = Encoded::of(&FlowRow::to_batch(&rows)).expect("encodes");
        batch.stamp(&BatchMeta::of::<FlowRow>("node", "boot", 7));
        let mut bytes = Vec::new();
        batch.to_bytes(&mut bytes);
        let bytes = Bytes::from(bytes);
        let read = Encoded::from_bytes(bytes.clone()).expect("reads");
        assert_eq!((read.rows, &read.messages), (batch.rows, &batch.messages));
        let whole = (0..bytes.len()).filter(|cut| {
            Encoded::from_bytes(bytes.slice(..*cut))
                .is_some_and(|read| read.messages.len() == batch.messages.len())
        });
        assert_eq!(whole.count(), 0);
    }
}
