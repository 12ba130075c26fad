//! Parquet files of the store as rows of a plan: in pieces that threads take in turn, the newest first, and only those
//! whose times a question can touch.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::DataSourceExec;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics as ParquetStatistics;
use weir_store::{Segment, Store};

use crate::damage::{Opened as OpenedFiles, Readers};
use crate::provider::Read;
use crate::prune::{self, Span};
use crate::selective;

/// How many pieces each thread would have, were they equal: enough that none waits long for another's last one. Opening one
/// has its price, which is most of it where next to nothing passes the filter.
const PIECES: usize = 8;
const PIECES_FILTERED: usize = 2;
/// Footers that are read at the same time.
const FOOTERS: usize = 8;

/// The store's files under a name of their own, so that no SQL reaches another file by a path.
pub(crate) fn store_url() -> ObjectStoreUrl {
    ObjectStoreUrl::parse("weir://store").expect("a constant URL")
}

/// A file to read.
#[derive(Clone, Debug)]
pub(crate) struct ScanFile {
    pub(crate) path: Path,
    pub(crate) size: u64,
    pub(crate) rows: u64,
    /// Its earliest and latest row, ns, where they are known.
    pub(crate) times: Option<(i64, i64)>,
}

impl From<&Segment> for ScanFile {
    fn from(segment: &Segment) -> ScanFile {
        let times = Some((segment.min_time, segment.max_time));
        ScanFile { path: segment.path.clone(), size: segment.size, rows: segment.rows, times }
    }
}

/// What is known of rows that lie between two times, ns: the time is a table's first column.
pub(crate) fn statistics(schema: &SchemaRef, (earliest, latest): (i64, i64)) -> Statistics {
    let time = |time| Precision::Exact(ScalarValue::TimestampNanosecond(Some(time), Some("UTC".into())));
    let mut statistics = Statistics::new_unknown(schema);
    if let Some(column) = statistics.column_statistics.first_mut() {
        *column = ColumnStatistics {
            null_count: Precision::Exact(0),
            min_value: time(earliest),
            max_value: time(latest),
            ..ColumnStatistics::new_unknown()
        };
    }
    statistics
}

/// Rows of files that have the columns of `table`, or some of them.
pub(crate) async fn parquet(
    store: &Store,
    table: &SchemaRef,
    files: Vec<ScanFile>,
    statistics: Statistics,
    read: &Read,
    state: &dyn Session,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    // Footers are read once and kept: files never change.
    let footers = state.runtime_env().cache_manager.get_file_metadata_cache();
    let objects = store.objects();
    let files = opened(files, objects.as_ref(), &footers, PageIndexPolicy::Skip).await;
    let some_group = files.iter().find_map(|file| file.footer.as_ref()?.row_groups().first());
    let filters_first = read
        .predicate
        .as_ref()
        .is_none_or(|predicate| selective::is_worth_it(predicate, read.columns.len(), some_group));
    let threads = state.config().target_partitions();
    let most = threads * if filters_first && read.predicate.is_some() { PIECES_FILTERED } else { PIECES };
    let pieces = pieces(&files, table, read, most)?;
    if filters_first {
        // Pages that hold nothing of it can be left out then. Each piece would read for itself what tells which.
        let touched = files.into_iter().map(|opened| opened.file);
        let touched = touched.filter(|file| pieces.iter().any(|piece| *piece.path() == file.path));
        opened(touched.collect(), objects.as_ref(), &footers, PageIndexPolicy::Optional).await;
    }
    let opened = state.config().get_extension::<OpenedFiles>().unwrap_or_default();
    let options = &state.config_options().execution.parquet;
    let source = ParquetSource::new(table.clone())
        .with_pushdown_filters(filters_first)
        .with_reorder_filters(options.reorder_filters)
        .with_enable_page_index(options.enable_page_index && filters_first)
        .with_bloom_filter_on_read(options.bloom_filter_on_read)
        .with_parquet_file_reader_factory(Arc::new(Readers::new(objects, footers, opened)));
    let config = FileScanConfigBuilder::new(store_url(), Arc::new(source))
        .with_file_groups(groups(pieces, threads))
        .with_statistics(statistics)
        .with_projection_indices(Some(read.columns.clone()))?
        // Below a filter, a limit would count rows that don't pass.
        .with_limit(limit.filter(|_| read.predicate.is_none()))
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

/// The same files, which filter while they are read; `None` for anything else.
pub(crate) fn filtering_early(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    read_otherwise(plan, |source| source.with_pushdown_filters(true))
}

/// The same files, read in another way; `None` for anything else.
pub(crate) fn read_otherwise(
    plan: &Arc<dyn ExecutionPlan>,
    change: impl FnOnce(ParquetSource) -> ParquetSource,
) -> Option<Arc<dyn ExecutionPlan>> {
    let (config, source) =
        plan.downcast_ref::<DataSourceExec>()?.downcast_to_file_source::<ParquetSource>()?;
    let source = Arc::new(change(source.clone()));
    let config = FileScanConfigBuilder::from(config.clone()).with_source(source).build();
    Some(DataSourceExec::from_data_source(config))
}

/// A file, and what its footer says of it.
struct Opened {
    file: ScanFile,
    /// `None` where it can't be read: reading the file will say why.
    footer: Option<Arc<ParquetMetaData>>,
}

async fn opened(
    files: Vec<ScanFile>,
    objects: &dyn ObjectStore,
    footers: &Arc<FileMetadataCache>,
    pages: PageIndexPolicy,
) -> Vec<Opened> {
    let opened = futures::stream::iter(files).map(|file| async move {
        let object = PartitionedFile::new(file.path.to_string(), file.size).object_meta;
        let footer = DFParquetMetadata::new(objects, &object)
            .with_file_metadata_cache(Some(footers.clone()))
            .with_page_index_policy(Some(pages));
        let footer = footer.fetch_metadata().await.ok();
        Opened { file, footer }
    });
    opened.buffered(FOOTERS).collect().await
}

/// Some rows of a file that lie together: their place in it (bytes; `None`: all of it), and their times.
struct Part {
    file: ScanFile,
    place: Option<(i64, i64)>,
    span: Span,
}

/// The parts that `read` may find a row in, as about `most` pieces, the newest first.
fn pieces(files: &[Opened], table: &SchemaRef, read: &Read, most: usize) -> Result<Vec<PartitionedFile>> {
    let time = table.field(0).name();
    let parts: Vec<Part> = files.iter().flat_map(|opened| parts(opened, time)).collect();
    let spans: Vec<Span> = parts.iter().map(|part| part.span).collect();
    let kept = prune::by_time(&spans, read.predicate.as_ref(), time, table)?;
    let parts: Vec<Part> =
        parts.into_iter().zip(kept).filter_map(|(part, keep)| keep.then_some(part)).collect();
    let rows: u64 = parts.iter().map(|part| part.span.rows).sum();
    let piece_rows = rows.div_ceil(most as u64);
    let mut pieces: Vec<Part> = Vec::new();
    for part in parts {
        match pieces.last_mut() {
            Some(piece) if piece.span.rows + part.span.rows <= piece_rows && piece.goes_on_with(&part) => {
                piece.take_in(&part);
            }
            _ => pieces.push(part),
        }
    }
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.span.times));
    Ok(pieces.into_iter().map(|piece| piece.partitioned(table)).collect())
}

fn parts(opened: &Opened, time: &str) -> Vec<Part> {
    let file = &opened.file;
    let groups = opened.footer.as_ref().map(|footer| footer.row_groups()).unwrap_or_default();
    if groups.len() < 2 {
        // Also where nothing is known of what is in it: it has to be read, or to fail.
        let span = Span { times: file.times, rows: file.rows };
        return vec![Part { file: file.clone(), place: None, span }];
    }
    let parts = groups.iter().map(|group| {
        let start = first_page(group);
        let span = Span { times: times(group, time).or(file.times), rows: group.num_rows() as u64 };
        Part { file: file.clone(), place: Some((start, start + 1)), span }
    });
    parts.collect()
}

/// Where a row group begins, as DataFusion sees it: a piece has the row groups that begin in it.
fn first_page(group: &RowGroupMetaData) -> i64 {
    let column = group.column(0);
    column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset())
}

fn times(group: &RowGroupMetaData, time: &str) -> Option<(i64, i64)> {
    let column = group.columns().first().filter(|column| column.column_descr().name() == time)?;
    match column.statistics()? {
        ParquetStatistics::Int64(values) => Some((*values.min_opt()?, *values.max_opt()?)),
        _ => None,
    }
}

impl Part {
    fn goes_on_with(&self, next: &Part) -> bool {
        self.place.is_some() && next.place.is_some() && self.file.path == next.file.path
    }

    /// Parts between them that nobody wants begin in it as well, and are left out when it is read.
    fn take_in(&mut self, next: &Part) {
        self.place = self.place.zip(next.place).map(|((start, _), (_, end))| (start, end));
        self.span.rows += next.span.rows;
        let both = self.span.times.zip(next.span.times);
        self.span.times = both.map(|(one, other)| (one.0.min(other.0), one.1.max(other.1)));
    }

    fn partitioned(&self, table: &SchemaRef) -> PartitionedFile {
        let mut file = PartitionedFile::new(self.file.path.to_string(), self.file.size);
        if let Some((start, end)) = self.place {
            file = file.with_range(start, end);
        }
        match self.span.times {
            Some(times) => file.with_statistics(Arc::new(self::statistics(table, times))),
            None => file,
        }
    }
}

/// Threads take pieces from the front as they are done with one; those of a group are its thread's own only where nobody
/// may take another's.
fn groups(pieces: Vec<PartitionedFile>, threads: usize) -> Vec<FileGroup> {
    let each = pieces.len().div_ceil(threads).max(1);
    let mut pieces = pieces.into_iter();
    let groups = (0..threads).map(|_| FileGroup::new(pieces.by_ref().take(each).collect()));
    let groups: Vec<FileGroup> = groups.filter(|group| !group.is_empty()).collect();
    // A plan without parts can't be.
    if groups.is_empty() { vec![FileGroup::default()] } else { groups }
}

#[cfg(test)]
mod tests {
    use weir_model::tables;

    use super::*;
    use crate::plain;

    #[test]
    fn parts_of_one_file_become_pieces_that_hold_each_of_them_once_the_newest_first() {
        let (old, new) = (Path::from("old"), Path::from("new"));
        let file =
            |path: &Path| ScanFile { path: path.clone(), size: 1 << 20, rows: 100, times: Some((0, 1_000)) };
        let part = |path: &Path, place: i64, from: i64| Part {
            file: file(path),
            place: Some((place, place + 1)),
            span: Span { times: Some((from, from + 9)), rows: 100 },
        };
        let mut piece = part(&old, 4, 10);
        assert!(piece.goes_on_with(&part(&old, 70, 20)));
        assert!(!piece.goes_on_with(&part(&new, 70, 20)));
        piece.take_in(&part(&old, 70, 20));
        let piece = piece.partitioned(&plain::viewed(&tables::FLOWS));
        let range = piece.range.as_ref().expect("a range");
        assert_eq!(
            [range.contains(3), range.contains(4), range.contains(70), range.contains(71)],
            [false, true, true, false]
        );
        let time = &piece.statistics.expect("statistics").column_statistics[0];
        let at = |ns| Precision::Exact(ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into())));
        assert_eq!((&time.min_value, &time.max_value), (&at(10), &at(29)));
    }
}
