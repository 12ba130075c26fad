//! Flight messages → a batch that fits its table. Everything is checked before it is unpacked: rows, buffers within
//! the body, and what the compressed buffers claim to become.

use std::collections::HashMap;
use std::panic::catch_unwind;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{read_dictionary, read_record_batch};
use arrow::ipc::{self, MessageHeader};
use arrow_flight::FlightData;
use bytes::{BufMut, Bytes, BytesMut};
use weir_model::{BatchMeta, ModelError, Table, conform, tables};

use crate::ack::{Refusal, RefusalReason};

/// What one batch may be at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes after decompression, dictionaries included; also the largest gRPC message.
    pub max_batch_bytes: usize,
    /// Rows.
    pub max_rows: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_batch_bytes: 64 << 20, max_rows: crate::MAX_BATCH_ROWS }
    }
}

/// Marks the start of each message in Arrow's IPC stream format.
const CONTINUATION: u32 = 0xFFFF_FFFF;

/// A batch out of `messages` (dictionaries, then the record batch) of a stream that began with `schema`, and the
/// same as bytes in Arrow's IPC stream format, still compressed, for whoever writes it down.
///
/// # Errors
/// [`Refusal`]: the batch can't be stored, whoever sends it again.
pub fn decode(
    meta: &BatchMeta,
    schema: &FlightData,
    messages: &[FlightData],
    limits: &Limits,
) -> Result<(RecordBatch, Bytes), Refusal> {
    let table = tables::by_name(&meta.table).ok_or_else(|| {
        Refusal::new(RefusalReason::UnknownTable, ModelError::UnknownTable(meta.table.clone()).to_string())
    })?;
    unpacked_size(messages, limits)?;
    // Arrow's decoder asserts what it should check (buffer lengths, offsets) on headers that were made to hurt; our
    // own checks can't know every column type. Nothing is shared with it, so nothing is left half done.
    let decoded = catch_unwind(|| {
        let batch = unpack(table, schema, messages)?;
        conform(&batch, table).map_err(|err| refusal(&err))
    });
    let batch = decoded.unwrap_or_else(|_| Err(malformed("its parts don't agree".to_owned())))?;
    Ok((batch, as_stream(schema, messages)))
}

/// Bytes that a batch takes once it is unpacked, by what its messages say; nothing is unpacked.
///
/// # Errors
/// [`Refusal`]: it is beyond the limits, or can't be what it says.
pub(crate) fn unpacked_size(messages: &[FlightData], limits: &Limits) -> Result<usize, Refusal> {
    let mut unpacked = 0_usize;
    for message in messages {
        unpacked = unpacked.saturating_add(check(message, limits)?);
        if unpacked > limits.max_batch_bytes {
            let text = format!("more than {} bytes after decompression", limits.max_batch_bytes);
            return Err(Refusal::new(RefusalReason::TooLarge, text));
        }
    }
    Ok(unpacked)
}

/// The columns that the table has and in which a row says something: others, half of a flow's, aren't unpacked.
fn unpack(table: &Table, schema: &FlightData, messages: &[FlightData]) -> Result<RecordBatch, Refusal> {
    let arrow = |err: arrow::error::ArrowError| malformed(err.to_string());
    let header = header(schema)?;
    let schema = header.header_as_schema().ok_or_else(|| malformed("no schema".to_owned()))?;
    let schema = Arc::new(fb_to_schema(schema));
    let mut dictionaries = HashMap::new();
    for message in messages {
        let header = self::header(message)?;
        let body = Buffer::from(message.data_body.clone());
        if let Some(dictionary) = header.header_as_dictionary_batch() {
            read_dictionary(&body, dictionary, &schema, &mut dictionaries, &header.version())
                .map_err(arrow)?;
        } else if let Some(rows) = header.header_as_record_batch() {
            let wanted = wanted(table, &schema, rows)?;
            return read_record_batch(&body, rows, schema, &dictionaries, Some(&wanted), &header.version())
                .map_err(arrow);
        }
    }
    Err(malformed("no record batch".to_owned()))
}

fn header(message: &FlightData) -> Result<ipc::Message<'_>, Refusal> {
    ipc::root_as_message(&message.data_header).map_err(|err| malformed(err.to_string()))
}

/// The places of the columns to unpack.
fn wanted(table: &Table, schema: &Schema, rows: ipc::RecordBatch<'_>) -> Result<Vec<usize>, Refusal> {
    let nodes = rows.nodes().ok_or_else(|| malformed("no field nodes".to_owned()))?;
    let mut wanted = Vec::new();
    let mut node = 0;
    for (place, field) in schema.fields().iter().enumerate() {
        if node >= nodes.len() {
            return Err(malformed("fewer field nodes than columns".to_owned()));
        }
        let of_column = nodes.get(node);
        // A type that isn't the table's is `conform`'s to judge, whatever it says.
        let is_right = table.column(field.name()).map(|column| column.kind.data_type() == *field.data_type());
        let says_nothing = of_column.null_count() == of_column.length() && of_column.length() > 0;
        if is_right.is_some_and(|is_right| !(is_right && says_nothing)) {
            wanted.push(place);
        }
        node += nodes_of(field);
    }
    // Without any, the batch would not know how many rows it has: `conform` refuses it without its time.
    Ok(wanted)
}

/// The field nodes of a column and all below it.
fn nodes_of(field: &Field) -> usize {
    let below: usize = match field.data_type() {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => nodes_of(item),
        DataType::Struct(fields) => fields.iter().map(|field| nodes_of(field)).sum(),
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| nodes_of(field)).sum(),
        DataType::RunEndEncoded(ends, values) => nodes_of(ends) + nodes_of(values),
        _ => 0,
    };
    1 + below
}

fn refusal(err: &ModelError) -> Refusal {
    let reason = match err {
        ModelError::Column { .. } => RefusalReason::BadColumn,
        ModelError::NoTime { .. } => RefusalReason::NoTime,
        ModelError::UnknownTable(_) => RefusalReason::UnknownTable,
        ModelError::Metadata(_) => RefusalReason::Malformed,
    };
    Refusal::new(reason, err.to_string())
}

fn malformed(message: String) -> Refusal {
    Refusal::new(RefusalReason::Malformed, message)
}

/// Bytes that this message's buffers take once decompressed; an error where they can't be what they claim.
fn check(message: &FlightData, limits: &Limits) -> Result<usize, Refusal> {
    let header = header(message)?;
    if usize::try_from(header.bodyLength()).ok() != Some(message.data_body.len()) {
        let text = format!("body of {} bytes, header says {}", message.data_body.len(), header.bodyLength());
        return Err(malformed(text));
    }
    let rows = match header.header_type() {
        MessageHeader::RecordBatch => header.header_as_record_batch(),
        MessageHeader::DictionaryBatch => header.header_as_dictionary_batch().and_then(|batch| batch.data()),
        _ => None,
    };
    let rows = rows.ok_or_else(|| malformed("neither a dictionary nor a record batch".to_owned()))?;
    let count = usize::try_from(rows.length()).map_err(|_| malformed("negative row count".to_owned()))?;
    if count > limits.max_rows {
        let text = format!("{count} rows, at most {} in a batch", limits.max_rows);
        return Err(Refusal::new(RefusalReason::TooManyRows, text));
    }
    let body = &message.data_body;
    let is_compressed = rows.compression().is_some();
    let mut unpacked = 0_usize;
    for buffer in rows.buffers().into_iter().flatten() {
        let range = usize::try_from(buffer.offset())
            .ok()
            .zip(usize::try_from(buffer.length()).ok())
            .and_then(|(start, length)| body.get(start..start.checked_add(length)?))
            .ok_or_else(|| malformed("a buffer lies outside the body".to_owned()))?;
        let size = if is_compressed && !range.is_empty() { claimed_size(range)? } else { range.len() };
        unpacked = unpacked.saturating_add(size);
    }
    Ok(unpacked)
}

/// A compressed buffer begins with its length once decompressed, or −1 where the rest is as it is.
fn claimed_size(buffer: &[u8]) -> Result<usize, Refusal> {
    let prefix =
        buffer.first_chunk::<8>().ok_or_else(|| malformed("a buffer lacks its length".to_owned()))?;
    match i64::from_le_bytes(*prefix) {
        -1 => Ok(buffer.len() - 8),
        length => usize::try_from(length).map_err(|_| malformed(format!("a buffer of {length} bytes"))),
    }
}

/// The messages one after another in Arrow's IPC stream format.
fn as_stream(schema: &FlightData, messages: &[FlightData]) -> Bytes {
    let parts = || std::iter::once(schema).chain(messages);
    let size: usize = parts().map(|part| 16 + part.data_header.len() + part.data_body.len()).sum();
    let mut stream = BytesMut::with_capacity(size);
    for part in parts() {
        // Bodies begin on multiples of 8, so that whoever reads need not copy.
        let padded = (part.data_header.len() + 8).next_multiple_of(8) - 8;
        stream.put_u32_le(CONTINUATION);
        stream.put_u32_le(padded as u32);
        stream.put_slice(&part.data_header);
        stream.put_bytes(0, padded - part.data_header.len());
        stream.put_slice(&part.data_body);
    }
    stream.freeze()
}

#[cfg(test)]
mod tests;
