use weir_abi::{KIND_LIVING, Owner};

use super::*;
use crate::clock::Clock;
use crate::identity::Identities;
use crate::preflight::CgroupRoot;

const SECOND: u64 = 1_000_000_000;

/// Rows of a series of records of one connection, on a clock that began at the epoch and may be set.
struct Bench {
    flows: Flows,
    identities: Identities,
    clock: Clock,
}

impl Bench {
    fn new() -> Bench {
        let nowhere = std::path::Path::new("/nonexistent");
        Bench {
            flows: Flows::default(),
            identities: Identities::new(CgroupRoot::at(nowhere)),
            clock: Clock::at_epoch(),
        }
    }

    fn row(&mut self, record: &ConnRecord, cut_ns: Option<i64>) -> Option<FlowRow> {
        let node = SmolStr::new_static("n");
        let context = &mut Context { node: &node, clock: self.clock, identities: &mut self.identities };
        let mut rows = Vec::new();
        self.flows.row(record, cut_ns, false, None, context, &mut rows);
        if let Some(cut_ns) = cut_ns {
            self.flows.cut(self.clock.boot(cut_ns));
        }
        rows.pop()
    }
}

fn client() -> ConnRecord {
    ConnRecord {
        kind: KIND_CLOSED,
        state: LAST_ACK,
        time_ns: 3 * SECOND,
        conn: Conn {
            cookie: 7,
            syn_ns: SECOND,
            opened_ns: SECOND + 5_000,
            connect_us: 5,
            owner: Owner { comm: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0", ..Owner::default() },
            local_ip: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1],
            remote_ip: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 2],
            local_port: 40_000,
            remote_port: 443,
            local_isn: 1,
            remote_isn: 2,
            role: ROLE_CLIENT,
            flags: weir_abi::FLAG_ISNS,
            ..Conn::default()
        },
        totals: Totals { sent_bytes: 100, received_bytes: 900, segs_out: 6, segs_in: 5, ..Totals::default() },
        ..ConnRecord::default()
    }
}

fn server() -> ConnRecord {
    let mut record = client();
    let conn = &mut record.conn;
    (conn.local_ip, conn.remote_ip) = (conn.remote_ip, conn.local_ip);
    (conn.local_port, conn.remote_port) = (conn.remote_port, conn.local_port);
    (conn.local_isn, conn.remote_isn) = (conn.remote_isn, conn.local_isn);
    conn.role = ROLE_SERVER;
    record.totals =
        Totals { sent_bytes: 900, received_bytes: 100, segs_out: 4, segs_in: 6, ..Totals::default() };
    record
}

#[test]
fn both_ends_read_alike() {
    let client = Bench::new().row(&client(), None).expect("a row");
    let server = Bench::new().row(&server(), None).expect("a row");
    for row in [&client, &server] {
        assert_eq!(row.connection_id.as_deref(), Some("0000000100000002"));
        assert_eq!((row.client_ip.as_deref(), row.client_port), (Some("10.0.0.1"), Some(40_000)));
        assert_eq!((row.server_ip.as_deref(), row.server_port), (Some("10.0.0.2"), Some(443)));
        assert_eq!((row.client_bytes, row.server_bytes), (100, 900));
        assert_eq!((row.client_packets, row.server_packets), (6, 5), "the SYN-ACK is a packet at both ends");
        assert_eq!(
            (row.state.as_deref(), row.time, row.end_time),
            (Some("only"), SECOND as i64, Some(3 * SECOND as i64))
        );
    }
    assert_eq!((client.client_process.as_deref(), client.server_process.as_deref()), (Some("curl"), None));
    assert_eq!((server.client_process.as_deref(), server.server_process.as_deref()), (None, Some("curl")));
}

#[test]
fn the_rows_of_a_connection_sum_up_and_don_t_overlap() {
    let mut bench = Bench::new();
    let at = |kind, seconds: u64, sent_bytes| ConnRecord {
        kind,
        time_ns: seconds * SECOND,
        totals: Totals { sent_bytes, segs_out: sent_bytes as u32, ..Totals::default() },
        ..client()
    };
    let cut = |seconds: i64| Some(seconds * SECOND as i64);
    let records = [
        (at(KIND_LIVING, 2, 10), None),
        (at(KIND_LIVING, 10, 15), cut(10)),
        (at(KIND_LIVING, 20, 15), cut(20)), // nothing moved: no row
        // Read while a packet came in, one byte ahead.
        (at(KIND_LIVING, 30, 41), cut(30)),
        (at(KIND_LIVING, 40, 40), cut(40)),
        (at(KIND_CLOSED, 43, 70), None),
    ];
    let rows: Vec<FlowRow> = records.iter().filter_map(|(record, cut)| bench.row(record, *cut)).collect();
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.state.as_deref().unwrap_or_default(), row.time / SECOND as i64, row.client_bytes))
        .collect();
    let expected =
        [("opened", 1, 10), ("ongoing", 2, 5), ("ongoing", 20, 26), ("ongoing", 30, 0), ("closed", 40, 29)];
    assert_eq!(told, expected);
    assert_eq!(rows.iter().map(|row| row.client_bytes).sum::<i64>(), 70);
    assert_eq!(bench.flows.len(), 0, "nothing is remembered of the dead");
}

/// Somebody sets the node's clock, back or ahead: what runs is told as it ran, and the sums stay.
#[test]
fn a_clock_that_is_set_moves_rows_and_bends_none() {
    const HOUR: i64 = 3_600 * SECOND as i64;
    for step_ns in [-HOUR, HOUR, -HOUR - 4 * SECOND as i64] {
        let mut bench = Bench::new();
        let at = |kind, seconds: u64, sent_bytes| ConnRecord {
            kind,
            time_ns: seconds * SECOND,
            totals: Totals { sent_bytes, segs_out: sent_bytes as u32, ..Totals::default() },
            ..client()
        };
        let mut rows = vec![bench.row(&at(KIND_LIVING, 2, 10), None).expect("an early row")];
        // It is set at 7: the interval ends by the old clock, and the next by the new one.
        let old = bench.clock;
        rows.extend(bench.row(&at(KIND_LIVING, 7, 15), Some(old.utc(7 * SECOND))));
        bench.clock = Clock::ahead(step_ns);
        for (kind, seconds, sent_bytes) in
            [(KIND_LIVING, 10, 40), (KIND_LIVING, 20, 40), (KIND_LIVING, 30, 60)]
        {
            let cut_ns = bench.clock.utc(seconds * SECOND);
            rows.extend(bench.row(&at(kind, seconds, sent_bytes), Some(cut_ns)));
        }
        rows.extend(bench.row(&at(KIND_CLOSED, 33, 70), None));
        let by = [old, old, bench.clock, bench.clock, bench.clock];
        let told: Vec<_> = rows
            .iter()
            .zip(by)
            .map(|(row, clock)| {
                let end_ns = row.end_time.expect("an end");
                (clock.boot(row.time) / SECOND, clock.boot(end_ns) / SECOND, row.client_bytes)
            })
            .collect();
        assert_eq!(told, [(1, 2, 10), (2, 7, 5), (7, 10, 25), (20, 30, 20), (30, 33, 10)], "{step_ns}");
        assert!(rows.iter().all(|row| row.opened_time == Some(old.utc(SECOND))), "one opening: {rows:#?}");
    }
}

/// The probe was stopped and went on: nobody knows when in that time what was.
#[test]
fn what_moved_while_nobody_looked_is_told_of_the_whole_time() {
    let mut bench = Bench::new();
    let living = |seconds: u64, sent_bytes| ConnRecord {
        kind: KIND_LIVING,
        time_ns: seconds * SECOND,
        totals: Totals { sent_bytes, segs_out: sent_bytes as u32, ..Totals::default() },
        ..client()
    };
    let cut = |seconds: i64| Some(seconds * SECOND as i64);
    bench.row(&living(10, 5), cut(10)).expect("a row");
    let late = bench.row(&living(60, 105), cut(60)).expect("a row");
    assert_eq!((late.time, late.end_time, late.client_bytes), (10 * SECOND as i64, cut(60), 100));
    // A row between two cuts: the next begins where it ended, and one of the same moment has a length still.
    let early = bench.row(&living(62, 115), None).expect("a row");
    assert_eq!((early.time, early.end_time), (60 * SECOND as i64, cut(62)));
    let again = bench.row(&living(63, 125), cut(61)).expect("a row");
    assert_eq!((again.time, again.end_time), (62 * SECOND as i64, cut(63)));
}

/// The kernel adds ticks up, which wrap; and while a connection lives nobody locks what is read.
#[test]
fn what_holds_a_sender_up_is_told_in_microseconds_and_once() {
    let mut bench = Bench::new();
    bench.flows.tick_us = Some(4_000);
    let at = |kind, seconds: u64, window_limited, buffer_limited| ConnRecord {
        kind,
        time_ns: seconds * SECOND,
        totals: Totals {
            window_limited,
            buffer_limited,
            lost_segs: 3,
            out_of_order_segs: 5,
            ..client().totals
        },
        ..client()
    };
    let cut = |seconds: i64| Some(seconds * SECOND as i64);
    let rows: Vec<FlowRow> = [
        bench.row(&at(KIND_LIVING, 2, 10, 1), None),
        // Nothing passed, but time.
        bench.row(&at(KIND_LIVING, 10, 110, 1), cut(10)),
        bench.row(&at(KIND_LIVING, 20, 109, 1), cut(20)),
        bench.row(&at(KIND_CLOSED, 23, 120, 2), None),
    ]
    .into_iter()
    .flatten()
    .collect();
    let told: Vec<_> = rows[1..]
        .iter()
        .map(|row| (row.client_window_limited_us, row.client_buffer_limited_us, row.client_segments_lost))
        .collect();
    assert_eq!(told, [(Some(400_000), Some(0), Some(0)), (Some(40_000), Some(4_000), Some(0))]);
    assert_eq!((rows[0].client_segments_lost, rows[0].server_segments_out_of_order), (Some(3), Some(5)));
    assert_eq!((rows[0].server_segments_lost, rows[0].client_segments_out_of_order), (None, None));
    assert_eq!((ahead(3, u32::MAX - 1), ahead(5, 7)), (5, 0));
    bench.flows.tick_us = None;
    let row = bench.row(&at(KIND_CLOSED, 23, 7, 7), None).expect("a row");
    assert_eq!(
        (row.client_window_limited_us, row.client_segments_lost),
        (None, None),
        "a kernel without them"
    );
    assert!(row.client_bytes_retransmitted.is_some());
}

#[test]
fn an_older_connection_counts_from_our_start() {
    let mut bench = Bench::new();
    let mut record = client();
    record.conn.flags |= FLAG_BACKFILLED;
    record.kind = KIND_LIVING;
    let first = bench.row(&record, None).expect("a row");
    assert_eq!((first.state.as_deref(), first.client_bytes, first.opened_time), (Some("ongoing"), 0, None));
    record.kind = KIND_CLOSED;
    record.totals.sent_bytes += 11;
    let last = bench.row(&record, None).expect("a row");
    assert_eq!((last.state.as_deref(), last.client_bytes), (Some("closed"), 11));
}

#[test]
fn the_end_is_laid_to_who_made_it() {
    let check = |error: i32, state: u8, opened_ns: u64, at_client: &str, at_server: &str| {
        for (record, expected) in [(client(), at_client), (server(), at_server)] {
            let mut record = ConnRecord { error: error as u32, state, ..record };
            record.conn.opened_ns = opened_ns;
            assert_eq!(
                close_reason(&record),
                expected,
                "error {error} in state {state}, role {}",
                record.conn.role
            );
        }
    };
    check(0, LAST_ACK, 1, "fin", "fin");
    check(0, ESTABLISHED, 1, "reset_by_client", "reset_by_server");
    check(libc::ECONNRESET, ESTABLISHED, 1, "reset_by_server", "reset_by_client");
    check(libc::EPIPE, CLOSE_WAIT, 1, "reset_by_server", "reset_by_client");
    check(libc::ECONNABORTED, ESTABLISHED, 1, "reset_by_client", "reset_by_server");
    check(libc::ETIMEDOUT, ESTABLISHED, 1, "timed_out", "timed_out");
    check(libc::ECONNREFUSED, 2, 0, "refused", "refused");
    check(libc::EHOSTUNREACH, 2, 0, "unreachable", "unreachable");
    check(0, 2, 0, "timed_out", "timed_out");
}

#[test]
fn only_what_is_proven_is_called_plaintext() {
    let check = |client: &[u8], server: &[u8], first_ns: [u64; 2], expected: bool| {
        let mut heads = Heads { first_ns, ..Heads::default() };
        heads.bytes[0][..client.len()].copy_from_slice(client);
        heads.bytes[1][..server.len()].copy_from_slice(server);
        assert_eq!(is_plaintext(&heads), expected, "{client:?} {server:?}");
    };
    check(b"GET / HT", b"HTTP/1.1", [1, 2], true);
    check(b"GET / HT", b"", [1, 0], true);
    check(b"", b"", [0, 0], false);
    check(b"\x16\x03\x01\x02", b"", [1, 0], false);
    check(b"SSH-2.0-", b"SSH-2.0-", [1, 2], false);
    check(b"EHLO me", b"220 mail", [2, 1], false);
    check(b"\0\0\0\x08\x04\xd2\x16\x2f", b"S", [1, 2], false);
}
