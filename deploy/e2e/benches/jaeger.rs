//! A real Jaeger behind Weir, and one in front of it; `make jaeger`. Behind it, as a receiver of what Weir exports: are all
//! spans of all traces there, after it was away and Weir was killed? In front (`jaeger/storage.rs`), with Weir as its storage:
//! does it answer as Weir does?

#![expect(clippy::print_stdout, reason = "it says what it found")]

#[path = "jaeger/storage.rs"]
mod storage;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_e2e::{Process, Store, Weir, until};

const TRACES: u64 = 200;
const SPANS: u64 = 5;

#[tokio::main]
async fn main() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for checked in [export().await, storage::check().await] {
        if let Err(error) = checked {
            println!("jaeger: {error:#}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

async fn export() -> anyhow::Result<()> {
    let dir = TempDir::with_prefix("weir-jaeger-")?;
    let [http, grpc, otlp] = free_ports()?;
    let url = format!("http://127.0.0.1:{otlp}");
    let store = Store::new()?;
    let flags = ["--no-probe", "--export-otlp", &url, "--export-otlp-metrics", "0"];
    // Jaeger isn't there yet.
    let mut weir = Weir::start_on(&store, &flags).await?;
    for number in 0..TRACES / 2 {
        weir.post("otlp_http", "/v1/traces", &trace(number)).await?;
    }
    weir.process.kill()?;
    let weir = Weir::start_on(&store, &flags).await?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut jaeger = Command::new(root.join("../../.tools/jaeger/jaeger"));
    jaeger.arg("--config").arg(root.join("benches/jaeger/jaeger.yaml"));
    for (name, port) in [("JAEGER_HTTP", http), ("JAEGER_GRPC", grpc), ("JAEGER_OTLP", otlp)] {
        jaeger.env(name, port.to_string());
    }
    let mut jaeger = Process::start(&mut jaeger, &dir.path().join("log"))?;
    for number in TRACES / 2..TRACES {
        weir.post("otlp_http", "/v1/traces", &trace(number)).await?;
    }
    let client = reqwest::Client::builder().no_proxy().build()?;
    for number in 0..TRACES {
        let asked = format!("http://127.0.0.1:{http}/api/traces/{}", id(number));
        let whole = || async {
            let Ok(answer) = client.get(&asked).send().await else { return Ok(None) };
            let answer: Value = serde_json::from_str(&answer.text().await?).unwrap_or_default();
            let spans = answer["data"][0]["spans"].as_array().map(Vec::len);
            Ok((spans == Some(SPANS as usize)).then_some(answer))
        };
        let (answer, _) = until(&format!("trace {number} is whole"), whole).await.context(jaeger.output())?;
        let mut names: Vec<_> = answer["data"][0]["spans"].as_array().into_iter().flatten().collect();
        names.sort_by_key(|span| span["operationName"].as_str().map(str::to_owned));
        for (place, span) in names.iter().enumerate() {
            ensure!(span["operationName"] == format!("step {place}"), "{span}");
            let number_of_it = json!({"key": "number", "type": "int64", "value": number});
            ensure!(span["tags"].as_array().is_some_and(|tags| tags.contains(&number_of_it)), "{span}");
        }
    }
    jaeger.must_run()?;
    println!("jaeger: all {SPANS} spans of each of {TRACES} traces are there");
    Ok(())
}

fn id(number: u64) -> String {
    format!("{:032x}", number + 1)
}

fn trace(number: u64) -> Value {
    let span = |place: u64| {
        let start = 1_795_000_000_000_000_000 + number;
        let mut span = json!({
            "traceId": id(number), "spanId": format!("{:016x}", number * SPANS + place + 1), "name": format!("step {place}"),
            "kind": 2, "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 1_000_000).to_string(),
            "attributes": [{"key": "number", "value": {"intValue": number.to_string()}}],
        });
        if place > 0 {
            span["parentSpanId"] = format!("{:016x}", number * SPANS + place).into();
        }
        span
    };
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
    json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": (0..SPANS).map(span).collect::<Vec<_>>()}]}]})
}

/// Ports that were free a moment ago.
fn free_ports() -> anyhow::Result<[u16; 3]> {
    let listeners = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}
