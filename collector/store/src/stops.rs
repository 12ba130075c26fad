//! A process that is stopped at any step of sealing, merging and deleting leaves a store that has every row once: in its own
//! folder, and on an object store, which can't rename.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;
use weir_model::tables::FLOWS;
use weir_model::{BatchMeta, FlowRow, Row};

use crate::{Compaction, Retention, Shared, Store, StoreConfig, StoreError};

const SECOND_NS: i64 = 1_000_000_000;
/// 2023-11-14, 22:13 UTC.
const START_NS: i64 = 1_700_000_000 * SECOND_NS;
const DAY_NS: i64 = 24 * 3600 * SECOND_NS;
/// Rows of the day before; they are to be deleted.
const OLD: i64 = 10;
const ALL: i64 = 40;

fn config(dir: &TempDir, shared: Option<&Shared>, steps: Option<u64>) -> StoreConfig {
    let now = crate::commit::now();
    StoreConfig {
        dir: dir.path().to_owned(),
        shared: shared.cloned(),
        seal_age: Duration::from_hours(1),
        compaction: Compaction { is_on: false, ..Compaction::default() },
        // Between the two days.
        retention: Retention {
            age: Some(Duration::from_nanos((now - START_NS + DAY_NS / 2) as u64)),
            ..Retention::default()
        },
        steps,
        came: Some(0),
        ..StoreConfig::default()
    }
}

fn flows(ids: std::ops::Range<i64>) -> Vec<FlowRow> {
    let flow = |id| FlowRow {
        time: START_NS + id * SECOND_NS - if id < OLD { DAY_NS } else { 0 },
        connection_id: Some(format!("{id:016x}").into()),
        client_ip: Some(format!("10.0.0.{}", id % 7).into()),
        client_bytes: id,
        ..FlowRow::default()
    };
    ids.map(flow).collect()
}

/// Appends, seals, merges and deletes until it is done or stopped; the rows that were acknowledged.
async fn work(store: &Store) -> (BTreeSet<i64>, Result<(), StoreError>) {
    let mut acknowledged = BTreeSet::new();
    let mut outcome = Ok(());
    for (sequence, first) in (1..).zip((0..ALL).step_by(5)) {
        let meta = BatchMeta::of::<FlowRow>("node", "boot", sequence);
        store.append(vec![(meta, FlowRow::to_batch(&flows(first..first + 5)))]).await.unwrap();
        acknowledged.extend(first..first + 5);
        outcome = outcome.and(store.seal().await);
        if sequence % 4 == 0 {
            outcome = outcome.and(store.compact().await.map(|_| ()));
        }
    }
    outcome = outcome.and(store.retain().await.map(|_| ()));
    outcome = outcome.and(store.compact().await.map(|_| ()));
    (acknowledged, outcome)
}

/// The ids of all rows that a reader sees, with those that it sees twice.
pub(crate) async fn ids(store: &Store) -> Vec<i64> {
    // One that is being merged is read by somebody meanwhile, and so stays.
    let snapshot = store.snapshot(&FLOWS);
    let mut batches = snapshot.memory.clone();
    for segment in snapshot.segments.iter() {
        let file = store.objects().get(&segment.path).await.unwrap().bytes().await.unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        batches.extend(reader.map(Result::unwrap));
    }
    let rows = batches.iter().flat_map(|batch| FlowRow::from_batch(batch).unwrap());
    let mut ids: Vec<i64> = rows.map(|row| row.client_bytes).collect();
    ids.sort_unstable();
    ids
}

async fn stop(store: Store) {
    let lock = store.dir().join("LOCK");
    drop(store);
    while std::fs::File::open(&lock).unwrap().try_lock().is_err() {
        tokio::task::yield_now().await;
    }
}

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let below = |path: PathBuf| if path.is_dir() { files_below(&path) } else { 1 };
    entries.map(|entry| below(entry.unwrap().path())).sum()
}

async fn files(dir: &TempDir, shared: Option<&Shared>) -> usize {
    let Some(shared) = shared else { return files_below(&dir.path().join("tables")) };
    shared.objects().list(Some(&"tables".into())).count().await
}

/// Files that stay: what deletes old ones in the background may be about to let the last of them go.
async fn left_alone(dir: &TempDir, shared: Option<&Shared>) -> usize {
    for _ in 0..500 {
        if files(dir, shared).await <= 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    files(dir, shared).await
}

async fn stopped_at_any_step(make: impl Fn() -> Option<Shared>) {
    for steps in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let shared = make();
        let (acknowledged, outcome) = match Store::open(config(&dir, shared.as_ref(), Some(steps))).await {
            Ok(store) => {
                let done = work(&store).await;
                stop(store).await;
                done
            }
            Err(err) => (BTreeSet::new(), Err(err)),
        };

        let store = Store::open(config(&dir, shared.as_ref(), None)).await.unwrap();
        let found = ids(&store).await;
        // Old rows may have been deleted, all of a file.
        let kept: Vec<i64> = acknowledged.iter().copied().filter(|id| *id >= OLD).collect();
        let recent: Vec<i64> = found.iter().copied().filter(|id| *id >= OLD).collect();
        assert_eq!(recent, kept, "stopped after {steps} steps");
        assert!(
            found.is_sorted_by(|left, right| left < right),
            "stopped after {steps} steps: a row is there twice"
        );

        store.seal().await.unwrap();
        store.retain().await.unwrap();
        store.compact().await.unwrap();
        assert_eq!(ids(&store).await, kept, "stopped after {steps} steps, then tidied up");
        let least = usize::from(!acknowledged.is_empty());
        assert_eq!(store.snapshot(&FLOWS).segments.len(), least);
        assert!(least == 0 || store.snapshot(&FLOWS).retired.is_some_and(|retired| retired < START_NS));
        assert_eq!(left_alone(&dir, shared.as_ref()).await, least, "stopped after {steps} steps");
        if outcome.is_ok() {
            assert!(steps > 40, "only {steps} steps were there to be stopped at");
            return;
        }
    }
}

#[tokio::test]
async fn a_process_stopped_at_any_step_leaves_every_row_once() {
    stopped_at_any_step(|| None).await;
}

#[tokio::test]
async fn on_an_object_store_too() {
    let make = || {
        let mut shared = Shared::of(Arc::new(InMemory::new()), "a test");
        // Nobody else reads here.
        (shared.refresh, shared.grace) = (Duration::from_millis(5), Duration::ZERO);
        Some(shared)
    };
    stopped_at_any_step(make).await;
}
