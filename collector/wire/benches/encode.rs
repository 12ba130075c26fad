//! Rows a core-second from a probe's rows to bytes for the wire, of `flows` as a busy node has them. Rival: the same rows as
//! JSON lines, which other agents send. What it takes is the probe's largest part (`make cost`, part `agent`).
//!
//! `make bench`; `WEIR_BENCH_ROWS` changes how many rows are made in all.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that fails or is silent is of no use")]

use std::hint::black_box;

use nix::time::{ClockId, clock_gettime};
use weir_model::{FlowRow, Row, SmolStr, ToSmolStr, format_smolstr, ids};
use weir_wire::Encoded;

/// What a probe writes at once when it is busy.
const BATCH: usize = 4_096;

/// A connection per request between a web server and its clients, both ends on this node: rows take turns.
fn flow(number: u64) -> FlowRow {
    let is_client = number.is_multiple_of(2);
    let opened = 1_795_000_000_000_000_000 + number as i64 / 2 * 100_000;
    let isn = (number / 2 * 2_654_435_761) as u32;
    let id = ids::tcp_connection_id(isn, !isn);
    let text = |text: &'static str| Some(SmolStr::new_static(text));
    let mut row = FlowRow {
        time: opened,
        end_time: Some(opened + 180_000),
        opened_time: Some(opened),
        trace_id: Some(ids::trace_id(&id)),
        connection_id: Some(id),
        state: text("only"),
        close_reason: text("fin"),
        node: text("worker-3"),
        observer: Some(SmolStr::new_static(if is_client { "client" } else { "server" })),
        protocol: text("tcp"),
        client_ip: Some(format_smolstr!("10.42.3.{}", number / 2 % 60)),
        client_port: Some(32_768 + (number / 2 % 28_000) as u16),
        server_ip: Some("10.42.3.80".to_smolstr()),
        server_port: Some(80),
        client_bytes: 90,
        server_bytes: 240,
        client_packets: 6,
        server_packets: 4,
        rtt_us: Some(20 + (number % 90) as i64),
        rtt_min_us: Some(18),
        connect_us: Some(35),
        first_byte_us: Some(70),
        exchanges: Some(1),
        exchange_p50_us: Some(60),
        exchange_p90_us: Some(60),
        exchange_p99_us: Some(60),
        direction: text("node"),
        encryption: text("plaintext"),
        source: text("probe"),
        ..FlowRow::default()
    };
    let (pid, process) = (Some(4_000 + (number / 2 % 16) as i64), format_smolstr!("svc-{}", number / 2 % 16));
    if is_client {
        (row.client_pid, row.client_process, row.client_node) = (pid, Some(process), text("worker-3"));
        row.client_identity = text("process");
        row.client_retransmits = Some(0);
    } else {
        (row.server_pid, row.server_process, row.server_node) = (Some(99), text("nginx"), text("worker-3"));
        row.server_identity = text("process");
        row.server_retransmits = Some(0);
    }
    row
}

/// CPU time of this process so far.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap();
    time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
}

/// Runs `work` on each batch and says what it cost; gives bytes a row.
fn measured(what: &str, batches: &[Vec<FlowRow>], rounds: usize, work: impl Fn(&[FlowRow]) -> usize) {
    let rows = (rounds * batches.len() * BATCH) as f64;
    let start = cpu_seconds();
    let bytes: usize = (0..rounds).flat_map(|_| batches).map(|batch| work(black_box(batch))).sum();
    let seconds = cpu_seconds() - start;
    println!(
        "{what:<36} {:>10.0} rows/core-second  {:>7.0} ns a row  {:>5.0} bytes a row",
        rows / seconds,
        seconds * 1e9 / rows,
        bytes as f64 / rows
    );
}

fn json_lines(rows: &[FlowRow]) -> usize {
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(&FlowRow::to_batch(rows)).unwrap();
    writer.finish().unwrap();
    writer.into_inner().len()
}

fn main() {
    let wanted = std::env::var("WEIR_BENCH_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(400_000);
    // As many as fit a probe's caches as badly as its own rows do.
    let batches: Vec<Vec<FlowRow>> =
        (0..8).map(|batch| (0..BATCH as u64).map(|row| flow(batch * BATCH as u64 + row)).collect()).collect();
    let rounds = (wanted / (BATCH * batches.len())).max(1);
    let columns = |rows: &[FlowRow]| FlowRow::to_batch(rows).get_array_memory_size();
    measured("rows → columns", &batches, rounds, columns);
    let wire = |rows: &[FlowRow]| Encoded::of(&FlowRow::to_batch(rows)).unwrap().bytes();
    measured("rows → columns → wire (zstd)", &batches, rounds, wire);
    measured("rows → columns → JSON lines", &batches, 1, json_lines);
}
