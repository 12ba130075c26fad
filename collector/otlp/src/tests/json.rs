//! OTLP/JSON as others write it.

use serde_json::json;

use crate::json::decode::{JsonError, traces};
use crate::proto::common::v1::any_value::Value;
use crate::proto::trace::v1::Span;

/// In the form that `@opentelemetry/exporter-trace-otlp-http` sends: numbers as numbers, times as strings, empty lists
/// and zero counts written out.
const FROM_JAVASCRIPT: &str = include_str!("fixtures/javascript.json");

fn span(json: &serde_json::Value) -> Result<Span, JsonError> {
    let request = json!({"resourceSpans": [{"scopeSpans": [{"spans": [json]}]}]});
    traces(request.to_string().as_bytes())
        .map(|mut groups| groups.remove(0).scope_spans.remove(0).spans.remove(0))
}

#[test]
fn what_the_javascript_exporter_sends_is_read() {
    let groups = traces(FROM_JAVASCRIPT.as_bytes()).unwrap();
    let resource = groups[0].resource.as_ref().unwrap();
    assert_eq!(resource.attributes[0].key, "service.name");
    assert_eq!(resource.attributes.len(), 5);
    let scope = &groups[0].scope_spans[0];
    assert_eq!(scope.scope.as_ref().unwrap().name, "@opentelemetry/instrumentation-http");
    let [server, client] = scope.spans.as_slice() else { panic!("two spans") };
    assert_eq!(hex::encode(&server.trace_id), "6f9a5c1de2b34f7090a1b2c3d4e5f607");
    assert_eq!((server.kind, client.kind, server.flags), (2, 3, 257));
    assert_eq!(client.parent_span_id, server.span_id);
    assert_eq!(server.end_time_unix_nano - server.start_time_unix_nano, 12_345_678);
    assert_eq!(client.status.as_ref().unwrap().code, 2);
    assert_eq!(client.events[0].name, "exception");
    let status_code = server.attributes.iter().find(|attribute| attribute.key == "http.status_code").unwrap();
    assert_eq!(status_code.value.as_ref().unwrap().value, Some(Value::IntValue(200)));
    let (rows, refused) = crate::rows_of(&groups, &super::node());
    assert_eq!((rows.len(), refused.spans()), (2, 0));
    assert_eq!(rows[0].service.as_deref(), Some("shop"));
}

#[test]
fn what_the_mapping_allows_is_read() {
    let strict = span(&json!({
        "traceId": "5b8efff798038103d269b633813fc60c", "startTimeUnixNano": "1544712660000000000", "kind": 2,
        "parentSpanId": "", "attributes": [{"key": "k", "value": {"intValue": "7"}}], "status": {"code": 2},
    }));
    let lenient = span(&json!({
        "trace_id": "5B8EFFF798038103D269B633813FC60C", "start_time_unix_nano": 1_544_712_660_000_000_000_u64,
        "kind": "SPAN_KIND_SERVER", "parentSpanId": null, "attributes": [{"key": "k", "value": {"int_value": 7.0}}],
        "status": {"code": "STATUS_CODE_ERROR", "deprecatedCode": 0}, "events": null, "fromTheFuture": [{}],
    }));
    assert_eq!(lenient, strict);
    assert!(strict.is_ok());
}

#[test]
fn numbers_are_read_from_strings_and_bytes_in_both_alphabets() {
    let value = |value: serde_json::Value| {
        let span = span(&json!({"attributes": [{"key": "k", "value": value}]})).unwrap();
        span.attributes[0].value.clone().unwrap().value
    };
    assert_eq!(value(json!({"doubleValue": "-Infinity"})), Some(Value::DoubleValue(f64::NEG_INFINITY)));
    assert_eq!(value(json!({"doubleValue": 3})), Some(Value::DoubleValue(3.0)));
    assert_eq!(value(json!({"intValue": "-9223372036854775808"})), Some(Value::IntValue(i64::MIN)));
    assert_eq!(value(json!({"intValue": 1e9})), Some(Value::IntValue(1_000_000_000)));
    assert_eq!(value(json!({"bytesValue": "_-8"})), Some(Value::BytesValue(vec![0xff, 0xef])));
    assert_eq!(value(json!({"bytesValue": "/+8="})), Some(Value::BytesValue(vec![0xff, 0xef])));
    assert_eq!(value(json!({"stringValue": ""})), Some(Value::StringValue(String::new())));
    assert_eq!(value(json!({})), None);
}

/// `wrong` in a span gives an error that says where it is and what belongs there.
fn check(wrong: &serde_json::Value, place: &str, expected: &str) {
    let err = span(wrong).expect_err("it can't be read").to_string();
    assert_eq!(err, format!("resourceSpans[0].scopeSpans[0].spans[0]{place}: expected {expected}"));
}

#[test]
fn errors_say_where_they_are() {
    check(&json!(7), "", "an object");
    check(&json!({"traceId": "xyz"}), ".traceId", "an id in hex");
    check(&json!({"name": 7}), ".name", "a string");
    check(&json!({"kind": "SPAN_KIND_TYPO"}), ".kind", "an enum's number or name");
    check(&json!({"flags": 4_294_967_296_u64}), ".flags", "a whole number of at most 32 bits, not negative");
    check(
        &json!({"startTimeUnixNano": "-1"}),
        ".startTimeUnixNano",
        "a whole number of at most 64 bits, not negative",
    );
    check(&json!({"events": {}}), ".events", "an array");
    let nested = json!({"arrayValue": {"values": [{"intValue": 1}, {"intValue": 1.5}]}});
    check(
        &json!({"attributes": [{"key": "k", "value": nested}]}),
        ".attributes[0].value.arrayValue.values[1].intValue",
        "a whole number of at most 64 bits",
    );
}

#[test]
fn what_is_not_json_says_so() {
    let err = traces(b"{\"resourceSpans\": [").unwrap_err();
    assert!(err.to_string().starts_with("not JSON: EOF"), "{err}");
    assert_eq!(traces(b"[]").unwrap_err().to_string(), "the request: expected an object");
    assert_eq!(traces(b"{}"), Ok(Vec::new()));
    let bottomless = "{\"resourceSpans\":[".repeat(100_000);
    assert!(traces(bottomless.as_bytes()).unwrap_err().to_string().contains("recursion limit"));
}
