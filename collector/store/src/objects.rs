//! The object store, made durable: what was put is on disk, its folders too, before anyone relies on it.

use std::fs::File;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart};
use tracing::warn;

use crate::StoreError;

/// What a large object is put by; no object store takes less at a time.
const PART_BYTES: usize = 5 << 20;
/// Parts that are under way at a time.
const PARTS: usize = 1;

/// The data folder as an object store.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    root: PathBuf,
    store: Arc<LocalFileSystem>,
    #[cfg(test)]
    steps: Arc<std::sync::atomic::AtomicU64>,
}

impl Objects {
    pub(crate) fn open(root: &FsPath) -> Result<Objects, StoreError> {
        let store = Arc::new(LocalFileSystem::new_with_prefix(root)?);
        Ok(Objects {
            root: root.to_owned(),
            store,
            #[cfg(test)]
            steps: Arc::new(u64::MAX.into()),
        })
    }

    /// The same, for a test in which everything stops after so many steps.
    #[cfg(test)]
    pub(crate) fn stopping_after(self, steps: u64) -> Objects {
        self.steps.store(steps, std::sync::atomic::Ordering::Relaxed);
        self
    }

    /// A process may be stopped here.
    #[cfg_attr(not(test), expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests stop here"))]
    fn step(&self) -> Result<(), StoreError> {
        #[cfg(test)]
        {
            use std::sync::atomic::Ordering::Relaxed;
            if self.steps.fetch_update(Relaxed, Relaxed, |steps| steps.checked_sub(1)).is_err() {
                return Err(StoreError::Wal("a test stopped the process here".to_owned()));
            }
        }
        Ok(())
    }

    pub(crate) fn shared(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    /// Puts a new object; an error where it exists.
    pub(crate) async fn create(&self, path: &Path, bytes: Bytes) -> Result<(), StoreError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.step()?;
        self.store.put_opts(path, PutPayload::from_bytes(bytes), options).await?;
        self.step()?;
        self.sync(path).await
    }

    /// A new object that comes in parts; nobody sees it before [`Upload::finish`].
    pub(crate) async fn begin(&self, path: &Path) -> Result<Upload, StoreError> {
        self.step()?;
        let parts = WriteMultipart::new_with_chunk_size(self.store.put_multipart(path).await?, PART_BYTES);
        Ok(Upload { objects: self.clone(), path: path.clone(), parts, size: 0 })
    }

    pub(crate) async fn read(&self, path: &Path) -> Result<Bytes, StoreError> {
        Ok(self.store.get(path).await?.bytes().await?)
    }

    pub(crate) async fn delete(&self, path: &Path) -> Result<(), StoreError> {
        self.step()?;
        Ok(self.store.delete(path).await?)
    }

    /// The names of the objects right below `folder`.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<Path>, StoreError> {
        let prefix = Path::from(folder);
        Ok(self.store.list(Some(&prefix)).map_ok(|object| object.location).try_collect().await?)
    }

    /// Where an object is on disk.
    pub(crate) fn on_disk(&self, path: &Path) -> PathBuf {
        self.root.join(path.as_ref())
    }

    /// `LocalFileSystem` leaves its files to the page cache; we delete the log once they are written.
    async fn sync(&self, path: &Path) -> Result<(), StoreError> {
        let (root, file) = (self.root.clone(), self.on_disk(path));
        let synced = tokio::task::spawn_blocking(move || {
            let folders = file.ancestors().skip(1).take_while(|folder| folder.starts_with(&root));
            for path in std::iter::once(file.as_path()).chain(folders) {
                File::open(path).and_then(|file| file.sync_all()).map_err(StoreError::io(path))?;
            }
            Ok(())
        });
        synced.await.expect("syncing does not panic")
    }
}

/// An object on its way.
pub(crate) struct Upload {
    objects: Objects,
    path: Path,
    parts: WriteMultipart,
    size: u64,
}

impl Upload {
    /// The next bytes.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.objects.step()?;
        self.parts.wait_for_capacity(PARTS).await?;
        self.size += bytes.len() as u64;
        self.parts.put(bytes);
        Ok(())
    }

    /// Makes it durable and visible; its size.
    pub(crate) async fn finish(self) -> Result<u64, StoreError> {
        self.objects.step()?;
        self.parts.finish().await?;
        self.objects.step()?;
        self.objects.sync(&self.path).await?;
        Ok(self.size)
    }

    /// Gives it up.
    pub(crate) async fn abort(self) {
        if let Err(err) = self.parts.abort().await {
            warn!(path = %self.path, %err, "a part of a file stays until the next start");
        }
    }
}
