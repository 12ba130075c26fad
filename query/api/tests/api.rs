//! The API over a real store, asked as clients ask it.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "api/capture.rs"]
mod capture;
#[path = "api/documents.rs"]
mod documents;
#[path = "api/export.rs"]
mod export;
#[path = "api/flight_sql.rs"]
mod flight_sql;
#[path = "api/flows.rs"]
mod flows;
#[path = "api/guard.rs"]
mod guard;
#[path = "api/leaving.rs"]
mod leaving;
#[path = "api/postgres.rs"]
mod postgres;
#[path = "api/postgres_catalogue.rs"]
mod postgres_catalogue;
#[path = "api/postgres_copy.rs"]
mod postgres_copy;
#[path = "api/postgres_cursors.rs"]
mod postgres_cursors;
#[path = "api/sql.rs"]
mod sql;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use parking_lot::RwLock;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;
use weir_api::{Api, ApiInfo, ProbeState};
use weir_model::{BatchMeta, FlowRow, Row, TlsHandshakeRow};
use weir_query::{Engine, Limits};
use weir_store::{Store, StoreConfig};

const SECOND: i64 = 1_000_000_000;
/// More than any answer here has.
const MOST_BYTES: usize = 64 << 20;

/// The API over a store in a folder of its own.
struct World {
    _dir: TempDir,
    store: Store,
    engine: Arc<Engine>,
    api: Arc<Api>,
    router: Router,
    packets: Arc<capture::OneProbe>,
    batches: u64,
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err}: {}", self.text()))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl World {
    async fn new() -> World {
        World::with(Limits { threads: 2, ..Limits::default() }).await
    }

    async fn with(limits: Limits) -> World {
        let dir = tempfile::tempdir().unwrap();
        let config = StoreConfig { dir: dir.path().join("data"), ..StoreConfig::default() };
        let store = Store::open(config).await.unwrap();
        let engine = Arc::new(Engine::new(store.clone(), limits).unwrap());
        let probe = Arc::new(RwLock::new(ProbeState { state: "off", detail: "not in this test".to_owned() }));
        let listeners = vec![("http", "127.0.0.1:8480".parse().unwrap())];
        let packets = Arc::new(capture::OneProbe::default());
        let info = ApiInfo::new("0.0.0", "node-1", listeners, probe).with_packets(packets.clone());
        let api = Api::new(engine.clone(), store.clone(), info);
        let router = weir_api::router(api.clone());
        World { _dir: dir, store, engine, api, router, packets, batches: 0 }
    }

    async fn add<R: Row>(&mut self, rows: &[R]) {
        self.batches += 1;
        let meta = BatchMeta::of::<R>("node-1", "boot", self.batches);
        self.store.append(vec![(meta, R::to_batch(rows))]).await.unwrap();
    }

    /// Ten flows of the last minute, half in a file and half in memory, the odd ones with a handshake.
    async fn with_rows(mut self) -> World {
        let from = now() - 60 * SECOND;
        self.add(&(0..5).map(|id| flow(id, from)).collect::<Vec<_>>()).await;
        self.store.seal().await.unwrap();
        self.add(&(5..10).map(|id| flow(id, from)).collect::<Vec<_>>()).await;
        self.add(&(0..10).filter(|id| id % 2 == 1).map(|id| handshake(id, from)).collect::<Vec<_>>()).await;
        self
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, MOST_BYTES).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).header("host", "127.0.0.1:8480").body(Body::empty()).unwrap()).await
    }

    async fn ask(&self, sql: &str, accept: &str) -> Answer {
        self.send(question(sql, accept)).await
    }

    async fn ask_json(&self, body: &Value, accept: &str) -> Answer {
        let request = Request::post("/api/v1/sql").header("host", "127.0.0.1:8480").header("accept", accept);
        let request = request.header("content-type", "application/json; charset=utf-8");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }
}

fn question(sql: &str, accept: &str) -> Request<Body> {
    let request = Request::post("/api/v1/sql").header("host", "127.0.0.1:8480").header("accept", accept);
    request.header("content-type", "text/plain").body(Body::from(sql.to_owned())).unwrap()
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

fn flow(id: i64, from: i64) -> FlowRow {
    FlowRow {
        time: from + id * SECOND,
        end_time: Some(from + id * SECOND + SECOND / 2),
        connection_id: Some(format!("{id:016x}").into()),
        state: Some("only".into()),
        close_reason: Some("fin".into()),
        protocol: Some("tcp".into()),
        client_ip: Some("10.0.0.1".into()),
        client_port: Some(40_000 + id as u16),
        client_process: Some(if id < 3 { "curl".into() } else { "say \"hi\", twice".into() }),
        server_ip: Some("fd00::2".into()),
        server_port: Some(if id % 2 == 1 { 443 } else { 80 }),
        server_name: Some("api_v2.example".into()),
        client_bytes: 100 + id,
        server_bytes: 9_007_199_254_740_993 * (id / 9),
        encryption: Some(if id % 2 == 1 { "tls".into() } else { "plaintext".into() }),
        ..FlowRow::default()
    }
}

fn handshake(id: i64, from: i64) -> TlsHandshakeRow {
    TlsHandshakeRow {
        time: from + id * SECOND,
        connection_id: Some(format!("{id:016x}").into()),
        protocol: Some("tcp".into()),
        client_ip: Some("10.0.0.1".into()),
        server_ip: Some("fd00::2".into()),
        tls_version: Some("1.3".into()),
        tls_sni: Some("api.example".into()),
        tls_alpn_offered: vec!["h2".into(), "http/1.1".into()],
        tls_ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1".into()),
        ..TlsHandshakeRow::default()
    }
}

/// Waits until nothing is asked any more; fails when that takes too long.
async fn idle(engine: &Engine) {
    let quiet = async {
        while engine.running() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), quiet).await.expect("the question ends");
}
