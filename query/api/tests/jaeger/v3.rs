//! Summaries and traces of v3.

use super::*;

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
