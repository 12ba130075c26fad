//! Memory → files. What makes it atomic: rows are frozen (still visible), written as files that nobody names yet,
//! then one catalog commit names them and says how far the log is sealed, and under one lock they leave memory as
//! the files appear. A crash before the commit leaves files that the next start deletes, and rows in the log; one
//! after it finds the log's rows before that place in files. No more than [`StoreConfig::seal_bytes`] of rows are sealed at
//! a time, since sealing takes memory of its own.
//!
//! [`StoreConfig::seal_bytes`]: crate::StoreConfig::seal_bytes

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use object_store::path::Path;
use tracing::{debug, warn};
use weir_model::{Table, tables};

use crate::arrivals::Arrivals;
use crate::catalog::{Commit, FileEntry};
use crate::memtable::Frozen;
use crate::scan::Segment;
use crate::segment::{self, Encoded};
use crate::store::Inner;
use crate::view::index_of;
use crate::wal::{self, Position};
use crate::{StoreError, commit, shared};

/// How often ages are looked at; also the pause after a sealing that failed.
const TICK: Duration = Duration::from_millis(500);

/// Seals what is due for as long as the store lives.
pub(crate) async fn run(store: Weak<Inner>) {
    loop {
        let Some(inner) = store.upgrade().filter(|inner| !inner.is_closed()) else { return };
        let mut has_failed = false;
        merge(&inner).await;
        for table in tables::ALL {
            if is_due(&inner, table)
                && let Err(err) = seal_some(&inner, table).await
            {
                has_failed = true;
                warn!(table = table.name, %err, "sealing failed; the rows stay in memory and in the log");
            }
        }
        let grown = inner.grown.clone();
        drop(inner);
        if has_failed {
            tokio::time::sleep(TICK).await;
        } else {
            // Woken by growth, or by the clock: whichever comes first.
            let _ = tokio::time::timeout(TICK, grown.notified()).await;
        }
    }
}

fn is_due(inner: &Inner, table: &'static Table) -> bool {
    let view = inner.view.read();
    let active = view.of(table).memory.active();
    let config = &inner.config;
    active.count >= config.seal_rows
        || active.bytes >= config.seal_bytes
        || active.since().is_some_and(|since| since.elapsed() >= config.seal_age)
        // Half of the memory is taken: the largest part of it goes first, so that appends need not wait.
        || active.count > 0
            && view.bytes() >= config.memory_bytes / 2
            && view.tables.iter().all(|other| other.memory.active().bytes <= active.bytes)
}

/// Seals everything that `table` has in memory now.
pub(crate) async fn seal(inner: &Arc<Inner>, table: &'static Table) -> Result<(), StoreError> {
    let end = inner.view.read().applied;
    let has_older = || inner.view.read().of(table).memory.oldest().is_some_and(|oldest| oldest < end);
    while has_older() {
        seal_some(inner, table).await?;
    }
    Ok(())
}

/// Seals the oldest of what `table` has in memory.
async fn seal_some(inner: &Arc<Inner>, table: &'static Table) -> Result<(), StoreError> {
    let _one_at_a_time = inner.sealing.lock().await;
    if let Some(arrivals) = inner.arrivals.clone().filter(|arrivals| arrivals.table().name == table.name) {
        merge_memory(inner, arrivals).await;
    }
    let Some(frozen) = freeze(inner, table) else { return Ok(()) };
    // Spawned, so that a caller who goes away leaves nothing half done.
    let task = tokio::spawn(seal_frozen(inner.clone(), table, frozen));
    let outcome = task.await.unwrap_or_else(|err| Err(StoreError::Wal(format!("sealing panicked: {err}"))));
    if outcome.is_err() {
        inner.view.write().tables[index_of(table)].memory.thaw();
    }
    inner.sealed.notify_waiters();
    outcome
}

/// Makes one of rows that are one, where somebody says which.
async fn merge(inner: &Arc<Inner>) {
    let Some(arrivals) = inner.arrivals.clone() else { return };
    // Rows that are being sealed are left alone, and no sealing begins meanwhile.
    let _one_at_a_time = inner.sealing.lock().await;
    merge_memory(inner, arrivals).await;
}

async fn merge_memory(inner: &Arc<Inner>, arrivals: Arc<dyn Arrivals>) {
    let table = index_of(arrivals.table());
    let memory = inner.view.read().tables[table].memory.numbered();
    let merged = tokio::task::spawn_blocking(move || arrivals.merge(&memory)).await;
    match merged {
        Ok(changes) if changes.is_empty() => {}
        Ok(changes) => inner.view.write().tables[table].memory.change(changes),
        Err(err) => warn!(%err, "rows of both ends could not be made one; they stay as they are"),
    }
}

fn freeze(inner: &Inner, table: &'static Table) -> Option<Frozen> {
    let mut view = inner.view.write();
    let end = view.applied;
    view.tables[index_of(table)].memory.freeze(inner.config.seal_bytes, end)
}

async fn seal_frozen(
    inner: Arc<Inner>,
    table: &'static Table,
    Frozen { batches, upto }: Frozen,
) -> Result<(), StoreError> {
    let arrivals = inner.arrivals.clone().filter(|arrivals| arrivals.table().name == table.name);
    let encoded = tokio::task::spawn_blocking(move || {
        let batches = match arrivals {
            Some(arrivals) => arrivals.seal(batches),
            None => batches,
        };
        segment::files(table, &batches)
    });
    let encoded = encoded.await.map_err(|err| StoreError::Wal(format!("encoding panicked: {err}")))??;
    let mut files = Vec::with_capacity(encoded.len());
    for (number, file) in encoded.into_iter().enumerate() {
        files.push(put(&inner, table, upto, number, file).await?);
    }
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    name(&inner, table, files, upto).await?;
    debug!(table = table.name, rows, "sealed");
    trim(&inner);
    Ok(())
}

async fn put(
    inner: &Inner,
    table: &'static Table,
    upto: Position,
    number: usize,
    file: Encoded,
) -> Result<FileEntry, StoreError> {
    let Encoded { partition, bytes, rows, min_time, max_time } = file;
    // The attempt makes the name new where an earlier one left its file behind.
    let attempt = inner.next_attempt();
    let name = format!("{}-{:08}-{:010}-{number}-{attempt}.parquet", inner.writer, upto.segment, upto.offset);
    let path = format!("tables/{}/{partition}/{name}", table.name);
    let size = bytes.len() as u64;
    inner.objects.create(&Path::from(path.as_str()), bytes).await?;
    let came = commit::now();
    #[cfg(test)]
    let came = inner.config.came.unwrap_or(came);
    Ok(FileEntry { table: table.name.to_owned(), path, size, rows, min_time, max_time, came, rollup: None })
}

/// Names the files, and lets the rows change sides.
async fn name(
    inner: &Inner,
    table: &'static Table,
    files: Vec<FileEntry>,
    upto: Position,
) -> Result<(), StoreError> {
    let mut catalog = inner.catalog.lock().await;
    // Only what is visible, and so durable, is in `seen`.
    let (seen, version) = inner.view.read().seen.changed_since(catalog.seen_version);
    let commit = Commit {
        add: files.clone(),
        sealed: BTreeMap::from([(table.name.to_owned(), upto)]),
        seen,
        ..Commit::of(&inner.writer)
    };
    catalog.log.commit(commit).await?;
    catalog.seen_version = version;
    shared::publish(inner, &mut catalog, |view| {
        let table = &mut view.tables[index_of(table)];
        table.memory.sealed();
        Arc::make_mut(&mut table.segments).extend(files.iter().map(Segment::of));
    });
    Ok(())
}

/// Deletes the log files whose rows are all in files.
pub(crate) fn trim(inner: &Inner) {
    let first_needed = inner.view.read().first_needed_segment();
    let dir = inner.wal_dir();
    let Ok(segments) = wal::segments(&dir) else { return };
    for segment in segments.into_iter().filter(|segment| *segment < first_needed) {
        let path = wal::path_of(&dir, segment);
        if let Err(err) = std::fs::remove_file(&path) {
            warn!(path = %path.display(), %err, "a log file that is not needed any more stays");
        }
    }
}
