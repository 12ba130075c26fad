//! Jaeger's HTTP API as its frontends meet it: the real router over a real store, whose spans lie in a file and in
//! memory.

use std::sync::Arc;

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
use weir_store::{Store, StoreConfig};

#[path = "jaeger/monitor.rs"]
mod monitor;

/// 2023-11-14T22:13:20Z, in seconds: all spans lie near it.
const T: i64 = 1_700_000_000;
const SHOP: &str = "00112233445566778899aabbccddeeff";
const CONNECTION: &str = "00000001ffffffff";

struct Weir {
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
        let dir = tempfile::tempdir().expect("a folder");
        let config = StoreConfig { dir: dir.path().to_owned(), ..StoreConfig::default() };
        let store = Store::open(config).await.expect("opens");
        let engine = Engine::new(store.clone(), Limits::default()).expect("an engine");
        let probe = ProbeState { state: "off", detail: "a test".to_owned() };
        let info = ApiInfo::new("0.0.0", "here", Vec::new(), Arc::new(RwLock::new(probe)));
        let app = weir_api::router(Api::new(Arc::new(engine), store.clone(), info));
        Weir { app, store, _dir: dir }
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

fn otlp(document: &Json) -> Vec<SpanRow> {
    let groups = weir_otlp::json::decode::traces(document.to_string().as_bytes()).expect("OTLP");
    let (rows, refused) = weir_otlp::rows_of(&groups, &SmolStr::new("here"));
    assert_eq!(refused, weir_otlp::Refused::default());
    rows
}

fn text(key: &str, value: &str) -> Json {
    json!({"key": key, "value": {"stringValue": value}})
}

/// Nanoseconds after [`T`], as OTLP/JSON writes times.
fn at(nanoseconds: i64) -> String {
    (T * 1_000_000_000 + nanoseconds).to_string()
}

/// A shop's front calls its back, which fails.
fn shop_trace() -> Json {
    json!({"resourceSpans": [
        {
            "resource": {"attributes": [text("service.name", "front"), text("host.name", "h1")]},
            "scopeSpans": [{"scope": {"name": "lib", "version": "1"}, "spans": [
                {
                    "traceId": SHOP, "spanId": "00000000000000a1", "name": "GET /cart", "kind": 2,
                    "startTimeUnixNano": at(0), "endTimeUnixNano": at(5_000_000),
                    "attributes": [
                        {"key": "http.response.status_code", "value": {"intValue": "500"}},
                        {"key": "big", "value": {"intValue": "9007199254740993"}},
                        {"key": "ratio", "value": {"doubleValue": 0.5}},
                        {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}},
                    ],
                    "status": {"code": 1},
                },
                {
                    "traceId": SHOP, "spanId": "00000000000000a2", "parentSpanId": "00000000000000a1",
                    "name": "call", "kind": 3,
                    "startTimeUnixNano": at(1_000_000), "endTimeUnixNano": at(4_000_999),
                },
            ]}],
        },
        {
            "resource": {"attributes": [text("service.name", "back o'house"), text("zone", "z1")]},
            "scopeSpans": [{"spans": [{
                "traceId": SHOP, "spanId": "00000000000000b1", "parentSpanId": "00000000000000a2",
                "traceState": "v=1", "name": "POST /pay", "kind": 2,
                "startTimeUnixNano": at(2_000_000), "endTimeUnixNano": at(3_000_000),
                "attributes": [text("tenant", "t1"), text("card", "visa")],
                "status": {"code": 2, "message": "no money"},
                "events": [{
                    "timeUnixNano": at(2_500_000), "name": "exception",
                    "attributes": [text("exception.type", "Poor")],
                }],
                "links": [{
                    "traceId": "0000000000000000000000000000abcd", "spanId": "00000000000000c1",
                    "attributes": [text("why", "retry")],
                }],
            }]}],
        },
    ]})
}

/// 90 s older, 64-bit id, from an SDK that names no service; and a service that is hard to write in a URL.
fn old_trace() -> Json {
    json!({"resourceSpans": [
        {
            "scopeSpans": [{"spans": [{
                "traceId": "0000000000000000000000000000abcd", "spanId": "00000000000000c1", "name": "tick", "kind": 1,
                "startTimeUnixNano": at(-90_000_000_000), "endTimeUnixNano": at(-90_000_000_000),
            }]}],
        },
        {
            "resource": {"attributes": [text("service.name", "a/b c+d%e")]},
            "scopeSpans": [{"spans": [{
                "traceId": "0000000000000000000000000000abcd", "spanId": "00000000000000c2",
                "parentSpanId": "00000000000000c9", "name": "tock",
                "startTimeUnixNano": at(-89_000_000_000), "endTimeUnixNano": at(-88_000_000_000),
                "attributes": [text("ends", "old")],
            }]}],
        },
    ]})
}

/// What Weir makes of a connection that both of its nodes saw, with a handshake.
fn stitched() -> Vec<SpanRow> {
    let span =
        |service: &str, role: &str, parent: Option<&str>, operation: &str, (start, end): (i64, i64)| {
            SpanRow {
                time: T * 1_000_000_000 + start,
                end_time: Some(T * 1_000_000_000 + end),
                duration_ns: end - start,
                trace_id: Some(ids::trace_id(CONNECTION)),
                span_id: Some(ids::span_id(CONNECTION, role)),
                parent_span_id: parent.map(|role| ids::span_id(CONNECTION, role)),
                service: Some(SmolStr::new(service)),
                operation: Some(SmolStr::new(operation)),
                kind: Some(SmolStr::new(if matches!(role, "client" | "server") { role } else { "internal" })),
                status: Some(SmolStr::new_static("unset")),
                confidence: parent.map(|_| 1.0),
                source: Some(SmolStr::new_static("stitched")),
                connection_id: Some(SmolStr::new(CONNECTION)),
                scope_name: Some(SmolStr::new_static("weir")),
                attributes: vec![
                    ("server.port".into(), "443".into()),
                    ("weir.connection.id".into(), CONNECTION.into()),
                ],
                attribute_types: Some("is".into()),
                resource_attributes: vec![("service.name".into(), service.into())],
                resource_attribute_types: Some("s".into()),
                ..SpanRow::default()
            }
        };
    vec![
        span("curl", "client", None, "TCP connection", (10_000_000_000, 12_000_000_000)),
        span("curl", "tls", Some("client"), "TLS handshake", (10_100_000_000, 10_200_000_000)),
        span("nginx", "server", Some("client"), "TCP connection", (10_000_500_000, 11_999_000_000)),
    ]
}

/// What jaeger-ui before v2.16 and Grafana ask first.
#[tokio::test]
async fn services_and_operations_are_listed_by_v1() {
    let weir = Weir::with_spans().await;
    let services = json!(["a/b c+d%e", "back o'house", "curl", "front", "missing-service-name", "nginx"]);
    assert_eq!(
        weir.get("/api/services").await,
        json!({"data": services, "total": 6, "limit": 0, "offset": 0, "errors": null})
    );
    let names = |data: Json, total: u32| json!({"data": data, "total": total, "limit": 0, "offset": 0, "errors": null});
    assert_eq!(weir.get("/api/services/front/operations").await, names(json!(["GET /cart", "call"]), 2));
    assert_eq!(weir.get("/api/services/back%20o%27house/operations").await, names(json!(["POST /pay"]), 1));
    // Slashes, spaces, plus and percent signs survive; Jaeger itself loses the last two.
    assert_eq!(weir.get("/api/services/a%2Fb%20c%2Bd%25e/operations").await, names(json!(["tock"]), 1));
    assert_eq!(weir.get("/api/services/nobody/operations").await, names(Json::Null, 0));

    let operations = weir.get("/api/operations?service=front").await;
    let both = json!([{"name": "GET /cart", "spanKind": "server"}, {"name": "call", "spanKind": "client"}]);
    assert_eq!(operations, names(both, 2));
    let servers = weir.get("/api/operations?service=front&spanKind=server").await;
    assert_eq!(servers, names(json!([{"name": "GET /cart", "spanKind": "server"}]), 1));
    // A kind that nobody named is empty here, and `internal` in v3.
    let unsaid = weir.get("/api/operations?service=a%2Fb+c%2Bd%25e").await;
    assert_eq!(unsaid, names(json!([{"name": "tock", "spanKind": ""}]), 1));
    assert_eq!(weir.get("/api/operations?service=nobody").await, names(json!([]), 0));
    weir.v1_fails("GET", "/api/operations", 400, "parameter 'service' is required").await;
}

#[tokio::test]
async fn services_and_operations_are_listed_by_v3() {
    let weir = Weir::with_spans().await;
    assert_eq!(
        weir.get("/api/v3/services").await,
        json!({"services": ["a/b c+d%e", "back o'house", "curl", "front", "missing-service-name", "nginx"]})
    );
    assert_eq!(
        weir.get("/api/v3/operations?service=a%2Fb+c%2Bd%25e").await,
        json!({"operations": [{"name": "tock", "spanKind": "internal"}]})
    );
    for name in ["spanKind", "span_kind"] {
        assert_eq!(
            weir.get(&format!("/api/v3/operations?service=front&{name}=client")).await,
            json!({"operations": [{"name": "call", "spanKind": "client"}]})
        );
    }
    for query in ["", "?service=nobody"] {
        assert_eq!(weir.get(&format!("/api/v3/operations{query}")).await, json!({"operations": []}));
    }
}

/// A page that opens before anything was seen must get lists, not nulls.
#[tokio::test]
async fn an_empty_store_has_empty_lists() {
    let weir = Weir::empty().await;
    let none = |total: Json| json!({"data": [], "total": total, "limit": 0, "offset": 0, "errors": null});
    assert_eq!(weir.get("/api/services").await, none(json!(0)));
    assert_eq!(weir.get("/api/v3/services").await, json!({"services": []}));
    assert_eq!(weir.get("/api/traces?service=x").await, none(json!(0)));
    assert_eq!(weir.get("/api/dependencies").await, none(json!(0)));
    let times = "query.startTimeMin=2023-01-01T00:00:00Z&query.startTimeMax=2024-01-01T00:00:00Z";
    assert_eq!(weir.get(&format!("/api/v3/trace-summaries?{times}")).await, json!({"summaries": []}));
}

fn front_span() -> Json {
    json!({
        "traceID": SHOP, "spanID": "00000000000000a1", "operationName": "GET /cart", "references": [],
        "startTime": T * 1_000_000, "duration": 5000,
        "tags": [
            {"key": "otel.scope.name", "type": "string", "value": "lib"},
            {"key": "otel.scope.version", "type": "string", "value": "1"},
            {"key": "big", "type": "int64", "value": "9007199254740993"},
            {"key": "http.response.status_code", "type": "int64", "value": 500},
            {"key": "list", "type": "string", "value": r#"["a","b"]"#},
            {"key": "ratio", "type": "float64", "value": 0.5},
            {"key": "span.kind", "type": "string", "value": "server"},
            {"key": "otel.status_code", "type": "string", "value": "OK"},
        ],
        "logs": [], "processID": "p1", "warnings": null,
    })
}

fn back_span() -> Json {
    json!({
        "traceID": SHOP, "spanID": "00000000000000b1", "operationName": "POST /pay",
        "references": [
            {"refType": "CHILD_OF", "traceID": SHOP, "spanID": "00000000000000a2"},
            {"refType": "FOLLOWS_FROM", "traceID": "000000000000abcd", "spanID": "00000000000000c1"},
        ],
        "startTime": T * 1_000_000 + 2000, "duration": 1000,
        "tags": [
            {"key": "card", "type": "string", "value": "visa"},
            {"key": "tenant", "type": "string", "value": "t1"},
            {"key": "span.kind", "type": "string", "value": "server"},
            {"key": "otel.status_code", "type": "string", "value": "ERROR"},
            {"key": "error", "type": "bool", "value": true},
            {"key": "otel.status_description", "type": "string", "value": "no money"},
            {"key": "w3c.tracestate", "type": "string", "value": "v=1"},
        ],
        "logs": [{
            "timestamp": T * 1_000_000 + 2500,
            "fields": [
                {"key": "event", "type": "string", "value": "exception"},
                {"key": "exception.type", "type": "string", "value": "Poor"},
            ],
        }],
        "processID": "p2", "warnings": null,
    })
}

fn shop_answer() -> Json {
    json!({
        "data": [{
            "traceID": SHOP,
            "spans": [
                front_span(),
                {
                    "traceID": SHOP, "spanID": "00000000000000a2", "operationName": "call",
                    "references": [{"refType": "CHILD_OF", "traceID": SHOP, "spanID": "00000000000000a1"}],
                    "startTime": T * 1_000_000 + 1000, "duration": 3000,
                    "tags": [
                        {"key": "otel.scope.name", "type": "string", "value": "lib"},
                        {"key": "otel.scope.version", "type": "string", "value": "1"},
                        {"key": "span.kind", "type": "string", "value": "client"},
                    ],
                    "logs": [], "processID": "p1", "warnings": null,
                },
                back_span(),
            ],
            "processes": {
                "p1": {
                    "serviceName": "front",
                    "tags": [{"key": "host.name", "type": "string", "value": "h1"}],
                },
                "p2": {
                    "serviceName": "back o'house",
                    "tags": [{"key": "zone", "type": "string", "value": "z1"}],
                },
            },
            "warnings": null,
        }],
        "total": 0, "limit": 0, "offset": 0, "errors": null,
    })
}

/// Every jaeger-ui and Grafana open a trace here.
#[tokio::test]
async fn a_trace_is_opened_by_its_id_alone() {
    let weir = Weir::with_spans().await;
    let expected = shop_answer();
    for path in [
        format!("/api/traces/{SHOP}"),
        format!("/api/traces/{}", SHOP.trim_start_matches('0').to_uppercase()),
        format!("/api/traces/{SHOP}?prettyPrint=true"),
        // Hints: right, in the milliseconds of older Grafana, and wrong.
        format!("/api/traces/{SHOP}?start={}&end={}", T * 1_000_000, (T + 1) * 1_000_000),
        format!("/api/traces/{SHOP}?start={}&end={}", T * 1_000, (T + 1) * 1_000),
        format!("/api/traces/{SHOP}?start=1&end=2"),
    ] {
        assert_eq!(weir.get(&path).await, expected, "{path}");
    }
    let pretty = weir.ask("GET", &format!("/api/traces/{SHOP}?prettyPrint=true"), "").await;
    assert!(pretty.text.starts_with("{\n    \"data\": [\n        {\n"), "{}", &pretty.text[..60]);

    // From the file, with the adjusters' warnings, and without.
    let old = weir.get("/api/traces/abcd").await;
    let orphan = &old["data"][0]["spans"][1];
    assert_eq!(old["data"][0]["traceID"], "000000000000abcd");
    assert_eq!(old["data"][0]["processes"]["p1"]["serviceName"], "missing-service-name");
    assert_eq!(
        orphan["warnings"],
        json!(["parent span ID=00000000000000c9 is not in the trace; skipping clock skew adjustment"])
    );
    let raw = weir.get("/api/traces/abcd?raw=true").await;
    assert_eq!(raw["data"][0]["spans"][1]["warnings"], Json::Null);
    let unsorted = weir.get(&format!("/api/traces/{SHOP}?raw=1")).await;
    assert_eq!(unsorted["data"][0]["spans"][2]["tags"][0]["key"], "tenant", "as it was sent");
}

#[tokio::test]
async fn a_stitched_trace_has_its_handshake_below_its_connection() {
    let weir = Weir::with_spans().await;
    let trace_id = ids::trace_id(CONNECTION);
    let answer = weir.get(&format!("/api/traces/{trace_id}")).await;
    let spans = answer["data"][0]["spans"].as_array().expect("spans");
    let seen: Vec<_> = spans
        .iter()
        .map(|span| (span["operationName"].as_str().expect("a name"), span["references"].clone()))
        .collect();
    let client = ids::span_id(CONNECTION, "client");
    let below = json!([{"refType": "CHILD_OF", "traceID": trace_id.as_str(), "spanID": client.as_str()}]);
    assert_eq!(
        seen,
        [("TCP connection", json!([])), ("TCP connection", below.clone()), ("TLS handshake", below)]
    );
    assert_eq!(
        spans[2]["tags"],
        json!([
            {"key": "otel.scope.name", "type": "string", "value": "weir"},
            {"key": "server.port", "type": "int64", "value": 443},
            {"key": "weir.connection.id", "type": "string", "value": CONNECTION},
            {"key": "weir.link.confidence", "type": "float64", "value": 1.0},
            {"key": "span.kind", "type": "string", "value": "internal"},
        ])
    );
}

/// A 200 without a trace would crash Grafana.
#[tokio::test]
async fn a_trace_that_is_not_there_is_a_404() {
    let weir = Weir::with_spans().await;
    weir.v1_fails("GET", "/api/traces/beef", 404, "trace not found").await;
    weir.v1_fails("GET", "/api/traces/0", 404, "trace not found").await;
    let no_id = r#"strconv.ParseUint: parsing "not an id!": invalid syntax"#;
    weir.v1_fails("GET", "/api/traces/not%20an%20id!", 400, no_id).await;
    let no_time = r#"unable to parse param 'start': strconv.ParseInt: parsing "x": invalid syntax"#;
    weir.v1_fails("GET", &format!("/api/traces/{SHOP}?start=x"), 400, no_time).await;
    weir.v3_fails("/api/v3/traces/beef", 404, "No traces found").await;
    let no_id = r#"malformed parameter trace_id: strconv.ParseUint: parsing "not an id!": invalid syntax"#;
    weir.v3_fails("/api/v3/traces/not%20an%20id!", 400, no_id).await;
}

/// One span has to fulfil all conditions, wherever its attributes lie; and the same from a file as from memory.
#[tokio::test]
async fn a_search_finds_by_every_condition() {
    let weir = Weir::with_spans().await;
    let stitched = ids::trace_id(CONNECTION).to_string();
    for sealed in [false, true] {
        if sealed {
            weir.store.seal().await.expect("seals");
        }
        let back = |conditions: &str| format!("service=back%20o%27house&{conditions}");
        let tags = |tags: Json| {
            url::form_urlencoded::Serializer::new("service=back%20o%27house&".to_owned())
                .append_pair("tags", &tags.to_string())
                .finish()
        };
        let front = |key: &str, value: &str| {
            url::form_urlencoded::Serializer::new("service=front&".to_owned())
                .append_pair("tags", &json!({key: value}).to_string())
                .finish()
        };
        for (query, is_found) in [
            (back("operation=POST+%2Fpay"), true),
            (back("operation=GET+%2Fcart"), false),
            (back("minDuration=1ms&maxDuration=1000us"), true),
            (back("minDuration=1.1ms"), false),
            (back("maxDuration=999us"), false),
            (tags(json!({"error": "true", "tenant": "t1"})), true),
            (tags(json!({"error": "false"})), false),
            (tags(json!({"span.status": "ERROR", "span.kind": "server"})), true),
            (tags(json!({"span.kind": "client"})), false),
            (tags(json!({"zone": "z1"})), true),
            (tags(json!({"resource.zone": "z1"})), true),
            (tags(json!({"resource.tenant": "t1"})), false),
            (tags(json!({"exception.type": "Poor"})), true),
            (tags(json!({"exception.type": "Rich"})), false),
            (tags(json!({"why": "retry"})), true),
            (tags(json!({"tenant": "t1' OR '1'='1"})), false),
            (tags(json!({"no'thing": "x"})), false),
            (back("tag=tenant:t1&tag=card:visa"), true),
            (back("tag=tenant:t1&tag=card:amex"), false),
            (front("http.response.status_code", "500"), true),
            (front("http.response.status_code", "50"), false),
            (front("ratio", "0.5"), true),
            (front("list", r#"["a","b"]"#), true),
            (front("scope.name", "lib"), true),
            (front("scope.version", "2"), false),
            (front("error", "false"), true),
        ] {
            let expected: Vec<&str> = if is_found { vec![SHOP] } else { Vec::new() };
            assert_eq!(weir.found(&query).await, expected, "sealed: {sealed}, {query}");
        }
        assert_eq!(weir.found("service=nginx").await, [stitched.as_str()]);
        assert_eq!(weir.found("service=a%2Fb+c%2Bd%25e&tag=ends:old").await, ["000000000000abcd"]);
    }
}

#[tokio::test]
async fn a_search_answers_whole_traces_the_newest_first() {
    let weir = Weir::with_spans().await;
    let times = format!("query.startTimeMin={}&query.startTimeMax={}", rfc3339(T - 200), rfc3339(T + 200));
    // A match by one span brings its trace's others, from before the range and of other services.
    let answer = weir
        .get(&format!(
            "/api/traces?service=back%20o%27house&start={}&end={}",
            T * 1_000_000 + 1_500,
            T * 1_000_000 + 2_500
        ))
        .await;
    assert_eq!(answer, shop_answer());

    let summaries = weir.get(&format!("/api/v3/trace-summaries?{times}")).await;
    let ids: Vec<_> =
        summaries["summaries"].as_array().expect("a list").iter().map(|s| &s["traceId"]).collect();
    let newest = ids::trace_id(CONNECTION);
    assert_eq!(ids, [newest.as_str(), SHOP, "0000000000000000000000000000abcd"]);
    let two = weir.get(&format!("/api/v3/trace-summaries?{times}&query.searchDepth=2")).await;
    assert_eq!(two["summaries"].as_array().map(Vec::len), Some(2));

    // Ranges may be as long as time.
    let ever = "query.startTimeMin=0001-01-01T00:00:00Z&query.startTimeMax=9999-12-31T23:59:59Z";
    let all = weir.get(&format!("/api/v3/trace-summaries?{ever}")).await;
    assert_eq!(all["summaries"].as_array().map(Vec::len), Some(3));
    let ever = format!("start={}&end={}", i64::MIN, i64::MAX);
    assert_eq!(weir.get(&format!("/api/traces?service=front&{ever}")).await, shop_answer());
    assert_eq!(weir.get(&format!("/api/traces/{SHOP}?{ever}")).await, shop_answer());
    // Out of the range, nothing.
    assert_eq!(weir.get("/api/traces?service=front&start=1&end=2").await["data"], json!([]));
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).expect("a time").to_string()
}

#[tokio::test]
async fn a_search_by_ids_needs_no_service_and_names_what_is_missing() {
    let weir = Weir::with_spans().await;
    let answer = weir.get(&format!("/api/traces?traceID=beef&traceID=abcd&traceID={SHOP}")).await;
    let ids: Vec<_> = answer["data"].as_array().expect("traces").iter().map(|t| &t["traceID"]).collect();
    assert_eq!(ids, ["000000000000abcd", SHOP]);
    assert_eq!(answer["errors"], json!([{"msg": "trace not found", "traceID": "000000000000beef"}]));
}

#[tokio::test]
async fn what_is_wrong_with_a_search_is_said_in_jaeger_s_words() {
    let weir = Weir::empty().await;
    let fails = async |query: &str, code: u16, msg: &str| {
        weir.v1_fails("GET", &format!("/api/traces?{query}"), code, msg).await;
    };
    fails("", 400, "parameter 'service' is required").await;
    fails("service=s&limit=x", 400, r#"strconv.ParseInt: parsing "x": invalid syntax"#).await;
    fails("service=s&limit=0", 500, "search depth must be greater than 0 and less than max traces").await;
    fails("service=s&limit=-1", 500, "search depth must be greater than 0 and less than max traces").await;
    fails(
        "service=s&minDuration=2s&maxDuration=1s",
        400,
        "'maxDuration' should be greater than 'minDuration'",
    )
    .await;
    fails("service=s&tag=x", 400, "malformed 'tag' parameter, expecting key:value, received: x").await;

    let times = "query.startTimeMin=2023-01-01T00:00:00Z&query.startTimeMax=2024-01-01T00:00:00Z";
    for route in ["traces", "trace-summaries"] {
        let required = "query.startTimeMin and query.startTimeMax are required";
        weir.v3_fails(&format!("/api/v3/{route}"), 400, required).await;
        weir.v3_fails(
            &format!("/api/v3/{route}?{times}&query.durationMin=1"),
            400,
            r#"malformed parameter query.durationMin: time: missing unit in duration "1""#,
        )
        .await;
        weir.v3_fails(
            &format!("/api/v3/{route}?{times}&query.searchDepth=0"),
            500,
            "search depth must be greater than 0 and less than max traces",
        )
        .await;
    }
    weir.v3_fails(&format!("/api/v3/traces?{times}"), 404, "No traces found").await;
}

/// The search page of today's jaeger-ui. Zeros are left out, and nanoseconds are strings, or its checks fail.
#[tokio::test]
async fn summaries_are_proto3_s_json() {
    let weir = Weir::with_spans().await;
    let path = format!(
        "/api/v3/trace-summaries?query.serviceName=front&query.startTimeMin={}&query.startTimeMax={}\
         &query.searchDepth=20&query.attributes=%7B%22http.response.status_code%22%3A%22500%22%7D",
        rfc3339(T - 10),
        rfc3339(T + 5),
    );
    assert_eq!(
        weir.get(&path).await,
        json!({"summaries": [{
            "traceId": SHOP,
            "rootServiceName": "front",
            "rootOperationName": "GET /cart",
            "minStartTimeUnixNano": at(0),
            "maxEndTimeUnixNano": at(5_000_000),
            "spanCount": 3,
            "errorSpanCount": 1,
            "services": [
                {"name": "back o'house", "spanCount": 1, "errorSpanCount": 1},
                {"name": "front", "spanCount": 2},
            ],
        }]})
    );
    let old = weir
        .get(&format!(
            "/api/v3/trace-summaries?query.service_name=missing-service-name&query.start_time_min={}\
             &query.start_time_max={}&query.num_traces=5",
            rfc3339(T - 100),
            rfc3339(T),
        ))
        .await;
    assert_eq!(old["summaries"][0]["orphanSpanCount"], 1);
    assert_eq!(old["summaries"][0]["rootServiceName"], "missing-service-name");
}

#[tokio::test]
async fn v3_answers_traces_as_otlp() {
    let weir = Weir::with_spans().await;
    let one = weir.get(&format!("/api/v3/traces/{SHOP}")).await;
    let sorted = json!([text("host.name", "h1"), text("service.name", "front")]);
    assert_eq!(one["result"]["resourceSpans"][0]["resource"]["attributes"], sorted);
    assert_eq!(
        one["result"]["resourceSpans"][1]["scopeSpans"][0]["spans"],
        json!([{
            "traceId": SHOP, "spanId": "00000000000000b1", "parentSpanId": "00000000000000a2",
            "traceState": "v=1", "name": "POST /pay", "kind": 2,
            "startTimeUnixNano": at(2_000_000), "endTimeUnixNano": at(3_000_000),
            "attributes": [text("card", "visa"), text("tenant", "t1")],
            "events": [{
                "timeUnixNano": at(2_500_000), "name": "exception",
                "attributes": [text("exception.type", "Poor")],
            }],
            "links": [{
                "traceId": "0000000000000000000000000000abcd", "spanId": "00000000000000c1",
                "attributes": [text("why", "retry")],
            }],
            "status": {"code": 2, "message": "no money"},
        }])
    );
    // Grafana leaves the plus sign of an offset unencoded.
    let hinted = format!(
        "/api/v3/traces/{SHOP}?start_time=2023-11-15T00:13:20+02:00&end_time=2023-11-15T00:13:21+02:00"
    );
    assert_eq!(weir.get(&hinted).await, one);
    let found = weir
        .get(&format!(
            "/api/v3/traces?query.service_name=front&query.start_time_min={}&query.start_time_max={}",
            rfc3339(T - 1),
            rfc3339(T + 1),
        ))
        .await;
    assert_eq!(found, one);
    let raw = weir.get(&format!("/api/v3/traces/{SHOP}?rawTraces=true")).await;
    let as_sent = json!([text("service.name", "front"), text("host.name", "h1")]);
    assert_eq!(raw["result"]["resourceSpans"][0]["resource"]["attributes"], as_sent);
}

#[tokio::test]
async fn dependencies_are_calls_between_services() {
    let weir = Weir::with_spans().await;
    let end = (T + 60) * 1_000;
    let links = |links: Json| json!({"data": links, "total": 0, "limit": 0, "offset": 0, "errors": null});
    let curl = json!({"parent": "curl", "child": "nginx", "callCount": 1});
    let front = json!({"parent": "front", "child": "back o'house", "callCount": 1});
    assert_eq!(
        weir.get(&format!("/api/dependencies?endTs={end}&lookback=604800000")).await,
        links(json!([curl, front]))
    );
    let of_one = weir.get(&format!("/api/dependencies?endTs={end}&service=back%20o%27house")).await;
    assert_eq!(of_one, links(json!([front])));
    let before = weir.get(&format!("/api/dependencies?endTs={}&lookback=1000", (T - 10) * 1_000)).await;
    assert_eq!(before, links(json!([])));
    let no_time = r#"unable to parse param 'endTs': strconv.ParseInt: parsing "x": invalid syntax"#;
    weir.v1_fails("GET", "/api/dependencies?endTs=x", 400, no_time).await;
}

/// People drop OTLP files on the page.
#[tokio::test]
async fn an_otlp_document_is_shown_like_a_search() {
    let weir = Weir::empty().await;
    let answer = weir.ask("POST", "/api/transform", &shop_trace().to_string()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let shown: Json = serde_json::from_str(&answer.text).expect("JSON");
    assert_eq!(shown["data"][0]["spans"].as_array().map(Vec::len), Some(3));
    assert_eq!(shown["data"][0]["processes"]["p2"]["serviceName"], "back o'house");
    let broken = weir.ask("POST", "/api/transform", "{").await;
    assert_eq!(broken.status, StatusCode::BAD_REQUEST);
    let error: Json = serde_json::from_str(&broken.text).expect("JSON");
    let msg = error["errors"][0]["msg"].as_str().expect("a message");
    assert!(msg.starts_with("cannot unmarshal OTLP : "), "{msg}");
}

#[tokio::test]
async fn what_weir_has_not_is_refused_as_jaeger_refuses_it() {
    let weir = Weir::with_spans().await;
    let archive = "archive span storage was not configured";
    weir.v1_fails("POST", &format!("/api/archive/{SHOP}"), 500, archive).await;
    weir.v1_fails("POST", "/api/archive/beef", 404, "trace not found").await;
    for (method, path) in [
        ("GET", "/api/nothing"),
        ("GET", "/api/metrics"),
        ("GET", "/api/metrics/nothing"),
        ("GET", "/api"),
        ("GET", "/api/"),
        ("GET", "/api/v3/dependencies"),
        ("GET", "/api/archive/1f"),
        ("POST", "/api/services"),
        ("DELETE", "/api/traces/1f"),
        ("POST", "/api/v3/traces"),
    ] {
        let answer = weir.ask(method, path, "").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        assert_eq!(answer.text, "404 page not found\n", "{method} {path}");
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    }
}
