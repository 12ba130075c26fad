//! The load's log against what SQL says: each connection once, told of by both ends, with its bytes.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;
use weir_e2e::Weir;

use crate::load::{Logged, port};

/// How long the last rows may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Most connections that are told of in full.
const EXAMPLES: usize = 10;

/// Connections whose end the client's end told.
const CLIENT_S_ENDS: &str = "count(DISTINCT CASE WHEN observer IN ('client', 'both') AND state IN ('only', 'closed') THEN connection_id END)";
/// Connections whose end the server's end told.
const SERVER_S_ENDS: &str = "count(DISTINCT CASE WHEN observer IN ('server', 'both') AND state IN ('only', 'closed') THEN connection_id END)";

/// What was found.
#[derive(Default)]
pub(crate) struct Report {
    connections: usize,
    right: usize,
    missing: usize,
    doubled: usize,
    wrong_bytes: usize,
    /// In `flows` and not in the log.
    invented: usize,
    examples: Vec<String>,
}

/// What the log has of one pair of address and port.
#[derive(Debug, Default)]
struct Wanted {
    connections: i64,
    client_bytes: i64,
    server_bytes: i64,
}

/// The same as `flows` has it.
#[derive(Debug, Default)]
struct Found {
    /// As `sum(connections)` has it.
    connections: i64,
    /// Those whose end was told by the client's end, and by the server's.
    endings: [i64; 2],
    client_bytes: i64,
    server_bytes: i64,
}

/// Waits until the last rows are there, then compares everything.
pub(crate) async fn compare(weir: &Weir, log: &[Logged]) -> anyhow::Result<Report> {
    let port = port();
    let ended = format!(
        "SELECT {CLIENT_S_ENDS} + {SERVER_S_ENDS} FROM flows WHERE server_port = {port} AND node = 'soak'"
    );
    let (began, wanted) = (Instant::now(), log.len() as i64 * 2);
    while weir.number(&ended).await? < wanted && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // The kernel gives a port again soon after a reset: then they are judged together.
    let mut by_address: BTreeMap<Ipv4Addr, BTreeMap<u16, Wanted>> = BTreeMap::new();
    for logged in log {
        let wanted = by_address.entry(logged.server_ip).or_default().entry(logged.client_port).or_default();
        wanted.connections += 1;
        wanted.client_bytes += logged.client_bytes as i64;
        wanted.server_bytes += logged.server_bytes as i64;
    }
    let mut report = Report { connections: log.len(), ..Report::default() };
    for (address, by_port) in by_address {
        let mut found = found_at(weir, address).await?;
        for (port, wanted) in by_port {
            let found = found.remove(&port).unwrap_or_default();
            if !report.judge(&wanted, &found) && report.examples.len() < EXAMPLES {
                let rows = rows_of(weir, address, port).await?;
                report.examples.push(format!(
                    "{address} from port {port}: {found:?} where the log has {wanted:?}\n{rows}"
                ));
            }
        }
        report.invented += found.len();
    }
    Ok(report)
}

async fn found_at(weir: &Weir, address: Ipv4Addr) -> anyhow::Result<HashMap<u16, Found>> {
    let port = port();
    let rows = weir
        .sql(&format!(
            "SELECT client_port, sum(connections), {CLIENT_S_ENDS}, {SERVER_S_ENDS}, sum(client_bytes), sum(server_bytes)
             FROM flows WHERE server_ip = '{address}' AND server_port = {port} AND node = 'soak' GROUP BY 1"
        ))
        .await?;
    let mut all = HashMap::new();
    for row in rows {
        let number = |index: usize| number(&row[index]);
        let found = Found {
            connections: number(1)?,
            endings: [number(2)?, number(3)?],
            client_bytes: number(4)?,
            server_bytes: number(5)?,
        };
        all.insert(u16::try_from(number(0)?)?, found);
    }
    Ok(all)
}

/// What `flows` has of it, a row a line: who reads of a connection that is wrong has nothing else to go on from.
async fn rows_of(weir: &Weir, address: Ipv4Addr, port: u16) -> anyhow::Result<String> {
    let sql = format!(
        "SELECT time, end_time, observer, state, connections, client_bytes, server_bytes, close_reason FROM flows
         WHERE server_ip = '{address}' AND client_port = {port} ORDER BY time"
    );
    let lines = weir.sql(&sql).await?.into_iter().map(|row| format!("        {}", Value::from(row)));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// 64-bit numbers are text in JSON.
fn number(value: &Value) -> anyhow::Result<i64> {
    match value {
        Value::String(digits) => digits.parse().with_context(|| digits.clone()),
        other => other.as_i64().with_context(|| format!("{other} is no number")),
    }
}

/// What the probe says that it lost, by counter.
pub(crate) async fn losses(weir: &Weir) -> anyhow::Result<Vec<(String, i64)>> {
    let rows = weir
        .sql("SELECT counter, sum(value) FROM probe_health WHERE kind = 'lost' AND node = 'soak' GROUP BY 1 ORDER BY 1")
        .await?;
    rows.iter().map(|row| Ok((row[0].as_str().context("a counter")?.to_owned(), number(&row[1])?))).collect()
}

impl Report {
    /// Whether all is right.
    fn judge(&mut self, wanted: &Wanted, found: &Found) -> bool {
        let right_bytes =
            (found.client_bytes, found.server_bytes) == (wanted.client_bytes, wanted.server_bytes);
        let [most, least] =
            [i64::max, i64::min].map(|choose| found.endings.into_iter().fold(found.connections, choose));
        self.right += least.min(wanted.connections) as usize;
        if least < wanted.connections {
            self.missing += (wanted.connections - least) as usize;
        } else if most > wanted.connections {
            self.doubled += (most - wanted.connections) as usize;
        } else if !right_bytes {
            self.wrong_bytes += 1;
            self.right -= wanted.connections as usize;
        } else {
            return true;
        }
        false
    }

    /// Prints rows of a table; whether everything is there, or said to be lost.
    pub(crate) fn print(&self, lost: &[(String, i64)]) -> bool {
        /// The counters of what is missing here; others say nothing of it.
        const OF_CONNECTIONS: [&str; 6] = [
            "ring_full_connections",
            "storage_full",
            "open_unseen",
            "close_unseen",
            "ended_unseen",
            "rows_dropped",
        ];
        let is_meant = |(counter, _): &&(String, i64)| OF_CONNECTIONS.contains(&counter.as_str());
        let lost_in_all: i64 = lost.iter().filter(is_meant).map(|(_, count)| count).sum();
        let shown: Vec<String> = lost.iter().map(|(counter, count)| format!("{counter} {count}")).collect();
        println!("| connections in the load's log | {} | |", self.connections);
        println!(
            "| in `flows` exactly once, told by both ends, with the right bytes | {} of {} | |",
            self.right, self.connections
        );
        println!(
            "| losses counted | {} | |",
            if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
        );
        let silent = (self.missing as i64 - lost_in_all).max(0);
        let rows = [
            ("missing", self.missing, silent == 0),
            ("doubled", self.doubled, self.doubled == 0),
            ("with other bytes", self.wrong_bytes, self.wrong_bytes == 0),
            ("in `flows` and not in the log", self.invented, self.invented == 0),
        ];
        for (what, count, is_good) in rows {
            let verdict = if is_good { if count == 0 { "none" } else { "counted" } } else { "wrong" };
            println!("| {what} | {count} | **{verdict}** |");
        }
        for example in &self.examples {
            println!("    {example}");
        }
        rows.iter().all(|(_, _, is_good)| *is_good)
    }
}
