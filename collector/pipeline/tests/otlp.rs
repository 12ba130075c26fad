//! A real collector takes OTLP over real gRPC and HTTP; what it acknowledged is read back from the store.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use prost::Message;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use weir_collector::{Collector, CollectorConfig, Counts};
use weir_model::tables::{PROBE_HEALTH, SPANS};
use weir_model::{ProbeHealthRow, Row, SpanRow, Table};
use weir_otlp::proto::collector::trace::v1::trace_service_client::TraceServiceClient;
use weir_otlp::proto::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use weir_otlp::proto::common::v1::{AnyValue, KeyValue, any_value::Value};
use weir_otlp::proto::resource::v1::Resource;
use weir_otlp::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};
use weir_store::{Store, StoreConfig};

/// More than one request may be.
const BOMB_BYTES: usize = 20 << 20;

struct Running {
    collector: Collector,
    store: Store,
    folder: tempfile::TempDir,
}

async fn start() -> Running {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = CollectorConfig {
        flight_listen: any,
        otlp_grpc_listen: any,
        otlp_http_listen: any,
        ..CollectorConfig::default()
    };
    let collector = Collector::start(config, store.clone()).await.unwrap();
    Running { collector, store, folder }
}

async fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(StoreConfig { dir: folder.path().join("data"), ..StoreConfig::default() }).await.unwrap()
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

impl Running {
    async fn grpc(&self) -> TraceServiceClient<tonic::transport::Channel> {
        TraceServiceClient::connect(format!("http://{}", self.collector.otlp_grpc_addr())).await.unwrap()
    }

    /// Posts to `/v1/traces`.
    async fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.ask("POST /v1/traces", headers, body).await
    }

    async fn ask(&self, what: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let address = self.collector.otlp_http_addr();
        let headers: String =
            headers.iter().map(|(name, value)| [name, ": ", value, "\r\n"].concat()).collect();
        let length = body.len();
        let head = format!(
            "{what} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that refuses early need not read it all.
        let _ = stream.write_all(body).await;
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text).await;
        Answer::read(&text)
    }

    /// Names of the spans that the store has, in order.
    async fn names(&self) -> Vec<String> {
        let spans: Vec<SpanRow> = rows(&self.store, &SPANS).await;
        let mut names: Vec<_> =
            spans.iter().map(|span| span.operation.as_deref().unwrap().to_owned()).collect();
        names.sort_unstable();
        names
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn read(text: &[u8]) -> Answer {
        let end = text.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer");
        let head = std::str::from_utf8(&text[..end]).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Answer { status, headers, body: text[end + 4..].to_vec() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn json(&self) -> Json {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The message of a failure that came as JSON.
    fn message(&self) -> String {
        self.json()["message"].as_str().unwrap().to_owned()
    }
}

fn span(name: &str) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: name.to_owned(),
        start_time_unix_nano: 1_795_000_000_000_000_000,
        end_time_unix_nano: 1_795_000_000_000_250_000,
        kind: 2,
        ..Span::default()
    }
}

fn bad(name: &str) -> Span {
    Span { span_id: vec![0; 8], ..span(name) }
}

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let name = AnyValue { value: Some(Value::StringValue("shop".into())) };
    let resource = Resource {
        attributes: vec![KeyValue { key: "service.name".into(), value: Some(name), key_strindex: 0 }],
        ..Resource::default()
    };
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let group = ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }
}

fn json_of(request: &ExportTraceServiceRequest) -> Vec<u8> {
    weir_otlp::json::encode::traces(&request.resource_spans).to_string().into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

#[tokio::test]
async fn spans_over_grpc_are_durable_when_they_are_answered() {
    let running = start().await;
    let plain = running.grpc().await;
    for (name, mut client) in [
        ("plain", plain.clone()),
        ("gzip", plain.clone().send_compressed(CompressionEncoding::Gzip)),
        ("zstd", plain.send_compressed(CompressionEncoding::Zstd)),
    ] {
        let answer = client.export(request(vec![span(name)])).await.unwrap();
        assert_eq!(answer.into_inner().partial_success, None);
    }
    assert_eq!(running.names().await, ["gzip", "plain", "zstd"]);
    running.collector.stop().await;
    running.store.close().await.unwrap();

    let store = open(&running.folder).await;
    let spans: Vec<SpanRow> = rows(&store, &SPANS).await;
    assert_eq!(spans.len(), 3);
    assert!(spans.iter().all(|span| span.service.as_deref() == Some("shop")));
    let back = weir_otlp::resource_spans(&spans);
    assert_eq!(back[0].resource, request(Vec::new()).resource_spans[0].resource);
    store.close().await.unwrap();
}

#[tokio::test]
async fn spans_over_http_are_taken_in_both_formats_plain_and_gzip() {
    let running = start().await;
    let protobuf = |name| request(vec![span(name)]).encode_to_vec();
    let json = |name| json_of(&request(vec![span(name)]));
    let with_charset = ("content-type", "Application/JSON; charset=utf-8");
    for answer in [
        running.post(&[PROTOBUF], &protobuf("1 protobuf")).await,
        running.post(&[PROTOBUF, GZIP], &gzip(&protobuf("2 protobuf gzip"))).await,
    ] {
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-protobuf")));
        let body = ExportTraceServiceResponse::decode(answer.body.as_slice()).unwrap();
        assert_eq!(body.partial_success, None);
    }
    for answer in [
        running.post(&[with_charset], &json("3 json")).await,
        running.post(&[JSON, GZIP], &gzip(&json("4 json gzip"))).await,
    ] {
        assert_eq!((answer.status, answer.json()), (200, json!({})));
    }
    assert_eq!(running.names().await, ["1 protobuf", "2 protobuf gzip", "3 json", "4 json gzip"]);
    running.collector.stop().await;
}

#[tokio::test]
async fn a_bad_span_is_refused_alone_named_and_counted() {
    let running = start().await;
    let place =
        "resourceSpans[0].scopeSpans[0].spans[1] (\"b\"): span_id must be 8 bytes, not all of them zero";
    let spans = || request(vec![span("a"), bad("b"), span("c"), bad("d")]);

    let answer = running.grpc().await.export(spans()).await.unwrap().into_inner().partial_success.unwrap();
    assert_eq!((answer.rejected_spans, answer.error_message.as_str()), (2, place));

    let answer = running.post(&[PROTOBUF], &spans().encode_to_vec()).await;
    let body = ExportTraceServiceResponse::decode(answer.body.as_slice()).unwrap().partial_success.unwrap();
    assert_eq!((answer.status, body.rejected_spans, body.error_message.as_str()), (200, 2, place));

    let answer = running.post(&[JSON], &json_of(&spans())).await;
    let expected = json!({"partialSuccess": {"rejectedSpans": "2", "errorMessage": place}});
    assert_eq!((answer.status, answer.json()), (200, expected));

    let Counts { rows: stored, refused, .. } = running.collector.counts();
    assert_eq!((stored, refused), (6, 6));
    running.collector.stop().await;
    let health: Vec<ProbeHealthRow> = rows(&running.store, &PROBE_HEALTH).await;
    let counted: Vec<_> = health.iter().map(|row| (row.counter.as_deref().unwrap(), row.value)).collect();
    assert_eq!(counted, [("refused_bad_span_id", 6)]);
}

#[tokio::test]
async fn a_bomb_is_refused_before_it_is_unpacked() {
    let running = start().await;
    let bomb = gzip(&vec![b' '; BOMB_BYTES]);
    assert!(bomb.len() < 1 << 20);
    let answer = running.post(&[JSON, GZIP], &bomb).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(answer.message().contains("send fewer spans at a time"));

    let mut large = span("large");
    large.trace_state = " ".repeat(BOMB_BYTES);
    let mut client = running.grpc().await.send_compressed(CompressionEncoding::Gzip);
    let refused = client.export(request(vec![large])).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(running.names().await.is_empty());

    let plain = running.post(&[JSON], &vec![b' '; BOMB_BYTES]).await;
    assert_eq!(plain.status, 413);
    assert_eq!(running.collector.counts().refused, 2, "what gRPC's own layer refuses is not counted");
    running.collector.stop().await;
}

#[tokio::test]
async fn what_can_not_be_read_is_answered_as_the_specification_asks() {
    let running = start().await;
    let answer = running.post(&[JSON], br#"{"resourceSpans": [{"scopeSpans": 7}]}"#).await;
    assert_eq!((answer.status, answer.json()["code"].as_i64()), (400, Some(3)));
    assert_eq!(answer.message(), "resourceSpans[0].scopeSpans: expected an array");

    let answer = running.post(&[PROTOBUF], b"\xff\xff\xff").await;
    assert_eq!((answer.status, answer.header("content-type")), (400, Some("application/x-protobuf")));
    // google.rpc.Status: code (field 1, varint) 3, message (field 2, text).
    assert_eq!(answer.body[..3], [0x08, 3, 0x12]);
    assert!(String::from_utf8_lossy(&answer.body[4..]).starts_with("not an ExportTraceServiceRequest"));

    let answer = running.post(&[JSON, GZIP], b"{}").await;
    assert_eq!(answer.status, 400);
    assert!(answer.message().starts_with("not gzip"), "{answer:?}");

    let answer = running.post(&[("content-type", "text/plain")], b"{}").await;
    assert_eq!(answer.status, 415);
    assert!(answer.message().contains("application/x-protobuf"));
    assert_eq!(running.post(&[], b"{}").await.status, 415);
    assert_eq!(running.post(&[JSON, ("content-encoding", "br")], b"{}").await.status, 415);

    let answer = running.ask("GET /v1/traces", &[], b"").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    let answer = running.ask("POST /v1/metrics", &[PROTOBUF], b"").await;
    assert_eq!(answer.status, 404);
    assert!(String::from_utf8_lossy(&answer.body).contains("OTEL_METRICS_EXPORTER=none"));
    assert_eq!(running.ask("POST /", &[JSON], b"{}").await.status, 404);
    assert_eq!(running.collector.counts().refused, 3);
    running.collector.stop().await;
}

/// A page of any site can make a browser post to loopback; it must not fill the store, nor learn that we are here.
#[tokio::test]
async fn what_a_web_page_sends_is_refused() {
    let running = start().await;
    let body = json_of(&request(vec![span("from a page")]));
    for origin in ["https://evil.example", "null", "http://127.0.0.1:8480"] {
        let answer = running.post(&[JSON, ("origin", origin)], &body).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None));
    }
    let preflight = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    let answer = running.ask("OPTIONS /v1/traces", &preflight, b"").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (405, None));
    assert!(running.names().await.is_empty());
    running.collector.stop().await;
}

#[tokio::test]
async fn while_the_store_takes_nothing_senders_keep_their_spans() {
    let running = start().await;
    running.store.clone().close().await.unwrap();
    let refused = running.grpc().await.export(request(vec![span("later")])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let answer = running.post(&[JSON], &json_of(&request(vec![span("later")]))).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.json()["code"], json!(14));
    assert_eq!(running.collector.counts().refused, 0, "nothing is lost yet");
    running.collector.stop().await;
}

/// A sender that stalls within its request is told to come back, and holds nothing up.
#[tokio::test]
async fn the_stop_answers_a_request_that_never_comes() {
    let running = start().await;
    let mut stream = TcpStream::connect(running.collector.otlp_http_addr()).await.unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n\
                content-length: 100\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // That it asks for the body says that it has begun to read it.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100 Continue"));
    tokio::time::timeout(Duration::from_secs(4), running.collector.stop())
        .await
        .expect("a stop within its time");
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    assert_eq!(Answer::read(&text).status, 503);
}
