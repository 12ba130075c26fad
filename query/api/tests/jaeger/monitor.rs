//! The Monitor tab and the System Architecture page, over spans whose truth is known.

use super::*;

/// A span that took so long; of an application's own, or of the network's where `request` says whether it counts.
fn span(service: &str, operation: &str, kind: &str, second: i64, ms: i64, request: Option<bool>) -> SpanRow {
    let time = (T + second) * 1_000_000_000;
    SpanRow {
        time,
        end_time: Some(time + ms * 1_000_000),
        duration_ns: ms * 1_000_000,
        trace_id: Some(format!("{second:032x}").into()),
        span_id: Some(format!("{:016x}", 1 + second * 100 + ms).into()),
        service: Some(service.into()),
        operation: Some(operation.into()),
        kind: Some(kind.into()),
        status: Some("unset".into()),
        source: Some(if request.is_some() { "stitched" } else { "otlp" }.into()),
        request,
        ..SpanRow::default()
    }
}

/// A minute of requests, one a second, of 1 to 60 ms; each sixth fails. The network saw them too.
async fn a_minute() -> Weir {
    let weir = Weir::empty().await;
    let mut told = Vec::new();
    let mut seen = Vec::new();
    for second in 0..60 {
        let operation = if second % 2 == 0 { "GET /a" } else { "GET /b" };
        let status = if second % 6 == 0 { "error" } else { "unset" };
        let request = span("shop", operation, "server", second, second + 1, None);
        told.push(SpanRow { status: Some(status.into()), ..request });
        told.push(span("shop", "call", "client", second, 3, None));
        told.push(span("other", "GET /a", "server", second, 3, None));
        seen.push(span("shop", "HTTP/1.1 exchange", "server", second, second + 2, Some(false)));
    }
    weir.store_spans(1, told).await;
    weir.store.seal().await.expect("seals");
    weir.store_spans(2, seen).await;
    weir
}

fn asked(what: &str, more: &str) -> String {
    let end = (T + 60) * 1_000;
    format!("/api/metrics/{what}?service=shop&endTs={end}&lookback=60000&step=60000&ratePer=60000{more}")
}

/// Labels and values of each series.
fn values(family: &Json) -> Vec<(Vec<String>, Vec<Json>)> {
    let texts = |labels: &Json| {
        labels.as_array().expect("labels").iter().map(|label| label["value"].clone()).collect::<Vec<_>>()
    };
    let of = |metric: &Json| {
        let labels =
            texts(&metric["labels"]).iter().map(|label| label.as_str().expect("text").to_owned()).collect();
        let points = metric["metricPoints"].as_array().expect("points");
        (labels, points.iter().map(|point| point["gaugeValue"]["doubleValue"].clone()).collect())
    };
    family["metrics"].as_array().expect("metrics").iter().map(of).collect()
}

#[tokio::test]
async fn rates_are_what_was_asked_each_second() {
    let weir = a_minute().await;
    let calls = weir.get(&asked("calls", "")).await;
    assert_eq!(
        (&calls["name"], &calls["type"], &calls["help"]),
        (&json!("service_call_rate"), &json!("GAUGE"), &json!("calls/sec, grouped by service"))
    );
    assert_eq!(values(&calls), [(vec!["shop".to_owned()], vec![json!(0.0), json!(1.0)])]);
    assert_eq!(calls["metrics"][0]["labels"], json!([{"name": "service_name", "value": "shop"}]));
    let times = calls["metrics"][0]["metricPoints"].as_array().expect("points").iter();
    let times: Vec<_> = times.map(|point| point["timestamp"].as_str().expect("a time").to_owned()).collect();
    assert_eq!(times, ["2023-11-14T22:13:20.000000000Z", "2023-11-14T22:14:20.000000000Z"]);
    let errors = weir.get(&asked("errors", "")).await;
    assert_eq!(values(&errors)[0].1, [json!("NaN"), json!(10.0 / 60.0)]);
    // Half a minute more is looked back on, with nothing in it.
    let slow = weir.get(&asked("calls", "").replace("ratePer=60000", "ratePer=120000")).await;
    assert_eq!(values(&slow)[0].1, [json!(0.0), json!(0.5)]);
}

#[tokio::test]
async fn operations_are_told_apart() {
    let weir = a_minute().await;
    let calls = weir.get(&asked("calls", "&groupByOperation=true")).await;
    assert_eq!(calls["name"], "service_operation_call_rate");
    let names = |operation: &str| vec!["shop".to_owned(), operation.to_owned()];
    let half = || vec![json!(0.0), json!(0.5)];
    assert_eq!(values(&calls), [(names("GET /a"), half()), (names("GET /b"), half())]);
    assert_eq!(calls["metrics"][0]["labels"][1]["name"], "operation");
    let clients = weir.get(&asked("calls", "&groupByOperation=true&spanKind=client")).await;
    assert_eq!(values(&clients), [(names("call"), vec![json!(0.0), json!(1.0)])]);
}

#[tokio::test]
async fn a_latency_is_within_a_hundredth() {
    let weir = a_minute().await;
    for (quantile, exact) in [("0.5", 30.0), ("0.75", 45.0), ("0.95", 57.0)] {
        let answer = weir.get(&asked("latencies", &format!("&quantile={quantile}"))).await;
        assert_eq!(answer["help"], format!("{quantile}th quantile latency, grouped by service"));
        let found = values(&answer)[0].1[1].as_f64().expect("a number");
        assert!((found / exact - 1.0).abs() <= 0.0101, "{quantile}: {found} for {exact}");
    }
}

#[tokio::test]
async fn what_there_is_nothing_of_has_no_series() {
    let weir = a_minute().await;
    let nobody = weir.get("/api/metrics/calls?service=nobody").await;
    assert_eq!(nobody["metrics"], json!([]));
    let step = json!({"data": 1, "total": 0, "limit": 0, "offset": 0, "errors": null});
    assert_eq!(weir.get("/api/metrics/minstep").await, step);
    let no_service = "unable to parse param 'service': please provide at least one service name";
    weir.v1_fails("GET", "/api/metrics/errors", 400, no_service).await;
    let injected = "/api/metrics/calls?service=x%27)%20OR%20(%271%27=%271";
    assert_eq!(weir.get(injected).await["metrics"], json!([]));
}

/// One request of `trace`: its id, whose child it is, and whose span it shows.
fn of_trace(trace: i64, span: SpanRow, (id, parent): (&str, Option<&str>), told: Option<&str>) -> SpanRow {
    SpanRow {
        trace_id: Some(format!("{trace:032x}").into()),
        span_id: Some(id.into()),
        parent_span_id: parent.map(Into::into),
        application_span_id: told.map(Into::into),
        connection_id: span.source.as_deref().filter(|source| *source == "stitched").map(|_| "k".into()),
        ..span
    }
}

async fn links(spans: Vec<SpanRow>) -> Vec<(String, String, u64)> {
    let weir = Weir::empty().await;
    weir.store_spans(1, spans).await;
    let answer = weir.get(&format!("/api/dependencies?endTs={}", (T + 60) * 1_000)).await;
    let text = |value: &Json| value.as_str().expect("text").to_owned();
    let links = answer["data"].as_array().expect("links").iter();
    links
        .map(|link| {
            (text(&link["parent"]), text(&link["child"]), link["callCount"].as_u64().expect("a count"))
        })
        .collect()
}

fn link(parent: &str, child: &str, calls: u64) -> (String, String, u64) {
    (parent.to_owned(), child.to_owned(), calls)
}

/// The four spans that tell of one request, whose services call themselves differently than the kernel does; and those of the
/// connection that it went over.
fn told_and_seen(trace: i64) -> [SpanRow; 6] {
    let otlp = |service, kind| span(service, "call", kind, 1, 5, None);
    let seen = |service, kind| span(service, "HTTP/1.1 exchange", kind, 1, 5, Some(false));
    [
        of_trace(trace, otlp("shop", "client"), ("C", None), None),
        of_trace(trace, otlp("cart", "server"), ("S", Some("C")), None),
        of_trace(trace, seen("node", "client"), ("c", Some("C")), Some("C")),
        of_trace(trace, seen("java", "server"), ("s", Some("c")), Some("S")),
        of_trace(9, seen("node", "client"), ("kc", None), None),
        of_trace(9, seen("java", "server"), ("ks", Some("kc")), None),
    ]
}

#[tokio::test]
async fn a_request_that_applications_and_the_network_tell_of_is_one_call() {
    let both = [told_and_seen(1), told_and_seen(2)].concat();
    assert_eq!(links(both).await, [link("shop", "cart", 2)]);
}

#[tokio::test]
async fn where_one_service_sends_no_spans_the_network_s_stand_in() {
    let [client, server, seen_client, seen_server, ..] = told_and_seen(1);
    let alone = |span: SpanRow| SpanRow { request: Some(true), application_span_id: None, ..span };
    // The server's are missing, then the client's, then the client's and the context.
    let no_server = vec![client, seen_client.clone(), alone(seen_server.clone())];
    assert_eq!(links(no_server).await, [link("shop", "java", 1)]);
    let no_client = vec![server.clone(), alone(seen_client.clone()), seen_server.clone()];
    assert_eq!(links(no_client).await, [link("node", "cart", 1)]);
    let begun = SpanRow { parent_span_id: None, ..server };
    let no_context = vec![begun, SpanRow { parent_span_id: None, ..alone(seen_client) }, seen_server];
    assert_eq!(links(no_context).await, [link("node", "cart", 1)]);
}

/// At the level `flows` there are connections and no requests.
#[tokio::test]
async fn connections_count_where_nothing_tells_of_requests() {
    let [.., client, server] = told_and_seen(1);
    assert_eq!(links(vec![client, server]).await, [link("node", "java", 1)]);
}
