//! Open, append, snapshot, close.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::hash::BuildHasher;
use std::io::{Read, Seek, Write};
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::{AsArray, RecordBatch, TimestampNanosecondArray};
use arrow::compute::min;
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot};
use tracing::{info, warn};
use weir_model::{BatchMeta, ModelError, Table, conform, tables};

use crate::arrivals::{Arrivals, Lacking};
use crate::catalog::{Catalog, LostRows};
use crate::commit::{self, Append, Committer};
use crate::memtable::size_of;
use crate::objects::Objects;
use crate::scan::{Segment, Snapshot};
use crate::view::{TableView, View, Visible, index_of, index_of_name};
use crate::wal::{self, Log, Position, Replayed, encode_ipc};
use crate::{
    Compacted, Examined, Retention, StoreConfig, StoreError, compact, mend, quarantine, retain, seal, shared,
};

/// How far before the newest stored row a start looks for rows that others to come belong to, ns: two intervals of
/// flows are rarely as long.
const RECALLED_NS: i64 = 90_000_000_000;
/// Rows from which encoding is handed to another thread.
const INLINE_ROWS: usize = 64;

/// The store. Cheap to clone; all clones are the same store.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

/// One batch to store.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which batch it is.
    pub meta: BatchMeta,
    /// Its rows, with the table's own schema.
    pub batch: RecordBatch,
    /// The same as an Arrow IPC stream, where it came as one; columns may be more or fewer.
    pub ipc: Option<Bytes>,
}

/// What opening found.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// Rows that were read back from the log into memory.
    pub replayed_rows: u64,
    /// What the log looked like.
    pub log: Replayed,
    /// Files that were set aside: path and what is wrong.
    pub quarantined: Vec<(String, String)>,
    /// Rows in those files, as the catalog counted them.
    pub quarantined_rows: u64,
}

/// One table's size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableStats {
    /// The table's name.
    pub table: &'static str,
    /// Rows in memory.
    pub rows_memory: u64,
    /// Bytes in memory.
    pub bytes_memory: u64,
    /// Rows in files.
    pub rows_sealed: u64,
    /// Files.
    pub files: u64,
    /// Bytes in files.
    pub bytes: u64,
    /// Rows of this time (ns) and earlier were deleted for their age, or for want of room.
    pub retired: Option<i64>,
    /// Rows that are in no file any more since theirs were damaged, until they would be too old to be kept.
    pub rows_damaged: u64,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: StoreConfig,
    pub(crate) objects: Objects,
    pub(crate) view: Arc<RwLock<View>>,
    pub(crate) arrivals: Option<Arc<dyn Arrivals>>,
    pub(crate) catalog: tokio::sync::Mutex<CatalogState>,
    /// One sealing at a time: it takes memory.
    pub(crate) sealing: tokio::sync::Mutex<()>,
    /// After each group of appends.
    pub(crate) grown: Arc<Notify>,
    /// After each sealing, well or not.
    pub(crate) sealed: Notify,
    /// This folder's writer, in file names and in the catalog.
    pub(crate) writer: String,
    /// One merge at a time.
    pub(crate) merging: tokio::sync::Mutex<()>,
    pub(crate) compacted: Mutex<Compacted>,
    /// Rows that were deleted since the start.
    pub(crate) retired_rows: AtomicU64,
    opened: Opened,
    committer: Mutex<Option<Committer>>,
    attempts: AtomicU64,
    duplicates: AtomicU64,
    closing: AtomicBool,
    /// Held until the store is closed or dropped.
    lock: Mutex<Option<File>>,
}

/// The catalog, and which version of the view's `seen` it holds.
#[derive(Debug)]
pub(crate) struct CatalogState {
    pub(crate) log: Catalog,
    pub(crate) seen_version: u64,
}

impl Inner {
    pub(crate) fn wal_dir(&self) -> PathBuf {
        self.config.dir.join("wal")
    }

    pub(crate) fn next_attempt(&self) -> u64 {
        self.attempts.fetch_add(1, Ordering::Relaxed)
    }

    /// Appends that wait for the log's thread.
    pub(crate) fn queued(&self) -> usize {
        let committer = self.committer.lock();
        committer.as_ref().map_or(0, |committer| committer.queue.max_capacity() - committer.queue.capacity())
    }

    /// Whether new work on files is not to be begun.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire) || self.is_closed()
    }

    /// Whether the folder may belong to somebody else by now.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock.lock().is_none()
    }

    fn is_full(&self, parts: &[(Visible, Bytes)]) -> bool {
        let (held, more) =
            (self.view.read().bytes(), parts.iter().map(|(part, _)| part.bytes).sum::<usize>());
        held > 0 && held + more > self.config.memory_bytes
    }
}

impl Store {
    /// Opens the folder, or makes it: reads the catalog, then what the log has beyond it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process has it; [`StoreError::Format`], [`StoreError::Catalog`] where
    /// it can't be understood.
    pub async fn open(config: StoreConfig) -> Result<Store, StoreError> {
        Store::open_with(config, None).await
    }

    /// The same, with a stage between the log and memory.
    ///
    /// # Errors
    /// As [`Store::open`]; also where what the stage goes on from can't be read.
    pub async fn open_with(
        config: StoreConfig,
        arrivals: Option<Arc<dyn Arrivals>>,
    ) -> Result<Store, StoreError> {
        let dir = config.dir.clone();
        let folders: &[&str] = match config.shared {
            Some(_) => &["", "wal"],
            None => &["", "wal", "catalog", "tables", "rollups"],
        };
        for folder in folders {
            let folder = dir.join(folder);
            fs::create_dir_all(&folder).map_err(StoreError::io(&folder))?;
        }
        let dir = fs::canonicalize(&dir).map_err(StoreError::io(&dir))?;
        let config = StoreConfig { dir: dir.clone(), ..config };
        let lock = lock(&dir)?;
        if config.shared.is_some() && dir.join("catalog").exists() {
            return Err(StoreError::Other { dir });
        }
        let objects = Objects::open(&dir, config.shared.as_ref())?;
        #[cfg(test)]
        let objects = objects.stopping_after(config.steps.unwrap_or(u64::MAX));
        let mut catalog = Catalog::load(objects.clone()).await?;
        let writer = writer_id(&dir)?;
        let mut opened = Opened::default();
        if config.shared.is_some() {
            objects.forget_fetched().await?;
            catalog.enter(&writer).await?;
            catalog.forget(commit::today());
            shared::delete_own_orphans(&objects, &catalog, &writer).await?;
            shared::take_out_missing(&objects, &writer, &mut catalog, &mut opened).await?;
        } else {
            catalog.forget(commit::today());
            mend::delete_orphans(&dir, &catalog)?;
            mend::set_damaged_aside(&dir, &writer, &mut catalog, &mut opened).await?;
        }
        // All that is known is read below.
        catalog.news();

        let mut view = View::new();
        view.seen = catalog.state().seen().clone();
        view.lost = catalog.state().lost().to_vec();
        // What the catalog knows need not be written again; what the log adds must.
        let (_, seen_version) = view.seen.changed_since(u64::MAX);
        for file in catalog.state().files() {
            if let Some(table) = index_of_name(&file.table) {
                Arc::make_mut(&mut view.tables[table].segments).push(Segment::of(file));
            }
        }
        for (table, of) in view.tables.iter_mut().zip(tables::ALL) {
            table.retired = catalog.state().retired(of.name);
        }
        let sealed = catalog.state().sealed(&writer);
        let mut arriving =
            Arriving { table: arrivals.as_ref().map(|arrivals| arrivals.table()), rows: Vec::new() };
        replay(&dir, &sealed, &mut view, &mut arriving, &mut opened)?;
        if let Some(arrivals) = &arrivals {
            arrive_again(&objects, arrivals, arriving, &mut view).await?;
        }
        let log = Log::begin(&dir.join("wal"), opened.log.next_segment, config.wal_segment_bytes)
            .map_err(StoreError::io(dir.join("wal")))?;
        view.applied = log.end();

        let is_shared = objects.is_shared();
        let view = Arc::new(RwLock::new(view));
        let grown = Arc::new(Notify::new());
        let committer = commit::start(log, view.clone(), arrivals.clone(), grown.clone())
            .map_err(StoreError::io("thread weir-wal"))?;
        let inner = Arc::new(Inner {
            config,
            objects,
            view,
            arrivals,
            catalog: tokio::sync::Mutex::new(CatalogState { log: catalog, seen_version }),
            sealing: tokio::sync::Mutex::default(),
            grown,
            sealed: Notify::new(),
            writer,
            merging: tokio::sync::Mutex::default(),
            compacted: Mutex::default(),
            retired_rows: AtomicU64::new(0),
            opened,
            committer: Mutex::new(Some(committer)),
            // So that no name is used twice, also where a file can't be seen that a process before this one left.
            attempts: AtomicU64::new(if is_shared { u64::from(drawn() as u32) } else { 0 }),
            duplicates: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
        });
        seal::trim(&inner);
        tokio::spawn(seal::run(Arc::downgrade(&inner)));
        if inner.config.compaction.is_on {
            tokio::spawn(compact::run(Arc::downgrade(&inner)));
        }
        if inner.config.retention != Retention::default() {
            tokio::spawn(retain::run(Arc::downgrade(&inner)));
        }
        if let Some(shared) = inner.config.shared.clone() {
            tokio::spawn(shared::run(Arc::downgrade(&inner), shared));
        }
        Ok(Store { inner })
    }

    /// Stores all batches or none. Durable and queryable when it returns; a batch that was stored before is left
    /// out. Waits while the memory for rows is full.
    ///
    /// # Errors
    /// [`StoreError::Batch`]: sending it again can't help. [`StoreError::Wal`]: it may.
    pub async fn append(&self, batches: Vec<(BatchMeta, RecordBatch)>) -> Result<(), StoreError> {
        let parts = batches.into_iter().map(|(meta, batch)| Part { meta, batch, ipc: None }).collect();
        self.append_parts(parts).await.map(|_| ())
    }

    /// The same, for batches that came encoded; says how many had been stored before.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn append_parts(&self, parts: Vec<Part>) -> Result<usize, StoreError> {
        let rows: usize =
            parts.iter().filter(|part| part.ipc.is_none()).map(|part| part.batch.num_rows()).sum();
        let parts = if rows <= INLINE_ROWS {
            prepare(parts)?
        } else {
            let prepared = tokio::task::spawn_blocking(move || prepare(parts)).await;
            prepared.expect("encoding does not panic")?
        };
        self.wait_for_room(&parts).await;
        self.recall(&parts).await;
        let queue = self.inner.committer.lock().as_ref().map(|committer| committer.queue.clone());
        let (done, answer) = oneshot::channel();
        let queue = queue.ok_or(StoreError::Closed)?;
        queue.send(Append { parts, done }).await.map_err(|_| StoreError::Closed)?;
        let stored = answer.await.map_err(|_| StoreError::Closed)??;
        self.inner.duplicates.fetch_add(stored.duplicates as u64, Ordering::Relaxed);
        Ok(stored.duplicates)
    }

    /// A consistent view: each row once, either in memory or in exactly one file.
    pub fn snapshot(&self, table: &'static Table) -> Snapshot {
        let view = self.inner.view.read();
        let table = view.of(table);
        Snapshot { memory: table.memory.batches(), segments: table.segments.clone(), retired: table.retired }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Where the snapshots' files are.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        self.inner.objects.shared()
    }

    /// The data folder.
    pub fn dir(&self) -> &FsPath {
        &self.inner.config.dir
    }

    /// What opening found.
    pub fn opened(&self) -> &Opened {
        &self.inner.opened
    }

    /// Batches since the start that had been stored before.
    pub fn duplicates(&self) -> u64 {
        self.inner.duplicates.load(Ordering::Relaxed)
    }

    /// Each table's size.
    pub fn stats(&self) -> Vec<TableStats> {
        let view = self.inner.view.read();
        let stats = tables::ALL.into_iter().map(|table| {
            let TableView { memory, segments, retired } = view.of(table);
            TableStats {
                table: table.name,
                rows_memory: memory.rows() as u64,
                bytes_memory: memory.bytes() as u64,
                rows_sealed: segments.iter().map(|segment| segment.rows).sum(),
                files: segments.len() as u64,
                bytes: segments.iter().map(|segment| segment.size).sum(),
                retired: *retired,
                rows_damaged: view
                    .lost
                    .iter()
                    .filter(|lost| lost.table == table.name)
                    .map(|lost| lost.rows)
                    .sum(),
            }
        });
        stats.collect()
    }

    /// Rows that were deleted since the start, for their age or for want of room.
    pub fn deleted_rows(&self) -> u64 {
        self.inner.retired_rows.load(Ordering::Relaxed)
    }

    /// Seals everything that is in memory now.
    ///
    /// # Errors
    /// When files can't be written; the rows stay in memory and in the log.
    pub async fn seal(&self) -> Result<(), StoreError> {
        for table in tables::ALL {
            seal::seal(&self.inner, table).await?;
        }
        Ok(())
    }

    /// Takes a file that turned out to be damaged out of its table. It moves to `quarantine/` once no snapshot
    /// names it. False where the table has no such file (any more).
    ///
    /// # Errors
    /// When the catalog can't be written; the file stays in its table.
    pub async fn quarantine(&self, path: &Path, why: &str) -> Result<bool, StoreError> {
        quarantine::take_out(&self.inner, path, why).await
    }

    /// Looks whether a file that gave trouble is damaged, and if so, takes it out of its table as [`Store::quarantine`] does, or
    /// its roll-up off it, where only that is. Reads all of it.
    ///
    /// # Errors
    /// Where it can't be known now: an object store gives no answer, or the catalog can't be written.
    pub async fn examine(&self, segment: &Segment) -> Result<Examined, StoreError> {
        quarantine::examine(&self.inner, segment).await
    }

    /// Rows that are in no table any more since their files were damaged, until they would be too old to be kept.
    pub fn lost_rows(&self) -> Vec<LostRows> {
        self.inner.view.read().lost.clone()
    }

    /// Merges all files that are small with others of their day, and returns when nothing is left to merge. Files that
    /// readers have stay until they have done with them.
    ///
    /// # Errors
    /// When files can't be written; those that there are stay.
    pub async fn compact(&self) -> Result<Compacted, StoreError> {
        let before = self.compacted();
        compact::at_once(&self.inner, true).await?;
        let after = self.compacted();
        Ok(Compacted {
            merges: after.merges - before.merges,
            files: after.files - before.files,
            rows: after.rows - before.rows,
            bytes_read: after.bytes_read - before.bytes_read,
            bytes_written: after.bytes_written - before.bytes_written,
        })
    }

    /// Merges what would be merged by and by, at once.
    ///
    /// # Errors
    /// As [`Store::compact`].
    pub async fn merge_due(&self) -> Result<(), StoreError> {
        compact::at_once(&self.inner, false).await
    }

    /// What merging did since the start.
    pub fn compacted(&self) -> Compacted {
        *self.inner.compacted.lock()
    }

    /// Deletes files whose rows are older than [`StoreConfig::retention`] keeps them, or for which there is no room; rows
    /// that were in them. It is done by itself, too.
    ///
    /// # Errors
    /// When the catalog can't be written; nothing is deleted then.
    pub async fn retain(&self) -> Result<u64, StoreError> {
        retain::once(&self.inner).await
    }

    /// Takes over at once what other writers of the same store committed; it is done by itself, too.
    ///
    /// # Errors
    /// When the catalog can't be read.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        shared::follow(&self.inner, true).await
    }

    /// Seals everything, stops the log, and lets the folder go. Appends through other clones fail from now on.
    ///
    /// # Errors
    /// When sealing failed: the rows are in the log, and the next start has them.
    pub async fn close(self) -> Result<(), StoreError> {
        self.inner.objects.leave();
        let committer = self.inner.committer.lock().take();
        if let Some(Committer { queue, thread }) = committer {
            // The thread ends when the last append that is under way has let go of the queue.
            drop(queue);
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                warn!("the log's thread panicked");
            }
        }
        let sealed = self.seal().await;
        self.inner.closing.store(true, Ordering::Release);
        // A merge that is under way gives up at its next step.
        let _no_merge = self.inner.merging.lock().await;
        self.inner.lock.lock().take();
        sealed
    }

    /// Tells the stage what it lacks for `parts`. Rows that can't be read are missing there, and said so.
    async fn recall(&self, parts: &[(Visible, Bytes)]) {
        let Some(arrivals) = &self.inner.arrivals else { return };
        let table = arrivals.table();
        for (part, _) in parts.iter().filter(|(part, _)| part.table == index_of(table)) {
            let Some(lacking) = arrivals.lacks(&part.batch, commit::now()) else { continue };
            let lacking = Arc::new(lacking);
            let Snapshot { memory, segments, .. } = self.snapshot(table);
            for rows in &memory {
                arrivals.recall(rows, Some(&lacking));
            }
            for segment in segments.iter().filter(|segment| is_within(segment, &lacking)) {
                let (objects, since) = (&self.inner.objects, lacking.from);
                if let Err(err) = recall_file(objects, arrivals, segment, since, Some(lacking.clone())).await
                {
                    warn!(path = %segment.path, %err, "a file can't be read: rows that come late may count twice what it has");
                }
            }
        }
    }

    async fn wait_for_room(&self, parts: &[(Visible, Bytes)]) {
        loop {
            let sealed = self.inner.sealed.notified();
            if !self.inner.is_full(parts) {
                return;
            }
            sealed.await;
        }
    }
}

fn is_within(segment: &Segment, lacking: &Lacking) -> bool {
    segment.max_time >= lacking.from && segment.min_time <= lacking.upto
}

async fn recall_file(
    objects: &Objects,
    arrivals: &Arc<dyn Arrivals>,
    segment: &Segment,
    since: i64,
    lacking: Option<Arc<Lacking>>,
) -> Result<(), StoreError> {
    let (table, columns) = (arrivals.table(), arrivals.recalled_columns());
    let arrivals = arrivals.clone();
    let tell = move |rows: &RecordBatch| -> Vec<Result<(), ModelError>> {
        vec![conform(rows, table).map(|rows| arrivals.recall(&rows, lacking.as_deref()))]
    };
    let told = crate::read::of_file(objects, segment, columns, since, usize::MAX, tell).await?;
    told.into_iter()
        .collect::<Result<(), _>>()
        .map_err(|source| StoreError::Batch { table: table.name.to_owned(), source })
}

/// Checks the batches, and encodes those that did not come encoded.
fn prepare(parts: Vec<Part>) -> Result<Vec<(Visible, Bytes)>, StoreError> {
    let prepared = parts.into_iter().map(|Part { meta, batch, ipc }| {
        let fault = |source| StoreError::Batch { table: meta.table.clone(), source };
        let table = tables::by_name(&meta.table)
            .ok_or_else(|| fault(ModelError::UnknownTable(meta.table.clone())))?;
        let batch = conform(&batch, table).map_err(fault)?;
        let ipc = ipc.map_or_else(|| encode_ipc(&batch), Ok)?;
        let bytes = size_of(&batch);
        Ok((Visible { meta, table: index_of(table), batch, bytes }, ipc))
    });
    prepared.collect()
}

fn lock(dir: &FsPath) -> Result<File, StoreError> {
    let path = dir.join("LOCK");
    let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = options.map_err(StoreError::io(&path))?;
    match file.try_lock() {
        Ok(()) => {
            let note = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
            note.map_err(StoreError::io(&path))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let known = file.rewind().and_then(|()| (&mut file).take(32).read_to_string(&mut holder));
            if known.is_err() || holder.is_empty() {
                "unknown".clone_into(&mut holder);
            }
            Err(StoreError::Locked { dir: dir.to_owned(), holder })
        }
        Err(TryLockError::Error(source)) => Err(StoreError::Io { path, source }),
    }
}

/// This folder's writer: 16 hex digits (once 8), drawn once.
fn writer_id(dir: &FsPath) -> Result<String, StoreError> {
    let path = dir.join("wal").join("writer");
    let known = fs::read_to_string(&path).unwrap_or_default();
    if [8, 16].contains(&known.len()) && known.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(known);
    }
    let id = format!("{:016x}", drawn());
    let written = fs::write(&path, &id).and_then(|()| File::open(&path)?.sync_all());
    written.map_err(StoreError::io(&path))?;
    Ok(id)
}

/// A number that nobody else has.
fn drawn() -> u64 {
    // Its keys are random.
    std::hash::RandomState::new().hash_one(std::process::id())
}

/// Rows of the log that have to go through the stage again.
struct Arriving {
    table: Option<&'static Table>,
    rows: Vec<(Visible, Position)>,
}

/// The stage goes on where it was: from the newest stored rows, then the log's.
async fn arrive_again(
    objects: &Objects,
    arrivals: &Arc<dyn Arrivals>,
    arriving: Arriving,
    view: &mut View,
) -> Result<(), StoreError> {
    let segments = view.of(arrivals.table()).segments.clone();
    let newest = segments.iter().map(|segment| segment.max_time).max();
    let earliest = arriving.rows.iter().filter_map(|(rows, _)| min(time_column(&rows.batch))).min();
    if let Some(since) = newest.into_iter().chain(earliest).min().filter(|_| newest.is_some()) {
        let since = since.saturating_sub(RECALLED_NS);
        arrivals.begin(since);
        for segment in segments.iter().filter(|segment| segment.max_time >= since) {
            recall_file(objects, arrivals, segment, since, None).await?;
        }
    }
    let today = commit::today();
    for (mut visible, position) in arriving.rows {
        commit::arrive(&**arrivals, &mut visible, true);
        view.apply(visible, position, today);
    }
    Ok(())
}

fn time_column(rows: &RecordBatch) -> &TimestampNanosecondArray {
    rows.column(0).as_primitive()
}

/// Reads back what the log has beyond the catalog.
fn replay(
    dir: &FsPath,
    sealed: &BTreeMap<String, Position>,
    view: &mut View,
    arriving: &mut Arriving,
    opened: &mut Opened,
) -> Result<(), StoreError> {
    let today = commit::today();
    // Numbers are never used twice, also where all files were deleted.
    let first = sealed.values().map(|position| position.segment + 1).max().unwrap_or(1);
    let wal_dir = dir.join("wal");
    let mut replayed_rows = 0;
    let mut unreadable = 0_u64;
    let log = wal::replay(&wal_dir, first, |position, payload| {
        let Some(parts) = wal::decode_parts(&payload) else {
            unreadable += 1;
            return Ok(());
        };
        for part in parts {
            let Some(table) = tables::by_name(&part.meta.table) else {
                unreadable += 1;
                continue;
            };
            if sealed.get(table.name).is_some_and(|upto| position < *upto) {
                view.seen.insert(&part.meta, today);
                continue;
            }
            match part.rows().map_err(StoreError::from).and_then(|rows| {
                conform(&rows, table)
                    .map_err(|source| StoreError::Batch { table: table.name.to_owned(), source })
            }) {
                Ok(batch) => {
                    replayed_rows += batch.num_rows() as u64;
                    let bytes = size_of(&batch);
                    let visible = Visible { meta: part.meta, table: index_of(table), batch, bytes };
                    if arriving.table.is_some_and(|arriving| arriving.name == table.name) {
                        arriving.rows.push((visible, position));
                    } else {
                        view.apply(visible, position, today);
                    }
                }
                Err(err) => {
                    warn!(table = table.name, %err, "a batch in the log can't be read");
                    unreadable += 1;
                }
            }
        }
        Ok::<(), std::io::Error>(())
    });
    let mut log = log.map_err(StoreError::io(&wal_dir))?;
    log.damaged_records += unreadable;
    for path in &log.damaged_files {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("log");
        let to = quarantine::place(dir, &format!("wal/{name}"));
        quarantine::keep_copy(path, &to).map_err(StoreError::io(path))?;
        warn!(path = %path.display(), to = %to.display(), "the log is damaged; a copy is kept, whole records are read");
    }
    opened.replayed_rows = replayed_rows;
    opened.log = log;
    if replayed_rows > 0 {
        info!(rows = replayed_rows, torn_bytes = opened.log.torn_bytes, "read the log back");
    }
    Ok(())
}
