//! The object store, made durable: what was put is on disk, its folders too, before anyone relies on it.

use std::fs::File;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::StoreError;

/// The data folder as an object store.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    root: PathBuf,
    store: Arc<LocalFileSystem>,
}

impl Objects {
    pub(crate) fn open(root: &FsPath) -> Result<Objects, StoreError> {
        let store = Arc::new(LocalFileSystem::new_with_prefix(root)?);
        Ok(Objects { root: root.to_owned(), store })
    }

    pub(crate) fn shared(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    /// Puts a new object; an error where it exists.
    pub(crate) async fn create(&self, path: &Path, bytes: Bytes) -> Result<(), StoreError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.store.put_opts(path, PutPayload::from_bytes(bytes), options).await?;
        self.sync(path).await
    }

    pub(crate) async fn read(&self, path: &Path) -> Result<Bytes, StoreError> {
        Ok(self.store.get(path).await?.bytes().await?)
    }

    pub(crate) async fn delete(&self, path: &Path) -> Result<(), StoreError> {
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
