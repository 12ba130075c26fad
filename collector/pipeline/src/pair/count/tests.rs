use proptest::prelude::*;
use weir_model::{FlowRow, Row};

use super::*;

const INTERVAL_NS: i64 = 10 * SECOND_NS;
const LIMITS: Limits = Limits { connections: 1_000 };
const START: i64 = 1_795_000_000 * SECOND_NS;

/// What a connection did in an interval, as each end has it: bytes in flight at its end are counted by the sender alone.
#[derive(Clone, Copy, Debug)]
struct Interval {
    client_bytes: i64,
    server_bytes: i64,
    /// How much of each was still under way when the interval ended.
    in_flight: [i64; 2],
}

fn interval() -> impl Strategy<Value = Interval> {
    (0_i64..10_000, 0_i64..10_000, 0_i64..2_000, 0_i64..2_000).prop_map(
        |(client_bytes, server_bytes, a, b)| Interval {
            client_bytes,
            server_bytes,
            in_flight: [a.min(client_bytes), b.min(server_bytes)],
        },
    )
}

/// The rows of a connection as both ends tell them, `skew_ns` apart.
fn rows(connection: u64, intervals: &[Interval], skew_ns: i64) -> Vec<(usize, FlowRow)> {
    let mut rows = Vec::new();
    for (end, observer) in ["client", "server"].into_iter().enumerate() {
        let mut totals = [0_i64; 2];
        let mut sent = [0_i64; 2];
        for (number, interval) in intervals.iter().enumerate() {
            let is_last = number + 1 == intervals.len();
            sent[0] += interval.client_bytes;
            sent[1] += interval.server_bytes;
            let late = |which: usize| if is_last || which == end { 0 } else { interval.in_flight[which] };
            let now = [sent[0] - late(0), sent[1] - late(1)];
            let time = START + number as i64 * INTERVAL_NS + if end == 1 { skew_ns } else { 0 };
            rows.push((
                end,
                FlowRow {
                    time,
                    end_time: Some(time + INTERVAL_NS),
                    opened_time: Some(START + if end == 1 { skew_ns } else { 0 }),
                    connection_id: Some(format!("{connection:016x}").into()),
                    state: Some(
                        match (number == 0, is_last) {
                            (true, true) => "only",
                            (true, false) => "opened",
                            (false, true) => "closed",
                            (false, false) => "ongoing",
                        }
                        .into(),
                    ),
                    observer: Some(observer.into()),
                    protocol: Some("tcp".into()),
                    client_ip: Some("10.0.0.1".into()),
                    client_port: Some(40_000),
                    server_ip: Some("10.0.0.2".into()),
                    server_port: Some(443),
                    client_bytes: now[0] - totals[0],
                    server_bytes: now[1] - totals[1],
                    client_bytes_total: (number > 0).then_some(now[0]),
                    server_bytes_total: (number > 0).then_some(now[1]),
                    client_packets_total: (number > 0).then_some(0),
                    server_packets_total: (number > 0).then_some(0),
                    source: Some("probe".into()),
                    ..FlowRow::default()
                },
            ));
            totals = now;
        }
    }
    rows
}

fn count_all(counting: &mut Counting, rows: &[FlowRow], now: i64) -> Counts {
    let batch = FlowRow::to_batch(rows);
    let flows = Flows::of(&batch).expect("the table's own columns");
    let mut sum = Counts::default();
    for row in 0..rows.len() {
        let counts = counting.count(&flows.get(row).expect("a probe's"), now);
        for at in 0..4 {
            sum.counted[at] += counts.counted[at];
        }
        sum.connections += counts.connections;
        sum.total = counts.total;
    }
    sum
}

/// A row's total: told, or all that there was.
fn total(row: &FlowRow) -> [i64; 2] {
    [row.client_bytes_total.unwrap_or(row.client_bytes), row.server_bytes_total.unwrap_or(row.server_bytes)]
}

proptest! {
    /// The issue's own words: any order, any loss, clocks up to 500 ms apart. What nobody told of can't be known; all else is
    /// counted once.
    #[test]
    fn the_sum_is_the_highest_total_that_anybody_told(
        connections in prop::collection::vec((prop::collection::vec(interval(), 1..6), -500_i64..500), 1..4),
        order in any::<prop::sample::Index>().prop_map(|_| ()).prop_flat_map(|()| prop::collection::vec(any::<u32>(), 60)),
        lost in prop::collection::vec(prop::bool::weighted(0.3), 60),
        cuts in prop::collection::vec(1_usize..8, 30),
    ) {
        let mut told: Vec<(u32, FlowRow)> = Vec::new();
        let mut highest = Vec::new();
        for (number, (intervals, skew_ms)) in connections.iter().enumerate() {
            let mut most = None::<[i64; 2]>;
            for (_, row) in rows(number as u64, intervals, skew_ms * 1_000_000) {
                let place = told.len() % 60;
                if lost[(place + number) % 60] {
                    continue;
                }
                let total = total(&row);
                most = Some(most.map_or(total, |most| [most[0].max(total[0]), most[1].max(total[1])]));
                told.push((order[place], row));
            }
            highest.extend(most);
        }
        told.sort_by_key(|(place, _)| *place);
        let rows: Vec<FlowRow> = told.into_iter().map(|(_, row)| row).collect();
        let mut counting = Counting::new(LIMITS);
        let mut sum = Counts::default();
        let mut rest = &rows[..];
        for cut in cuts.iter().chain(std::iter::repeat(&7)) {
            if rest.is_empty() { break }
            let (batch, after) = rest.split_at((*cut).min(rest.len()));
            let counts = count_all(&mut counting, batch, START);
            for at in 0..4 { sum.counted[at] += counts.counted[at]; }
            sum.connections += counts.connections;
            rest = after;
        }
        prop_assert_eq!(sum.counted[0], highest.iter().map(|most| most[0]).sum::<i64>());
        prop_assert_eq!(sum.counted[1], highest.iter().map(|most| most[1]).sum::<i64>());
        prop_assert_eq!(sum.connections, highest.len() as i64, "each connection that anybody told of, once");
    }

    /// A collector that starts again between any two rows goes on from what is stored.
    #[test]
    fn a_start_between_any_two_rows_changes_no_sum(
        intervals in prop::collection::vec(interval(), 1..5),
        interleaved in prop::collection::vec(any::<bool>(), 10),
        stop in 0_usize..10,
    ) {
        let all = rows(7, &intervals, 100_000_000);
        let mut ends: [Vec<FlowRow>; 2] = Default::default();
        for (end, row) in all {
            ends[end].push(row);
        }
        for rows in &mut ends {
            rows.reverse();
        }
        let mut told = Vec::new();
        for first in interleaved.iter().chain(std::iter::repeat(&true)) {
            let end = usize::from(!first);
            let Some(row) = ends[end].pop().or_else(|| ends[1 - end].pop()) else { break };
            told.push(row);
        }
        let stop = stop.min(told.len());
        let mut counting = Counting::new(LIMITS);
        let mut sum = [0; 2];
        let mut connections = 0;
        let mut stored = Vec::new();
        for (place, row) in told.iter().enumerate() {
            if place == stop {
                counting = Counting::new(LIMITS);
                counting.begin(START - 90 * SECOND_NS);
                for batch in crate::pair::totals::thinned(vec![FlowRow::to_batch(&stored)]) {
                    counting.recall(&Flows::of(&batch).expect("columns"), stored.len(), None);
                }
            }
            let counts = count_all(&mut counting, std::slice::from_ref(row), START);
            sum[0] += counts.counted[0];
            sum[1] += counts.counted[1];
            connections += counts.connections;
            stored.push(FlowRow {
                client_bytes: counts.counted[0],
                server_bytes: counts.counted[1],
                connections: counts.connections,
                client_bytes_total: Some(counts.total[0]),
                server_bytes_total: Some(counts.total[1]),
                client_packets_total: Some(0),
                server_packets_total: Some(0),
                ..row.clone()
            });
        }
        let truth = intervals.iter().fold([0, 0], |sum, one| [sum[0] + one.client_bytes, sum[1] + one.server_bytes]);
        prop_assert_eq!((sum, connections), (truth, 1));
    }
}

/// A connection of hours, idle for longer than anything is remembered: its next rows are news, and no more.
#[test]
fn a_forgotten_connection_goes_on_where_it_was() {
    let mut counting = Counting::new(LIMITS);
    let one = Interval { client_bytes: 1000, server_bytes: 50, in_flight: [0, 0] };
    let all = rows(1, &[one; 4], 0);
    let of = |number: usize| -> Vec<FlowRow> {
        all.iter().skip(number).step_by(4).map(|(_, row)| row.clone()).collect()
    };
    let mut now = START;
    let first = count_all(&mut counting, &of(0), now);
    assert_eq!((first.counted[0], first.connections), (1000, 1));
    for _ in 0..3 {
        now += 2 * REMEMBERED_NS;
        let others = rows(now as u64, &[one], 0);
        count_all(&mut counting, &[FlowRow { opened_time: Some(now), ..others[0].1.clone() }], now);
    }
    let later = count_all(&mut counting, &of(2), now);
    assert_eq!((later.counted[0], later.connections), (1000, 0), "both ends told of the same 1000 bytes");
}

/// Late rows of a connection that is forgotten: what is stored says what was counted.
#[test]
fn a_half_that_comes_an_hour_late_counts_what_is_missing_only() {
    let one = Interval { client_bytes: 1000, server_bytes: 50, in_flight: [0, 0] };
    let all: Vec<FlowRow> = rows(1, &[one; 3], 0).into_iter().map(|(_, row)| row).collect();
    let (client, server) = all.split_at(3);
    let mut counting = Counting::new(LIMITS);
    counting.begin(START + 3_000 * SECOND_NS);
    let now = START + 3_600 * SECOND_NS;
    let batch = FlowRow::to_batch(server);
    let flows = Flows::of(&batch).expect("columns");
    let lacking = counting.lacks(&flows, 3, now).expect("late, and unknown");
    assert!(lacking.from < START && lacking.upto > START + 30 * SECOND_NS, "{lacking:?}");
    // The client's middle row was lost before it was stored.
    let stored = [client[0].clone(), client[2].clone()];
    // Of a time when files had no totals.
    let stored = FlowRow::to_batch(&stored.map(|row| FlowRow {
        connections: i64::from(row.state.as_deref() == Some("opened")),
        client_bytes_total: None,
        ..row
    }));
    counting.recall(&Flows::of(&stored).expect("columns"), 2, Some(&lacking));
    assert_eq!(counting.lacks(&flows, 3, now), None);
    let counts = count_all(&mut counting, server, now);
    assert_eq!((counts.counted[0], counts.connections), (1000, 0));
}

/// Two UDP flows of the same addresses and ports, one after the other, seen at both ends.
#[test]
fn ports_that_are_used_again_are_another_flow() {
    let row = |observer: &str, opened: i64, bytes: i64| FlowRow {
        time: START + opened * SECOND_NS,
        end_time: Some(START + (opened + 1) * SECOND_NS),
        opened_time: Some(START + opened * SECOND_NS),
        connection_id: Some(format!("{observer}-{opened}").into()),
        state: Some("only".into()),
        observer: Some(observer.into()),
        protocol: Some("udp".into()),
        client_ip: Some("10.0.0.1".into()),
        client_port: Some(5353),
        server_ip: Some("10.0.0.2".into()),
        server_port: Some(53),
        client_bytes: bytes,
        source: Some("probe".into()),
        ..FlowRow::default()
    };
    let mut counting = Counting::new(LIMITS);
    let rows = [row("client", 0, 60), row("server", 0, 60), row("server", 30, 70), row("client", 30, 70)];
    let counts = count_all(&mut counting, &rows, START);
    assert_eq!((counts.counted[0], counts.connections), (130, 2));
}

#[test]
fn packets_go_on_where_a_probe_s_count_begins_again() {
    const TURN: i64 = 1 << 32;
    assert_eq!(unwrapped(10, TURN - 5), TURN + 10);
    assert_eq!(unwrapped(TURN - 3, TURN - 5), TURN - 3);
    assert_eq!(unwrapped(TURN - 3, TURN + 4), TURN - 3, "the other end is behind");
    assert_eq!(unwrapped(7, 3 * TURN + 2), 3 * TURN + 7);
    assert_eq!(unwrapped(7, 2), 7);
}
