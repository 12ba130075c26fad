//! Stored rows, for stages that go on from them: column by column where they need few.

use arrow::array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::objects::Objects;
use crate::scan::Segment;
use crate::{Store, StoreError};

impl Store {
    /// What `read` takes from a file's rows, of these `columns`, or of all where none are named; not much more than `most`.
    ///
    /// # Errors
    /// Where the file can't be read, or read as Parquet.
    pub async fn read_segment<T, F>(
        &self,
        segment: &Segment,
        columns: &'static [&'static str],
        most: usize,
        read: F,
    ) -> Result<Vec<T>, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&RecordBatch) -> Vec<T> + Send + 'static,
    {
        of_file(&self.inner().objects, segment, columns, most, read).await
    }
}

pub(crate) async fn of_file<T, F>(
    objects: &Objects,
    segment: &Segment,
    columns: &'static [&'static str],
    most: usize,
    mut read: F,
) -> Result<Vec<T>, StoreError>
where
    T: Send + 'static,
    F: FnMut(&RecordBatch) -> Vec<T> + Send + 'static,
{
    // One hour of one table at most: read whole.
    let file = objects.read(&segment.path).await?;
    let read = move || {
        let mut rows = Vec::new();
        let mut builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
        if !columns.is_empty() {
            let wanted = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
            builder = builder.with_projection(wanted);
        }
        for batch in builder.build()? {
            rows.extend(read(&batch?));
            if rows.len() >= most {
                break;
            }
        }
        Ok(rows)
    };
    let task = tokio::task::spawn_blocking(read).await;
    task.unwrap_or_else(|err| Err(StoreError::Wal(format!("reading panicked: {err}"))))
}
