use weir_abi::{FLAG_ISNS, Heads, ROLE_SERVER};

use super::*;
use crate::clock::Clock;
use crate::identity::Identities;
use crate::preflight::CgroupRoot;

const SECOND: u64 = 1_000_000_000;

/// Rows of one connection's turns, on a clock that began at the epoch.
struct Bench {
    exchanges: Exchanges,
    identities: Identities,
    facts: Option<Facts>,
}

impl Bench {
    fn new() -> Bench {
        let nowhere = std::path::Path::new("/nonexistent");
        Bench {
            exchanges: Exchanges::new(1_000),
            identities: Identities::new(CgroupRoot::at(nowhere)),
            facts: None,
        }
    }

    fn row(&mut self, exchange: ExchangeRecord, role: u8, client_said: &[u8]) -> Option<ExchangeRow> {
        let mut heads = Heads { first_ns: [1, 2], ..Heads::default() };
        heads.bytes[0][..client_said.len()].copy_from_slice(client_said);
        let conn = Conn {
            cookie: exchange.cookie,
            opened_ns: SECOND,
            local_isn: if role == ROLE_CLIENT { 1 } else { 2 },
            remote_isn: if role == ROLE_CLIENT { 2 } else { 1 },
            syn_ns: SECOND - 30_000,
            connect_us: 30,
            role,
            flags: FLAG_ISNS,
            ..Conn::default()
        };
        let node = SmolStr::new_static("n");
        let context =
            &mut Context { node: &node, clock: Clock::at_epoch(), identities: &mut self.identities };
        self.exchanges.first(&FirstExchange { exchange, conn, heads }, self.facts.as_ref(), context)
    }
}

fn tls_1_3() -> Facts {
    Facts {
        encryption: SmolStr::new_static("tls"),
        version: Some(SmolStr::new_static("1.3")),
        sni: None,
        alpn: None,
        multiplexed: None,
    }
}

fn answered() -> ExchangeRecord {
    ExchangeRecord {
        ended: ENDED_BY_NEXT,
        number: 1,
        cookie: 7,
        begin_ns: 2 * SECOND,
        first_ns: 2 * SECOND + 5_000,
        end_ns: 2 * SECOND + 9_000,
        request_bytes: 10,
        response_bytes: 20,
        request_seq: 33,
        pid: 5,
        tid: 6,
        comm: *b"worker\0\0\0\0\0\0\0\0\0\0",
        ..ExchangeRecord::default()
    }
}

#[test]
fn both_ends_name_a_turn_alike() {
    let client = Bench::new().row(answered(), ROLE_CLIENT, b"GET / HTTP/1.1").expect("a row");
    let server = Bench::new().row(answered(), ROLE_SERVER, b"GET / HTTP/1.1").expect("a row");
    for row in [&client, &server] {
        assert_eq!(row.connection_id.as_deref(), Some("0000000100000002"));
        assert_eq!((row.request_offset, row.number), (Some(33), Some(1)));
        assert_eq!((row.first_byte_us, row.total_us), (Some(5), Some(9)));
        assert_eq!((row.request_bytes, row.response_bytes), (10, 20));
        assert_eq!((row.opened_time, row.connect_us), (Some(SECOND as i64 - 30_000), Some(30)));
        assert_eq!((row.pid, row.thread_id, row.thread_name.as_deref()), (Some(5), Some(6), Some("worker")));
        assert_eq!(row.application_protocol.as_deref(), Some("http/1.1"));
        assert_eq!((row.multiplexed, row.pipelined, row.error.as_deref()), (Some(false), Some(false), None));
    }
    assert_eq!((client.observer.as_deref(), server.observer.as_deref()), (Some("client"), Some("server")));
}

#[test]
fn only_what_waited_for_an_answer_is_an_exchange_without_one() {
    let given_up =
        ExchangeRecord { ended: ENDED_BY_CLOSE, first_ns: 0, error: libc::ECONNRESET as u32, ..answered() };
    assert!(Bench::new().row(given_up, ROLE_CLIENT, b"<13>a log line").is_none(), "it may ask for none");
    let row = Bench::new().row(given_up, ROLE_CLIENT, b"GET / HTTP/1.1").expect("HTTP has answers");
    assert_eq!((row.error.as_deref(), row.total_us), (Some("reset_by_server"), None));
    let later = ExchangeRecord { number: 2, ..given_up };
    assert!(Bench::new().row(later, ROLE_CLIENT, b"whatever").is_some(), "it had one before");
}

/// Seen by an end that closes after the other has.
#[test]
fn the_words_by_which_tls_ends_are_no_exchange() {
    let facts = tls_1_3();
    let is_row = |request_bytes, response_bytes, facts: Option<Facts>| {
        let head: &[u8] = if facts.is_some() { b"\x16\x03\x01" } else { b"PING" };
        let mut bench = Bench { facts, ..Bench::new() };
        let ended =
            ExchangeRecord { ended: ENDED_BY_CLOSE, number: 2, request_bytes, response_bytes, ..answered() };
        bench.row(ended, ROLE_SERVER, head).is_some()
    };
    assert!(!is_row(24, 24, Some(facts.clone())) && !is_row(31, 31, Some(facts.clone())));
    assert!(is_row(28, 29, Some(facts)), "PING and PONG");
    assert!(is_row(24, 24, None), "in plain text");
}

#[test]
fn an_error_is_laid_to_the_end_that_made_it() {
    const LAST_ACK: u8 = 9;
    let ended = ExchangeRecord { ended: ENDED_BY_CLOSE, first_ns: 0, ..answered() };
    let closed_by_peer = ExchangeRecord { state: LAST_ACK, ..ended };
    let closed_by_us = ExchangeRecord { state: 6, ..ended };
    assert_eq!(error(&closed_by_peer, true), Some("closed_by_server"));
    assert_eq!(error(&closed_by_peer, false), Some("closed_by_client"));
    assert_eq!(error(&closed_by_us, true), Some("closed_by_client"));
    assert_eq!(error(&closed_by_us, false), Some("closed_by_server"));
    let whole = ExchangeRecord { first_ns: 1, error: libc::ECONNRESET as u32, ..ended };
    assert_eq!(error(&whole, true), None, "the answer was whole");
    let cut = ExchangeRecord { flags: EXCHANGE_CUT, ..whole };
    assert_eq!(error(&cut, true), Some("reset_by_server"));
}

#[test]
fn tickets_of_tls_1_3_are_not_taken_for_the_answer_s_first_byte() {
    let facts = tls_1_3();
    let row = |number, role| {
        let mut bench = Bench { facts: Some(facts.clone()), ..Bench::new() };
        let flags = if number == 1 { EXCHANGE_FOLLOWS_TLS } else { 0 };
        bench.row(ExchangeRecord { number, flags, ..answered() }, role, b"\x16\x03\x01").expect("a row")
    };
    assert_eq!((row(1, ROLE_CLIENT).first_byte_us, row(1, ROLE_CLIENT).total_us), (None, Some(9)));
    assert_eq!(row(2, ROLE_CLIENT).first_byte_us, Some(5));
    assert_eq!(
        row(1, ROLE_SERVER).first_byte_us,
        None,
        "it may read the request with the Finished before it"
    );
    assert_eq!(row(2, ROLE_SERVER).first_byte_us, Some(5));
    assert_eq!(row(1, ROLE_SERVER).multiplexed, None, "h2 may have been chosen");
}

#[test]
fn a_flow_counts_the_exchanges_since_the_one_before() {
    let mut bench = Bench::new();
    for duration_us in 1..=100 {
        let record = ExchangeRecord { end_ns: 2 * SECOND + duration_us * 1000, ..answered() };
        bench.row(record, ROLE_CLIENT, b"GET / HTTP/1.1");
    }
    let mut row = FlowRow::default();
    bench.exchanges.fill_flow(7, &mut row);
    assert_eq!(row.exchanges, Some(100));
    let near = |found: Option<i64>, exact: i64| found.is_some_and(|found| (found - exact).abs() <= 2);
    assert!(near(row.exchange_p50_us, 50) && near(row.exchange_p99_us, 99), "{row:#?}");
    let mut next = FlowRow::default();
    bench.exchanges.fill_flow(7, &mut next);
    assert_eq!((next.exchanges, next.exchange_p50_us), (Some(0), None));
}

#[test]
fn a_turn_of_a_connection_that_was_never_introduced_is_counted() {
    let mut bench = Bench::new();
    let node = SmolStr::new_static("n");
    let context = &mut Context { node: &node, clock: Clock::at_epoch(), identities: &mut bench.identities };
    assert!(bench.exchanges.turn(&answered(), None, context).is_none());
    assert_eq!(bench.exchanges.given_up, 1);
}

#[test]
fn a_cause_is_named_by_its_connection_s_id() {
    let cause =
        Cause { client_isn: 16, server_isn: 17, request_seq: 4, method: CAUSE_THREAD, _pad: 0, open: 1 };
    let row = Bench::new().row(ExchangeRecord { cause, ..answered() }, ROLE_CLIENT, b"GET /").expect("a row");
    assert_eq!(row.cause_connection_id.as_deref(), Some("0000001000000011"));
    assert_eq!((row.cause_request_offset, row.cause_method.as_deref()), (Some(4), Some("thread")));
    let row = Bench::new().row(answered(), ROLE_CLIENT, b"GET /").expect("a row");
    assert_eq!((row.cause_connection_id, row.cause_method), (None, None));
}
