//! A process that is stopped at any step of sealing, merging and deleting leaves a store that has every row once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;
use weir_model::tables::FLOWS;
use weir_model::{BatchMeta, FlowRow, Row};

use crate::source::Source;
use crate::{Compaction, Retention, Store, StoreConfig, StoreError};

const SECOND_NS: i64 = 1_000_000_000;
/// 2023-11-14, 22:13 UTC.
const START_NS: i64 = 1_700_000_000 * SECOND_NS;
const DAY_NS: i64 = 24 * 3600 * SECOND_NS;
/// Rows of the day before; they are to be deleted.
const OLD: i64 = 10;
const ALL: i64 = 40;

fn config(dir: &TempDir, steps: Option<u64>) -> StoreConfig {
    let now = crate::commit::now();
    StoreConfig {
        dir: dir.path().to_owned(),
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

fn ids(store: &Store) -> Vec<i64> {
    // One that is being merged is read by somebody meanwhile, and so stays.
    let snapshot = store.snapshot(&FLOWS);
    let mut batches = snapshot.memory.clone();
    for segment in snapshot.segments.iter() {
        let file = Source::open(&store.dir().join(segment.path.as_ref())).unwrap();
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

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let below = |path: PathBuf| if path.is_dir() { files_below(&path) } else { vec![path] };
    entries.flat_map(|entry| below(entry.unwrap().path())).collect()
}

/// Files that stay: what deletes old ones in the background may be about to let the last of them go.
async fn left_alone(folder: &Path) -> Vec<PathBuf> {
    for _ in 0..500 {
        if files_below(folder).len() <= 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    files_below(folder)
}

#[tokio::test]
async fn a_process_stopped_at_any_step_leaves_every_row_once() {
    for steps in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(config(&dir, Some(steps))).await.unwrap();
        let (acknowledged, outcome) = work(&store).await;
        stop(store).await;

        let store = Store::open(config(&dir, None)).await.unwrap();
        let found = ids(&store);
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
        assert_eq!(ids(&store), kept, "stopped after {steps} steps, then tidied up");
        assert_eq!(store.snapshot(&FLOWS).segments.len(), 1);
        assert!(store.snapshot(&FLOWS).retired.is_some_and(|retired| retired < START_NS));
        assert_eq!(left_alone(&dir.path().join("tables")).await.len(), 1, "stopped after {steps} steps");
        if outcome.is_ok() {
            assert!(steps > 40, "only {steps} steps were there to be stopped at");
            return;
        }
    }
}
