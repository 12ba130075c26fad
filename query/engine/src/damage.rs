//! Files that can't be read: the one that failed a question is found out, and set aside by the store.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;
use parquet::arrow::async_reader::AsyncFileReader;
use weir_model::{Table, tables};
use weir_store::{Examined, Segment, Store, StoreError};

use crate::engine::Pins;
use crate::error::QueryError;

/// So many of the files that were opened last are suspected: each thread reads one, and may open more before a failure has
/// come through.
const SUSPECTS: usize = 16;

/// Files that a question opened, the last ones, each once.
#[derive(Debug, Default)]
pub(crate) struct Opened(Mutex<VecDeque<Path>>);

impl Opened {
    pub(crate) fn note(&self, path: &Path) {
        let mut paths = self.0.lock();
        if paths.back() == Some(path) {
            return;
        }
        paths.retain(|known| known != path);
        if paths.len() == SUSPECTS {
            paths.pop_front();
        }
        paths.push_back(path.clone());
    }

    /// The last one first.
    pub(crate) fn last(&self) -> Vec<Path> {
        self.0.lock().iter().rev().cloned().collect()
    }
}

/// Opens files with the footers that are kept, and notes which.
#[derive(Debug)]
pub(crate) struct Readers {
    cached: CachedParquetFileReaderFactory,
    opened: Arc<Opened>,
}

impl Readers {
    pub(crate) fn new(
        objects: Arc<dyn ObjectStore>,
        footers: Arc<FileMetadataCache>,
        opened: Arc<Opened>,
    ) -> Readers {
        Readers { cached: CachedParquetFileReaderFactory::new(objects, footers), opened }
    }
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        self.opened.note(file.path());
        self.cached.create_reader(partition_index, file, metadata_size_hint, metrics)
    }
}

/// What a question reads.
pub(crate) struct Reading {
    pub(crate) store: Store,
    /// Keeps the files of its snapshots.
    pub(crate) pins: Pins,
    pub(crate) opened: Arc<Opened>,
}

impl Reading {
    /// The names of the tables that it has looked at so far.
    pub(crate) fn tables(&self) -> Vec<&'static str> {
        self.pins.lock().snapshots.iter().map(|(name, _)| *name).collect()
    }

    /// Why a question failed that nobody is to blame for but us: `error`, or that one of its files is damaged, which is in no
    /// table any more then.
    pub(crate) async fn blame(&self, error: QueryError) -> QueryError {
        if error.code != "internal" {
            return error;
        }
        for (table, segment) in self.opened.last().iter().filter_map(|path| self.segment(path)) {
            match examined(&self.store, &segment).await {
                Ok(Examined::SetAside) => return QueryError::damaged(table.name, segment.rows),
                Ok(Examined::WithoutRollUp) => return QueryError::changed(table.name),
                // Who came first has set it aside already; of a shared store, others may have deleted it since.
                Ok(Examined::Whole) if !is_there(&self.store, table, &segment) => {
                    return QueryError::changed(table.name);
                }
                Ok(Examined::Whole) => {}
                Err(err) => return QueryError::unavailable(&err),
            }
        }
        error
    }

    /// The file of that path, or the one whose roll-up it is.
    fn segment(&self, path: &Path) -> Option<(&'static Table, Segment)> {
        let is_it = |segment: &&Segment| {
            segment.path == *path || segment.rollup.as_ref().is_some_and(|rollup| rollup.path == *path)
        };
        self.pins.lock().snapshots.iter().find_map(|(name, snapshot)| {
            let table = tables::by_name(name)?;
            Some((table, snapshot.segments.iter().find(is_it)?.clone()))
        })
    }
}

fn is_there(store: &Store, table: &'static Table, segment: &Segment) -> bool {
    let now = store.snapshot(table);
    now.segments.iter().any(|known| {
        known.path == segment.path
            && known.rollup.as_ref().map(|rollup| &rollup.path)
                == segment.rollup.as_ref().map(|rollup| &rollup.path)
    })
}

/// Goes on also where nobody waits for it any more.
async fn examined(store: &Store, segment: &Segment) -> Result<Examined, StoreError> {
    let (of_task, suspect) = (store.clone(), segment.clone());
    let task = tokio::spawn(async move { of_task.examine(&suspect).await });
    if let Ok(examined) = task.await {
        return examined;
    }
    // The decoder itself gave up.
    let is_out = store.quarantine(&segment.path, "reading it panics").await?;
    Ok(if is_out { Examined::SetAside } else { Examined::Whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_files_are_suspected_each_once() {
        let opened = Opened::default();
        let file = |number: usize| Path::from(format!("{number}.parquet"));
        for number in [1, 2, 2, 1, 3] {
            opened.note(&file(number));
        }
        assert_eq!(opened.last(), [3, 1, 2].map(file));
        (4..40).for_each(|number| opened.note(&file(number)));
        assert_eq!(opened.last(), (40 - SUSPECTS..40).rev().map(file).collect::<Vec<_>>());
    }
}
