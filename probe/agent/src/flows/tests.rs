use weir_abi::{KIND_LIVING, Owner};

use super::*;
use crate::clock::Clock;
use crate::identity::Identities;
use crate::preflight::CgroupRoot;

const SECOND: u64 = 1_000_000_000;
const INTERVAL: i64 = 10 * SECOND as i64;

/// Rows of a series of records of one connection, on a clock that began at the epoch.
struct Bench {
    flows: Flows,
    identities: Identities,
}

impl Bench {
    fn new() -> Bench {
        let nowhere = std::path::Path::new("/nonexistent");
        Bench { flows: Flows::new(INTERVAL), identities: Identities::new(CgroupRoot::at(nowhere)) }
    }

    fn row(&mut self, record: &ConnRecord, cut_ns: Option<i64>) -> Option<FlowRow> {
        let node = SmolStr::new_static("n");
        let context =
            &mut Context { node: &node, clock: Clock::at_epoch(), identities: &mut self.identities };
        self.flows.row(record, cut_ns, false, None, context)
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
        Totals { sent_bytes: 900, received_bytes: 100, segs_out: 4, segs_in: 5, ..Totals::default() };
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
        assert_eq!(
            (row.client_packets, row.server_packets),
            (6, 5),
            "SYN and SYN-ACK are packets at both ends"
        );
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
