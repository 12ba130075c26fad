//! The engine over a real store: rows in memory and in files, questions of all kinds, and attempts to do harm.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "engine/answers.rs"]
mod answers;
#[path = "engine/cancelled.rs"]
mod cancelled;
#[path = "engine/errors.rs"]
mod errors;
#[path = "engine/files.rs"]
mod files;
#[path = "engine/functions.rs"]
mod functions;
#[path = "engine/limits.rs"]
mod limits;
#[path = "engine/memory.rs"]
mod memory;
#[path = "engine/parameters.rs"]
mod parameters;
#[path = "engine/read_only.rs"]
mod read_only;
#[path = "engine/rollups.rs"]
mod rollups;
#[path = "engine/spread.rs"]
mod spread;

use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use tempfile::TempDir;
use weir_model::{BatchMeta, FlowRow, ProbeHealthRow, Row, TlsHandshakeRow};
use weir_query::{Engine, Limits, Question};
use weir_store::{Store, StoreConfig};

/// 2023-11-14 22:13:20 UTC, with 800 s left in its hour.
const START: i64 = 1_700_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;

/// A store in a folder of its own, and an engine over it.
struct World {
    dir: TempDir,
    store: Store,
    engine: Engine,
    batches: u64,
}

impl World {
    async fn new() -> World {
        World::with(Limits { threads: 2, ..Limits::default() }).await
    }

    async fn with(limits: Limits) -> World {
        let dir = tempfile::tempdir().unwrap();
        let config = StoreConfig { dir: dir.path().join("data"), ..StoreConfig::default() };
        let store = Store::open(config).await.unwrap();
        let engine = Engine::new(store.clone(), limits).unwrap();
        World { dir, store, engine, batches: 0 }
    }

    async fn add<R: Row>(&mut self, rows: &[R]) {
        self.batches += 1;
        let meta = BatchMeta::of::<R>("node-1", "boot", self.batches);
        self.store.append(vec![(meta, R::to_batch(rows))]).await.unwrap();
    }

    /// 300 flows, 100 each: in a file, in another file of another hour, and in memory.
    async fn with_flows(mut self) -> World {
        self.add(&flows(0..100, START)).await;
        self.store.seal().await.unwrap();
        self.add(&flows(100..200, START + 3600 * SECOND)).await;
        self.store.seal().await.unwrap();
        self.add(&flows(200..300, START + 7200 * SECOND)).await;
        self
    }

    /// The answer as text: `value|value`, one row each.
    async fn rows(&self, question: impl Into<Question>) -> Vec<String> {
        let question = question.into();
        let sql = question.text.clone();
        let answer =
            self.engine.collect(question, usize::MAX).await.unwrap_or_else(|err| panic!("{sql}: {err:?}"));
        text(&answer.batches)
    }
}

/// `value|value`, one row each.
fn text(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
            rows.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    rows
}

fn flows(ids: std::ops::Range<i64>, from: i64) -> Vec<FlowRow> {
    ids.map(|id| FlowRow {
        time: from + id * 1_000_000,
        connection_id: Some(format!("{id:016x}").into()),
        client_ip: Some(format!("10.0.0.{}", id % 10).into()),
        client_namespace: (id % 3 > 0).then(|| format!("team-{}", id % 3).into()),
        client_process: Some(if id % 2 == 0 { "curl".into() } else { "nginx".into() }),
        server_ip: Some(if id % 5 == 0 { "fd00::1".into() } else { "10.1.0.1".into() }),
        server_port: Some(443),
        client_bytes: id,
        server_bytes: 2 * id,
        rtt_us: Some(1000 + id),
        ..FlowRow::default()
    })
    .collect()
}

fn handshake(id: i64, alpn: &str) -> TlsHandshakeRow {
    TlsHandshakeRow {
        time: START,
        connection_id: Some(format!("{id:016x}").into()),
        tls_sni: Some(format!("api-{id}.example").into()),
        tls_alpn_offered: vec![alpn.into(), "http/1.1".into()],
        ..TlsHandshakeRow::default()
    }
}

fn health(time: i64, node: &str, kind: &str, value: i64) -> ProbeHealthRow {
    ProbeHealthRow {
        time,
        node: Some(node.into()),
        component: Some("probe".into()),
        counter: Some(if kind == "gauge" { "connections".into() } else { "ring_full".into() }),
        kind: Some(kind.into()),
        value,
        ..ProbeHealthRow::default()
    }
}
