//! A real Jaeger in front of Weir: what is sent to the one is in the other, and both answer alike.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_e2e::{Process, Store, Weir, until};

use super::free_ports;

const SHOP: &str = "00112233445566778899aabbccddeeff";
const FAT: &str = "0000000000000000000000000000abcd";
const FAT_SPANS: usize = 300;

/// Asks the same of both; says how much was the same.
pub(crate) async fn check() -> anyhow::Result<()> {
    let dir = TempDir::with_prefix("weir-jaeger-")?;
    let [http, grpc, otlp] = free_ports()?;
    let weir = Weir::start_on(&Store::new()?, &["--no-probe"]).await?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut jaeger = Command::new(root.join("../../.tools/jaeger/jaeger"));
    jaeger.arg("--config").arg(root.join("benches/jaeger/storage.yaml"));
    for (name, port) in [("JAEGER_HTTP", http), ("JAEGER_GRPC", grpc), ("JAEGER_OTLP", otlp)] {
        jaeger.env(name, port.to_string());
    }
    jaeger.env("WEIR_STORAGE", weir.address("jaeger_storage")?.to_string());
    let mut jaeger = Process::start(&mut jaeger, &dir.path().join("log"))?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let now_ns = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos() as u64;
    let start = now_ns - 100_000_000_000;

    let to = format!("http://127.0.0.1:{otlp}/v1/traces");
    let take = || async {
        Ok(client.post(&to).json(&shop(start)).send().await.ok().filter(|a| a.status().is_success()))
    };
    until("Jaeger takes spans", take).await.context(jaeger.output())?;
    for part in 0..3 {
        client.post(&to).json(&fat(start, part)).send().await?.error_for_status().context(jaeger.output())?;
    }

    let ask = async |base: &str, path: &str| -> anyhow::Result<(u16, Value)> {
        let answer = client.get(format!("{base}{path}")).send().await?;
        let status = answer.status().as_u16();
        Ok((status, plain(serde_json::from_str(&answer.text().await?).unwrap_or_default())))
    };
    let (of_jaeger, of_weir) = (format!("http://127.0.0.1:{http}"), weir.url("jaeger")?);
    let questions = questions(start);
    let mut differ = Vec::new();
    for path in &questions {
        let (jaeger_s, weir_s) = (ask(&of_jaeger, path).await?, ask(&of_weir, path).await?);
        if jaeger_s != weir_s {
            differ.push(format!("{path}\n  jaeger {jaeger_s:.400?}\n  weir   {weir_s:.400?}"));
        }
    }
    ensure!(
        differ.is_empty(),
        "{} of {} answers differ:\n{}",
        differ.len(),
        questions.len(),
        differ.join("\n")
    );
    let (_, whole) = ask(&of_jaeger, &format!("/api/traces/{FAT}")).await?;
    let spans = whole["data"][0]["spans"].as_array().map(Vec::len);
    ensure!(spans == Some(FAT_SPANS), "of {FAT_SPANS} fat spans, {spans:?} came through Jaeger");
    jaeger.must_run()?;
    println!("jaeger: with Weir as its storage it answers {} questions as Weir does", questions.len());
    Ok(())
}

fn questions(start_ns: u64) -> Vec<String> {
    let us = start_ns / 1_000;
    let range = format!("start={}&end={}", us - 100_000_000, us + 100_000_000);
    let tagged = |service: &str, key: &str, value: &str| {
        let mut tags = String::new();
        for byte in json!({ key: value }).to_string().bytes() {
            let _ = write!(tags, "%{byte:02X}");
        }
        format!("/api/traces?service={service}&{range}&tags={tags}")
    };
    let mut all = vec![
        "/api/services".to_owned(),
        "/api/services/front/operations".to_owned(),
        "/api/services/nobody/operations".to_owned(),
        "/api/operations?service=front".to_owned(),
        "/api/operations?service=front&spanKind=server".to_owned(),
        format!("/api/traces/{SHOP}"),
        format!("/api/traces/{SHOP}?raw=true"),
        format!("/api/traces/{FAT}"),
        "/api/traces/beef".to_owned(),
        format!("/api/traces?service=front&{range}"),
        format!("/api/traces?service=front&{range}&limit=1"),
        format!("/api/traces?service=nobody&{range}"),
        format!("/api/traces?service=back&{range}&operation=POST%20%2Fpay"),
        format!("/api/traces?service=front&{range}&minDuration=1ms&maxDuration=6ms"),
        format!("/api/traces?service=front&{range}&minDuration=6ms"),
        format!("/api/traces?traceID={SHOP}&traceID=beef"),
        format!("/api/dependencies?endTs={}&lookback=604800000", us / 1_000 + 60_000),
        "/api/v3/services".to_owned(),
        "/api/v3/operations?service=front".to_owned(),
        format!("/api/v3/traces/{SHOP}"),
        "/api/v3/traces/beef".to_owned(),
    ];
    for (service, key, value) in [
        ("front", "http.response.status_code", "500"),
        ("front", "ratio", "0.5"),
        ("front", "yes", "true"),
        ("front", "list", r#"["a","b"]"#),
        ("front", "error", "true"),
        ("back", "error", "true"),
        ("back", "zone", "z1"),
        ("back", "exception.type", "Poor"),
        ("back", "span.kind", "server"),
        ("back", "span.kind", "client"),
    ] {
        all.push(tagged(service, key, value));
    }
    all
}

/// In one order: names, tags and processes come in another one from each version of Jaeger's.
fn plain(mut answer: Value) -> Value {
    let traces = answer.get_mut("data").and_then(Value::as_array_mut);
    for trace in traces.into_iter().flatten().filter_map(Value::as_object_mut) {
        let processes = trace.remove("processes").unwrap_or_default();
        let spans = trace.get_mut("spans").and_then(Value::as_array_mut);
        for span in spans.into_iter().flatten().filter_map(Value::as_object_mut) {
            let id = span.remove("processID").unwrap_or_default();
            let process = id.as_str().map(|id| processes[id].clone()).unwrap_or_default();
            span.insert("process".to_owned(), process);
        }
    }
    sort(&mut answer);
    answer
}

fn sort(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(sort);
            items.sort_by_cached_key(Value::to_string);
        }
        Value::Object(fields) => {
            fields.values_mut().for_each(sort);
            // Go writes messages that say nothing.
            fields.retain(|_, value| *value != json!({}));
        }
        _ => {}
    }
}

/// A front that calls a back, which fails; with attributes of every type.
fn shop(start: u64) -> Value {
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    json!({"resourceSpans": [
        {
            "resource": {"attributes": [text("service.name", "front"), text("host.name", "h1")]},
            "scopeSpans": [{"scope": {"name": "lib", "version": "1"}, "spans": [
                {
                    "traceId": SHOP, "spanId": "00000000000000a1", "name": "GET /cart", "kind": 2,
                    "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 5_000_000).to_string(),
                    "attributes": [
                        {"key": "http.response.status_code", "value": {"intValue": "500"}},
                        {"key": "big", "value": {"intValue": "9007199254740993"}},
                        {"key": "ratio", "value": {"doubleValue": 0.5}},
                        {"key": "yes", "value": {"boolValue": true}},
                        {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}},
                    ],
                    "status": {"code": 1},
                },
                {
                    "traceId": SHOP, "spanId": "00000000000000a2", "parentSpanId": "00000000000000a1", "name": "call", "kind": 3,
                    "startTimeUnixNano": (start + 1_000_000).to_string(), "endTimeUnixNano": (start + 4_000_999).to_string(),
                },
            ]}],
        },
        {
            "resource": {"attributes": [text("service.name", "back"), text("zone", "z1")]},
            "scopeSpans": [{"spans": [{
                "traceId": SHOP, "spanId": "00000000000000b1", "parentSpanId": "00000000000000a2", "traceState": "v=1",
                "name": "POST /pay", "kind": 2,
                "startTimeUnixNano": (start + 2_000_000).to_string(), "endTimeUnixNano": (start + 3_000_000).to_string(),
                "attributes": [text("tenant", "t1"), text("card", "visa")],
                "status": {"code": 2, "message": "no money"},
                "events": [{
                    "timeUnixNano": (start + 2_500_000).to_string(), "name": "exception",
                    "attributes": [text("exception.type", "Poor")],
                }],
                "links": [{"traceId": FAT, "spanId": "0000000000000001"}],
            }]}],
        },
    ]})
}

/// A third of a trace of 9 MB, more than one message of gRPC's takes.
fn fat(start: u64, part: usize) -> Value {
    let span = |number: usize| {
        let at = start + number as u64 * 1_000;
        json!({
            "traceId": FAT, "spanId": format!("{:016x}", number + 1), "name": "fat", "kind": 1,
            "startTimeUnixNano": at.to_string(), "endTimeUnixNano": (at + 1_000).to_string(),
            "attributes": [{"key": "body", "value": {"stringValue": "x".repeat(30_000)}}],
        })
    };
    let spans: Vec<Value> = (0..FAT_SPANS / 3).map(|number| span(part * (FAT_SPANS / 3) + number)).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "fat"}}]},
        "scopeSpans": [{"spans": spans}],
    }]})
}
