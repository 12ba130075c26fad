use serde_json::{Value as Json, json};
use weir_otlp::json::decode;

use super::*;

fn shown(document: &Json) -> Json {
    let groups = decode::traces(document.to_string().as_bytes()).expect("OTLP");
    serde_json::to_value(traces(&groups)).expect("encodes")
}

fn one_span(span: &Json) -> Json {
    let document = json!({"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": [span]}]}]});
    shown(&document)[0]["spans"][0].clone()
}

#[test]
fn a_span_has_jaeger_s_fields_and_tags_in_its_order() {
    let document = json!({"resourceSpans": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "shop"}},
            {"key": "host.name", "value": {"stringValue": "h1"}},
        ]},
        "scopeSpans": [{
            "scope": {"name": "lib", "version": "1.2"},
            "spans": [{
                "traceId": "0000000000000000000000000000abcd",
                "spanId": "00000000000000aa",
                "parentSpanId": "00000000000000bb",
                "traceState": "vendor=1",
                "name": "GET /",
                "kind": 2,
                "flags": 257,
                "startTimeUnixNano": "1700000000000001999",
                "endTimeUnixNano": "1700000000000005000",
                "attributes": [{"key": "http.route", "value": {"stringValue": "/"}}],
                "status": {"code": 2, "message": "broken"},
                "events": [{
                    "timeUnixNano": "1700000000000002500",
                    "name": "exception",
                    "attributes": [{"key": "n", "value": {"intValue": "3"}}],
                }],
                "links": [{"traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": "00000000000000cc"}],
            }],
        }],
    }]});
    assert_eq!(
        shown(&document),
        json!([{
            "traceID": "000000000000abcd",
            "spans": [{
                "traceID": "000000000000abcd",
                "spanID": "00000000000000aa",
                "operationName": "GET /",
                "references": [
                    {"refType": "CHILD_OF", "traceID": "000000000000abcd", "spanID": "00000000000000bb"},
                    {
                        "refType": "FOLLOWS_FROM",
                        "traceID": "0102030405060708090a0b0c0d0e0f10",
                        "spanID": "00000000000000cc",
                    },
                ],
                "startTime": 1_700_000_000_000_001_u64,
                "duration": 3,
                "tags": [
                    {"key": "otel.scope.name", "type": "string", "value": "lib"},
                    {"key": "otel.scope.version", "type": "string", "value": "1.2"},
                    {"key": "http.route", "type": "string", "value": "/"},
                    {"key": "span.kind", "type": "string", "value": "server"},
                    {"key": "otel.status_code", "type": "string", "value": "ERROR"},
                    {"key": "error", "type": "bool", "value": true},
                    {"key": "otel.status_description", "type": "string", "value": "broken"},
                    {"key": "w3c.tracestate", "type": "string", "value": "vendor=1"},
                ],
                "logs": [{
                    "timestamp": 1_700_000_000_000_002_u64,
                    "fields": [
                        {"key": "event", "type": "string", "value": "exception"},
                        {"key": "n", "type": "int64", "value": 3},
                    ],
                }],
                "processID": "p1",
                "warnings": null,
            }],
            "processes": {"p1": {
                "serviceName": "shop",
                "tags": [{"key": "host.name", "type": "string", "value": "h1"}],
            }},
            "warnings": null,
        }])
    );
}

#[test]
fn every_type_of_value_has_its_form() {
    let value = |value: Json| {
        let span =
            one_span(&json!({"traceId": "01", "spanId": "02", "attributes": [{"key": "k", "value": value}]}));
        let tag = &span["tags"][0];
        (tag["type"].as_str().map(str::to_owned), tag["value"].clone())
    };
    for (given, kind, expected) in [
        (json!({"stringValue": "x"}), "string", json!("x")),
        (json!({"boolValue": false}), "bool", json!(false)),
        (json!({"intValue": "9007199254740991"}), "int64", json!(9_007_199_254_740_991_i64)),
        (json!({"intValue": "9007199254740992"}), "int64", json!("9007199254740992")),
        (json!({"intValue": "-9223372036854775808"}), "int64", json!("-9223372036854775808")),
        (json!({"doubleValue": 1.5}), "float64", json!(1.5)),
        (json!({"doubleValue": "NaN"}), "float64", json!("NaN")),
        (json!({"bytesValue": "/wA="}), "binary", json!("/wA=")),
        (
            json!({"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}, {"doubleValue": 2.0}]}}),
            "string",
            json!(r#"["a",1,2]"#),
        ),
        (
            json!({"kvlistValue": {"values": [{"key": "a", "value": {"boolValue": true}}]}}),
            "string",
            json!(r#"{"a":true}"#),
        ),
        (json!({}), "string", json!("")),
    ] {
        assert_eq!(value(given), (Some(kind.to_owned()), expected));
    }
}

/// Grafana takes the first `CHILD_OF` for the parent, and shows a root where there is none.
#[test]
fn a_link_to_the_parent_does_not_hide_the_parent() {
    let link = |of: Option<&str>| {
        let attributes: Vec<Json> = of
            .iter()
            .map(|kind| json!({"key": "opentracing.ref_type", "value": {"stringValue": kind}}))
            .collect();
        json!({"traceId": "00000000000000000000000000000001", "spanId": "000000000000000b", "attributes": attributes})
    };
    let kinds = |links: Vec<Json>| {
        let span = one_span(&json!({
            "traceId": "00000000000000000000000000000001", "spanId": "000000000000000a",
            "parentSpanId": "000000000000000b", "links": links,
        }));
        let references = span["references"].as_array().cloned().unwrap_or_default();
        references
            .iter()
            .map(|reference| reference["refType"].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(vec![link(None)]), ["CHILD_OF", "FOLLOWS_FROM"]);
    assert_eq!(kinds(vec![link(Some("child_of"))]), ["CHILD_OF"], "said twice");
}

#[test]
fn lists_are_never_null_and_equal_resources_are_one_process() {
    let group = |start: &str, service: &str| {
        json!({
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
            "scopeSpans": [{"spans": [{"traceId": "ff", "spanId": start, "startTimeUnixNano": start}]}],
        })
    };
    let document = json!({"resourceSpans": [group("3000", "b"), group("1000", "a"), group("2000", "b")]});
    let trace = &shown(&document)[0];
    let spans = trace["spans"].as_array().expect("spans");
    let processes: Vec<_> = spans.iter().map(|span| span["processID"].as_str().unwrap_or_default()).collect();
    assert_eq!(processes, ["p1", "p2", "p2"], "named in the order of first use");
    assert_eq!(trace["processes"]["p2"], json!({"serviceName": "b", "tags": []}));
    for list in ["references", "tags", "logs"] {
        assert_eq!(spans[0][list], json!([]));
    }
}
