//! Two writers on a bucket of a real server that speaks S3's protocol: nothing can be renamed there, and each request goes over
//! the network.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "s3/server.rs"]
mod server;

use std::time::Duration;

use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::{TempDir, tempdir};
use weir_model::tables::FLOWS;
use weir_model::{BatchMeta, FlowRow, Row};
use weir_store::{Compaction, Shared, Store, StoreConfig, StoreError, check};

use crate::server::{ACCESS_KEY, S3, SECRET};

/// 2023-11-14, 22:13 UTC.
const START_NS: i64 = 1_700_000_000_000_000_000;

/// A place on the server, as a process finds it with its variables in its environment.
fn shared(s3: &S3, url: &str) -> Shared {
    let variables = s3.variables().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut shared = Shared::open_with(url, variables).unwrap();
    shared.refresh = Duration::from_millis(50);
    shared
}

async fn open(s3: &S3, dir: &TempDir) -> Store {
    let config = StoreConfig {
        dir: dir.path().to_owned(),
        shared: Some(shared(s3, "s3://weir/a/prefix")),
        seal_age: Duration::from_hours(1),
        compaction: Compaction { is_on: false, ..Compaction::default() },
        ..StoreConfig::default()
    };
    Store::open(config).await.unwrap()
}

async fn append(store: &Store, node: &str, ids: std::ops::Range<i64>) {
    let flow = |id| FlowRow {
        time: START_NS + id,
        connection_id: Some(format!("{id:016x}").into()),
        client_bytes: id,
        ..FlowRow::default()
    };
    let meta = BatchMeta::of::<FlowRow>(node, "boot", ids.start as u64);
    let rows: Vec<FlowRow> = ids.map(flow).collect();
    store.append(vec![(meta, FlowRow::to_batch(&rows))]).await.unwrap();
}

/// The ids of all rows that a reader sees.
async fn ids(store: &Store) -> Vec<i64> {
    let snapshot = store.snapshot(&FLOWS);
    let mut batches = snapshot.memory.clone();
    for segment in snapshot.segments.iter() {
        let bytes = store.objects().get(&segment.path).await.unwrap().bytes().await.unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        batches.extend(reader.map(Result::unwrap));
    }
    let rows = batches.iter().flat_map(|batch| FlowRow::from_batch(batch).unwrap());
    let mut ids: Vec<i64> = rows.map(|row| row.client_bytes).collect();
    ids.sort_unstable();
    ids
}

/// Appends, seals and merges.
async fn write(store: Store, node: &'static str, ids: std::ops::Range<i64>) {
    for (turn, first) in (1..).zip(ids.step_by(10)) {
        append(&store, node, first..first + 10).await;
        store.seal().await.unwrap();
        if turn % 5 == 0 {
            store.compact().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_of_a_bucket_have_each_row_once_also_after_a_crash() {
    let s3 = S3::start().await;
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    let (left, right) = (open(&s3, &here).await, open(&s3, &there).await);
    let writers = [
        tokio::spawn(write(left.clone(), "left", 0..200)),
        tokio::spawn(write(right.clone(), "right", 1_000..1_200)),
    ];
    for writer in writers {
        writer.await.unwrap();
    }
    let mut all: Vec<i64> = (0..200).chain(1_000..1_200).collect();
    for store in [&left, &right] {
        store.refresh().await.unwrap();
        assert_eq!(ids(store).await, all);
    }
    // Acknowledged, in no file yet, and then the process is gone.
    append(&left, "left", 200..210).await;
    drop(left);
    while std::fs::File::open(here.path().join("LOCK")).unwrap().try_lock().is_err() {
        tokio::task::yield_now().await;
    }
    append(&right, "right", 1_200..1_210).await;
    right.seal().await.unwrap();
    let left = open(&s3, &here).await;
    assert_eq!(left.opened().replayed_rows, 10);
    left.seal().await.unwrap();
    left.compact().await.unwrap();
    all = (0..210).chain(1_000..1_210).collect();
    for store in [&left, &right] {
        store.refresh().await.unwrap();
        assert_eq!(ids(store).await, all);
    }
    append(&right, "left", 200..210).await;
    assert_eq!(right.duplicates(), 1, "a batch that another has in a file is known");
    left.close().await.unwrap();
    right.close().await.unwrap();

    let checked = check(here.path(), Some(&shared(&s3, "s3://weir/a/prefix")), |_, _| ()).await.unwrap();
    assert_eq!(checked.damaged, []);
    assert_eq!(checked.tables.iter().map(|table| table.rows).sum::<u64>(), all.len() as u64);
    assert!(s3.folder().join("a/prefix/catalog").is_dir());
    assert!(!here.path().join("tables").exists(), "rows' files are in the bucket only");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_object_is_set_aside_and_errors_tell_no_credentials() {
    let s3 = S3::start().await;
    let dir = tempdir().unwrap();
    let store = open(&s3, &dir).await;
    for first in [0, 10] {
        append(&store, "node", first..first + 10).await;
        store.seal().await.unwrap();
    }
    let damaged = store.snapshot(&FLOWS).segments[0].clone();
    let file = s3.folder().join("a/prefix").join(damaged.path.as_ref());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[8..200].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(store.examine(&damaged).await.unwrap(), weir_store::Examined::SetAside);
    assert_eq!(ids(&store).await, (10..20).collect::<Vec<_>>());
    assert_eq!(store.lost_rows().iter().map(|lost| lost.rows).sum::<u64>(), 10);
    assert_eq!(std::fs::read_dir(s3.folder().join("a/prefix/quarantine")).unwrap().count(), 1);
    store.close().await.unwrap();

    let (dir, elsewhere) = (tempdir().unwrap(), shared(&s3, "s3://no-such-bucket"));
    let shared = Some(elsewhere.clone());
    let config = StoreConfig { dir: dir.path().to_owned(), shared, ..StoreConfig::default() };
    let err: StoreError = Store::open(config.clone()).await.unwrap_err();
    let told = format!("{err} {err:?} {elsewhere:?} {config:?}");
    assert!(told.contains("no-such-bucket"), "{told}");
    assert!(!told.contains(SECRET) && !told.contains(ACCESS_KEY), "{told}");
}
