//! Flows a core-second from the wire to durable, queryable and sealed. Rival: the same rows as JSON lines, parsed and
//! appended with the same number of fsyncs, which gives nothing to query yet. Budget (DESIGN §14): 500,000.
//!
//! CPU time is the process's own, all threads, user and system. `cargo bench -p weir-collector --bench ingest`;
//! `WEIR_BENCH_ROWS` changes the size, `WEIR_BENCH_DIR` keeps the files for other readers.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that fails or is silent is of no use")]

#[path = "ingest/rows.rs"]
mod rows;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use nix::sys::resource::{UsageWho, getrusage};
use weir_collector::Pairing;
use weir_model::{BatchMeta, FlowRow, Row};
use weir_store::{Arrivals, Part, Store, StoreConfig};
use weir_wire::{Encoded, Limits, MAX_BATCH_ROWS, decode};

/// As `weir` has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Batches under way at a time: what a collector has from a few probes.
const IN_FLIGHT: usize = 8;

/// CPU time of this process so far.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let seconds =
        |time: nix::sys::time::TimeVal| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000);
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Runs `work` over `rows` rows and says what they cost.
async fn measured<T>(what: &str, rows: usize, work: impl Future<Output = T>) -> T {
    let (before, start) = (cpu(), Instant::now());
    let result = work.await;
    let (used, took) = (cpu().saturating_sub(before), start.elapsed());
    let per_second = rows as f64 / used.as_secs_f64();
    println!(
        "{what:<44} {:>10.0} rows/core-second  {:>6.2} s CPU  {:>6.2} s",
        per_second,
        used.as_secs_f64(),
        took.as_secs_f64()
    );
    result
}

/// A batch as it comes off the wire.
struct Sent {
    meta: BatchMeta,
    encoded: Encoded,
}

fn decoded(schema: &arrow_flight::FlightData, sent: &Sent) -> (RecordBatch, Bytes) {
    decode(&sent.meta, schema, &sent.encoded.messages, &Limits::default()).unwrap()
}

/// As `weir up` opens it.
async fn open(dir: &Path) -> Store {
    let config = StoreConfig { dir: dir.to_owned(), ..StoreConfig::default() };
    Store::open_with(config, Some(Arc::new(Pairing::default()))).await.unwrap()
}

/// What pairing takes where nobody has another half.
fn pair(batches: &[RecordBatch]) {
    let pairing = Pairing::default();
    let arrived = batches.iter().map(|batch| pairing.arrive(batch, 1_795_000_000_000_000_000, false));
    let memory: Vec<_> = (0..).zip(arrived).collect();
    assert!(pairing.merge(&memory).is_empty());
}

/// Decode, log, pair, memory; sealing goes on beside it, and `close` seals the rest.
async fn ingest(dir: &Path, schema: &arrow_flight::FlightData, sent: &[Sent]) {
    let store = open(dir).await;
    let tasks = stream::iter(sent).map(|sent| {
        let store = store.clone();
        async move {
            let (batch, ipc) = decoded(schema, sent);
            store.append_parts(vec![Part { meta: sent.meta.clone(), batch, ipc: Some(ipc) }]).await.unwrap();
        }
    });
    tasks.buffer_unordered(IN_FLIGHT).collect::<()>().await;
    store.close().await.unwrap();
}

/// A process that ends without closing: what it had in memory is in the log.
async fn crash(store: Store) {
    let lock = store.dir().join("LOCK");
    drop(store);
    // The background task may still hold the store for a moment.
    while File::open(&lock).unwrap().try_lock().is_err() {
        tokio::task::yield_now().await;
    }
}

fn json_lines(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(batch).unwrap();
    writer.into_inner()
}

/// What a log shipper's receiver does at least: parse each line, append the batch, fsync.
fn append_json(file: &mut File, lines: &[u8]) -> usize {
    let parsed = serde_json::Deserializer::from_slice(lines).into_iter::<serde_json::Value>();
    let rows = parsed.map(Result::unwrap).count();
    file.write_all(lines).unwrap();
    file.sync_data().unwrap();
    rows
}

fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { size_of(&path) } else { path.metadata().unwrap().len() }).sum()
}

#[tokio::main]
async fn main() {
    let rows: usize = std::env::var("WEIR_BENCH_ROWS").map_or(1 << 20, |rows| rows.parse().unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let dir: PathBuf =
        std::env::var_os("WEIR_BENCH_DIR").map_or_else(|| scratch.path().to_owned(), PathBuf::from);

    let schema = weir_wire::schema_message(&FlowRow::table().schema());
    let mut sent = Vec::new();
    let mut wire_bytes = 0;
    for number in 0..rows.div_ceil(MAX_BATCH_ROWS) {
        let batch = FlowRow::to_batch(&rows::flows(number * MAX_BATCH_ROWS, MAX_BATCH_ROWS));
        let encoded = Encoded::of(&batch).unwrap();
        wire_bytes += encoded.bytes();
        sent.push(Sent { meta: BatchMeta::of::<FlowRow>("node-1", "bench", number as u64 + 1), encoded });
    }
    let rows = sent.len() * MAX_BATCH_ROWS;
    println!(
        "{rows} flows, {} columns, {} bytes a row on the wire",
        FlowRow::table().columns.len(),
        wire_bytes / rows
    );

    let batches: Vec<RecordBatch> =
        measured("decode", rows, async { sent.iter().map(|sent| decoded(&schema, sent).0).collect() }).await;
    measured("pair", rows, async { pair(&batches) }).await;
    let lazily = StoreConfig {
        dir: dir.join("parts"),
        seal_rows: usize::MAX / 8,
        seal_bytes: usize::MAX / 8,
        memory_bytes: usize::MAX,
        ..StoreConfig::default()
    };
    let store = Store::open(lazily.clone()).await.unwrap();
    let parts = sent.iter().zip(&batches).map(|(one, batch)| {
        let (_, ipc) = decoded(&schema, one);
        Part { meta: one.meta.clone(), batch: batch.clone(), ipc: Some(ipc) }
    });
    let parts: Vec<Part> = parts.collect();
    measured("log and memory", rows, async {
        let appends = stream::iter(parts).map(|part| store.append_parts(vec![part]));
        appends.buffer_unordered(IN_FLIGHT).for_each(|stored| async { assert_eq!(stored.unwrap(), 0) }).await;
    })
    .await;
    crash(store).await;
    let store = measured("start: the log read back", rows, Store::open(lazily)).await.unwrap();
    assert_eq!(store.opened().replayed_rows, rows as u64);
    measured("sort, encode and commit", rows, store.seal()).await.unwrap();
    store.close().await.unwrap();

    let both = both_ends(rows);
    let paired = dir.join("paired");
    measured("weir: the same of both ends' rows, made one", rows, ingest(&paired, &schema, &both)).await;
    println!("{:>6.1} bytes a row sent, in Parquet", size_of(&paired.join("tables")) as f64 / rows as f64);

    let whole = dir.join("whole");
    measured("weir: wire to durable, queryable and sealed", rows, ingest(&whole, &schema, &sent)).await;
    println!("{:>6.1} bytes a row in Parquet", size_of(&whole.join("tables")) as f64 / rows as f64);

    let lines: Vec<Vec<u8>> = batches.iter().take(16).map(json_lines).collect();
    let mut file = File::create(dir.join("rival.jsonl")).unwrap();
    let json_rows = lines.len() * MAX_BATCH_ROWS;
    measured("rival: JSON lines, parsed and appended", json_rows, async {
        let parsed: usize = lines.iter().map(|lines| append_json(&mut file, lines)).sum();
        assert_eq!(parsed, json_rows);
    })
    .await;
    println!(
        "{:>6.1} bytes a row as JSON lines",
        size_of_file(&dir.join("rival.jsonl")) as f64 / json_rows as f64
    );
}

/// As many rows, two of each connection: a batch of the clients' and one of the servers' in turn.
fn both_ends(rows: usize) -> Vec<Sent> {
    let mut sent = Vec::new();
    for number in 0..rows.div_ceil(2 * MAX_BATCH_ROWS) {
        let clients = rows::flows(number * MAX_BATCH_ROWS, MAX_BATCH_ROWS);
        let servers: Vec<FlowRow> = clients.iter().map(rows::other_end).collect();
        for (node, rows) in [("node-1", &clients), ("node-2", &servers)] {
            let encoded = Encoded::of(&FlowRow::to_batch(rows)).unwrap();
            sent.push(Sent { meta: BatchMeta::of::<FlowRow>(node, "bench", number as u64 + 1), encoded });
        }
    }
    sent
}

fn size_of_file(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}
