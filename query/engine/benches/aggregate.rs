//! Questions an SRE asks over 10 M flows, beside DuckDB over the same Parquet files in the same run: same number of
//! threads, both warm, asked in turns, best of several, and every answer compared, so that nobody is fast by being wrong.
//!
//! `cargo bench --profile dev -p weir-query`. `WEIR_BENCH_ROWS` changes the size, `WEIR_BENCH_DIR` keeps the store and
//! uses it again, `WEIR_BENCH_THREADS` changes the threads, words after `--` choose questions by name, `WEIR_BENCH_EXPLAIN=1` prints our plans with their times.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that fails or is silent is of no use")]

#[path = "aggregate/rows.rs"]
mod rows;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};
use weir_model::tables::FLOWS;
use weir_model::{BatchMeta, FlowRow, Row};
use weir_query::{Engine, Limits};
use weir_store::{Store, StoreConfig};

/// As a probe sends them.
const BATCH_ROWS: usize = 8_192;
/// Batches under way at a time.
const IN_FLIGHT: usize = 4;
/// How often each question is asked after a first time that warms files and footers; the best time counts.
const ROUNDS: usize = 7;

/// A question, in the words of both where they differ.
struct Question {
    what: &'static str,
    weir: String,
    duckdb: String,
}

fn same(what: &'static str, sql: &str) -> Question {
    Question { what, weir: sql.to_owned(), duckdb: sql.to_owned() }
}

/// The questions; `one` is a row of the data, to be looked for.
fn questions(one: &FlowRow) -> Vec<Question> {
    let address = one.server_ip.as_deref().unwrap();
    let connection = one.connection_id.as_deref().unwrap();
    let p95 = |percentile: &str| {
        format!(
            "SELECT CAST(date_trunc('minute', time) AS VARCHAR) AS minute, server_workload, {percentile} AS p95, count(*) AS flows
             FROM flows WHERE time >= TIMESTAMP '2026-11-18 11:00:00' AND time < TIMESTAMP '2026-11-18 12:00:00'
             GROUP BY date_trunc('minute', time), server_workload ORDER BY flows DESC, 1, 2 LIMIT 100"
        )
    };
    vec![
        same(
            "all traffic: flows, bytes, retransmits",
            "SELECT count(*) AS flows, sum(client_bytes) AS sent, sum(server_bytes) AS received,
                sum(client_retransmits + server_retransmits) AS retransmits, max(rtt_us) AS worst_rtt FROM flows",
        ),
        same(
            "top talkers by namespace and process",
            "SELECT client_namespace, client_process, sum(client_bytes + server_bytes) AS bytes, count(*) AS flows
             FROM flows GROUP BY client_namespace, client_process ORDER BY bytes DESC, 1, 2 LIMIT 20",
        ),
        same(
            "who calls whom, by workload",
            "SELECT client_workload, server_workload, count(*) AS flows, sum(server_bytes) AS bytes, avg(rtt_us) AS rtt
             FROM flows GROUP BY client_workload, server_workload ORDER BY flows DESC, 1, 2 LIMIT 50",
        ),
        Question {
            what: "p95 RTT by server and minute, one hour",
            weir: p95("percentile_cont(0.95) WITHIN GROUP (ORDER BY rtt_us)"),
            duckdb: p95("quantile_cont(rtt_us, 0.95)"),
        },
        same(
            "bytes to one address",
            &format!(
                "SELECT count(*) AS flows, sum(client_bytes) AS sent, sum(server_bytes) AS received, count(DISTINCT client_ip) AS clients
                 FROM flows WHERE server_ip = '{address}'"
            ),
        ),
        same(
            "one connection by its id",
            &format!(
                "SELECT connection_id, client_pod, server_pod, client_bytes, server_bytes, trace_id
                 FROM flows WHERE connection_id = '{connection}'"
            ),
        ),
    ]
}

fn main() {
    let rows: usize = number("WEIR_BENCH_ROWS", 10_000_000);
    let threads = number("WEIR_BENCH_THREADS", std::thread::available_parallelism().unwrap().get());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    runtime.block_on(run(rows, threads));
}

fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

async fn run(rows: usize, threads: usize) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let scratch = tempfile::tempdir_in(target).unwrap();
    let dir = std::env::var_os("WEIR_BENCH_DIR").map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    let python = python(&target.join("duckdb-venv"));
    let store = filled(&dir, rows).await;
    let stats = store.stats().into_iter().find(|table| table.table == FLOWS.name).unwrap();
    assert_eq!((stats.rows_memory, stats.rows_sealed), (0, rows as u64), "all rows are in files");
    println!(
        "{rows} flows, {} columns, {} files, {:.1} bytes a row in Parquet, {threads} threads",
        FLOWS.columns.len(),
        stats.files,
        stats.bytes as f64 / rows as f64
    );

    let limits = Limits { time: Duration::from_mins(10), threads, ..Limits::default() };
    let engine = Engine::new(store.clone(), limits).unwrap();
    let mut rival = DuckDb::start(&python, &dir.join("tables/flows"), threads);
    println!("{:<40} {:>10} {:>10}  weir / duckdb", "best of several, ms", "weir", rival.version);
    let one = &rows::Cluster::new().flows(rows / 2 / BATCH_ROWS * BATCH_ROWS, 1)[0];
    let only: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let is_wanted =
        |question: &Question| only.is_empty() || only.iter().any(|word| question.what.contains(word));
    for question in questions(one).into_iter().filter(is_wanted) {
        let (mut ours, mut theirs) = (f64::MAX, f64::MAX);
        for round in 0..=ROUNDS {
            let (our_time, our_rows) = asked(&engine, &question.weir).await;
            let (their_time, their_rows) = rival.asked(&question.duckdb);
            assert_equal(question.what, &our_rows, &their_rows);
            if round > 0 {
                ours = ours.min(our_time);
                theirs = theirs.min(their_time);
            }
        }
        println!("{:<40} {ours:>10.1} {theirs:>10.1}  {:>6.2}", question.what, ours / theirs);
        if number("WEIR_BENCH_EXPLAIN", 0) > 0 {
            explain(&engine, &question.weir).await;
        }
    }
    store.close().await.unwrap();
}

/// A store with `rows` flows, all in files; the one of an earlier run where there is one.
async fn filled(dir: &Path, rows: usize) -> Store {
    let config = StoreConfig { dir: dir.to_owned(), ..StoreConfig::default() };
    let store = Store::open(config).await.unwrap();
    if store.snapshot(&FLOWS).segments.iter().map(|segment| segment.rows).sum::<u64>() == rows as u64 {
        return store;
    }
    let start = Instant::now();
    let cluster = rows::Cluster::new();
    let batches = (0..rows.div_ceil(BATCH_ROWS)).map(|number| {
        let first = number * BATCH_ROWS;
        let batch = FlowRow::to_batch(&cluster.flows(first, BATCH_ROWS.min(rows - first)));
        store.append(vec![(BatchMeta::of::<FlowRow>("node-1", "bench", number as u64 + 1), batch)])
    });
    stream::iter(batches).buffer_unordered(IN_FLIGHT).for_each(|stored| async { stored.unwrap() }).await;
    store.seal().await.unwrap();
    println!("generated, appended and sealed in {:.0} s", start.elapsed().as_secs_f64());
    store
}

async fn asked(engine: &Engine, sql: &str) -> (f64, Vec<Vec<Value>>) {
    let start = Instant::now();
    let answer = engine.collect(sql, usize::MAX).await.unwrap_or_else(|err| panic!("{sql}: {err}"));
    let took = start.elapsed().as_secs_f64() * 1000.0;
    (took, answer.batches.iter().flat_map(values).collect())
}

/// The rows as JSON: numbers and text are all that these questions answer with.
fn values(batch: &RecordBatch) -> Vec<Vec<Value>> {
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Float64 | DataType::Int64 => column.clone(),
            _ => cast(column, &DataType::Utf8).unwrap(),
        })
        .collect();
    let value = |row: usize, column: &std::sync::Arc<dyn Array>| match column.data_type() {
        _ if column.is_null(row) => Value::Null,
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        _ => column.as_string::<i32>().value(row).into(),
    };
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| value(row, column)).collect()).collect()
}

async fn explain(engine: &Engine, sql: &str) {
    let answer = engine.collect(&format!("EXPLAIN ANALYZE {sql}"), usize::MAX).await.unwrap();
    println!("{}", arrow::util::pretty::pretty_format_batches(&answer.batches).unwrap());
}

/// Equal but for the last digits of real numbers (DataFusion interpolates between two values in millionths) and for how a time is written.
fn assert_equal(what: &str, ours: &[Vec<Value>], theirs: &[Vec<Value>]) {
    assert!(!ours.is_empty(), "{what}: no rows");
    assert_eq!(ours.len(), theirs.len(), "{what}: rows");
    for (ours, theirs) in ours.iter().zip(theirs) {
        let is_equal = ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(|(ours, theirs)| match (ours.as_f64(), theirs.as_f64()) {
                (Some(ours), Some(theirs)) => (ours - theirs).abs() <= 1e-6 * theirs.abs(),
                (None, None) => plain(ours) == plain(theirs),
                _ => false,
            });
        assert!(is_equal, "{what}: weir says {ours:?}, DuckDB {theirs:?}");
    }
}

/// `2026-11-18T13:00:00Z` and `2026-11-18 11:00:00+00` are the same minute.
fn plain(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let is_time = text.get(4..5) == Some("-") && text.get(13..14) == Some(":");
    if is_time {
        text.replace('T', " ").trim_end_matches('Z').trim_end_matches("+00").to_owned()
    } else {
        text
    }
}

/// DuckDB in a process of its own.
struct DuckDb {
    version: String,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    process: Child,
}

impl DuckDb {
    fn start(python: &Path, folder: &Path, threads: usize) -> DuckDb {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/aggregate/rival.py");
        let mut process = Command::new(python)
            .args([script.as_os_str(), folder.as_os_str(), threads.to_string().as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let questions = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let mut rival = DuckDb { version: String::new(), questions, answers, process };
        rival.version = format!("duckdb {}", rival.line()["version"].as_str().unwrap());
        rival
    }

    fn asked(&mut self, sql: &str) -> (f64, Vec<Vec<Value>>) {
        writeln!(self.questions, "{}", json!({ "sql": sql })).unwrap();
        let answer = self.line();
        (answer["ms"].as_f64().unwrap(), serde_json::from_value(answer["rows"].clone()).unwrap())
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "DuckDB ended; what it wrote to standard error is above");
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for DuckDb {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A Python that has DuckDB; installed once, beside what cargo builds.
fn python(venv: &Path) -> PathBuf {
    let python = venv.join("bin/python");
    let has_duckdb = || {
        let mut check = Command::new(&python);
        check.args(["-c", "import duckdb, pytz"]).stderr(Stdio::null());
        check.status().is_ok_and(|status| status.success())
    };
    if !has_duckdb() {
        println!("installing DuckDB into {}", venv.display());
        run_or_stop(Command::new("python3").args(["-m", "venv"]).arg(venv));
        run_or_stop(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "duckdb",
            "pytz",
        ]));
    }
    python
}

fn run_or_stop(command: &mut Command) {
    let status =
        command.status().unwrap_or_else(|err| panic!("{command:?}: {err}; is python3 with venv installed?"));
    assert!(status.success(), "{command:?} failed");
}
