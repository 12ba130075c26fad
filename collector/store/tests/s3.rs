//! Two writers on a bucket of a real server that speaks S3's protocol: nothing can be renamed there, and each request goes over
//! the network. `deploy/setup.sh test` builds the server.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::{TempDir, tempdir};
use weir_model::tables::FLOWS;
use weir_model::{BatchMeta, FlowRow, Row};
use weir_store::{Compaction, Shared, Store, StoreConfig, StoreError, check};

/// 2023-11-14, 22:13 UTC.
const START_NS: i64 = 1_700_000_000_000_000_000;
const ACCESS_KEY: &str = "an-access-key";
const SECRET: &str = "a-secret-that-nobody-may-tell";

/// A `versitygw` on loopback, whose bucket `weir` is a folder.
struct S3 {
    process: Child,
    dir: TempDir,
    endpoint: String,
}

impl S3 {
    async fn start() -> S3 {
        let dir = tempdir().unwrap();
        for folder in ["buckets/weir", "metadata"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/versitygw/versitygw");
        let mut command = Command::new(&program);
        command.args(["--port", &address.to_string(), "--quiet", "posix", "--sidecar"]);
        command.arg(dir.path().join("metadata")).arg(dir.path().join("buckets"));
        command.env("ROOT_ACCESS_KEY", ACCESS_KEY).env("ROOT_SECRET_KEY", SECRET).stdout(Stdio::null());
        let hint = "`deploy/setup.sh test` builds it";
        let process = command.spawn().unwrap_or_else(|err| panic!("{}: {err}: {hint}", program.display()));
        while TcpStream::connect(address).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        S3 { process, dir, endpoint: format!("http://{address}") }
    }

    /// A place on it, as a process finds it with these variables in its environment.
    fn shared(&self, url: &str) -> Shared {
        let variables = [
            ("AWS_ENDPOINT_URL", self.endpoint.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut shared = Shared::open_with(url, variables).unwrap();
        shared.refresh = Duration::from_millis(50);
        shared
    }

    async fn open(&self, dir: &TempDir) -> Store {
        let config = StoreConfig {
            dir: dir.path().to_owned(),
            shared: Some(self.shared("s3://weir/a/prefix")),
            seal_age: Duration::from_hours(1),
            compaction: Compaction { is_on: false, ..Compaction::default() },
            ..StoreConfig::default()
        };
        Store::open(config).await.unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("buckets/weir")
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
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
    let (left, right) = (s3.open(&here).await, s3.open(&there).await);
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
    let left = s3.open(&here).await;
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

    let checked = check(here.path(), Some(&s3.shared("s3://weir/a/prefix")), |_, _| ()).await.unwrap();
    assert_eq!(checked.damaged, []);
    assert_eq!(checked.tables.iter().map(|table| table.rows).sum::<u64>(), all.len() as u64);
    assert!(s3.folder().join("a/prefix/catalog").is_dir());
    assert!(!here.path().join("tables").exists(), "rows' files are in the bucket only");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_object_is_set_aside_and_errors_tell_no_credentials() {
    let s3 = S3::start().await;
    let dir = tempdir().unwrap();
    let store = s3.open(&dir).await;
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

    let (dir, elsewhere) = (tempdir().unwrap(), s3.shared("s3://no-such-bucket"));
    let shared = Some(elsewhere.clone());
    let config = StoreConfig { dir: dir.path().to_owned(), shared, ..StoreConfig::default() };
    let err: StoreError = Store::open(config.clone()).await.unwrap_err();
    let told = format!("{err} {err:?} {elsewhere:?} {config:?}");
    assert!(told.contains("no-such-bucket"), "{told}");
    assert!(!told.contains(SECRET) && !told.contains(ACCESS_KEY), "{told}");
}
