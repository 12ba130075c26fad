//! Jaeger's gRPC APIs over a socket, with gRPC's usual limits at the client's end.

use std::collections::HashSet;
use std::net::SocketAddr;

use prost::Message;
use prost_types::{Duration, Timestamp};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use weir_api::jaeger::grpc::proto::{api_v2, api_v3, storage_v2};
use weir_otlp::proto::trace::v1::{Span, TracesData};

use super::*;

#[path = "grpc/receiver.rs"]
mod receiver;

/// Go's zero time, which Jaeger sends for a time that nobody said.
const NEVER: Timestamp = Timestamp { seconds: -62_135_596_800, nanos: 0 };
const V3: &str = "jaeger.api_v3.QueryService";
const V2: &str = "jaeger.api_v2.QueryService";
const READER: &str = "jaeger.storage.v2.TraceReader";

/// A client that takes messages of 4 MiB, as they do unless they are told otherwise.
struct Client(Channel);

impl Client {
    async fn query(weir: &Weir) -> Client {
        Client::of(weir_api::jaeger::grpc::query(&weir.api).await).await
    }

    async fn storage(weir: &Weir) -> Client {
        // Nothing listens at a port that was just given back.
        let closed =
            TcpListener::bind("127.0.0.1:0").await.and_then(|port| port.local_addr()).expect("a port");
        Client::storage_with(weir, closed).await
    }

    async fn storage_with(weir: &Weir, receiver: SocketAddr) -> Client {
        Client::of(weir_api::jaeger::grpc::storage(&weir.api, receiver).await).await
    }

    async fn of(routes: Routes) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let server = Server::builder().add_routes(routes);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Client(Endpoint::from_shared(url).expect("an address").connect().await.expect("connects"))
    }

    /// All messages of an answer.
    async fn ask<Q, A>(&self, service: &str, method: &str, question: Q) -> Result<Vec<A>, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut client = tonic::client::Grpc::new(self.0.clone());
        client.ready().await.expect("ready");
        let path = format!("/{service}/{method}").parse().expect("a path");
        let codec = ProstCodec::<Q, A>::default();
        let mut messages =
            client.server_streaming(tonic::Request::new(question), path, codec).await?.into_inner();
        let mut answer = Vec::new();
        while let Some(message) = messages.message().await? {
            answer.push(message);
        }
        Ok(answer)
    }

    /// The one message of an answer.
    async fn one<Q, A>(&self, service: &str, method: &str, question: Q) -> A
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut answer = self.ask(service, method, question).await.expect("answers");
        assert_eq!(answer.len(), 1);
        answer.remove(0)
    }

    async fn fails<Q: Message + Send + Sync + 'static>(
        &self,
        service: &str,
        method: &str,
        question: Q,
    ) -> (Code, String) {
        let status = self.ask::<Q, ()>(service, method, question).await.expect_err("fails");
        (status.code(), status.message().to_owned())
    }
}

fn second(seconds: i64) -> Timestamp {
    Timestamp { seconds: T + seconds, nanos: 0 }
}

fn id(hex: &str) -> Vec<u8> {
    hex::decode(hex).expect("hex")
}

fn spans(chunk: &TracesData) -> impl Iterator<Item = &Span> {
    chunk.resource_spans.iter().flat_map(|group| &group.scope_spans).flat_map(|scope| &scope.spans)
}

/// As one document of OTLP/JSON.
fn document(chunks: &[TracesData]) -> Json {
    let groups: Vec<_> = chunks.iter().flat_map(|chunk| chunk.resource_spans.clone()).collect();
    json!({ "result": weir_otlp::json::encode::traces(&groups) })
}

/// As Jaeger asks: every time that nobody said is Go's zero, every duration is there.
fn asked(service: &str, tags: &[(&str, &str)], depth: i32) -> storage_v2::TraceQueryParameters {
    let attribute = |&(key, value): &(&str, &str)| {
        let value = storage_v2::any_value::Value::StringValue(value.to_owned());
        let value = Some(storage_v2::AnyValue { value: Some(value) });
        storage_v2::KeyValue { key: key.to_owned(), value }
    };
    storage_v2::TraceQueryParameters {
        service_name: service.to_owned(),
        operation_name: String::new(),
        attributes: tags.iter().map(attribute).collect(),
        start_time_min: Some(second(-200)),
        start_time_max: Some(second(200)),
        duration_min: Some(Duration::default()),
        duration_max: Some(Duration::default()),
        search_depth: depth,
        filter: None,
    }
}

#[tokio::test]
async fn a_trace_is_what_http_answers() {
    let weir = Weir::with_spans().await;
    let client = Client::query(&weir).await;
    for raw_traces in [false, true] {
        let question = api_v3::GetTraceRequest {
            trace_id: SHOP.to_owned(),
            start_time: Some(NEVER),
            end_time: Some(NEVER),
            raw_traces,
        };
        let chunks: Vec<TracesData> = client.ask(V3, "GetTrace", question).await.expect("answers");
        assert_eq!(chunks.len(), 1);
        let http = weir.get(&format!("/api/v3/traces/{SHOP}?rawTraces={raw_traces}")).await;
        assert_eq!(document(&chunks), http);
    }
}

#[tokio::test]
async fn a_span_in_jaeger_s_form_has_what_v1_shows() {
    let weir = Weir::with_spans().await;
    let client = Client::query(&weir).await;
    let question = api_v2::GetTraceRequest { trace_id: id(SHOP), ..Default::default() };
    let chunk: api_v2::SpansResponseChunk = client.one(V2, "GetTrace", question).await;
    let shown = weir.get(&format!("/api/traces/{SHOP}")).await;
    let shown = &shown["data"][0];
    assert_eq!(chunk.spans.len(), 3);
    for (span, shown_span) in chunk.spans.iter().zip(shown["spans"].as_array().expect("spans")) {
        assert_eq!(span.trace_id, id(SHOP));
        assert_eq!(hex::encode(&span.span_id), shown_span["spanID"]);
        assert_eq!(span.operation_name, shown_span["operationName"]);
        let keys = |tags: &[api_v2::KeyValue]| tags.iter().map(|tag| tag.key.clone()).collect::<Vec<_>>();
        let shown_keys: Vec<_> =
            shown_span["tags"].as_array().expect("tags").iter().map(|tag| tag["key"].clone()).collect();
        assert_eq!(json!(keys(&span.tags)), json!(shown_keys));
        let process = &shown["processes"][shown_span["processID"].as_str().expect("an id")];
        assert_eq!(span.process.as_ref().expect("a process").service_name, process["serviceName"]);
    }
    let front = &chunk.spans[0];
    let tag = |key: &str| front.tags.iter().find(|tag| tag.key == key).expect("a tag");
    // What JSON has to write as text is what it is here; times have their nanoseconds.
    assert_eq!((tag("big").v_type(), tag("big").v_int64), (api_v2::ValueType::Int64, 9_007_199_254_740_993));
    assert_eq!((tag("ratio").v_type(), tag("ratio").v_float64), (api_v2::ValueType::Float64, 0.5));
    assert_eq!(chunk.spans[1].duration, Some(Duration { seconds: 0, nanos: 3_000_999 }));
    let back = &chunk.spans[2];
    assert_eq!(back.references[0].span_id, id("00000000000000a2"));
    assert_eq!(back.references[1].ref_type(), api_v2::SpanRefType::FollowsFrom);
    assert_eq!(back.logs[0].fields[0].v_str, "exception");
}

#[tokio::test]
async fn services_operations_and_dependencies_are_those_of_http() {
    let weir = Weir::with_spans().await;
    let (query, storage) = (Client::query(&weir).await, Client::storage(&weir).await);
    let services = weir.get("/api/v3/services").await["services"].clone();
    let v2: api_v2::GetServicesResponse = query.one(V2, "GetServices", api_v2::GetServicesRequest {}).await;
    let v3: api_v3::GetServicesResponse = query.one(V3, "GetServices", api_v3::GetServicesRequest {}).await;
    let stored: storage_v2::GetServicesResponse =
        storage.one(READER, "GetServices", storage_v2::GetServicesRequest {}).await;
    assert_eq!(
        [json!(v2.services), json!(v3.services), json!(stored.services)],
        [services.clone(), services.clone(), services]
    );

    let (service, span_kind) = ("front".to_owned(), "client".to_owned());
    let question = storage_v2::GetOperationsRequest { service: service.clone(), span_kind: String::new() };
    let stored: storage_v2::GetOperationsResponse = storage.one(READER, "GetOperations", question).await;
    let found: Vec<_> =
        stored.operations.iter().map(|found| (found.name.as_str(), found.span_kind.as_str())).collect();
    assert_eq!(found, [("GET /cart", "server"), ("call", "client")]);
    let question = api_v3::GetOperationsRequest { service: service.clone(), span_kind: span_kind.clone() };
    let v3: api_v3::GetOperationsResponse = query.one(V3, "GetOperations", question).await;
    assert_eq!(v3.operations.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), ["call"]);
    let question = api_v2::GetOperationsRequest { service, span_kind };
    let v2: api_v2::GetOperationsResponse = query.one(V2, "GetOperations", question).await;
    assert_eq!((v2.operation_names.as_slice(), v2.operations.len()), (&["call".to_owned()][..], 1));

    let (start_time, end_time) = (Some(second(-100)), Some(second(60)));
    let question = storage_v2::GetDependenciesRequest { start_time, end_time };
    let stored: storage_v2::GetDependenciesResponse =
        storage.one("jaeger.storage.v2.DependencyReader", "GetDependencies", question).await;
    let calls: Vec<_> = stored
        .dependencies
        .iter()
        .map(|link| (link.parent.as_str(), link.child.as_str(), link.call_count))
        .collect();
    assert_eq!(calls, [("curl", "nginx", 1), ("front", "back o'house", 1)]);
    let question = api_v3::GetDependenciesRequest { start_time, end_time };
    let v3: api_v3::DependenciesResponse = query.one(V3, "GetDependencies", question).await;
    let question = api_v2::GetDependenciesRequest { start_time, end_time };
    let v2: api_v2::GetDependenciesResponse = query.one(V2, "GetDependencies", question).await;
    assert_eq!((v3.dependencies.len(), v2.dependencies.len()), (2, 2));
}

/// What Jaeger asks for a search, and for the traces in it.
#[tokio::test]
async fn a_jaeger_finds_traces_in_its_storage() {
    let weir = Weir::with_spans().await;
    let client = Client::storage(&weir).await;
    // People's tags come as texts, whatever the attribute is.
    let query = Some(asked("front", &[("http.response.status_code", "500"), ("ratio", "0.5")], 20));
    let question = storage_v2::FindTracesRequest { query: query.clone() };
    let chunks: Vec<TracesData> = client.ask(READER, "FindTraces", question).await.expect("answers");
    assert_eq!(document(&chunks), weir.get(&format!("/api/v3/traces/{SHOP}?rawTraces=true")).await);

    let question = storage_v2::FindTraceIDsRequest { query: query.clone() };
    let found: storage_v2::FindTraceIDsResponse = client.one(READER, "FindTraceIDs", question).await;
    assert_eq!(found.trace_ids.iter().map(|found| found.trace_id.clone()).collect::<Vec<_>>(), [id(SHOP)]);

    let question = storage_v2::FindTraceSummariesRequest { query };
    let found: storage_v2::FindTraceSummariesResponse =
        client.one(READER, "FindTraceSummaries", question).await;
    let service = |name: &str, span_count, error_span_count| storage_v2::ServiceSummary {
        name: name.to_owned(),
        span_count,
        error_span_count,
    };
    let summary = storage_v2::TraceSummary {
        trace_id: id(SHOP),
        root_service_name: "front".to_owned(),
        root_operation_name: "GET /cart".to_owned(),
        min_start_time_unix_nano: T as u64 * 1_000_000_000,
        max_end_time_unix_nano: T as u64 * 1_000_000_000 + 5_000_000,
        span_count: 3,
        error_span_count: 1,
        orphan_span_count: 0,
        services: vec![service("back o'house", 1, 1), service("front", 2, 0)],
    };
    assert_eq!(found.summaries, [summary]);

    let question = storage_v2::FindTracesRequest { query: Some(asked("nobody", &[], 20)) };
    let chunks: Vec<TracesData> = client.ask(READER, "FindTraces", question).await.expect("answers");
    assert!(chunks.is_empty(), "nothing is found, and that is no error");

    let by_id = |hex: &str| storage_v2::GetTraceParams {
        trace_id: id(hex),
        start_time: Some(NEVER),
        end_time: Some(NEVER),
    };
    let unknown = "0000000000000000000000000000beef";
    let query = vec![by_id("0000000000000000000000000000abcd"), by_id(unknown), by_id(SHOP)];
    let question = storage_v2::GetTracesRequest { query };
    let chunks: Vec<TracesData> = client.ask(READER, "GetTraces", question).await.expect("answers");
    let counts: Vec<usize> = chunks.iter().map(|chunk| spans(chunk).count()).collect();
    assert_eq!(counts, [2, 3], "one trace a message; what isn't there is left out");

    let question = storage_v2::GetCapabilitiesRequest {};
    let can: storage_v2::GetCapabilitiesResponse =
        client.one("jaeger.storage.v2.Capabilities", "GetCapabilities", question).await;
    let can = can.search.expect("what searches can do");
    assert!(can.without_service_name && can.same_span_conjunction);
    let question = storage_v2::FindTraceIDsRequest { query: Some(asked("", &[], 20)) };
    let found: storage_v2::FindTraceIDsResponse = client.one(READER, "FindTraceIDs", question).await;
    assert_eq!(found.trace_ids.len(), 3, "of all services");
}

#[tokio::test]
async fn what_is_wrong_has_its_code() {
    let weir = Weir::with_spans().await;
    let (query, storage) = (Client::query(&weir).await, Client::storage(&weir).await);
    let invalid = |message: &str| (Code::InvalidArgument, message.to_owned());
    let not_found = (Code::NotFound, "trace not found".to_owned());

    let of_v3 =
        |trace_id: &str| api_v3::GetTraceRequest { trace_id: trace_id.to_owned(), ..Default::default() };
    assert_eq!(query.fails(V3, "GetTrace", of_v3("beef")).await, not_found);
    let (code, message) = query.fails(V3, "GetTrace", of_v3("no id!")).await;
    assert!(code == Code::InvalidArgument && message.starts_with("malform trace ID: "), "{message}");
    assert_eq!(
        query.fails(V3, "FindTraces", api_v3::FindTracesRequest { query: None }).await,
        invalid("missing query")
    );
    let timeless = api_v3::FindTracesRequest { query: Some(api_v3::TraceQueryParameters::default()) };
    let required = "start time min and max are required parameters";
    assert_eq!(query.fails(V3, "FindTraces", timeless).await, invalid(required));
    let filtered = api_v3::TraceQueryParameters { filter: Some(api_v3::Filter {}), ..Default::default() };
    let filtered = api_v3::FindTracesRequest { query: Some(filtered) };
    assert_eq!(
        query.fails(V3, "FindTraces", filtered).await,
        invalid("filters are not supported: use attributes")
    );

    let of_v2 = |trace_id| api_v2::GetTraceRequest { trace_id, ..Default::default() };
    assert_eq!(query.fails(V2, "GetTrace", of_v2(id("beef"))).await, not_found);
    let empty = invalid("uninitialized TraceID is not allowed");
    assert_eq!(query.fails(V2, "GetTrace", of_v2(Vec::new())).await, empty);
    let timeless = api_v2::GetDependenciesRequest { start_time: Some(NEVER), end_time: None };
    assert_eq!(
        query.fails(V2, "GetDependencies", timeless).await,
        invalid("StartTime and EndTime must be initialized.")
    );
    let archived = |hex: &str| api_v2::ArchiveTraceRequest { trace_id: id(hex), ..Default::default() };
    assert_eq!(query.fails(V2, "ArchiveTrace", archived("beef")).await, not_found);
    let _: api_v2::ArchiveTraceResponse = query.one(V2, "ArchiveTrace", archived(SHOP)).await;
    let kept = weir.store.snapshot(&weir_model::tables::ARCHIVED_SPANS).memory;
    assert_eq!(kept.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 3);

    let depth = "search depth must be greater than 0 and less than max traces".to_owned();
    let question = storage_v2::FindTracesRequest { query: Some(asked("front", &[], -1)) };
    assert_eq!(storage.fails(READER, "FindTraces", question).await, (Code::Internal, depth));
    // Jaeger 2.13's own v3 sends 0 where nobody said how many.
    let question = storage_v2::FindTracesRequest { query: Some(asked("front", &[], 0)) };
    let found: Vec<TracesData> = storage.ask(READER, "FindTraces", question).await.expect("answers");
    assert_eq!(found.len(), 1);
}

/// Spans of 4 kB, far more than go into one message; and one that alone is too much.
#[tokio::test]
async fn a_large_trace_comes_in_messages_that_clients_take() {
    const SPANS: usize = 4_000;
    let weir = Weir::empty().await;
    let of_service = |number: usize, bytes: usize| {
        let start = number as i64 * 1_000;
        json!({
            "resource": {"attributes": [text("service.name", if number.is_multiple_of(2) { "even" } else { "odd" })]},
            "scopeSpans": [{"spans": [{
                "traceId": SHOP, "spanId": format!("{:016x}", number + 1), "name": "fat", "kind": 2,
                "startTimeUnixNano": at(start), "endTimeUnixNano": at(start + 500),
                "attributes": [text("body", &"x".repeat(bytes))],
            }]}],
        })
    };
    let mut groups: Vec<Json> = (0..SPANS).map(|number| of_service(number, 4_000)).collect();
    groups.push(of_service(SPANS, 6 << 20));
    weir.store_spans(1, otlp(&json!({ "resourceSpans": groups }))).await;
    weir.store_spans(2, stitched()).await;
    let (query, storage) = (Client::query(&weir).await, Client::storage(&weir).await);

    let question = storage_v2::FindTracesRequest { query: Some(asked("", &[], 5)) };
    let found: Vec<TracesData> = storage.ask(READER, "FindTraces", question).await.expect("answers");
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for chunk in &found {
        let ids: HashSet<_> = spans(chunk).map(|span| span.trace_id.clone()).collect();
        assert_eq!(ids.len(), 1, "a message has spans of one trace, and is not empty");
        let trace = ids.into_iter().next().expect("one");
        if seen.last() != Some(&trace) {
            assert!(!seen.contains(&trace), "a trace's messages follow one another");
            seen.push(trace);
        }
    }
    assert_eq!(seen.len(), 2);
    let numbers: HashSet<_> = found.iter().flat_map(spans).map(|span| span.span_id.clone()).collect();
    assert_eq!(numbers.len(), SPANS + 1 + 3);
    assert!(found.len() > 10, "{} messages", found.len());

    let question = api_v3::GetTraceRequest { trace_id: SHOP.to_owned(), ..Default::default() };
    let chunks: Vec<TracesData> = query.ask(V3, "GetTrace", question).await.expect("answers");
    assert_eq!(chunks.iter().flat_map(spans).count(), SPANS + 1);
    let slim =
        chunks.iter().flat_map(spans).find(|span| span.dropped_attributes_count == 1).expect("is slim");
    assert!(format!("{:?}", slim.attributes).contains("left out are its events, links, attributes"));

    let question = api_v2::GetTraceRequest { trace_id: id(SHOP), ..Default::default() };
    let chunks: Vec<api_v2::SpansResponseChunk> = query.ask(V2, "GetTrace", question).await.expect("answers");
    assert_eq!(chunks.iter().map(|chunk| chunk.spans.len()).sum::<usize>(), SPANS + 1);
}
