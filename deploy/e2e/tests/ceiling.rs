//! `--memory-limit` holds under any load: senders that are many times faster than what can be stored fill a real `weir up`,
//! which stays below its limit, asks them to come again, and has every row once when they have.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use weir_e2e::{PATIENCE, Process, Weir, until};
use weir_model::{ExchangeRow, FlowRow, ToSmolStr as _, format_smolstr, ids};
use weir_wire::{ShipStats, Shipper, ShipperConfig};

/// The least that it takes; what a sender has in flight alone is more.
const LIMIT_MB: u64 = 256;
/// Senders at the same time; together they have two hundred batches in flight.
const SENDERS: u64 = 24;
const FLOWS_EACH: u64 = 50_000;
const EXCHANGES_EACH: u64 = 10_000;
/// Requests with applications' spans, of the largest size that is taken.
const REQUESTS: u64 = 40;
const SPANS_EACH: u64 = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_stays_below_the_memory_limit_and_no_row_is_lost() -> anyhow::Result<()> {
    let weir = Weir::start(&["--no-probe", "--memory-limit", &format!("{LIMIT_MB}MiB")]).await?;
    let endpoint = weir.url("flight")?;
    let senders: Vec<_> = (0..SENDERS).map(|sender| tokio::spawn(send(endpoint.clone(), sender))).collect();
    let requests: Vec<_> = (0..REQUESTS)
        .map(|request| tokio::spawn(post(weir.url("otlp_http").unwrap_or_default(), request)))
        .collect();
    let mut all = ShipStats::default();
    for sender in senders {
        let stats = sender.await??;
        all.acked_rows += stats.acked_rows;
        all.refused_rows += stats.refused_rows;
        all.sent_batches += stats.sent_batches;
        all.acked_batches += stats.acked_batches;
        all.reconnects += stats.reconnects;
    }
    let mut put_off = 0;
    for request in requests {
        put_off += request.await??;
    }
    ensure!((all.acked_rows, all.refused_rows) == (SENDERS * (FLOWS_EACH + EXCHANGES_EACH), 0), "{all:?}");

    // Numbers that no row lost, doubled or changed would leave as they are.
    let flows = SENDERS * FLOWS_EACH;
    let sums = "select count(*), sum(client_bytes), sum(client_bytes * client_bytes) from flows where source = 'flood'";
    let squares = (0..flows).map(|id| id * id).sum::<u64>();
    assert_eq!(numbers(&weir, sums).await?, [flows, flows * (flows - 1) / 2, squares]);
    let counts = [
        ("exchanges where node like 'flood-%'", SENDERS * EXCHANGES_EACH),
        ("spans where source = 'otlp'", REQUESTS * SPANS_EACH),
        // What follows from a batch is stored with it.
        ("spans where operation = 'TCP connection'", flows),
    ];
    for (of, expected) in counts {
        assert_eq!(numbers(&weir, &format!("select count(*) from {of}")).await?, [expected], "{of}");
    }
    let told = "select coalesce(sum(value), 0) from probe_health where counter = 'intake_full'";
    let look = || async { Ok(Some(numbers(&weir, told).await?).filter(|told| told[0] > 0)) };
    let (told, _) = until("the collector tells of whom it had no room for", look).await?;
    ensure!(all.reconnects + put_off > 0, "nobody was asked to come again: this was no flood");

    let peak = peak_mb(&weir.process)?;
    say(&format!(
        "peak {peak} MB of {LIMIT_MB} MiB; {} of {} batches sent again, {put_off} requests put off, {} times no room",
        all.sent_batches - all.acked_batches,
        all.acked_batches,
        told[0],
    ));
    ensure!(peak <= LIMIT_MB, "{peak} MB resident, the limit is {LIMIT_MB} MiB");
    Ok(())
}

/// As many rows as a probe of a busy node has, all at once; sent again for as long as it takes.
async fn send(endpoint: String, sender: u64) -> anyhow::Result<ShipStats> {
    let node = format!("flood-{sender}");
    let shipper =
        Shipper::start(ShipperConfig { endpoint, node, boot_id: "boot".into(), queue_bytes: 64 << 20 });
    let flows: Vec<FlowRow> = (sender * FLOWS_EACH..(sender + 1) * FLOWS_EACH).map(flow).collect();
    let exchanges: Vec<ExchangeRow> =
        (0..EXCHANGES_EACH).map(|number| exchange(sender * EXCHANGES_EACH + number, sender)).collect();
    for (flows, exchanges) in flows.chunks(8_192).zip(exchanges.chunks(1_500)) {
        shipper.send(flows).await?;
        shipper.send(exchanges).await?;
    }
    shipper.flush().await?;
    Ok(shipper.stats())
}

fn flow(id: u64) -> FlowRow {
    let connection = ids::tcp_connection_id(id as u32, 7);
    let text = |text: &'static str| Some(text.to_smolstr());
    FlowRow {
        time: 1_795_000_000_000_000_000 + id as i64 * 1_000,
        end_time: Some(1_795_000_000_000_000_000 + id as i64 * 1_000 + 5_000_000),
        opened_time: Some(1_795_000_000_000_000_000 + id as i64 * 1_000),
        trace_id: Some(ids::trace_id(&connection)),
        connection_id: Some(connection),
        state: text("only"),
        close_reason: text("fin"),
        protocol: text("tcp"),
        observer: text("client"),
        client_ip: Some(format_smolstr!("10.{}.{}.{}", id >> 16 & 255, id >> 8 & 255, id & 255)),
        client_port: Some((id % 60_000) as u16),
        client_container: Some(format_smolstr!("{:064x}", id % 5_000)),
        client_process: Some(format_smolstr!("svc-{}", id % 200)),
        server_ip: Some(format_smolstr!("10.200.{}.{}", id >> 4 & 255, id & 15)),
        server_port: Some(443),
        client_bytes: id as i64,
        source: text("flood"),
        ..FlowRow::default()
    }
}

fn exchange(id: u64, sender: u64) -> ExchangeRow {
    let time = now_ns();
    ExchangeRow {
        time,
        end_time: Some(time + 1_000_000),
        connection_id: Some(ids::tcp_connection_id(id as u32, 11)),
        node: Some(format_smolstr!("flood-{sender}")),
        observer: Some("client".to_smolstr()),
        request_offset: Some(0),
        process: Some(format_smolstr!("svc-{}", id % 200)),
        ..ExchangeRow::default()
    }
}

/// Posts spans until they are taken; how often it was asked to come again.
async fn post(url: String, request: u64) -> anyhow::Result<u64> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let span = |number: u64| {
        let id = request * SPANS_EACH + number + 1;
        json!({
            "traceId": format!("{id:032x}"), "spanId": format!("{id:016x}"), "name": "GET /", "kind": 2,
            "startTimeUnixNano": "1795505045000000000", "endTimeUnixNano": "1795505045010000000",
            "attributes": [{ "key": "note", "value": { "stringValue": "x".repeat(500) } }],
        })
    };
    let body = json!({ "resourceSpans": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "flood" } }] },
        "scopeSpans": [{ "spans": (0..SPANS_EACH).map(span).collect::<Vec<_>>() }],
    }] });
    let began = std::time::Instant::now();
    let mut put_off = 0;
    loop {
        let response = http.post(format!("{url}/v1/traces")).json(&body).send().await?;
        let status = response.status();
        if status.is_success() {
            return Ok(put_off);
        }
        let again = response.headers().get("retry-after").and_then(|again| again.to_str().ok()?.parse().ok());
        let again: u64 = again.with_context(|| format!("{status} does not say when to come again"))?;
        ensure!(began.elapsed() < PATIENCE * 4, "never taken");
        put_off += 1;
        tokio::time::sleep(Duration::from_secs(again)).await;
    }
}

async fn numbers(weir: &Weir, sql: &str) -> anyhow::Result<Vec<u64>> {
    let rows = weir.sql(sql).await?;
    let row = rows.first().context("a row")?;
    // 64-bit numbers are text in JSON.
    row.iter()
        .map(|value| value.to_string().trim_matches('"').parse().with_context(|| value.to_string()))
        .collect()
}

/// The most that was ever resident, but for pages of the program, which are the system's to take back.
fn peak_mb(process: &Process) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    let kb = |name: &str| -> anyhow::Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
        Ok(line.split_whitespace().next().context("a number")?.parse()?)
    };
    Ok((kb("VmHWM:")? - kb("RssFile:")?).div_ceil(1024))
}

fn now_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as i64)
}

#[expect(clippy::print_stderr, reason = "measured figures, for the reader of the test's output")]
fn say(text: &str) {
    eprintln!("{text}");
}
