//! Spans and metrics on to a real receiver (gRPC's and OpenTelemetry's own Python packages): with TLS, while it is away, and
//! over `kill -9`.

#[path = "export/peer.rs"]
mod peer;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weir_e2e::{Store, Weir, until};

use peer::{Certificates, Receiver};

const T: u64 = 1_795_000_000_000_000_000;

/// As many spans as `numbers`, each with that number as its id, and `fat` bytes of a value.
fn spans(numbers: std::ops::Range<u64>, fat: usize) -> Value {
    let span = |number: u64| {
        json!({
            "traceId": "00112233445566778899aabbccddeeff", "spanId": format!("{number:016x}"), "name": "GET /", "kind": 2,
            "startTimeUnixNano": (T + number).to_string(), "endTimeUnixNano": (T + number + 1_000_000).to_string(),
            "attributes": [
                {"key": "fat", "value": {"stringValue": "x".repeat(fat)}},
                {"key": "map", "value": {"kvlistValue": {"values": [{"key": "deep", "value": {"intValue": "7"}}]}}},
                {"key": "bytes", "value": {"bytesValue": "/wA="}},
            ],
        })
    };
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
    json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": numbers.map(span).collect::<Vec<_>>()}]}]})
}

/// Posts spans, some at a time; each is acknowledged when this returns.
async fn post(weir: &Weir, numbers: std::ops::Range<u64>, fat: usize) -> anyhow::Result<()> {
    for start in numbers.clone().step_by(20) {
        weir.post("otlp_http", "/v1/traces", &spans(start..(start + 20).min(numbers.end), fat)).await?;
    }
    Ok(())
}

fn ids(numbers: std::ops::Range<u64>) -> BTreeSet<String> {
    numbers.map(|number| format!("{number:016x}")).collect()
}

async fn receives(receiver: &Receiver, expected: &BTreeSet<String>) -> anyhow::Result<()> {
    let what = format!("{} spans are with the receiver", expected.len());
    until(&what, || async { Ok(receiver.span_ids()?.is_superset(expected).then_some(())) }).await?;
    Ok(())
}

/// A series of `/metrics`, by its whole name; 0 where there is none.
async fn metric(weir: &Weir, series: &str) -> anyhow::Result<u64> {
    let page = weir.page("/metrics").await?;
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    Ok(line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_default() as u64)
}

#[tokio::test]
async fn every_acknowledged_span_reaches_the_receiver_whatever_ends_in_between() -> anyhow::Result<()> {
    let certificates = Certificates::new()?;
    let mut receiver = Receiver::start(Some(&certificates)).await?;
    let url = format!("https://127.0.0.1:{}", receiver.port());
    let [ca, certificate, key] = certificates.of_the_client();
    let flags = [
        "--no-probe",
        "--export-otlp",
        &url,
        "--export-otlp-ca",
        &ca,
        "--export-otlp-certificate",
        &certificate,
        "--export-otlp-key",
        &key,
        "--export-otlp-header",
        "authorization=Bearer test",
    ];
    let store = Store::new()?;
    let mut weir = Weir::start_on(&store, &flags).await?;
    post(&weir, 1..41, 0).await?;
    receives(&receiver, &ids(1..41)).await?;

    // Away, and the sender killed meanwhile: the queue is on disk.
    receiver.stop()?;
    post(&weir, 41..101, 0).await?;
    until("it tried in vain", || async {
        Ok((metric(&weir, "weir_export_retries_total").await? > 0).then_some(()))
    })
    .await?;
    assert!(metric(&weir, "weir_export_queue_bytes").await? > 0);
    weir.process.kill()?;
    let mut weir = Weir::start_on(&store, &flags).await?;
    post(&weir, 101..141, 0).await?;
    receiver.start_again().await?;
    receives(&receiver, &ids(1..141)).await?;

    // Killed right after the acknowledgements, with the receiver there.
    post(&weir, 141..241, 0).await?;
    weir.process.kill()?;
    let weir = Weir::start_on(&store, &flags).await?;
    receives(&receiver, &ids(1..241)).await?;
    until("nothing waits", || async {
        Ok((metric(&weir, "weir_export_queue_bytes").await? == 0).then_some(()))
    })
    .await?;

    let requests = receiver.requests("spans")?;
    assert!(requests.iter().all(|request| request["authorization"] == "Bearer test"));
    let span = &requests[0]["items"][0];
    assert_eq!((&span["name"], &span["kind"]), (&json!("GET /"), &json!(2)));
    assert_eq!(span["resource"]["service.name"], json!({"stringValue": "shop"}));
    assert_eq!(span["attributes"]["bytes"], json!({"bytesValue": "/wA="}), "as it came: {span}");
    assert_eq!(span["attributes"]["map"]["kvlistValue"]["values"][0]["value"], json!({"intValue": "7"}));
    assert_eq!(weir.number("SELECT count(*) FROM spans WHERE operation = 'GET /'").await?, 240);
    Ok(())
}

#[tokio::test]
async fn a_receiver_of_another_authority_gets_nothing() -> anyhow::Result<()> {
    let (certificates, others) = (Certificates::new()?, Certificates::new()?);
    let receiver = Receiver::start(Some(&certificates)).await?;
    let url = format!("https://127.0.0.1:{}", receiver.port());
    let [_, certificate, key] = certificates.of_the_client();
    let [ca, ..] = others.of_the_client();
    let flags = [
        "--no-probe",
        "--export-otlp",
        &url,
        "--export-otlp-ca",
        &ca,
        "--export-otlp-certificate",
        &certificate,
        "--export-otlp-key",
        &key,
    ];
    let weir = Weir::start(&flags).await?;
    post(&weir, 1..2, 0).await?;
    until("it tried in vain", || async {
        Ok((metric(&weir, "weir_export_retries_total").await? > 0).then_some(()))
    })
    .await?;
    assert!(receiver.requests("spans")?.is_empty());
    assert!(weir.process.output().contains("certificate"), "the log says why: {}", weir.process.output());
    Ok(())
}

#[tokio::test]
async fn what_finds_no_room_is_counted_and_the_rest_arrives() -> anyhow::Result<()> {
    let mut receiver = Receiver::start(None).await?;
    receiver.stop()?;
    let url = format!("http://127.0.0.1:{}", receiver.port());
    let more = ["--no-probe", "--export-otlp", &url, "--export-otlp-queue-bytes", "1048576"];
    let weir = Weir::start(&more).await?;
    // 3 MB for a queue of one.
    post(&weir, 1..301, 10_000).await?;
    let lost = metric(&weir, r#"weir_export_lost_total{signal="spans",reason="queue_full"}"#).await?;
    assert!(lost > 0 && lost < 300, "{lost}");
    receiver.start_again().await?;
    until("what was not lost is there", || async {
        Ok((receiver.span_ids()?.len() as u64 + lost == 300).then_some(()))
    })
    .await?;
    // The newest were kept.
    assert!(receiver.span_ids()?.contains(&format!("{:016x}", 300)));
    let told = "SELECT sum(value) FROM probe_health WHERE counter = 'export_queue_full'";
    until("probe_health has them", || async { Ok((weir.number(told).await? as u64 == lost).then_some(())) })
        .await?;
    Ok(())
}

#[tokio::test]
async fn metrics_have_the_connectors_names() -> anyhow::Result<()> {
    let receiver = Receiver::start(None).await?;
    let url = format!("http://127.0.0.1:{}", receiver.port());
    let weir = Weir::start(&["--no-probe", "--export-otlp", &url, "--export-otlp-metrics", "1"]).await?;
    post(&weir, 1..6, 0).await?;
    let calls = || async {
        let requests = receiver.requests("metrics")?;
        let metrics = requests.iter().filter_map(|request| request["items"].as_array()).flatten();
        let all: Vec<Value> = metrics.cloned().collect();
        let last = |name: &str| all.iter().rev().find(|metric| metric["name"] == name).cloned();
        let calls =
            last("traces.span.metrics.calls").filter(|metric| metric["sum"]["dataPoints"][0]["asInt"] == "5");
        Ok(calls.zip(last("traces.span.metrics.duration")))
    };
    let ((calls, duration), _) = until("five calls are told of", calls).await?;
    assert_eq!((&calls["sum"]["isMonotonic"], &duration["unit"]), (&json!(true), &json!("s")));
    let labels: Vec<&str> = calls["sum"]["dataPoints"][0]["attributes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|attribute| attribute["key"].as_str())
        .collect();
    assert_eq!(labels, ["service.name", "span.name", "span.kind", "status.code"]);
    let points = &duration["histogram"]["dataPoints"][0];
    assert_eq!(points["count"], "5");
    assert_eq!(points["bucketCounts"].as_array().map(Vec::len), Some(21), "one more than bounds: {points}");
    Ok(())
}
