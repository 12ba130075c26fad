//! One Parquet file: dictionaries for what repeats, delta for numbers, zstd over all, statistics by page, bloom
//! filters on the ids that people look up.

use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use weir_model::{Column, DataKind, Table};

/// Rows that are read or skipped together; a core has one at a time.
const ROW_GROUP_ROWS: usize = 131_072;
/// Ids that people look up.
const LOOKED_UP: [&str; 2] = ["connection_id", "trace_id"];

/// Rows as the bytes of a Parquet file.
pub(crate) fn encode(table: &'static Table, rows: &RecordBatch) -> Result<Bytes, ParquetError> {
    let properties = properties(table, rows.num_rows().min(ROW_GROUP_ROWS));
    // Without Arrow's own schema beside Parquet's, text is plain text to every reader, ours too: read as views it is
    // grouped and compared faster than as a dictionary for each batch.
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), table.schema(), options)?;
    writer.write(rows)?;
    Ok(writer.into_inner()?.into())
}

fn properties(table: &'static Table, group_rows: usize) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_created_by(format!("weir {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Page);
    for column in table.columns {
        builder = column_properties(builder, column, group_rows);
        // Values that lie in no order make statistics that exclude nothing, and comparing texts is what writing
        // costs most: ids have their filter instead.
        let is_text = matches!(column.kind, DataKind::Text | DataKind::Str);
        if is_text && !table.sorted_by.contains(&column.name) {
            builder =
                builder.set_column_statistics_enabled(ColumnPath::from(column.name), EnabledStatistics::None);
        }
    }
    builder.build()
}

fn column_properties(
    builder: WriterPropertiesBuilder,
    column: &Column,
    group_rows: usize,
) -> WriterPropertiesBuilder {
    let path = ColumnPath::from(column.name);
    match column.kind {
        // Nearly every value is another one, or small: a dictionary costs more than it saves.
        DataKind::Time | DataKind::OptTime | DataKind::Int | DataKind::Count | DataKind::Port => builder
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
        DataKind::Float => builder
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT),
        DataKind::Str if LOOKED_UP.contains(&column.name) => builder
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_bloom_filter_enabled(path.clone(), true)
            .set_column_bloom_filter_max_ndv(path, group_rows as u64),
        DataKind::Str => builder.set_column_dictionary_enabled(path, false),
        DataKind::Text | DataKind::Bool | DataKind::TextList | DataKind::Map => builder,
    }
}
