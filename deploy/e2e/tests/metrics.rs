//! `/metrics`, read by a real Prometheus and by a strict parser of OpenMetrics; the truth is what was sent.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_e2e::{Process, Weir, run, until};

const TRACE: &str = "00112233445566778899aabbccddeeff";

fn span(id: u64, parent: u64, name: &str, kind: u8, ms: u64) -> Value {
    let start = 1_795_000_000_000_000_000;
    let mut span = json!({
        "traceId": TRACE, "spanId": format!("{id:016x}"), "name": name, "kind": kind,
        "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + ms * 1_000_000).to_string(),
    });
    if parent != 0 {
        span["parentSpanId"] = format!("{parent:016x}").into();
    }
    span
}

fn of(service: &str, spans: &[Value]) -> Value {
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]});
    json!({"resource": resource, "scopeSpans": [{"spans": spans}]})
}

/// Ten requests to the front, each of which asks the back once; every fifth fails there.
fn shop() -> Value {
    let (mut front, mut back) = (Vec::new(), Vec::new());
    for number in 1..=10 {
        front.push(span(number, 0, "GET /cart", 2, 30));
        front.push(span(100 + number, number, "call", 3, 20));
        let mut asked = span(200 + number, 100 + number, "POST \"pay\"\\", 2, 10);
        if number % 5 == 0 {
            asked["status"] = json!({"code": 2});
        }
        back.push(asked);
    }
    json!({"resourceSpans": [of("front", &front), of("back", &back)]})
}

/// A Prometheus of the test's own that scrapes `weir`.
struct Prometheus {
    process: Process,
    url: String,
    _dir: TempDir,
}

impl Prometheus {
    fn start(weir: &Weir) -> anyhow::Result<Prometheus> {
        let dir = TempDir::with_prefix("weir-prometheus-")?;
        // It can't say which port it was given, so one that was free a moment ago is named.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = format!(
            "scrape_configs: [{{job_name: weir, scrape_interval: 1s, static_configs: [{{targets: ['{}']}}]}}]\n",
            weir.address("http")?
        );
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, config)?;
        let mut command = Command::new("prometheus");
        command.arg("--config.file").arg(&file).arg("--storage.tsdb.path").arg(dir.path().join("data"));
        command.args([&format!("--web.listen-address={address}"), "--enable-feature=exemplar-storage"]);
        let process = Process::start(&mut command, &dir.path().join("log"))?;
        Ok(Prometheus { process, url: format!("http://{address}"), _dir: dir })
    }

    /// What it answers, once it does.
    async fn ask(&mut self, path: &str, query: &str) -> anyhow::Result<Value> {
        self.process.must_run()?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let request = client.get(format!("{}/api/v1/{path}", self.url)).query(&[
            ("query", query),
            ("start", "1"),
            ("end", "3000000000"),
        ]);
        let Ok(response) = request.send().await else { return Ok(Value::Null) };
        Ok(serde_json::from_str::<Value>(&response.text().await?).unwrap_or_default()["data"].clone())
    }

    /// Waits until the query's one value is `expected`.
    async fn until(&mut self, query: &str, expected: &str) -> anyhow::Result<()> {
        let mut last = Value::Null;
        for _ in 0..1_500 {
            last = self.ask("query", query).await?;
            if last["result"][0]["value"][1] == expected {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        anyhow::bail!("{query} is {last}, and not {expected}")
    }
}

#[tokio::test]
async fn a_real_prometheus_has_rates_errors_durations_edges_and_exemplars() -> anyhow::Result<()> {
    let weir = Weir::start(&["--no-probe", "--service-graph-wait", "1"]).await?;
    weir.post("otlp_http", "/v1/traces", &shop()).await?;
    let mut prometheus = Prometheus::start(&weir)?;
    let server = r#"{service_name="back",span_kind="SPAN_KIND_SERVER""#;
    for (query, expected) in [
        (format!("sum(traces_span_metrics_calls_total{server}}})"), "10"),
        (format!(r#"traces_span_metrics_calls_total{server},status_code="STATUS_CODE_ERROR"}}"#), "2"),
        (format!("sum(traces_span_metrics_duration_seconds_count{server}}})"), "10"),
        (r#"traces_span_metrics_duration_seconds_bucket{span_name="call",le="0.2"}"#.to_owned(), "10"),
        (r#"traces_span_metrics_duration_seconds_bucket{span_name="call",le="0.01"}"#.to_owned(), "0"),
        (r#"traces_service_graph_request_total{client="front",server="back"}"#.to_owned(), "10"),
        (r#"traces_service_graph_request_failed_total{client="front",server="back"}"#.to_owned(), "2"),
        (r#"traces_service_graph_request_total{client="user",server="front"}"#.to_owned(), "10"),
        (
            r#"round(traces_service_graph_request_client_seconds_sum{client="front",server="back"}, 0.001)"#
                .to_owned(),
            "0.2",
        ),
        ("count(traces_service_graph_request_total)".to_owned(), "2"),
        (r#"weir_ingest_rows_total{table="spans"}"#.to_owned(), "30"),
    ] {
        prometheus.until(&query, expected).await?;
    }
    let exemplars = prometheus.ask("query_exemplars", "traces_span_metrics_duration_seconds_bucket").await?;
    assert_eq!(exemplars[0]["exemplars"][0]["labels"]["trace_id"], TRACE, "{exemplars}");
    // The network's bytes and what waits are there to be asked for too.
    let names = prometheus.ask("label/__name__/values", "").await?;
    for name in ["weir_wal_bytes", "weir_store_queue_batches", "weir_metrics_queue_batches", "up"] {
        assert!(names.as_array().is_some_and(|names| names.contains(&name.into())), "{name} in {names}");
    }
    Ok(())
}

#[tokio::test]
async fn the_page_is_openmetrics_to_a_strict_parser_and_prometheus_text_to_promtool() -> anyhow::Result<()> {
    let weir = Weir::start(&["--no-probe", "--service-graph-wait", "1"]).await?;
    weir.post("otlp_http", "/v1/traces", &shop()).await?;
    let url = format!("{}/metrics", weir.url("http")?);
    let client = reqwest::Client::builder().no_proxy().build()?;
    let counted = || async {
        let page =
            client.get(&url).header("accept", "application/openmetrics-text").send().await?.text().await?;
        Ok(page.contains(r#"traces_service_graph_request_total{client="front""#).then_some(page))
    };
    let (page, _) = until("the requests are counted", counted).await?;
    let dir = TempDir::new()?;
    let file = dir.path().join("page");
    std::fs::write(&file, &page)?;
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/otlp/bin/python");
    let script = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        families = {family.name: family for family in parse(open(sys.argv[1], newline='').read())}\n\
        calls = families['traces_span_metrics_calls']\n\
        print(int(sum(sample.value for sample in calls.samples)), calls.samples[0].exemplar.labels['trace_id'])\n\
        print(next(s.labels['span_name'] for s in calls.samples if s.labels['service_name'] == 'back'))\n";
    let told = run(&python, ["-c", script, file.to_str().context("a path in UTF-8")?])
        .context("run `make setup`")?;
    assert_eq!(told, format!("30 {TRACE}\nPOST \"pay\"\\\n"));
    let plain = weir.page("/metrics").await?;
    assert!(!plain.contains("# EOF") && !plain.contains(TRACE), "no exemplars in the old format");
    std::fs::write(&file, plain)?;
    run("sh", ["-c", &format!("promtool check metrics < {}", file.display())])?;
    Ok(())
}

#[tokio::test]
async fn labels_beyond_the_bound_are_counted_together_and_that_is_counted() -> anyhow::Result<()> {
    let weir = Weir::start(&["--no-probe", "--metrics-series", "3"]).await?;
    let spans: Vec<Value> = (1..=10).map(|number| span(number, 0, &format!("GET /{number}"), 2, 1)).collect();
    weir.post("otlp_http", "/v1/traces", &json!({"resourceSpans": [of("shop", &spans)]})).await?;
    let counted = || async {
        let page = weir.page("/metrics").await?;
        Ok(page
            .contains("traces_span_metrics_calls_total{otel_metric_overflow=\"true\"} 7\n")
            .then_some(page))
    };
    let (page, _) = until("seven spans have no room", counted).await?;
    assert!(page.contains("weir_metrics_overflowed_total{family=\"spans\"} 7\n"), "{page}");
    assert_eq!(
        page.lines().filter(|line| line.starts_with("traces_span_metrics_calls_total{service")).count(),
        3
    );
    Ok(())
}
