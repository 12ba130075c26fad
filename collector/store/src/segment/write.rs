//! One Parquet file: dictionaries for what repeats, delta for times, numbers split by byte, zstd over all, statistics by
//! page, bloom filters on the ids that people look up. `collector/adr/0003-layout.md` has what was tried.

use std::ops::Range;

use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves,
};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use weir_model::tables::{ARCHIVED_SPANS, SPANS};
use weir_model::{Column, DataKind, Table};

use crate::StoreError;

/// Rows that are read or skipped together; a core has one at a time.
pub(super) const ROW_GROUP_ROWS: usize = 131_072;
/// Rows of a column that are gathered and encoded at a time: they stay in a core's cache.
const AT_A_TIME: usize = 8_192;
/// Ids that people look up.
const LOOKED_UP: [&str; 2] = ["connection_id", "trace_id"];
/// How often a row group of spans is read for a trace that it hasn't: traces are opened by id all the time, and have few ids.
const READ_IN_VAIN: f64 = 0.01;
/// Numbers that are names, of which there are few.
const REPEATING: [&str; 4] = ["client_pid", "server_pid", "server_port", "service_port"];

/// The files that rows become, while their columns come one after another.
pub(super) struct Files {
    table: &'static Table,
    files: Vec<(File, Vec<Group>)>,
}

impl Files {
    /// A file for each run of rows.
    pub(super) fn begin(
        table: &'static Table,
        files: impl Iterator<Item = Range<usize>>,
    ) -> Result<Files, ParquetError> {
        let files = files.map(|rows| {
            let mut file = File::begin(table, rows.len())?;
            let starts = rows.clone().step_by(ROW_GROUP_ROWS);
            let groups = starts.map(|start| file.group(start..rows.end.min(start + ROW_GROUP_ROWS)));
            let groups = groups.collect::<Result<_, ParquetError>>()?;
            Ok((file, groups))
        });
        Ok(Files { table, files: files.collect::<Result<_, ParquetError>>()? })
    }

    /// The next column; `gather` gives its values for some rows.
    pub(super) fn column(
        &mut self,
        number: usize,
        gather: impl Fn(Range<usize>) -> Result<ArrayRef, ArrowError>,
    ) -> Result<(), StoreError> {
        let schema = self.table.schema();
        let groups = self.files.iter_mut().flat_map(|(_, groups)| groups);
        for group in groups {
            group.column(schema.field(number), &gather)?;
        }
        Ok(())
    }

    /// The files' bytes, in their order.
    pub(super) fn finish(self) -> Result<Vec<Bytes>, ParquetError> {
        let files = self.files.into_iter().map(|(mut file, groups)| {
            for group in groups {
                file.append(group)?;
            }
            file.finish()
        });
        files.collect()
    }
}

/// A file that grows row group by row group.
pub(super) struct File {
    writer: SerializedFileWriter<Vec<u8>>,
    columns: ArrowRowGroupWriterFactory,
    groups: usize,
}

/// A row group: its columns that are still to come, and those that came.
pub(super) struct Group {
    rows: Range<usize>,
    writers: std::vec::IntoIter<ArrowColumnWriter>,
    chunks: Vec<ArrowColumnChunk>,
}

impl File {
    /// A file of `rows` rows in all.
    pub(super) fn begin(table: &'static Table, rows: usize) -> Result<File, ParquetError> {
        let properties = properties(table, rows.min(ROW_GROUP_ROWS));
        // Without Arrow's own schema beside Parquet's, text is plain text to every reader, ours too: read as views it is
        // grouped and compared faster than as a dictionary for each batch.
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), table.schema(), options)?;
        let (writer, columns) = writer.into_serialized_writer()?;
        Ok(File { writer, columns, groups: 0 })
    }

    /// The next row group, of these rows.
    pub(super) fn group(&mut self, rows: Range<usize>) -> Result<Group, ParquetError> {
        let writers = self.columns.create_column_writers(self.groups)?.into_iter();
        self.groups += 1;
        Ok(Group { rows, writers, chunks: Vec::new() })
    }

    /// Puts a group, all of whose columns came, behind the one before.
    pub(super) fn append(&mut self, group: Group) -> Result<(), ParquetError> {
        let mut row_group = self.writer.next_row_group()?;
        for chunk in group.chunks {
            chunk.append_to_row_group(&mut row_group)?;
        }
        row_group.close()?;
        Ok(())
    }

    /// What came since this was asked last; the file goes on behind it.
    pub(super) fn take(&mut self) -> Vec<u8> {
        // Places in the file are counted, not looked up in this buffer.
        std::mem::take(self.writer.inner_mut())
    }

    /// The rest of the file.
    pub(super) fn finish(self) -> Result<Bytes, ParquetError> {
        Ok(self.writer.into_inner()?.into())
    }
}

impl Group {
    /// The next column; `gather` gives its values for some of the group's rows.
    pub(super) fn column(
        &mut self,
        field: &Field,
        gather: impl Fn(Range<usize>) -> Result<ArrayRef, ArrowError>,
    ) -> Result<(), StoreError> {
        let mut writers: Vec<ArrowColumnWriter> = Vec::new();
        for start in self.rows.clone().step_by(AT_A_TIME) {
            let values = gather(start..self.rows.end.min(start + AT_A_TIME))?;
            let leaves = compute_leaves(field, &values)?;
            // A list or a map is several columns of Parquet's.
            let missing = leaves.len() - writers.len();
            writers.extend(self.writers.by_ref().take(missing));
            for (writer, leaf) in writers.iter_mut().zip(&leaves) {
                writer.write(leaf)?;
            }
        }
        for writer in writers {
            self.chunks.push(writer.close()?);
        }
        Ok(())
    }
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
    if [SPANS.name, ARCHIVED_SPANS.name].contains(&table.name) {
        builder = builder.set_column_bloom_filter_fpp(ColumnPath::from("trace_id"), READ_IN_VAIN);
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
        DataKind::Int | DataKind::Port if REPEATING.contains(&column.name) => builder,
        // Nearly every value is another one: a dictionary costs more than it saves. They lie near each other.
        DataKind::Time | DataKind::OptTime => builder
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
        // Most are small, in no order: their upper bytes together are next to nothing, which deltas are not.
        DataKind::Int | DataKind::Count | DataKind::Port | DataKind::Float => builder
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT),
        DataKind::Str if LOOKED_UP.contains(&column.name) => ids(builder, &path)
            .set_column_bloom_filter_enabled(path.clone(), true)
            .set_column_bloom_filter_max_ndv(path, group_rows as u64),
        DataKind::Str => ids(builder, &path),
        DataKind::Text | DataKind::Bool | DataKind::TextList | DataKind::Map => builder,
    }
}

/// Texts that hardly repeat: their lengths, mostly all the same, apart from them.
fn ids(builder: WriterPropertiesBuilder, path: &ColumnPath) -> WriterPropertiesBuilder {
    builder
        .set_column_dictionary_enabled(path.clone(), false)
        .set_column_encoding(path.clone(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
}
