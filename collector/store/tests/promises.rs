//! What the store promises to those who append and those who read.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, TimestampNanosecondArray, new_null_array};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;
use weir_model::tables::{FLOWS, SPANS};
use weir_model::{BatchMeta, FlowRow, Row, SpanRow, Table};
use weir_store::{Compaction, Snapshot, Store, StoreConfig, StoreError};

const DAY_NS: i64 = 24 * 3_600_000_000_000;

fn config(dir: &TempDir) -> StoreConfig {
    StoreConfig {
        dir: dir.path().join("data"),
        seal_age: Duration::from_hours(1),
        wal_segment_bytes: 16 << 10,
        ..StoreConfig::default()
    }
}

fn flows(ids: std::ops::Range<i64>) -> Vec<FlowRow> {
    ids.map(|id| FlowRow {
        time: 1_700_000_000_000_000_000 + id * 1_000_000,
        connection_id: Some(format!("{id:016x}").into()),
        client_ip: Some(format!("10.0.0.{}", id % 7).into()),
        client_namespace: (id % 3 > 0).then(|| format!("ns-{}", id % 3).into()),
        server_port: Some(443),
        client_bytes: id,
        ..FlowRow::default()
    })
    .collect()
}

async fn append(store: &Store, sequence: u64, ids: std::ops::Range<i64>) {
    let meta = BatchMeta::of::<FlowRow>("node", "boot", sequence);
    store.append(vec![(meta, FlowRow::to_batch(&flows(ids)))]).await.unwrap();
}

/// Every row's `client_bytes` (its id in these tests) out of memory and files, in order.
async fn ids(store: &Store) -> Vec<i64> {
    let mut ids: Vec<i64> =
        rows::<FlowRow>(store, &store.snapshot(&FLOWS)).await.iter().map(|row| row.client_bytes).collect();
    ids.sort_unstable();
    ids
}

async fn rows<R: Row>(store: &Store, snapshot: &Snapshot) -> Vec<R> {
    let mut batches = snapshot.memory.clone();
    for segment in snapshot.segments.iter() {
        let bytes = store.objects().get(&segment.path).await.unwrap().bytes().await.unwrap();
        assert_eq!(bytes.len() as u64, segment.size);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        batches.extend(reader.map(Result::unwrap));
    }
    batches.iter().flat_map(|batch| R::from_batch(batch).unwrap()).collect()
}

fn files_below(dir: &TempDir, table: &'static Table) -> usize {
    let mut folders = vec![dir.path().join("data/tables").join(table.name)];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files += 1 }
        }
    }
    files
}

/// A process that ends without closing: its lock and thread go, what it had in memory is lost.
async fn crash(store: Store) {
    let dir = store.dir().join("LOCK");
    drop(store);
    // The background task may still hold the store for a moment.
    loop {
        let lock = std::fs::File::open(&dir).unwrap();
        if lock.try_lock().is_ok() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_was_appended_is_there_at_once_and_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    append(&store, 1, 0..100).await;
    append(&store, 2, 100..150).await;
    assert_eq!(ids(&store).await, (0..150).collect::<Vec<_>>());
    crash(store).await;
    let store = Store::open(config(&dir)).await.unwrap();
    assert_eq!(store.opened().replayed_rows, 150);
    assert_eq!(ids(&store).await, (0..150).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_stored_once_also_after_sealing_and_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    append(&store, 1, 0..10).await;
    append(&store, 1, 0..10).await;
    assert_eq!(store.duplicates(), 1);
    store.seal().await.unwrap();
    append(&store, 1, 0..10).await;
    append(&store, 2, 10..20).await;
    crash(store).await;
    let store = Store::open(config(&dir)).await.unwrap();
    append(&store, 1, 0..10).await;
    append(&store, 2, 10..20).await;
    assert_eq!(ids(&store).await, (0..20).collect::<Vec<_>>());
    store.close().await.unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    append(&store, 2, 10..20).await;
    assert_eq!(ids(&store).await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_row_is_in_memory_or_in_one_file_never_both() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(StoreConfig { seal_rows: 50, ..config(&dir) }).await.unwrap();
    for sequence in 0..40 {
        append(&store, sequence + 1, sequence as i64 * 10..sequence as i64 * 10 + 10).await;
        assert_eq!(ids(&store).await, (0..sequence as i64 * 10 + 10).collect::<Vec<_>>());
    }
    store.seal().await.unwrap();
    let stats = store.stats().into_iter().find(|stats| stats.table == "flows").unwrap();
    assert_eq!((stats.rows_memory, stats.rows_sealed), (0, 400));
    assert!(stats.files > 1);
    assert_eq!(files_below(&dir, &FLOWS) as u64, stats.files);
}

#[tokio::test]
async fn the_log_is_deleted_once_its_rows_are_in_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    for sequence in 0..20 {
        append(&store, sequence + 1, sequence as i64 * 100..sequence as i64 * 100 + 100).await;
    }
    let logs = || std::fs::read_dir(dir.path().join("data/wal")).unwrap().count();
    assert!(logs() > 5, "{} log files", logs());
    store.seal().await.unwrap();
    // The file that is being written, perhaps the full one before it, and the writer's name.
    assert!(logs() <= 3, "{} log files", logs());
}

#[tokio::test]
async fn batches_of_one_append_are_stored_together() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    let span = SpanRow {
        time: 1,
        trace_id: Some("ab".into()),
        attributes: vec![("k".into(), "v".into())],
        ..SpanRow::default()
    };
    let flows_meta = BatchMeta::of::<FlowRow>("node", "boot", 1);
    let spans_meta = BatchMeta::of::<SpanRow>("node", "stitch-flows-boot", 1);
    let both = vec![
        (flows_meta, FlowRow::to_batch(&flows(0..1))),
        (spans_meta, SpanRow::to_batch(std::slice::from_ref(&span))),
    ];
    store.append(both.clone()).await.unwrap();
    // A sender that never heard of it sends it again.
    store.append(both).await.unwrap();
    store.seal().await.unwrap();
    crash(store).await;
    let store = Store::open(config(&dir)).await.unwrap();
    assert_eq!(ids(&store).await, vec![0]);
    let spans: Vec<SpanRow> = rows(&store, &store.snapshot(&SPANS)).await;
    assert_eq!(spans, vec![span]);
}

#[tokio::test]
async fn rows_of_two_days_go_into_two_folders_sorted_by_who() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    let mut rows_in = flows(0..100);
    for row in &mut rows_in[50..] {
        row.time += DAY_NS;
    }
    let meta = BatchMeta::of::<FlowRow>("node", "boot", 1);
    store.append(vec![(meta, FlowRow::to_batch(&rows_in))]).await.unwrap();
    store.seal().await.unwrap();
    let snapshot = store.snapshot(&FLOWS);
    let folders: Vec<String> = snapshot.segments.iter().map(|segment| segment.path.to_string()).collect();
    assert!(folders[0].starts_with("tables/flows/date=2023-11-14/"), "{folders:?}");
    assert!(folders[1].starts_with("tables/flows/date=2023-11-15/"), "{folders:?}");
    let first = Snapshot {
        memory: Vec::new(),
        segments: std::sync::Arc::new(vec![snapshot.segments[0].clone()]),
        retired: None,
    };
    let namespaces: Vec<_> =
        rows::<FlowRow>(&store, &first).await.into_iter().map(|row| row.client_namespace).collect();
    assert!(namespaces.is_sorted(), "{namespaces:?}");
    let mut stored: Vec<FlowRow> = rows(&store, &snapshot).await;
    stored.sort_by_key(|row| row.client_bytes);
    assert_eq!(stored, rows_in);
}

#[tokio::test]
async fn every_table_can_be_sealed_whatever_it_is_sorted_by() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    for table in weir_model::tables::ALL {
        let time = TimestampNanosecondArray::from(vec![2, 1]).with_timezone("UTC");
        let rest = table
            .schema()
            .fields()
            .iter()
            .skip(1)
            .map(|field| new_null_array(field.data_type(), 2))
            .collect::<Vec<_>>();
        let columns = std::iter::once(std::sync::Arc::new(time) as ArrayRef).chain(rest).collect();
        let meta = BatchMeta { table: table.name.to_owned(), ..BatchMeta::of::<FlowRow>("node", "boot", 1) };
        store.append(vec![(meta, RecordBatch::try_new(table.schema(), columns).unwrap())]).await.unwrap();
    }
    store.seal().await.unwrap();
    let stats = store.stats();
    assert!(stats.iter().all(|table| (table.rows_memory, table.rows_sealed) == (0, 2)), "{stats:?}");
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    let Err(StoreError::Locked { holder, .. }) = Store::open(config(&dir)).await else {
        panic!("two stores")
    };
    assert_eq!(holder, std::process::id().to_string());
    store.close().await.unwrap();
    Store::open(config(&dir)).await.unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_the_rest_stays_readable() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    append(&store, 1, 0..10).await;
    store.seal().await.unwrap();
    append(&store, 2, 10..20).await;
    store.seal().await.unwrap();
    let damaged = store.snapshot(&FLOWS).segments[0].clone();
    store.close().await.unwrap();
    std::fs::write(dir.path().join("data").join(damaged.path.as_ref()), "not parquet").unwrap();

    let store = Store::open(config(&dir)).await.unwrap();
    assert_eq!(store.opened().quarantined_rows, damaged.rows);
    assert_eq!(ids(&store).await.len(), 10);
    assert_eq!(std::fs::read_dir(dir.path().join("data/quarantine")).unwrap().count(), 1);
}

/// A reader that has a snapshot finishes, although the file was given up meanwhile.
#[tokio::test]
async fn a_file_lives_as_long_as_a_snapshot_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    append(&store, 1, 0..10).await;
    store.seal().await.unwrap();
    let snapshot = store.snapshot(&FLOWS);
    let path = snapshot.segments[0].path.clone();
    assert!(store.quarantine(&path, "a test says so").await.unwrap());
    assert!(!store.quarantine(&path, "once more").await.unwrap());
    assert!(ids(&store).await.is_empty());
    assert_eq!(rows::<FlowRow>(&store, &snapshot).await.len(), 10);
    drop(snapshot);
    assert_eq!(files_below(&dir, &FLOWS), 0);
    crash(store).await;
    let store = Store::open(config(&dir)).await.unwrap();
    assert!(store.snapshot(&FLOWS).segments.is_empty());
}

#[tokio::test]
async fn what_a_crash_left_behind_without_a_commit_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    append(&store, 1, 0..10).await;
    store.seal().await.unwrap();
    let folder = dir.path().join("data/tables/flows/date=2023-11-14");
    store.close().await.unwrap();
    std::fs::write(folder.join("orphan.parquet"), "half").unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    assert_eq!(files_below(&dir, &FLOWS), 1);
    assert_eq!(ids(&store).await.len(), 10);
}

#[tokio::test]
async fn many_commits_add_up_to_checkpoints_that_replace_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    for sequence in 0..100 {
        append(&store, sequence + 1, sequence as i64..sequence as i64 + 1).await;
        store.seal().await.unwrap();
    }
    let entries = std::fs::read_dir(dir.path().join("data/catalog")).unwrap().count();
    assert!(entries <= 70, "{entries} files in the catalog");
    crash(store).await;
    let store = Store::open(config(&dir)).await.unwrap();
    assert_eq!(ids(&store).await, (0..100).collect::<Vec<_>>());
    append(&store, 7, 6..7).await;
    assert_eq!(ids(&store).await.len(), 100, "a batch from before the checkpoint is still known");
}

#[tokio::test]
async fn a_batch_of_an_unknown_table_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    let meta = BatchMeta { table: "tea".into(), ..BatchMeta::of::<FlowRow>("node", "boot", 1) };
    let err = store.append(vec![(meta, FlowRow::to_batch(&flows(0..1)))]).await.unwrap_err();
    assert!(matches!(err, StoreError::Batch { ref table, .. } if table == "tea"), "{err}");
}

/// A store that merges only when it is told to.
fn unmerged(dir: &TempDir) -> StoreConfig {
    let compaction = Compaction { is_on: false, ..Compaction::default() };
    StoreConfig { compaction, ..config(dir) }
}

#[tokio::test]
async fn many_files_become_one_while_a_reader_goes_on_with_those_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(unmerged(&dir)).await.unwrap();
    for sequence in 0..20 {
        append(&store, sequence + 1, sequence as i64 * 10..sequence as i64 * 10 + 10).await;
        store.seal().await.unwrap();
    }
    let before = store.snapshot(&FLOWS);
    assert_eq!(before.segments.len(), 20);
    let compacted = store.compact().await.unwrap();
    assert_eq!((compacted.files, compacted.rows), (20, 200));
    assert_eq!(store.snapshot(&FLOWS).segments.len(), 1);
    assert_eq!(ids(&store).await, (0..200).collect::<Vec<_>>());
    assert_eq!(rows::<FlowRow>(&store, &before).await.len(), 200);
    assert_eq!(files_below(&dir, &FLOWS), 21);
    drop(before);
    assert_eq!(files_below(&dir, &FLOWS), 1);
    assert_eq!(store.compact().await.unwrap().merges, 0, "nothing is left to merge");
    crash(store).await;
    let store = Store::open(unmerged(&dir)).await.unwrap();
    assert_eq!(ids(&store).await, (0..200).collect::<Vec<_>>());
}

/// One of many damaged files costs its own rows, and the others are merged.
#[tokio::test]
async fn a_file_that_turns_out_to_be_damaged_when_it_is_merged_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(unmerged(&dir)).await.unwrap();
    for sequence in 0..3 {
        append(&store, sequence + 1, sequence as i64 * 10..sequence as i64 * 10 + 10).await;
        store.seal().await.unwrap();
    }
    let path = dir.path().join("data").join(store.snapshot(&FLOWS).segments[1].path.as_ref());
    let mut bytes = std::fs::read(&path).unwrap();
    // Pages, not the footer: at first sight nothing is wrong.
    bytes[4..200].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    store.compact().await.unwrap();
    assert_eq!(store.snapshot(&FLOWS).segments.len(), 1);
    assert_eq!(ids(&store).await, (0..10).chain(20..30).collect::<Vec<_>>());
    assert_eq!(std::fs::read_dir(dir.path().join("data/quarantine")).unwrap().count(), 1);
}

/// Merging, appending, sealing and reading at once: no reader ever sees a row twice, or misses one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_never_see_half_a_merge() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(unmerged(&dir)).await.unwrap();
    let merging = {
        let store = store.clone();
        tokio::spawn(async move {
            loop {
                store.compact().await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    for sequence in 0..60_i64 {
        append(&store, sequence as u64 + 1, sequence * 5..sequence * 5 + 5).await;
        assert_eq!(ids(&store).await, (0..sequence * 5 + 5).collect::<Vec<_>>());
        if sequence % 2 == 0 {
            store.seal().await.unwrap();
        }
    }
    merging.abort();
    assert!(store.compacted().merges > 0);
}
