//! Exchanges a second, on one core, from rows to spans of whole requests: where the kernel saw what each was made for, and
//! where timing has to tell. Beside it the spans of as many connections, which need no memory of others.
//!
//! `make bench`; `WEIR_BENCH_ROWS` changes how many rows there are.

#![expect(clippy::print_stdout, reason = "a bench that is silent is of no use")]

use std::time::Instant;

use weir_model::{ExchangeRow, FlowRow, SmolStr, format_smolstr};
use weir_stitch::spans_of_flows;
use weir_stitch::traces::{Limits, Traces};

/// Exchanges of a request: front, api, and store twice.
const TURNS: usize = 4;
/// Requests a second, of the data.
const RATE: i64 = 1_000;

const MS: i64 = 1_000_000;

/// How it is known what an exchange was made for.
#[derive(Clone, Copy)]
enum Cause {
    Kernel,
    Timing,
}

fn row(request: usize, place: usize, observer: &str, cause: Cause) -> ExchangeRow {
    const SERVICES: [&str; 5] = ["client", "front", "api", "store", "store"];
    let asker = [0, 1, 2, 2][place];
    let (process, end) = if observer == "client" { (asker, 0) } else { (place + 1, 1) };
    // Requests overlap, and gaps differ.
    let begin = request as i64 * 1_000 * MS / RATE + (request * 7 % 5) as i64 * MS / 10;
    let (from, to) = [(0, 9_000), (800, 8_200), (1_500, 3_000), (4_000, 7_000)][place];
    let inside = i64::from(end) * MS / 20;
    let jitter = (request * 13 % 10) as i64 * MS / 100;
    let connection = |place: usize| Some(format_smolstr!("{:016x}", request * TURNS + place));
    let mut row = ExchangeRow {
        time: begin + from * MS / 1_000 + jitter + inside,
        end_time: Some(begin + to * MS / 1_000 + jitter - inside),
        connection_id: connection(place),
        request_offset: Some(0),
        number: Some(1),
        observer: Some(SmolStr::new(observer)),
        node: Some("worker-3".into()),
        process: Some(SERVICES[process].into()),
        pid: Some(process.min(3) as i64 + 1),
        client_ip: Some("10.42.3.7".into()),
        client_port: Some(32_768 + (request % 28_000) as u16),
        server_ip: Some("10.42.3.80".into()),
        server_port: Some(8_080 + place as u16),
        application_protocol: Some("http/1.1".into()),
        total_us: Some(to - from),
        request_bytes: 180,
        response_bytes: 2_400,
        ..ExchangeRow::default()
    };
    if matches!(cause, Cause::Kernel) && observer == "client" && place > 0 {
        row.cause_connection_id = connection(asker - 1);
        row.cause_request_offset = Some(0);
        row.cause_method = Some("thread".into());
        row.cause_candidates = Some(1);
    }
    row
}

fn rows(count: usize, cause: Cause) -> Vec<ExchangeRow> {
    let mut rows = Vec::with_capacity(count);
    for request in 0..count / TURNS / 2 {
        for place in 0..TURNS {
            rows.extend(["client", "server"].map(|observer| row(request, place, observer, cause)));
        }
    }
    rows.sort_by_key(|row| row.end_time);
    rows
}

/// As the collector does: rows as they come, a look every half second.
fn assemble(rows: Vec<ExchangeRow>) -> usize {
    let mut traces = Traces::new(Limits { turns: usize::MAX / 8, ..Limits::default() });
    let (mut spans, mut now_ns, mut looked_ns) = (0, 0, 0);
    for row in rows {
        now_ns = row.end_time.unwrap_or(now_ns);
        traces.add(row, now_ns);
        if now_ns - looked_ns >= 500 * MS {
            looked_ns = now_ns;
            spans += traces.settle(now_ns).len();
        }
    }
    spans + traces.finish(now_ns).len()
}

/// The connection of the same exchange, as one end told of it.
fn connection(row: &ExchangeRow) -> FlowRow {
    FlowRow {
        time: row.time,
        end_time: row.end_time,
        opened_time: Some(row.time),
        connect_us: Some(80),
        connection_id: row.connection_id.clone(),
        state: Some("only".into()),
        close_reason: Some("fin".into()),
        protocol: Some("tcp".into()),
        node: row.node.clone(),
        observer: row.observer.clone(),
        client_ip: row.client_ip.clone(),
        client_port: row.client_port,
        server_ip: row.server_ip.clone(),
        server_port: row.server_port,
        ..FlowRow::default()
    }
}

fn say(what: &str, exchanges: usize, start: Instant) {
    let rate = exchanges as f64 / start.elapsed().as_secs_f64();
    println!("{what:<44} {rate:>10.0} exchanges/s on one core, both ends");
}

fn main() {
    let count = std::env::var("WEIR_BENCH_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(400_000);
    let flows: Vec<FlowRow> = rows(count, Cause::Timing).iter().map(connection).collect();
    let start = Instant::now();
    assert_eq!(spans_of_flows(&flows).len(), flows.len() * 2, "the connection's and its opening's");
    say("connections, each by itself", flows.len() / 2, start);
    for (what, cause) in
        [("requests, by the kernel's view", Cause::Kernel), ("requests, by timing", Cause::Timing)]
    {
        let rows = rows(count, cause);
        let exchanges = rows.len() / 2;
        let start = Instant::now();
        let spans = assemble(rows);
        assert_eq!(spans, exchanges * 2, "each end of each exchange has its span");
        say(what, exchanges, start);
    }
}
