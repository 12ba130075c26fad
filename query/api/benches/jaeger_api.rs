//! What a person waits for on Jaeger's page, over many spans in files: a trace by its id, a search, the lists of services and
//! operations, and a trace of 100,000 spans. Through the whole router; each question is asked many times with other ids,
//! services and times. Beside each p95 stands what it is to be at most at 10 M spans, where that was promised.
//!
//! `WEIR_BENCH_SPANS` changes the size, `WEIR_BENCH_DIR` keeps the store and uses it again, words after `--` choose
//! questions by name.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that fails or is silent is of no use")]

#[path = "jaeger_api/rows.rs"]
mod rows;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use parking_lot::RwLock;
use tower::ServiceExt;
use weir_api::{Api, ApiInfo, ProbeState};
use weir_model::tables::SPANS;
use weir_model::{BatchMeta, Row, SpanRow};
use weir_query::{Engine, Limits};
use weir_store::{Store, StoreConfig};

use rows::{A_TRACE, LARGE, LARGE_SPANS, Spans};

/// As applications' exporters send them.
const BATCH_ROWS: usize = 8_192;
/// How often each question is asked, with other words each time.
const ROUNDS: usize = 40;

/// A question, and what its p95 is to be at most.
struct Question {
    what: &'static str,
    most_ms: Option<u128>,
    /// The path of the n-th time.
    path: Box<dyn Fn(u64) -> String>,
}

fn questions(spans: u64) -> Vec<Question> {
    let traces = spans / A_TRACE;
    // Spread over all of them, in no order.
    let some = move |round: u64| round.wrapping_mul(0x9E37_79B9_7F4A_7C15) % traces;
    let service = |round: u64| rows::service(round * 7);
    let around = move |round: u64, seconds: i64| {
        let until = rows::start_of(some(round)) / 1_000;
        format!("start={}&end={until}", until - seconds * 1_000_000)
    };
    let newest = move || rows::start_of(traces) / 1_000;
    let question = |what, most_ms, path: Box<dyn Fn(u64) -> String>| Question { what, most_ms, path };
    vec![
        question(
            "a trace by its id",
            Some(10),
            Box::new(move |round| format!("/api/traces/{}", rows::id(some(round)))),
        ),
        question(
            "a trace by its id and time",
            Some(10),
            Box::new(move |round| {
                let start = rows::start_of(some(round)) / 1_000;
                format!("/api/traces/{}?start={start}&end={}", rows::id(some(round)), start + 1_000_000)
            }),
        ),
        question(
            "an id that is not there",
            Some(10),
            Box::new(|round| format!("/api/traces/beef{round:04x}")),
        ),
        question(
            "search: a service's last hour",
            Some(50),
            Box::new(move |round| {
                let end = newest();
                format!(
                    "/api/traces?service={}&limit=20&start={}&end={end}",
                    service(round),
                    end - 3_600_000_000
                )
            }),
        ),
        question(
            "search: a minute, somewhere",
            Some(50),
            Box::new(move |round| {
                format!("/api/traces?service={}&limit=20&{}", service(round), around(round, 60))
            }),
        ),
        question(
            "search: failed, with an attribute",
            Some(50),
            Box::new(move |round| {
                let end = newest();
                format!(
                    "/api/traces?service={}&limit=20&start={}&end={end}&tags=%7B%22error%22%3A%22true%22%2C%22tenant%22%3A%22t{}%22%7D",
                    service(round),
                    end - 3_600_000_000,
                    round % 50
                )
            }),
        ),
        question(
            "search: nothing is found",
            None,
            Box::new(move |_| format!("/api/traces?service=nobody&limit=20&start=0&end={}", newest())),
        ),
        question(
            "summaries: all services",
            Some(50),
            Box::new(move |round| {
                let end = rows::start_of(some(round));
                let [from, until] = [end - 3_600_000_000_000, end]
                    .map(|ns| jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap().to_string());
                format!(
                    "/api/v3/trace-summaries?query.startTimeMin={from}&query.startTimeMax={until}&query.searchDepth=20"
                )
            }),
        ),
        question("services", None, Box::new(|_| "/api/services".to_owned())),
        question(
            "operations",
            None,
            Box::new(move |round| format!("/api/services/{}/operations", service(round))),
        ),
        question("a trace of 100,000 spans", None, Box::new(|_| format!("/api/traces/{LARGE}"))),
    ]
}

#[tokio::main]
async fn main() {
    let spans: u64 = std::env::var("WEIR_BENCH_SPANS").map_or(200_000, |text| text.parse().unwrap());
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let dir = std::env::var_os("WEIR_BENCH_DIR").map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    let store = filled(&dir, spans).await;
    let stats = store.stats().into_iter().find(|table| table.table == SPANS.name).unwrap();
    assert_eq!((stats.rows_memory, stats.rows_sealed), (0, spans + LARGE_SPANS), "all rows are in files");
    println!(
        "{} spans in {} files, {:.1} bytes a span in Parquet",
        stats.rows_sealed,
        stats.files,
        stats.bytes as f64 / stats.rows_sealed as f64
    );
    let engine = Engine::new(store.clone(), Limits::default()).unwrap();
    let probe = ProbeState { state: "off", detail: "a bench".to_owned() };
    let info = ApiInfo::new("0.0.0", "here", Vec::new(), Arc::new(RwLock::new(probe)));
    let app = weir_api::router(Api::new(Arc::new(engine), store.clone(), info));

    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    println!("{:34} {:>9} {:>9} {:>9} {:>9} {:>12}", "", "first", "p50", "p95", "to be", "bytes");
    for question in questions(spans) {
        if !words.is_empty() && !words.iter().any(|word| question.what.contains(word.as_str())) {
            continue;
        }
        let (first, bytes) = ask(&app, &(question.path)(0)).await;
        // A large one takes its time, and is the same each time.
        let rounds = if bytes > 1 << 20 { ROUNDS / 8 } else { ROUNDS };
        let mut times = Vec::with_capacity(rounds);
        for round in 1..=rounds as u64 {
            times.push(ask(&app, &(question.path)(round)).await.0);
        }
        times.sort();
        let [p50, p95] = [rounds / 2, rounds * 95 / 100].map(|place| times[place]);
        let most = question.most_ms.map_or(String::new(), |most| format!("{most} ms"));
        println!(
            "{:34} {:>9} {:>9} {:>9} {most:>9} {bytes:>12}",
            question.what,
            milliseconds(first),
            milliseconds(p50),
            milliseconds(p95)
        );
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

async fn ask(app: &Router, path: &str) -> (Duration, usize) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let start = Instant::now();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let time = start.elapsed();
    assert!(matches!(status, StatusCode::OK | StatusCode::NOT_FOUND), "{path}: {status} {body:?}");
    (time, body.len())
}

/// The store in `dir`; filled if it isn't yet.
async fn filled(dir: &Path, spans: u64) -> Store {
    let config = StoreConfig { dir: dir.join(format!("{spans}")), ..StoreConfig::default() };
    let store = Store::open(config).await.unwrap();
    if store.stats().into_iter().any(|table| table.table == SPANS.name && table.rows_sealed > 0) {
        return store;
    }
    let mut rows = Spans::new(spans);
    for sequence in 1.. {
        let batch: Vec<SpanRow> = rows.by_ref().take(BATCH_ROWS).collect();
        if batch.is_empty() {
            break;
        }
        let meta = BatchMeta::of::<SpanRow>("here", "boot", sequence);
        store.append(vec![(meta, SpanRow::to_batch(&batch))]).await.unwrap();
    }
    store.seal().await.unwrap();
    store
}
