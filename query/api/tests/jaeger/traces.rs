//! One trace, as every frontend opens it: by v1.

use super::*;

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
