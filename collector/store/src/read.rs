//! Stored rows, for stages that go on from them: column by column where they need few.

use arrow::array::RecordBatch;
use futures::StreamExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderBuilder, ParquetRecordBatchReaderBuilder};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use tokio::runtime::Handle;

use crate::objects::Objects;
use crate::scan::Segment;
use crate::source::{Remote, Source};
use crate::{Store, StoreError};

impl Store {
    /// What `read` takes from a file's rows of `since` (ns) and later, and of some that are earlier; of these `columns`, or of
    /// all where none are named; the latest first, by and large, and not much more than `most`.
    ///
    /// # Errors
    /// Where the file can't be read, or read as Parquet.
    pub async fn read_segment<T, F>(
        &self,
        segment: &Segment,
        columns: &'static [&'static str],
        since: i64,
        most: usize,
        read: F,
    ) -> Result<Vec<T>, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&RecordBatch) -> Vec<T> + Send + 'static,
    {
        of_file(&self.inner().objects, segment, columns, since, most, read).await
    }
}

pub(crate) async fn of_file<T, F>(
    objects: &Objects,
    segment: &Segment,
    columns: &'static [&'static str],
    since: i64,
    most: usize,
    mut read: F,
) -> Result<Vec<T>, StoreError>
where
    T: Send + 'static,
    F: FnMut(&RecordBatch) -> Vec<T> + Send + 'static,
{
    // The snapshot that names the file may be gone before this has read it.
    let file = segment.file.clone();
    let wanted = Wanted { columns, since };
    let task = if let Some(path) = objects.on_disk(&segment.path) {
        tokio::task::spawn_blocking(move || {
            let _file = file;
            let builder = wanted.of(ParquetRecordBatchReaderBuilder::try_new(Source::open(&path)?)?);
            let mut rows = Vec::new();
            for batch in builder.build()? {
                rows.extend(read(&batch?));
                if rows.len() >= most {
                    break;
                }
            }
            Ok(rows)
        })
    } else {
        let reader = Remote { store: objects.shared(), path: segment.path.clone(), size: segment.size };
        let this = Handle::current();
        let from_afar = async move {
            let _file = file;
            let mut batches = wanted.of(ParquetRecordBatchStreamBuilder::new(reader).await?).build()?;
            let mut rows = Vec::new();
            while let Some(batch) = batches.next().await {
                rows.extend(read(&batch?));
                if rows.len() >= most {
                    break;
                }
            }
            Ok(rows)
        };
        // Decoding takes its time, between what comes.
        tokio::task::spawn_blocking(move || this.block_on(from_afar))
    };
    task.await.unwrap_or_else(|err| Err(StoreError::Wal(format!("reading panicked: {err}"))))
}

/// Which part of a file is wanted.
struct Wanted {
    columns: &'static [&'static str],
    since: i64,
}

impl Wanted {
    fn of<T>(&self, builder: ArrowReaderBuilder<T>) -> ArrowReaderBuilder<T> {
        // Files are sorted by time, by and large: the latest rows are in the last groups.
        let groups = builder.metadata().row_groups().iter().enumerate().rev();
        let groups = groups.filter(|(_, group)| latest(group).is_none_or(|latest| latest >= self.since));
        let groups = groups.map(|(number, _)| number).collect();
        let wanted = match self.columns {
            [] => ProjectionMask::all(),
            columns => ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied()),
        };
        builder.with_projection(wanted).with_row_groups(groups)
    }
}

/// The time of a group's latest row; the first column is the rows' time.
fn latest(group: &RowGroupMetaData) -> Option<i64> {
    match group.column(0).statistics()? {
        Statistics::Int64(times) => times.max_opt().copied(),
        _ => None,
    }
}
