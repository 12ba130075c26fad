//! NetFlow, IPFIX and sFlow over UDP → rows of `flows`. Off unless an address is given.
//!
//! UDP has no acknowledgement: what the kernel had no room for, what can't be read, and what can't be stored is lost, and
//! counted, by exporter and reason. Templates are kept by exporter and observation domain (`dissect::exported`).

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use weir_dissect::exported::{Netflow, Told, sflow};
use weir_model::FlowRow;

use crate::stage::Stage;

/// The largest datagram that there is.
const MOST_BYTES: usize = 65_535;
/// Rows that are stored at a time; fewer, once they are so old.
const AT_A_TIME: usize = 4_096;
const EVERY: Duration = Duration::from_millis(500);

/// What comes at an address.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    /// NetFlow v5, v7, v9 and IPFIX, told apart by their first bytes.
    Netflow,
    /// sFlow v5.
    Sflow,
}

/// Takes datagrams until `stop`, and stores what came until then.
pub(crate) async fn serve(socket: UdpSocket, protocol: Protocol, stage: Arc<Stage>, stop: CancellationToken) {
    let port = socket.local_addr().map_or(0, |address| address.port());
    let mut netflow = Netflow::default();
    let mut bytes = vec![0; MOST_BYTES];
    let (mut rows, mut overrun) = (Vec::new(), 0);
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            received = socket.recv_from(&mut bytes) => match received {
                Ok((length, exporter)) => {
                    rows.extend(read(protocol, &mut netflow, exporter, &bytes[..length], &stage));
                }
                Err(err) => warn!(%err, "a datagram could not be received"),
            },
            _ = tick.tick() => {
                overrun = count_overrun(&stage, port, overrun);
                store(&stage, &mut rows).await;
            }
            () = stop.cancelled() => break,
        }
        if rows.len() >= AT_A_TIME {
            store(&stage, &mut rows).await;
        }
    }
    count_overrun(&stage, port, overrun);
    store(&stage, &mut rows).await;
}

fn read(
    protocol: Protocol,
    netflow: &mut Netflow,
    exporter: SocketAddr,
    bytes: &[u8],
    stage: &Stage,
) -> Vec<FlowRow> {
    let read = match protocol {
        Protocol::Netflow => netflow.read(exporter, bytes),
        Protocol::Sflow => sflow(bytes, stage.now()).map_err(|err| err.to_string()),
    };
    let sender = exporter.ip().to_string();
    let counters = stage.counters();
    let (rows, told) = read.unwrap_or_else(|why| {
        if counters.refused(&sender, "malformed_datagram", 1) {
            warn!(exporter = sender, why, "a datagram is not read; further ones are only counted");
        }
        (Vec::new(), Told::default())
    });
    let lost = [
        ("unresolved_template", told.without_template),
        ("record_without_addresses", told.without_addresses),
        ("unreadable_sample", told.unreadable_samples),
    ];
    for (reason, count) in lost.into_iter().filter(|(_, count)| *count > 0) {
        counters.refused(&sender, reason, count);
    }
    if told.unknown_fields > 0 {
        counters.noted(&sender, "unknown_field", told.unknown_fields);
    }
    rows
}

async fn store(stage: &Stage, rows: &mut Vec<FlowRow>) {
    if rows.is_empty() {
        return;
    }
    let count = rows.len() as u64;
    if let Err(err) = stage.take_own(rows).await {
        warn!(%err, rows = count, "flows of exporters could not be stored: they are lost");
        stage.counters().refused(stage.node(), "flows_not_stored", count);
    }
    rows.clear();
}

/// Datagrams that the kernel had no room for, since the last time; says how many there were in all.
fn count_overrun(stage: &Stage, port: u16, before: u64) -> u64 {
    let of = |table: &str| fs::read_to_string(table).map_or(0, |text| drops(&text, port));
    let now = of("/proc/self/net/udp") + of("/proc/self/net/udp6");
    if now > before {
        stage.counters().refused(stage.node(), "datagram_overrun", now - before);
    }
    now.max(before)
}

/// The last column of a port's line.
fn drops(table: &str, port: u16) -> u64 {
    let of_port = format!(":{port:04X}");
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = lines.filter(|fields| fields.get(1).is_some_and(|local| local.ends_with(&of_port)));
    ours.filter_map(|fields| fields.last()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_drops_are_read_by_port() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
             51: 0100007F:0807 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 17\n\
             52: 0100007F:0808 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 5\n";
        assert_eq!((drops(table, 0x0807), drops(table, 0x0808), drops(table, 1)), (17, 5, 0));
    }
}
