//! A file's bytes by their place, for Parquet's readers: several may read it at the same time.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};

/// A file whose readers don't move each other's place.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    file: Arc<File>,
    length: u64,
}

/// What a reader asks for at least: more than a page's header.
const AHEAD: usize = 4_096;

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Source, ParquetError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Source { file: Arc::new(file), length })
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Source {
    type T = Reader;

    fn get_read(&self, start: u64) -> Result<Reader, ParquetError> {
        Ok(Reader { source: self.clone(), next: start, ahead: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// Reads on from a place.
pub(crate) struct Reader {
    source: Source,
    next: u64,
    ahead: Bytes,
}

impl std::io::Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.ahead.is_empty() {
            let left = self.source.length.saturating_sub(self.next);
            let mut bytes = vec![0; left.min(AHEAD.max(into.len()) as u64) as usize];
            self.source.file.read_exact_at(&mut bytes, self.next)?;
            self.next += bytes.len() as u64;
            self.ahead = bytes.into();
        }
        let read = into.len().min(self.ahead.len());
        self.ahead.copy_to_slice(&mut into[..read]);
        Ok(read)
    }
}

/// An object that is on no disk of this machine's.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: object_store::path::Path,
    /// Bytes.
    pub(crate) size: u64,
}

impl AsyncFileReader for Remote {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move {
            self.store.get_range(&self.path, range).await.map_err(|err| ParquetError::External(err.into()))
        }
        .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move {
            let found = self.store.get_ranges(&self.path, &ranges).await;
            found.map_err(|err| ParquetError::External(err.into()))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let size = self.size;
            Ok(Arc::new(ParquetMetaDataReader::new().load_and_finish(self, size).await?))
        }
        .boxed()
    }
}
