//! The spans that are asked for, and how v1 shows them.

use super::*;

pub(super) const SHOP: &str = "00112233445566778899aabbccddeeff";
pub(super) const CONNECTION: &str = "00000001ffffffff";

pub(super) fn otlp(document: &Json) -> Vec<SpanRow> {
    let groups = weir_otlp::json::decode::traces(document.to_string().as_bytes()).expect("OTLP");
    let (rows, refused) = weir_otlp::rows_of(&groups, &SmolStr::new("here"));
    assert_eq!(refused, weir_otlp::Refused::default());
    rows
}

pub(super) fn text(key: &str, value: &str) -> Json {
    json!({"key": key, "value": {"stringValue": value}})
}

/// Nanoseconds after [`T`], as OTLP/JSON writes times.
pub(super) fn at(nanoseconds: i64) -> String {
    (T * 1_000_000_000 + nanoseconds).to_string()
}

/// A shop's front calls its back, which fails.
pub(super) fn shop_trace() -> Json {
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
pub(super) fn old_trace() -> Json {
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
pub(super) fn stitched() -> Vec<SpanRow> {
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

pub(super) fn shop_answer() -> Json {
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
