//! A real collector in a process of its own is killed with SIGKILL again and again while a sender keeps sending, and
//! sealing goes on all the time. Every acknowledged row is there after each kill, and at the end every row, once.
//!
//! The moments are drawn from a seed that is printed; `WEIR_SEED=17` plays it again, `WEIR_KILLS=100` kills as often.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use weir_collector::{Collector, CollectorConfig};
use weir_model::tables::{FLOWS, SPANS};
use weir_model::{FlowRow, Row, SpanRow, Table};
use weir_store::{Store, StoreConfig};
use weir_wire::{Shipper, ShipperConfig};

/// Kills in one run, unless `WEIR_KILLS` says otherwise.
const ROUNDS: usize = 12;
/// Where the child finds its folder; its absence says that we are not the child.
const FOLDER: &str = "WEIR_CRASH_TEST_FOLDER";

/// A small generator (`SplitMix64`), so that a seed says it all.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Seals every few batches and begins a new log file as often, so that a kill hits those too.
fn store_config(dir: &Path) -> StoreConfig {
    StoreConfig {
        dir: dir.to_owned(),
        seal_rows: 500,
        wal_segment_bytes: 64 << 10,
        seal_age: Duration::from_mins(10),
        ..StoreConfig::default()
    }
}

/// Not a promise by itself: the process that the test below starts and kills. It ends with its parent.
#[test]
fn collector_process() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _collector = runtime.block_on(async {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = CollectorConfig {
            flight_listen: any,
            otlp_grpc_listen: any,
            otlp_http_listen: any,
            ..CollectorConfig::default()
        };
        let store = Store::open(store_config(Path::new(&folder))).await.unwrap();
        let collector = Collector::start(config, store).await.unwrap();
        println!("\nlistening {}", collector.flight_addr());
        collector
    });
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

struct Running {
    process: Child,
    address: SocketAddr,
}

fn start(folder: &Path) -> Running {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "collector_process", "--nocapture"])
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let address = lines
        .map(|line| line.expect("the collector process ended before it listened"))
        .find_map(|line| line.strip_prefix("listening ").map(|address| address.parse().unwrap()));
    Running { process, address: address.expect("the collector process says where it listens") }
}

impl Running {
    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// One address for the sender, whichever port the collector of this round has.
async fn forward(listener: TcpListener, target: watch::Receiver<SocketAddr>) {
    loop {
        let (mut sender, _) = listener.accept().await.unwrap();
        let target = *target.borrow();
        tokio::spawn(async move {
            // No collector, no connection: the sender sees it closed, and comes back.
            if let Ok(mut collector) = TcpStream::connect(target).await {
                let _ = tokio::io::copy_bidirectional(&mut sender, &mut collector).await;
            }
        });
    }
}

fn flow(id: u64) -> FlowRow {
    FlowRow {
        // An hour has 1,500 rows, so that sealing writes several files at once.
        time: 1_795_000_000_000_000_000 + id as i64 * 2_400_000_000,
        end_time: Some(1_795_000_000_000_000_000 + id as i64 * 2_400_000_000 + 5_000_000),
        connection_id: Some(format!("{id:016x}").into()),
        state: Some("only".into()),
        protocol: Some("tcp".into()),
        observer: Some("client".into()),
        client_ip: Some(format!("10.0.0.{}", id % 200).into()),
        server_ip: Some("10.0.1.1".into()),
        server_port: Some(443),
        client_bytes: id as i64,
        ..FlowRow::default()
    }
}

async fn rows<R: Row>(store: &Store, table: &'static Table) -> Vec<R> {
    let snapshot = store.snapshot(table);
    let mut batches = snapshot.memory.clone();
    for segment in snapshot.segments.iter() {
        let bytes = store.objects().get(&segment.path).await.unwrap().bytes().await.unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        batches.extend(reader.map(Result::unwrap));
    }
    batches.iter().flat_map(|batch| R::from_batch(batch).unwrap()).collect()
}

/// Reads the folder as a restarted collector would: ids of flows in order, and how many rows are sealed.
async fn look(folder: &Path) -> (Vec<u64>, Vec<SpanRow>, u64) {
    let store = Store::open(store_config(folder)).await.unwrap();
    assert_eq!(store.opened().log.damaged_records, 0, "a kill damages nothing");
    assert!(store.opened().quarantined.is_empty(), "{:?}", store.opened().quarantined);
    let mut ids: Vec<u64> =
        rows::<FlowRow>(&store, &FLOWS).await.iter().map(|flow| flow.client_bytes as u64).collect();
    ids.sort_unstable();
    let spans = rows(&store, &SPANS).await;
    let sealed = store.stats().iter().map(|table| table.rows_sealed).sum();
    store.close().await.unwrap();
    (ids, spans, sealed)
}

/// Every id below `acknowledged` is there, and none twice.
fn check(ids: &[u64], acknowledged: u64) {
    for pair in ids.windows(2) {
        assert!(pair[0] < pair[1], "row {} is there twice", pair[1]);
    }
    let found = ids.iter().take_while(|id| **id < acknowledged).count() as u64;
    assert_eq!(found, acknowledged, "acknowledged rows are missing");
}

fn copy_of(folder: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            copy_of(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_at_any_moment_loses_no_acknowledged_row_and_doubles_none() {
    let seed = std::env::var("WEIR_SEED").map_or(20_261_124, |seed| seed.parse().unwrap());
    println!("WEIR_SEED={seed}");
    let mut random = Random(seed);
    let scratch = tempfile::tempdir().unwrap();
    let folder: PathBuf = scratch.path().join("data");

    let mut running = start(&folder);
    let (target, targets) = watch::channel(running.address);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(forward(listener, targets));
    let config =
        ShipperConfig { endpoint, node: "node".into(), boot_id: "boot".into(), queue_bytes: 200_000 };
    let shipper = Arc::new(Shipper::start(config));

    let (stop, stopped) = watch::channel(false);
    let sender = tokio::spawn(send_until(stopped, shipper.clone(), Random(seed + 1)));
    let mut kills_while_sealing = 0;
    let rounds = std::env::var("WEIR_KILLS").map_or(ROUNDS, |kills| kills.parse().unwrap());
    for round in 0..rounds {
        let enough = shipper.stats().acked_rows + 300 + random.below(4_000);
        while shipper.stats().acked_rows < enough {
            tokio::time::sleep(Duration::from_millis(random.below(3))).await;
        }
        let acknowledged = shipper.stats().acked_rows;
        running.kill();
        // Looked at in a copy, since looking seals.
        let copy = scratch.path().join(format!("round-{round}"));
        copy_of(&folder, &copy);
        kills_while_sealing += usize::from(has_unnamed_files(&copy));
        let (ids, _, _) = look(&copy).await;
        check(&ids, acknowledged);
        std::fs::remove_dir_all(&copy).unwrap();
        running = start(&folder);
        target.send(running.address).unwrap();
    }
    stop.send(true).unwrap();
    let sent = sender.await.unwrap();
    shipper.flush().await.unwrap();
    running.kill();

    let stats = shipper.stats();
    assert_eq!((stats.acked_rows, stats.refused_rows, stats.dropped_rows), (sent, 0, 0));
    let (ids, spans, sealed) = look(&folder).await;
    check(&ids, sent);
    assert_eq!(ids.len() as u64, sent, "rows that nobody sent");
    assert!(sealed > sent / 2, "only {sealed} of {sent} rows were sealed");
    assert_eq!(count(&spans), count(&weir_stitch::spans_of_flows(&(0..sent).map(flow).collect::<Vec<_>>())));
    println!(
        "{sent} rows in {} batches, {} sent again, {rounds} kills, {kills_while_sealing} of them while files were written",
        stats.queued_batches,
        stats.sent_batches - stats.queued_batches,
    );
}

async fn send_until(stopped: watch::Receiver<bool>, shipper: Arc<Shipper>, mut random: Random) -> u64 {
    let mut sent = 0;
    while !*stopped.borrow() {
        let size = 1 + random.below(300);
        let rows: Vec<FlowRow> = (sent..sent + size).map(flow).collect();
        shipper.send(&rows).await.unwrap();
        sent += size;
    }
    sent
}

/// How often each span is there.
fn count(spans: &[SpanRow]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for span in spans {
        *counts.entry(span.span_id.as_deref().unwrap_or_default().to_owned()).or_default() += 1;
    }
    counts
}

/// Whether sealing was cut short: a file that no commit names.
fn has_unnamed_files(folder: &Path) -> bool {
    let commits: String = std::fs::read_dir(folder.join("catalog"))
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let mut folders = vec![folder.join("tables")];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !commits.contains(path.file_name().unwrap().to_str().unwrap()) {
                return true;
            }
        }
    }
    false
}
