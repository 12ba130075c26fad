use proptest::prelude::*;
use weir_model::{FlowRow, Row};

use super::*;

const START: i64 = 1_795_000_000_000_000_000;

fn client_row() -> FlowRow {
    FlowRow {
        time: START,
        end_time: Some(START + 4_000_000),
        opened_time: Some(START),
        connection_id: Some("00000001000000ff".into()),
        state: Some("only".into()),
        close_reason: Some("fin".into()),
        node: Some("node-a".into()),
        observer: Some("client".into()),
        protocol: Some("tcp".into()),
        client_ip: Some("10.244.1.5".into()),
        client_port: Some(40_000),
        server_ip: Some("10.96.0.10".into()),
        server_port: Some(80),
        client_bytes: 100,
        server_bytes: 2_000,
        client_packets: 6,
        server_packets: 5,
        client_retransmits: Some(1),
        server_segments_out_of_order: Some(2),
        rtt_us: Some(300),
        exchanges: Some(1),
        client_pid: Some(7),
        client_process: Some("curl".into()),
        client_node: Some("node-a".into()),
        client_pod: Some("shop-1".into()),
        client_identity: Some("pod".into()),
        server_identity: Some("service".into()),
        server_workload: Some("web-service".into()),
        direction: Some("internal".into()),
        encryption: Some("unknown".into()),
        source: Some("probe".into()),
        ..FlowRow::default()
    }
}

/// The same connection on the server's node: past DNAT to a pod, and SNAT to the first node.
fn server_row() -> FlowRow {
    FlowRow {
        time: START + 300_000_000,
        end_time: Some(START + 303_000_000),
        opened_time: Some(START + 300_000_000),
        node: Some("node-b".into()),
        observer: Some("server".into()),
        client_ip: Some("192.168.0.1".into()),
        client_port: Some(61_000),
        server_ip: Some("10.244.2.9".into()),
        server_port: Some(8080),
        client_packets: 5,
        client_retransmits: None,
        server_segments_out_of_order: None,
        server_retransmits: Some(0),
        rtt_us: Some(900),
        client_pid: None,
        client_process: None,
        client_node: None,
        client_pod: None,
        client_identity: Some("node".into()),
        server_pid: Some(99),
        server_process: Some("nginx".into()),
        server_node: Some("node-b".into()),
        server_pod: Some("web-7".into()),
        server_identity: Some("pod".into()),
        server_workload: Some("web".into()),
        direction: Some("ingress".into()),
        encryption: Some("plaintext".into()),
        ..client_row()
    }
}

/// Rows as they become visible, batch by batch, with a merge after each that `merges` says.
fn visible(batches: &[Vec<FlowRow>], merges: &[bool]) -> Vec<FlowRow> {
    let pairing = Pairing::default();
    let mut memory: Vec<(u64, RecordBatch)> = Vec::new();
    let mut number = 0;
    for (place, rows) in batches.iter().enumerate() {
        number += 1;
        memory.push((number, pairing.arrive(&FlowRow::to_batch(rows), START, false)));
        if !merges.get(place).copied().unwrap_or(true) {
            continue;
        }
        for change in pairing.merge(&memory) {
            match change {
                Change::Added { batch, .. } => {
                    number += 1;
                    memory.push((number, batch));
                }
                Change::Replaced { number, by } => {
                    let place = memory.iter().position(|(known, _)| *known == number).expect("a known batch");
                    if by.num_rows() == 0 { drop(memory.remove(place)) } else { memory[place].1 = by }
                }
            }
        }
    }
    memory.iter().flat_map(|(_, batch)| FlowRow::from_batch(batch).expect("the table's own")).collect()
}

#[test]
fn both_ends_of_a_connection_are_one_row_which_each_tells_what_it_knows_best() {
    for batches in [
        vec![vec![client_row()], vec![server_row()]],
        vec![vec![server_row()], vec![client_row()]],
        vec![vec![client_row(), server_row()]],
    ] {
        let rows = visible(&batches, &[]);
        let [row] = &rows[..] else { panic!("{} rows", rows.len()) };
        let expected = FlowRow {
            observer: Some("both".into()),
            connections: 1,
            server_ip: Some("10.244.2.9".into()),
            server_port: Some(8080),
            service_ip: Some("10.96.0.10".into()),
            service_port: Some(80),
            egress_ip: Some("192.168.0.1".into()),
            server_retransmits: Some(0),
            server_pid: Some(99),
            server_process: Some("nginx".into()),
            server_node: Some("node-b".into()),
            server_pod: Some("web-7".into()),
            server_identity: Some("pod".into()),
            server_workload: Some("web".into()),
            encryption: Some("plaintext".into()),
            ..client_row()
        };
        assert_eq!(row, &expected);
    }
}

/// A node between them saw where it went by; its bytes are theirs.
#[test]
fn a_witness_on_the_path_adds_what_it_saw_and_no_bytes() {
    let path = FlowRow {
        observer: Some("path".into()),
        node: Some("gateway".into()),
        ingress_interface: Some("eth0".into()),
        egress_interface: Some("eth1".into()),
        client_pid: None,
        client_process: None,
        client_identity: None,
        exchanges: None,
        ..server_row()
    };
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let rows = [client_row(), server_row(), path.clone()];
        let batches: Vec<Vec<FlowRow>> = order.iter().map(|place| vec![rows[*place].clone()]).collect();
        let rows = visible(&batches, &[]);
        let [row] = &rows[..] else { panic!("{} rows in order {order:?}", rows.len()) };
        assert_eq!(row.observer.as_deref(), Some("both"));
        assert_eq!((row.client_bytes, row.server_bytes, row.connections), (100, 2_000, 1));
        assert_eq!(row.ingress_interface.as_deref(), Some("eth0"));
        assert_eq!(row.client_process.as_deref(), Some("curl"));
    }
}

/// Captures, imports of other tools: they are not paired with anything.
#[test]
fn what_is_no_probe_s_stays_as_it_is() {
    let capture = FlowRow { observer: Some("path".into()), source: Some("pcap".into()), ..client_row() };
    let rows = visible(&[vec![capture.clone()], vec![client_row()]], &[]);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0], FlowRow { connections: 1, ..capture });
    assert_eq!(rows[1].client_bytes, 100);
}

/// A file has what a start needs: one total a connection, the highest; and people's: that of the last row.
#[test]
fn a_file_has_one_total_of_each_connection() {
    let row = |connection: u64, state: &str, total: i64| FlowRow {
        connection_id: Some(format!("{connection:016x}").into()),
        state: Some(state.into()),
        client_bytes: 100,
        client_bytes_total: Some(total),
        server_bytes_total: Some(0),
        client_packets_total: Some(0),
        server_packets_total: Some(0),
        ..client_row()
    };
    let batches = [
        vec![row(1, "opened", 100), row(2, "ongoing", 700), row(1, "ongoing", 200)],
        vec![row(1, "closed", 300), row(2, "ongoing", 600), client_row()],
    ];
    let batches = batches.iter().map(|rows| FlowRow::to_batch(rows)).collect();
    let totals: Vec<Vec<Option<i64>>> = totals::thinned(batches)
        .iter()
        .map(|batch| {
            FlowRow::from_batch(batch).expect("rows").iter().map(|row| row.client_bytes_total).collect()
        })
        .collect();
    assert_eq!(totals, [vec![None, Some(700), None], vec![Some(300), None, None]]);
}

proptest! {
    /// Merging at any moment, of whatever came in whatever order, changes no sum and loses nobody's row.
    #[test]
    fn a_merge_changes_no_sum(
        rows in prop::collection::vec((0_u8..5, prop::sample::select(vec!["client", "server", "path"]), 0_i64..3, 0_i64..500), 1..40),
        cuts in prop::collection::vec(1_usize..6, 40),
        merges in prop::collection::vec(any::<bool>(), 40),
    ) {
        let rows: Vec<FlowRow> = rows.into_iter().map(|(connection, observer, interval, bytes)| FlowRow {
            connection_id: Some(format!("{connection:016x}").into()),
            observer: Some(observer.into()),
            time: START + interval * 10_000_000_000,
            end_time: Some(START + (interval + 1) * 10_000_000_000),
            state: Some("ongoing".into()),
            client_bytes: bytes,
            client_bytes_total: Some(1_000 * interval + bytes),
            server_bytes_total: Some(0),
            client_packets_total: Some(0),
            server_packets_total: Some(0),
            drops: 1,
            ..client_row()
        }).collect();
        let mut batches = Vec::new();
        let mut rest = &rows[..];
        for cut in cuts.iter().chain(std::iter::repeat(&5)) {
            if rest.is_empty() { break }
            let (batch, after) = rest.split_at((*cut).min(rest.len()));
            batches.push(batch.to_vec());
            rest = after;
        }
        let sums = |rows: &[FlowRow]| rows.iter().fold((0, 0, 0), |sum, row| {
            (sum.0 + row.client_bytes, sum.1 + row.connections, sum.2 + row.drops)
        });
        let apart = visible(&batches, &vec![false; batches.len()]);
        let merged = visible(&batches, &merges);
        prop_assert_eq!(apart.len(), rows.len());
        prop_assert_eq!(sums(&apart), sums(&merged));
        prop_assert_eq!(sums(&merged).2, rows.len() as i64, "each row is in one of those that are left");
        let ends: std::collections::BTreeSet<_> = rows.iter().map(|row| row.connection_id.clone()).collect();
        let found: std::collections::BTreeSet<_> = merged.iter().map(|row| row.connection_id.clone()).collect();
        prop_assert_eq!(ends, found);
    }
}
