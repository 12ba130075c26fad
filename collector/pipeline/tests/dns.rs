//! DNS in captures against tshark: every question and answer, and what `make_dns.sh` made happen on purpose. Fails without
//! tshark.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "../examples/conformance/dns/tshark.rs"]
mod tshark;

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use weir_collector::receive::pcap::{self, Rows};
use weir_model::DnsRow;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn import(path: &Path) -> Rows {
    let mut all = Rows::default();
    let on_rows = |rows: Rows| {
        all.flows.extend(rows.flows);
        all.dns.extend(rows.dns);
        ControlFlow::Continue(())
    };
    pcap::import(File::open(path).unwrap(), pcap::Options::default(), on_rows, |_| {}).unwrap();
    all
}

/// How many exchanges tshark shows, of which we tell exactly the same.
#[track_caller]
fn agrees_with_tshark(path: &Path) -> usize {
    let comparison = tshark::compare(path).unwrap_or_else(|err| {
        panic!("tshark can't be run ({err}): this test compares with it; apt-get install tshark")
    });
    assert_eq!(comparison.misses, Vec::<String>::new(), "{}", path.display());
    assert_eq!(comparison.surplus, Vec::<String>::new(), "{}", path.display());
    assert!(tshark::FIELDS.iter().all(|field| comparison.scores.contains_key(field)), "{comparison:?}");
    comparison.scores["question"].1
}

#[test]
fn every_exchange_is_what_tshark_says() {
    assert!(agrees_with_tshark(&fixture("dns.pcap")) > 70);
}

/// What a lossy capture doesn't show, tshark and we miss alike.
#[test]
fn what_is_lost_of_a_capture_is_lost_alike() {
    let folder = tempfile::tempdir().unwrap();
    // Some of the questions, answers and segments of streams are gone.
    let path = folder.path().join("lossy.pcap");
    let lost: Vec<String> = (3..200).step_by(17).map(|number| number.to_string()).collect();
    let written = Command::new("editcap").arg(fixture("dns.pcap")).arg(&path).args(lost).status();
    assert!(written.expect("editcap runs; apt-get install tshark").success());
    agrees_with_tshark(&path);
    let (whole, lossy) = (import(&fixture("dns.pcap")).dns, import(&path).dns);
    let alone = |rows: &[DnsRow]| rows.iter().filter(|row| row.latency_us.is_none()).count();
    assert!(alone(&lossy) > alone(&whole), "{} and {}", alone(&lossy), alone(&whole));
}

fn rows_of<'a>(rows: &'a [DnsRow], question: &str, kind: &str) -> Vec<&'a DnsRow> {
    let is_it = |row: &&DnsRow| {
        row.question.as_deref() == Some(question) && row.question_type.as_deref() == Some(kind)
    };
    rows.iter().filter(is_it).collect()
}

/// Once over IPv4, once over IPv6.
#[track_caller]
fn both<'a>(rows: &'a [DnsRow], question: &str, kind: &str) -> Vec<&'a DnsRow> {
    let found = rows_of(rows, question, kind);
    assert!(
        ["127.0.0.1", "::1"]
            .iter()
            .all(|server| found.iter().any(|row| row.server_ip.as_deref() == Some(server))),
        "{found:#?}"
    );
    found
}

#[test]
fn each_kind_of_exchange_is_told_as_it_was() {
    let Rows { flows, dns, .. } = import(&fixture("dns.pcap"));
    for row in
        both(&dns, "www.example.org", "AAAA").iter().filter(|row| row.protocol.as_deref() == Some("udp"))
    {
        assert_eq!(row.answers, ["cdn.example.org", "edge.example.org", "2001:db8::10"]);
        assert_eq!(row.answer_types, ["CNAME", "CNAME", "AAAA"]);
        assert_eq!((row.ttl_seconds, row.authoritative, row.truncated), (Some(60), Some(true), Some(false)));
        assert_eq!(
            (row.recursion_desired, row.edns_udp_bytes, row.dnssec_ok),
            (Some(true), Some(1232), Some(false))
        );
        assert!(
            row.latency_us.is_some() && row.question_bytes.is_some() && row.answer_bytes.is_some(),
            "{row:#?}"
        );
    }
    for (question, kind, code) in [
        ("nowhere.example.org", "A", "NXDOMAIN"),
        ("unknown.test", "A", "REFUSED"),
        ("a.fail.test", "A", "SERVFAIL"),
        ("version.bind", "TXT", "NOERROR"),
    ] {
        for row in both(&dns, question, kind) {
            assert_eq!(row.response_code.as_deref(), Some(code), "{row:#?}");
        }
    }
    // Does not fit, so it is asked again over TCP.
    let long = both(&dns, "long.example.org", "TXT");
    assert_eq!(
        long.iter()
            .filter(|row| row.truncated == Some(true) && row.protocol.as_deref() == Some("udp"))
            .count(),
        2
    );
    let whole: Vec<_> = long.iter().filter(|row| row.protocol.as_deref() == Some("tcp")).collect();
    assert!(whole.len() >= 2 + 8 && whole.iter().all(|row| row.answer_bytes > Some(1500)), "{whole:#?}");
    // 24 questions on one connection, its id that of its flow.
    let connections: Vec<_> = whole.iter().filter_map(|row| row.connection_id.as_ref()).collect();
    let busiest =
        connections.iter().max_by_key(|id| connections.iter().filter(|other| *other == *id).count()).unwrap();
    assert_eq!(dns.iter().filter(|row| row.connection_id.as_ref() == Some(busiest)).count(), 24);
    assert!(flows.iter().any(|flow| flow.connection_id.as_ref() == Some(busiest)));
    for row in &dns {
        assert!(flows.iter().any(|flow| flow.connection_id == row.connection_id), "{row:#?}");
    }
    // dig asks anew, the C library sends the same again.
    assert_eq!(rows_of(&dns, "slow.dead.test", "A").len(), 2);
    let silent = rows_of(&dns, "silent.example.org", "A");
    assert_eq!(silent.len(), 1);
    assert_eq!(
        (silent[0].retries, silent[0].response_code.as_deref(), silent[0].latency_us),
        (1, None, None)
    );
}

#[test]
fn a_flow_has_the_name_that_its_server_was_looked_up_by() {
    let Rows { flows, .. } = import(&fixture("dns.pcap"));
    let names: Vec<_> = flows
        .iter()
        .filter(|flow| flow.server_port == Some(8080))
        .map(|flow| flow.server_name.as_deref())
        .collect();
    assert_eq!(names, [Some("www.example.org")]);
    assert!(
        flows
            .iter()
            .filter(|flow| flow.server_ip.as_deref() == Some("127.0.0.1"))
            .all(|flow| flow.server_name.is_none())
    );
}
