//! The object store, made durable: what was put stays, on disk its folders too, before anyone relies on it.
//!
//! A store of one process is the data folder. One of several writers is wherever [`Shared`] says: there a request without an
//! answer may have been carried out, and nothing can be renamed.

use std::fs::File;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart,
};
use tokio::io::AsyncWriteExt;
use tracing::warn;

use crate::{Shared, StoreError};

/// What a large object is put by; no object store takes less at a time.
const PART_BYTES: usize = 5 << 20;
/// Parts that are under way at a time.
const PARTS: usize = 1;
/// The first pause before a request without an answer is made again, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// How often it is made again once the process is to end.
const LEAVING: u32 = 1;
/// How long it is made again at most: what it names is deleted as nobody's after twice as long ([`Shared::unnamed`]).
const AT_MOST: Duration = Duration::from_hours(12);

/// The store's objects.
#[derive(Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    /// Where they are files, which have to be synced.
    root: Option<PathBuf>,
    is_shared: bool,
    /// Where objects lie that are read from end to end.
    fetched: PathBuf,
    /// The process is to end: it doesn't wait for answers any more.
    leaving: Arc<AtomicBool>,
    #[cfg(test)]
    steps: Arc<std::sync::atomic::AtomicU64>,
}

impl std::fmt::Debug for Objects {
    /// Without the store, which knows its credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("root", &self.root).finish_non_exhaustive()
    }
}

/// Whose object it is that was to be made.
#[derive(Debug)]
pub(crate) enum Claimed {
    Ours,
    /// It was there before, with these bytes.
    Theirs(Bytes),
}

impl Objects {
    /// Those of the store whose data folder is `dir`: in it, or where several writers have theirs.
    pub(crate) fn open(dir: &FsPath, shared: Option<&Shared>) -> Result<Objects, StoreError> {
        let (store, root): (Arc<dyn ObjectStore>, _) = match shared {
            Some(shared) => (shared.objects(), shared.root().map(FsPath::to_owned)),
            None => (Arc::new(LocalFileSystem::new_with_prefix(dir)?), Some(dir.to_owned())),
        };
        Ok(Objects {
            store,
            root,
            is_shared: shared.is_some(),
            fetched: dir.join("fetched"),
            leaving: Arc::default(),
            #[cfg(test)]
            steps: Arc::new(u64::MAX.into()),
        })
    }

    /// The same, for a test in which everything stops after so many steps.
    #[cfg(test)]
    pub(crate) fn stopping_after(self, steps: u64) -> Objects {
        self.steps.store(steps, Ordering::Relaxed);
        self
    }

    /// A process may be stopped here.
    #[cfg_attr(not(test), expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests stop here"))]
    fn step(&self) -> Result<(), StoreError> {
        #[cfg(test)]
        {
            use Ordering::Relaxed;
            if self.steps.fetch_update(Relaxed, Relaxed, |steps| steps.checked_sub(1)).is_err() {
                return Err(StoreError::Wal("a test stopped the process here".to_owned()));
            }
        }
        Ok(())
    }

    pub(crate) fn shared(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    /// Whether others may write and read here, too.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Nobody waits any more for what has no answer.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Puts a new object; an error where it exists.
    pub(crate) async fn create(&self, path: &Path, bytes: Bytes) -> Result<(), StoreError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.step()?;
        self.store.put_opts(path, PutPayload::from_bytes(bytes), options).await?;
        self.step()?;
        self.sync(path).await
    }

    /// Puts a new object, and stays at it until it is known whose it is: a request without an answer may have been carried
    /// out, and who took it for failed would store its rows twice.
    pub(crate) async fn claim(&self, path: &Path, bytes: &Bytes) -> Result<Claimed, StoreError> {
        let mut patience = self.patience();
        loop {
            match self.create(path, bytes.clone()).await {
                Ok(()) => return Ok(Claimed::Ours),
                Err(StoreError::Objects(Error::AlreadyExists { .. })) => match self.read(path).await {
                    Ok(found) if found == *bytes => return Ok(Claimed::Ours),
                    Ok(found) => return Ok(Claimed::Theirs(found)),
                    // Two at the same moment may be told of each other before either is there.
                    Err(err) => {
                        patience.is_needed |= is_missing(&err) && self.is_shared;
                        patience.wait(err).await?;
                    }
                },
                Err(err) => patience.wait(err).await?,
            }
        }
    }

    /// For what has to be known before anything goes on.
    pub(crate) fn patience(&self) -> Patience<'_> {
        Patience { objects: self, is_needed: false, began: Instant::now(), pause: AGAIN.0, leaving: 0 }
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

    /// The same; `None` where there is no such object.
    pub(crate) async fn find(&self, path: &Path) -> Result<Option<Bytes>, StoreError> {
        known(self.read(path).await)
    }

    /// An object's size, bytes; `None` where there is no such object.
    pub(crate) async fn size(&self, path: &Path) -> Result<Option<u64>, StoreError> {
        let found = known(self.store.head(path).await.map_err(StoreError::from))?;
        Ok(found.map(|object| object.size))
    }

    /// Deletes an object, if it is there.
    pub(crate) async fn delete(&self, path: &Path) -> Result<(), StoreError> {
        self.step()?;
        known(self.store.delete(path).await.map_err(StoreError::from)).map(|_| ())
    }

    /// Copies an object over another, or to where none was.
    pub(crate) async fn copy(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.step()?;
        self.store.copy(from, to).await?;
        self.sync(to).await
    }

    /// The objects below `folder`.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        Ok(self.store.list(Some(&Path::from(folder))).try_collect().await?)
    }

    /// Those of them whose names come after this one's.
    pub(crate) async fn list_after(&self, folder: &str, name: &Path) -> Result<Vec<ObjectMeta>, StoreError> {
        Ok(self.store.list_with_offset(Some(&Path::from(folder)), name).try_collect().await?)
    }

    /// Where an object is a file.
    pub(crate) fn on_disk(&self, path: &Path) -> Option<PathBuf> {
        self.root.as_ref().map(|root| root.join(path.as_ref()))
    }

    /// An object as a file: its own, or a copy for as long as that is held.
    pub(crate) async fn fetch(&self, path: &Path) -> Result<Fetched, StoreError> {
        if let Some(file) = self.on_disk(path) {
            return Ok(Fetched { file, is_copy: false });
        }
        tokio::fs::create_dir_all(&self.fetched).await.map_err(StoreError::io(&self.fetched))?;
        let file = self.fetched.join(path.as_ref().replace('/', "~"));
        let fetched = Fetched { file, is_copy: true };
        self.copy_out(path, &fetched.file).await?;
        Ok(fetched)
    }

    /// Writes an object into a file of this machine's.
    pub(crate) async fn copy_out(&self, path: &Path, to: &FsPath) -> Result<(), StoreError> {
        let mut bytes = self.store.get(path).await?.into_stream();
        let mut copy = tokio::fs::File::create(to).await.map_err(StoreError::io(to))?;
        while let Some(bytes) = bytes.next().await {
            copy.write_all(&bytes?).await.map_err(StoreError::io(to))?;
        }
        copy.flush().await.map_err(StoreError::io(to))
    }

    /// Deletes copies that a process before this one left.
    pub(crate) async fn forget_fetched(&self) -> Result<(), StoreError> {
        match tokio::fs::remove_dir_all(&self.fetched).await {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io(&self.fetched)(err)),
            _ => Ok(()),
        }
    }

    /// `LocalFileSystem` leaves its files to the page cache; we delete the log once they are written.
    async fn sync(&self, path: &Path) -> Result<(), StoreError> {
        let Some(root) = self.root.clone() else { return Ok(()) };
        let file = root.join(path.as_ref());
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

/// Waits for an object store that gives no answers.
pub(crate) struct Patience<'a> {
    objects: &'a Objects,
    /// Something may have been done without an answer.
    is_needed: bool,
    began: Instant,
    pause: Duration,
    leaving: u32,
}

impl Patience<'_> {
    /// Returns when it is to be asked again.
    ///
    /// # Errors
    /// The same, where it is an answer. [`StoreError::Unsure`] where there will be none: the process is to end, or it takes too
    /// long.
    pub(crate) async fn wait(&mut self, err: StoreError) -> Result<(), StoreError> {
        let is_remote = self.objects.root.is_none();
        self.is_needed |= is_remote && matches!(err, StoreError::Objects(Error::Generic { .. }));
        self.leaving += u32::from(self.objects.leaving.load(Ordering::Relaxed));
        if !self.is_needed {
            return Err(err);
        }
        if self.leaving > LEAVING || self.began.elapsed() > AT_MOST {
            return Err(StoreError::Unsure(err.to_string()));
        }
        warn!(%err, "the object store doesn't answer; it is asked again");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(AGAIN.1);
        Ok(())
    }
}

/// Whether there is no such object.
pub(crate) fn is_missing(err: &StoreError) -> bool {
    matches!(err, StoreError::Objects(Error::NotFound { .. }))
}

/// `None` where there is no such object.
fn known<T>(found: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(err) if is_missing(&err) => Ok(None),
        Err(err) => Err(err),
    }
}

/// An object that can be read as a file.
#[derive(Debug)]
pub(crate) struct Fetched {
    file: PathBuf,
    is_copy: bool,
}

impl AsRef<FsPath> for Fetched {
    fn as_ref(&self) -> &FsPath {
        &self.file
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        let removed = if self.is_copy { std::fs::remove_file(&self.file) } else { Ok(()) };
        // One that could not be fetched need not be there.
        if let Err(err) = removed
            && err.kind() != std::io::ErrorKind::NotFound
        {
            warn!(path = %self.file.display(), %err, "a copy stays until the next start");
        }
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
