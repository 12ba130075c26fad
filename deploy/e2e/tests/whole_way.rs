//! From the kernel to an answer: one real `weir up`, real TLS by openssl, asked the ways that people ask.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use weir_e2e::{Process, Store, TlsServer, Weir, need_root, run, until};

const VISITS: usize = 5;

/// Prints how long it takes from the end of a connection to its row (budget: 2 s); asserting that would test the machine.
#[tokio::test]
async fn a_tls_connection_is_on_the_flows_page_with_sni_and_ja4() -> anyhow::Result<()> {
    let (_alone, weir, server) = observed().await?;
    let mut times = Vec::new();
    for visit in 0..VISITS {
        let sni = format!("visit-{visit}.whole-way.example");
        let peer = server.visit(&sni, &[])?;
        let closed = Instant::now();
        let look = || async { flow(&weir, &sni, "client").await };
        let (row, _) = until("the flow with its JA4", look).await?;
        times.push(closed.elapsed());
        assert_eq!(row["server_port"], server.address().port(), "{row}");
        assert_eq!(row["client_process"], "openssl", "{row}");
        assert_eq!(row["client_pid"], peer.pid, "{row}");
        assert_eq!(row["tls_version"], "1.3", "{row}");
        assert!(ja4_of(&row).is_some_and(|ja4| ja4.starts_with("t13d") && ja4.contains("h1_")), "{row}");
        assert!(row["client_bytes"].as_i64() > Some(0) && row["server_bytes"].as_i64() > Some(0), "{row}");
    }
    times.sort_unstable();
    say(&format!(
        "event to answer, {VISITS} visits: median {:?}, worst {:?}",
        times[VISITS / 2],
        times[VISITS - 1]
    ));
    Ok(())
}

#[tokio::test]
async fn a_tls_connection_is_a_trace_with_its_handshake_as_a_child() -> anyhow::Result<()> {
    let (_alone, weir, server) = observed().await?;
    let sni = "trace.whole-way.example";
    server.visit(sni, &[])?;
    let connection = "select distinct connection_id from tls_handshakes where tls_sni";
    let roots = format!(
        "select trace_id, service from spans where operation = 'TCP connection' and parent_span_id is null and connection_id in ({connection} = '{sni}')"
    );
    let look = || async { Ok(weir.sql(&roots).await?.into_iter().next()) };
    let (root, _) = until("the connection's span", look).await?;
    let [trace, service] = [&root[0], &root[1]].map(|value| value.as_str().unwrap_or_default().to_owned());

    // The search page of Jaeger's UI finds it by its service …
    let from = run("date", ["-u", "-d", "5 minutes ago", "+%FT%T.000Z"])?;
    let to = run("date", ["-u", "-d", "1 minute", "+%FT%T.000Z"])?;
    let search = [
        ("query.serviceName", service.as_str()),
        ("query.startTimeMin", from.trim()),
        ("query.startTimeMax", to.trim()),
        ("query.searchDepth", "200"),
    ];
    let found = weir.get("/api/v3/trace-summaries", &search).await?;
    let summaries = found["summaries"].as_array().context("summaries")?;
    assert!(summaries.iter().any(|summary| summary["traceId"] == trace.as_str()), "{trace} in {found}");

    // … and its trace page opens it.
    let opened = weir.get(&format!("/api/traces/{trace}"), &[]).await?;
    let spans = opened["data"][0]["spans"].as_array().context("spans")?.clone();
    let handshake =
        spans.iter().find(|span| span["operationName"] == "TLS handshake").context("a handshake span")?;
    let parent = &handshake["references"][0]["spanID"];
    assert!(
        spans.iter().any(|span| span["spanID"] == *parent),
        "the handshake hangs below its connection: {opened}"
    );
    assert!(handshake["tags"].to_string().contains("tls.protocol.version"), "{handshake}");
    Ok(())
}

/// Two ways to the same row: what the probe saw and what tcpdump wrote must agree.
#[tokio::test]
async fn a_capture_of_a_connection_imports_to_the_facts_that_the_probe_saw() -> anyhow::Result<()> {
    let (_alone, weir, server) = observed().await?;
    let sni = "both-ways.whole-way.example";
    let capture = weir.store().path("visit.pcap");
    record(&weir, &server, &capture, sni).await?;
    weir.tool_with(&["import"], &capture)?;
    let facts = |source: &'static str| {
        let sql = format!(
            "select tls_ja4, tls_ja3, tls_version, tls_cipher, tls_alpn, client_port from tls_handshakes \
             where tls_sni = '{sni}' and source = '{source}' limit 1"
        );
        let weir = &weir;
        async move {
            let look = || async { Ok(weir.sql(&sql).await?.into_iter().next()) };
            until(&format!("the handshake from {source}"), look).await.map(|(row, _)| row)
        }
    };
    assert_eq!(facts("pcap").await?, facts("probe").await?);
    Ok(())
}

#[tokio::test]
async fn sql_and_export_answer_on_the_command_line() -> anyhow::Result<()> {
    let (_alone, weir, server) = observed().await?;
    let sni = "tools.whole-way.example";
    server.visit(sni, &[])?;
    until("the flow with its JA4", || async { flow(&weir, sni, "client").await }).await?;

    let table = weir.tool(&[
        "sql",
        &format!("select tls_sni, count(*) as n from flows where tls_sni = '{sni}' group by 1"),
    ])?;
    assert!(table.contains(sni) && table.contains("tls_sni"), "{table}");
    let refused = weir.tool(&["sql", "select nothing from flows"]).expect_err("no such column");
    assert!(format!("{refused:#}").contains("nothing"), "{refused:#}");

    for format in ["ocsf", "jsonl", "csv"] {
        let file = weir.store().path(&format!("export.{format}"));
        weir.tool_with(&["export", "--since", "10m", "--format", format, "-o"], &file)?;
        let text = std::fs::read_to_string(&file)?;
        assert!(text.contains(sni), "{format}: {} bytes without {sni}", text.len());
        if format != "csv" {
            for line in text.lines() {
                serde_json::from_str::<Value>(line).with_context(|| format!("{format}: {line}"))?;
            }
        }
        if format == "ocsf" {
            // Network Activity, with what OCSF requires of every event.
            let event = text.lines().find(|line| line.contains(sni)).context("the connection's event")?;
            let event: Value = serde_json::from_str(event)?;
            assert_eq!(event["class_uid"], 4001, "{event}");
            for field in ["activity_id", "category_uid", "metadata", "severity_id", "time", "type_uid"] {
                assert!(!event[field].is_null(), "{field} in {event}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn rows_survive_kill_9_of_the_whole_process() -> anyhow::Result<()> {
    let (_alone, mut weir, server) = observed().await?;
    let sni = "killed.whole-way.example";
    server.visit(sni, &[])?;
    until("one row of both ends", || async { both_ends(&weir, sni).await }).await?;
    weir.post("otlp_http", "/v1/traces", &spans(1_000)).await?;
    let kept = format!("select sum(client_bytes) from flows where tls_sni = '{sni}'");
    let bytes = weir.number(&kept).await?;
    weir.process.kill()?;

    let again = Weir::start_on(weir.store(), &["--no-probe"]).await?;
    assert_eq!(again.number("select count(*) from spans where source = 'otlp'").await?, 1_000);
    assert_eq!(again.number(&kept).await?, bytes, "counted once, before rows are one and after");
    until("one row again", || async { both_ends(&again, sni).await }).await?;
    let row = flow(&again, sni, "client").await?;
    assert!(row.is_some(), "the Flows page still has it, with its JA4");
    Ok(())
}

/// Who asks "how much" must not need to know how many probes saw it.
#[tokio::test]
async fn what_both_ends_tell_is_one_row_and_counts_once() -> anyhow::Result<()> {
    let (_alone, weir, server) = observed().await?;
    let sni = "paired.whole-way.example";
    let peer = server.visit(sni, &[])?;
    let look = || async { both_ends(&weir, sni).await };
    let (row, _) = until("one row of both ends", look).await?;
    assert_eq!((&row["client_process"], &row["client_pid"]), (&json!("openssl"), &json!(peer.pid)), "{row}");
    assert_eq!(row["server_process"], "openssl", "{row}");
    assert_ne!(row["server_pid"], row["client_pid"], "{row}");
    let sums = weir
        .sql(&format!(
            "select sum(connections), sum(client_bytes), sum(server_bytes) from flows where tls_sni = '{sni}'"
        ))
        .await?;
    assert_eq!(sums[0], [json!(1), row["client_bytes"].clone(), row["server_bytes"].clone()], "{row}");
    Ok(())
}

/// The only row of that server name, once it is of both ends.
async fn both_ends(weir: &Weir, sni: &str) -> anyhow::Result<Option<Value>> {
    let page = weir.get("/api/v1/flows", &[("filter", &format!("tls_sni={sni}"))]).await?;
    let rows = page["rows"].as_array().context("rows")?;
    Ok(rows.first().filter(|row| rows.len() == 1 && row["observer"] == "both").cloned())
}

#[tokio::test]
async fn without_the_probe_imports_and_otlp_still_work() -> anyhow::Result<()> {
    let (_alone, observed, server) = observed().await?;
    let capture = observed.store().path("visit.pcap");
    let sni = "no-probe.whole-way.example";
    record(&observed, &server, &capture, sni).await?;

    let weir = Weir::start(&["--no-probe"]).await?;
    assert_eq!(weir.ready("probe"), "off");
    let status = weir.get("/api/v1/status", &[]).await?;
    assert_eq!(status["probe"]["state"], "off", "{status}");
    weir.tool_with(&["import"], &capture)?;
    weir.post("otlp_http", "/v1/traces", &spans(7)).await?;
    assert_eq!(weir.number("select count(*) from spans where source = 'otlp'").await?, 7);
    let imported = format!("select count(*) from flows where tls_sni = '{sni}' and source = 'pcap'");
    until("the imported flow", || async { Ok((weir.number(&imported).await? > 0).then_some(())) }).await?;
    Ok(())
}

#[tokio::test]
async fn a_clean_stop_ends_well_and_frees_the_store() -> anyhow::Result<()> {
    let mut weir = Weir::start(&["--no-probe"]).await?;
    weir.post("otlp_http", "/v1/traces", &spans(3)).await?;
    weir.process.signal(Signal::SIGTERM)?;
    let status = weir.process.ended().await?;
    assert!(status.success(), "{status}\n{}", weir.process.output());
    let again = Weir::start_on(weir.store(), &["--no-probe"]).await?;
    assert_eq!(again.number("select count(*) from spans").await?, 3);
    Ok(())
}

#[tokio::test]
async fn a_second_weir_on_the_same_store_is_refused_with_a_reason() -> anyhow::Result<()> {
    let store = Store::new()?;
    let first = Weir::start_on(&store, &["--no-probe"]).await?;
    let Err(refused) = Weir::start_on(&store, &["--no-probe"]).await else {
        bail!("two processes in one store")
    };
    assert!(format!("{refused:#}").contains("data"), "names the directory: {refused:#}");
    assert_eq!(first.number("select count(*) from flows").await?, 0, "the first one is unharmed");
    Ok(())
}

/// Exchanges are durable at once, and their spans wait in memory for the rest of the trace.
#[tokio::test]
async fn a_crash_costs_no_trace_and_doubles_no_span() -> anyhow::Result<()> {
    need_root();
    let _alone = ALONE.lock().await;
    let store = Store::new()?;
    let mut weir = Weir::start_on(&store, &[]).await?;
    // This test's own questions are the traffic.
    let told = "select count(*) from exchanges where multiplexed = false";
    until("exchanges of this test", || async { Ok((weir.number(told).await? >= 40).then_some(())) }).await?;
    weir.process.kill()?;
    let crash = run("date", ["-u", "+%FT%T.%N"])?;
    let weir = Weir::start_on(&store, &[]).await?;
    let before = format!("time < timestamp '{}'", crash.trim());
    let exchanges = weir.number(&format!("{told} and {before}")).await?;
    assert!(exchanges >= 40, "{exchanges}: what was answered is durable");
    let spans = format!("spans where source = 'stitched' and operation like '% exchange' and {before}");
    let all = format!("select count(*) from {spans}");
    let look = || async { Ok((weir.number(&all).await? >= exchanges).then_some(())) };
    until("spans of all exchanges before the crash", look).await?;
    // An orderly end tells of all that is left, and the next start reads all of it back again.
    weir.process.signal(Signal::SIGTERM)?;
    let mut weir = weir;
    weir.process.ended().await?;
    let weir = Weir::start_on(&store, &[]).await?;
    let later =
        "select count(*) from spans where source = 'stitched' and operation like '% exchange' and not ";
    let since = weir.number(&format!("{later} ({before})")).await?;
    let look =
        || async { Ok((weir.number(&format!("{later} ({before})")).await? > since + 20).then_some(())) };
    until("spans of the newest exchanges", look).await?;
    assert_eq!(weir.number(&all).await?, exchanges, "one for each end of each exchange");
    let different = format!("select count(distinct span_id) from {spans}");
    assert_eq!(weir.number(&different).await?, exchanges);
    Ok(())
}

/// One probe at a time: another test's would be measured as this one's slowness.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A Weir whose probe runs, and a TLS server to talk to.
async fn observed() -> anyhow::Result<(MutexGuard<'static, ()>, Weir, TlsServer)> {
    need_root();
    let alone = ALONE.lock().await;
    let weir = Weir::start(&[]).await?;
    if weir.ready("probe") != "running" {
        bail!("the probe is {}\n{}", weir.ready("probe"), weir.process.output());
    }
    Ok((alone, weir, TlsServer::start("whole-way.example").await?))
}

/// The newest flow row of this server name from that end, once it carries the JA4.
async fn flow(weir: &Weir, sni: &str, observer: &str) -> anyhow::Result<Option<Value>> {
    let page = weir.get("/api/v1/flows", &[("filter", &format!("tls_sni={sni}"))]).await?;
    let rows = page["rows"].as_array().context("rows")?;
    let of_observer = |row: &&Value| row["observer"] == observer || row["observer"] == "both";
    Ok(rows.iter().filter(of_observer).find(|row| ja4_of(row).is_some()).cloned())
}

fn ja4_of(row: &Value) -> Option<&str> {
    row["tls_ja4"].as_str()
}

/// Has tcpdump write one visit to a file.
async fn record(weir: &Weir, server: &TlsServer, capture: &Path, sni: &str) -> anyhow::Result<()> {
    let mut command = Command::new("tcpdump");
    command.args(["-i", "lo", "-U", "--immediate-mode", "-Z", "root", "-w"]).arg(capture);
    command.args(["tcp", "port", &server.address().port().to_string()]);
    let mut tcpdump = Process::start(&mut command, &weir.store().path("tcpdump.log"))?;
    until("tcpdump listens", || async { Ok(tcpdump.output().contains("listening on").then_some(())) })
        .await?;
    server.visit(sni, &[])?;
    // The connection's last packets are in the file when it has stopped growing past the FINs of both ends.
    let fins = || async {
        let read = run("tcpdump", ["-nr", capture.to_str().context("path")?, "tcp[tcpflags] & tcp-fin != 0"]);
        Ok((read.unwrap_or_default().lines().count() >= 2).then_some(()))
    };
    until("both FINs are in the capture", fins).await?;
    tcpdump.signal(Signal::SIGINT)?;
    tcpdump.ended().await?;
    Ok(())
}

/// An OTLP request with `count` spans.
fn spans(count: usize) -> Value {
    let span = |number: usize| {
        json!({
            "traceId": format!("{:032x}", number + 1),
            "spanId": format!("{:016x}", number + 1),
            "name": "GET /",
            "kind": 2,
            "startTimeUnixNano": "1795505045000000000",
            "endTimeUnixNano": "1795505045010000000",
        })
    };
    json!({ "resourceSpans": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "whole-way" } }] },
        "scopeSpans": [{ "spans": (0..count).map(span).collect::<Vec<_>>() }],
    }] })
}

#[expect(clippy::print_stderr, reason = "a measured figure, for the reader of the test's output")]
fn say(text: &str) {
    eprintln!("{text}");
}
