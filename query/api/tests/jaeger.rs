//! Jaeger's APIs as its frontends meet them: the real router over a real store, whose spans lie in a file and in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use parking_lot::RwLock;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tower::ServiceExt;
use weir_api::{Api, ApiInfo, ProbeState};
use weir_model::{BatchMeta, Row, SmolStr, SpanRow, ids};
use weir_query::{Engine, Limits};
use weir_store::{Retention, Store, StoreConfig};

#[path = "jaeger/grpc.rs"]
mod grpc;
#[path = "jaeger/monitor.rs"]
mod monitor;
#[path = "jaeger/names.rs"]
mod names;
#[path = "jaeger/rest.rs"]
mod rest;
#[path = "jaeger/search.rs"]
mod search;
#[path = "jaeger/spans.rs"]
mod spans;
#[path = "jaeger/touched.rs"]
mod touched;
#[path = "jaeger/traces.rs"]
mod traces;
#[path = "jaeger/v3.rs"]
mod v3;

use spans::{CONNECTION, SHOP, at, old_trace, otlp, shop_answer, shop_trace, stitched, text};

/// 2023-11-14T22:13:20Z, in seconds: all spans lie near it.
const T: i64 = 1_700_000_000;

struct Weir {
    api: Arc<Api>,
    app: Router,
    store: Store,
    _dir: TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Weir {
    /// An old trace in a file; a trace of an application's and one that was stitched in memory.
    async fn with_spans() -> Weir {
        let weir = Weir::empty().await;
        weir.store_spans(1, otlp(&old_trace())).await;
        weir.store.seal().await.expect("seals");
        weir.store_spans(2, otlp(&shop_trace())).await;
        weir.store_spans(3, stitched()).await;
        weir
    }

    async fn empty() -> Weir {
        Weir::keeping(Retention::default()).await
    }

    async fn keeping(retention: Retention) -> Weir {
        let dir = tempfile::tempdir().expect("a folder");
        let config = StoreConfig { dir: dir.path().to_owned(), retention, ..StoreConfig::default() };
        let store = Store::open(config).await.expect("opens");
        let engine = Engine::new(store.clone(), Limits::default()).expect("an engine");
        let probe = ProbeState { state: "off", detail: "a test".to_owned() };
        let info = ApiInfo::new("0.0.0", "here", Vec::new(), Arc::new(RwLock::new(probe)));
        let api = Api::new(Arc::new(engine), store.clone(), info);
        let app = weir_api::router(api.clone());
        Weir { api, app, store, _dir: dir }
    }

    async fn store_spans(&self, sequence: u64, rows: Vec<SpanRow>) {
        let meta = BatchMeta::of::<SpanRow>("here", "boot", sequence);
        self.store.append(vec![(meta, SpanRow::to_batch(&rows))]).await.expect("stores");
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned()));
        let response = self.app.clone().oneshot(request.expect("a request")).await.expect("answers");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        assert!(parts.headers.contains_key("traceresponse"), "{path}: Jaeger's every answer has it");
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// The JSON of a good answer.
    async fn get(&self, path: &str) -> Json {
        let answer = self.ask("GET", path, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/json", "{path}");
        serde_json::from_str(&answer.text).expect("JSON")
    }

    /// Asks for what can't be answered, and compares v1's error with what is expected.
    async fn v1_fails(&self, method: &str, path: &str, code: u16, msg: &str) {
        let expected = json!({
            "data": null, "total": 0, "limit": 0, "offset": 0, "errors": [{"code": code, "msg": msg}],
        });
        self.fails(method, path, code, expected).await;
    }

    async fn v3_fails(&self, path: &str, code: u16, message: &str) {
        self.fails("GET", path, code, json!({"error": {"httpCode": code, "message": message}})).await;
    }

    async fn fails(&self, method: &str, path: &str, code: u16, expected: Json) {
        let answer = self.ask(method, path, "").await;
        assert_eq!(answer.status.as_u16(), code, "{path}: {}", answer.text);
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8", "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        assert!(answer.text.ends_with("}\n"), "{path}: {:?}", answer.text);
        assert_eq!(serde_json::from_str::<Json>(&answer.text).expect("JSON"), expected, "{path}");
    }

    /// The ids of the traces that a v1 search finds.
    async fn found(&self, query: &str) -> Vec<String> {
        let answer = self.get(&format!("/api/traces?{}&{query}", around(100))).await;
        assert_eq!((&answer["total"], &answer["errors"]), (&json!(0), &Json::Null));
        let traces = answer["data"].as_array().expect("traces");
        traces.iter().map(|trace| trace["traceID"].as_str().expect("an id").to_owned()).collect()
    }
}

/// `start` and `end` of v1, `seconds` before and after the spans.
fn around(seconds: i64) -> String {
    format!("start={}&end={}", (T - seconds) * 1_000_000, (T + seconds) * 1_000_000)
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).expect("a time").to_string()
}
