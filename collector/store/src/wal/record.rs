//! What one record holds: batches that are stored together or not at all.
//!
//! `count: u16le`, then for each batch `len: u32le | metadata (JSON) | len: u32le | Arrow IPC stream`.

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use weir_model::BatchMeta;

use super::HEADER;

/// One batch of a record.
#[derive(Clone, Debug)]
pub struct RecordPart {
    /// Whose it is.
    pub meta: BatchMeta,
    /// The rows as an Arrow IPC stream.
    pub ipc: Bytes,
}

impl RecordPart {
    /// The rows, as they were written.
    ///
    /// # Errors
    /// When they are not an IPC stream with one batch.
    pub fn rows(&self) -> Result<RecordBatch, ArrowError> {
        let mut unread = Buffer::from(self.ipc.clone());
        StreamDecoder::new()
            .decode(&mut unread)?
            .ok_or_else(|| ArrowError::IpcError("a log record without rows".to_owned()))
    }
}

/// A batch as an Arrow IPC stream, uncompressed: the log is short-lived, and what comes over the wire is compressed
/// already.
///
/// # Errors
/// When Arrow can't encode a column.
pub fn encode_ipc(batch: &RecordBatch) -> Result<Bytes, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref())?;
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner()?.into())
}

/// Appends one record with its length and checksum to `out`.
pub fn frame<'a>(parts: impl ExactSizeIterator<Item = (&'a BatchMeta, &'a Bytes)>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    out.extend_from_slice(&(parts.len() as u16).to_le_bytes());
    for (meta, ipc) in parts {
        let meta = meta.encode();
        out.extend_from_slice(&(meta.len() as u32).to_le_bytes());
        out.extend_from_slice(&meta);
        out.extend_from_slice(&(ipc.len() as u32).to_le_bytes());
        out.extend_from_slice(ipc);
    }
    let payload = &out[start + HEADER..];
    let length = (payload.len() as u32).to_le_bytes();
    let checksum = crc32c::crc32c(payload).to_le_bytes();
    out[start..start + 4].copy_from_slice(&length);
    out[start + 4..start + HEADER].copy_from_slice(&checksum);
}

/// The batches of a record's payload; `None` where it is not one of ours (its checksum was right, so a newer version
/// wrote it).
pub fn decode_parts(payload: &Bytes) -> Option<Vec<RecordPart>> {
    let count = u16::from_le_bytes(*payload.first_chunk()?);
    let mut rest = payload.slice(2..);
    let mut parts = Vec::with_capacity(count.into());
    for _ in 0..count {
        let meta = BatchMeta::decode(&take(&mut rest)?).ok()?;
        let ipc = take(&mut rest)?;
        parts.push(RecordPart { meta, ipc });
    }
    Some(parts)
}

fn take(rest: &mut Bytes) -> Option<Bytes> {
    let length = u32::from_le_bytes(*rest.first_chunk()?) as usize;
    let end = length.checked_add(4).filter(|end| *end <= rest.len())?;
    let taken = rest.slice(4..end);
    *rest = rest.slice(end..);
    Some(taken)
}
