//! Both ends' rows through the real store: in any order, sealed and crashed at any moment, sent again, hours late; the sums over
//! all rows are the truth. `WEIR_SEED` replays one run.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::{Rng, SeedableRng, rngs::StdRng};
use weir_collector::Pairing;
use weir_model::tables::FLOWS;
use weir_model::{BatchMeta, FlowRow, Row};
use weir_store::{Store, StoreConfig};

const SECOND: i64 = 1_000_000_000;
const INTERVAL: i64 = 10 * SECOND;

/// The rows of a connection as one end has them: what is under way at an interval's end is not in the other's yet.
fn rows_of(connection: u64, opened: i64, intervals: &[(i64, i64)], end: usize, skew: i64) -> Vec<FlowRow> {
    let observer = ["client", "server"][end];
    let (mut sent, mut told) = (0, 0);
    let mut rows = Vec::new();
    for (number, (bytes, in_flight)) in intervals.iter().enumerate() {
        let is_last = number + 1 == intervals.len();
        sent += bytes;
        let now = if end == 1 && !is_last { sent - in_flight } else { sent };
        let time = opened + number as i64 * INTERVAL + skew;
        let total = (number > 0).then_some(now);
        let state =
            ["ongoing", "opened", "closed", "only"][usize::from(number == 0) + 2 * usize::from(is_last)];
        rows.push(FlowRow {
            time,
            end_time: Some(time + INTERVAL),
            opened_time: Some(opened + skew),
            connection_id: Some(format!("{connection:016x}").into()),
            state: Some(state.into()),
            observer: Some(observer.into()),
            node: Some(format!("node-of-{observer}").into()),
            protocol: Some("tcp".into()),
            client_ip: Some("10.0.0.1".into()),
            client_port: Some(40_000),
            server_ip: Some("10.0.0.2".into()),
            server_port: Some(443),
            client_bytes: now - told,
            client_bytes_total: total,
            server_bytes_total: total.map(|_| 0),
            client_packets_total: total.map(|_| 0),
            server_packets_total: total.map(|_| 0),
            source: Some("probe".into()),
            ..FlowRow::default()
        });
        told = now;
    }
    rows
}

async fn open(dir: &Path) -> Store {
    let config =
        StoreConfig { dir: dir.to_owned(), seal_age: Duration::from_hours(1), ..StoreConfig::default() };
    Store::open_with(config, Some(Arc::new(Pairing::default()))).await.unwrap()
}

/// A process that ends without closing.
async fn crash(store: Store) {
    let lock = store.dir().join("LOCK");
    drop(store);
    while std::fs::File::open(&lock).unwrap().try_lock().is_err() {
        tokio::task::yield_now().await;
    }
}

async fn all_rows(store: &Store) -> Vec<FlowRow> {
    let snapshot = store.snapshot(&FLOWS);
    let mut batches = snapshot.memory.clone();
    for segment in snapshot.segments.iter() {
        let bytes = store.objects().get(&segment.path).await.unwrap().bytes().await.unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        batches.extend(reader.map(Result::unwrap));
    }
    batches.iter().flat_map(|batch| FlowRow::from_batch(batch).unwrap()).collect()
}

/// What one node sends, in its order: a batch is sent until it is acknowledged, sometimes once more.
struct Sender {
    node: String,
    batches: Vec<Vec<FlowRow>>,
    next: usize,
}

impl Sender {
    async fn send(&mut self, store: &Store, again: bool) {
        let meta = BatchMeta::of::<FlowRow>(&self.node, "boot", self.next as u64 + 1);
        let batch = FlowRow::to_batch(&self.batches[self.next]);
        for _ in 0..=usize::from(again) {
            store.append(vec![(meta.clone(), batch.clone())]).await.unwrap();
        }
        self.next += 1;
    }
}

fn senders(random: &mut StdRng, now: i64) -> ([Sender; 2], i64, usize) {
    let mut all: [Vec<FlowRow>; 2] = Default::default();
    let mut truth = 0;
    let connections = random.random_range(1..30);
    let skew = random.random_range(-500_000_000..500_000_000);
    for connection in 0..connections {
        let intervals: Vec<(i64, i64)> = (0..random.random_range(1..7))
            .map(|_| {
                let bytes = random.random_range(0..5_000);
                (bytes, random.random_range(0..=bytes))
            })
            .collect();
        truth += intervals.iter().map(|(bytes, _)| bytes).sum::<i64>();
        // Some are hours old: their rows come late.
        let age = if random.random_bool(0.5) { random.random_range(0..2 * 3600) } else { 30 };
        for (end, skew) in [0, skew].into_iter().enumerate() {
            all[end].extend(rows_of(connection, now - age * SECOND, &intervals, end, skew));
        }
    }
    let senders = [0, 1].map(|end| {
        let mut rows = std::mem::take(&mut all[end]);
        rows.sort_by_key(|row| row.end_time);
        let mut batches = Vec::new();
        while !rows.is_empty() {
            let some = random.random_range(1..=rows.len().min(20));
            batches.push(rows.drain(..some).collect());
        }
        Sender { node: format!("node-{end}"), batches, next: 0 }
    });
    (senders, truth, connections as usize)
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_are_the_truth_whatever_happens_to_the_collector() {
    let seed = std::env::var("WEIR_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let first = seed.unwrap_or_else(rand::random::<u64>) & (u64::MAX >> 1);
    for seed in (first..).take(if seed.is_some() { 1 } else { 25 }) {
        println!("WEIR_SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
        let (mut senders, truth, connections) = senders(&mut random, now);
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path()).await;
        let mut crashes = 0;
        loop {
            let left: Vec<usize> =
                (0..2).filter(|end| senders[*end].next < senders[*end].batches.len()).collect();
            if left.is_empty() {
                break;
            }
            let end = left[random.random_range(0..left.len())];
            senders[end].send(&store, random.random_bool(0.2)).await;
            match random.random_range(0..10) {
                0 => store.seal().await.unwrap(),
                1 if crashes < 4 => {
                    crashes += 1;
                    crash(store).await;
                    store = open(dir.path()).await;
                }
                _ => {}
            }
        }
        let check = |rows: &[FlowRow], when: &str| {
            let bytes: i64 = rows.iter().map(|row| row.client_bytes).sum();
            let counted: i64 = rows.iter().map(|row| row.connections).sum();
            assert_eq!((bytes, counted), (truth, connections as i64), "WEIR_SEED={seed} {when}");
        };
        check(&all_rows(&store).await, "at the end");
        crash(store).await;
        let store = open(dir.path()).await;
        check(&all_rows(&store).await, "after one more start");
        store.seal().await.unwrap();
        check(&all_rows(&store).await, "in files");
        store.close().await.unwrap();
    }
}
