//! Imports against Wireshark's own tools, on the captures of `tests/fixtures`: the same totals as `capinfos` and
//! `tshark -z conv,tcp`, the same handshakes, in every format that `editcap` writes. Fails without these tools.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use weir_collector::receive::pcap::{self, ImportReport};
use weir_model::{FlowRow, TlsHandshakeRow};

const FIXTURES: [&str; 3] = ["tls.pcap", "cooked_v1.pcap", "cooked_v2.pcap"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn import(path: &Path) -> (ImportReport, Vec<FlowRow>, Vec<TlsHandshakeRow>) {
    let (mut flows, mut handshakes) = (Vec::new(), Vec::new());
    let on_rows = |rows: pcap::Rows| {
        flows.extend(rows.flows);
        handshakes.extend(rows.handshakes);
        ControlFlow::Continue(())
    };
    let report = pcap::import(File::open(path).unwrap(), pcap::Options::default(), on_rows, |_| {}).unwrap();
    (report, flows, handshakes)
}

/// What a tool of Wireshark's prints.
fn run(tool: &str, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(tool).args(arguments).arg(file).output().unwrap_or_else(|err| {
        panic!("{tool} can't be run ({err}): this test compares with it; apt-get install tshark")
    });
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Packets and bytes, as capinfos counts them.
fn capinfos(file: &Path) -> (u64, u64) {
    let text = run("capinfos", &["-T", "-r", "-M", "-c", "-d"], file);
    let fields: Vec<&str> = text.trim().split('\t').collect();
    (fields[1].parse().unwrap(), fields[2].parse().unwrap())
}

/// Packets and bytes of each conversation: its two ends (the smaller first) → what they sent each other, summed.
fn conversations(protocol: &str, file: &Path) -> BTreeMap<[String; 2], (u64, u64)> {
    let text = run("tshark", &["-q", "-n", "-z", &format!("conv,{protocol}"), "-r"], file);
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| line.contains("<->")) {
        let words: Vec<&str> = line.split_whitespace().filter(|word| *word != "bytes").collect();
        assert!(!line.contains("kB"), "too large for tshark to say exactly: {line}");
        let mut ends = [words[0].to_owned(), words[2].to_owned()];
        ends.sort();
        let (packets, bytes): (u64, u64) = (words[7].parse().unwrap(), words[8].parse().unwrap());
        let sum = found.entry(ends).or_insert((0, 0));
        *sum = (sum.0 + packets, sum.1 + bytes);
    }
    found
}

fn ends_of(row: &FlowRow) -> [String; 2] {
    let end = |ip: &Option<weir_model::SmolStr>, port: Option<u16>| {
        format!("{}:{}", ip.as_deref().unwrap(), port.unwrap())
    };
    let mut ends = [end(&row.client_ip, row.client_port), end(&row.server_ip, row.server_port)];
    ends.sort();
    ends
}

#[test]
fn totals_are_those_of_capinfos_and_tshark() {
    for name in FIXTURES {
        let path = fixture(name);
        let (report, flows, _) = import(&path);
        assert_eq!((report.packets, report.wire_bytes), capinfos(&path), "{name}");
        for (protocol, packets, bytes) in [
            ("tcp", report.totals.tcp_packets, report.tcp_wire_bytes),
            ("udp", report.totals.udp_packets, report.udp_wire_bytes),
        ] {
            let theirs = conversations(protocol, &path);
            let sum = theirs.values().fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
            assert_eq!((packets, bytes), sum, "{name}, {protocol}");
            let mut ours: BTreeMap<[String; 2], u64> = BTreeMap::new();
            for row in flows.iter().filter(|row| row.protocol.as_deref() == Some(protocol)) {
                *ours.entry(ends_of(row)).or_default() += (row.client_packets + row.server_packets) as u64;
            }
            let theirs: BTreeMap<_, _> =
                theirs.into_iter().map(|(ends, (packets, _))| (ends, packets)).collect();
            assert_eq!(ours, theirs, "{name}, {protocol}, packets by conversation");
        }
    }
}

#[test]
fn payload_bytes_and_retransmissions_are_those_of_tshark() {
    for name in FIXTURES {
        let path = fixture(name);
        let fields =
            ["-T", "fields", "-e", "tcp.len", "-e", "tcp.analysis.retransmission", "-Y", "tcp", "-r"];
        let (mut payload, mut retransmissions) = (0, 0);
        for line in run("tshark", &fields, &path).lines() {
            let (length, again) = line.split_once('\t').unwrap();
            payload += length.parse::<i64>().unwrap();
            retransmissions += i64::from(!again.is_empty());
        }
        let (_, flows, _) = import(&path);
        let tcp = || flows.iter().filter(|row| row.protocol.as_deref() == Some("tcp"));
        assert_eq!(tcp().map(|row| row.client_bytes + row.server_bytes).sum::<i64>(), payload, "{name}");
        let ours = tcp().map(|row| row.client_retransmits.unwrap() + row.server_retransmits.unwrap());
        assert_eq!(ours.sum::<i64>(), retransmissions, "{name}");
    }
}

#[test]
fn handshakes_are_those_of_tshark() {
    for name in FIXTURES {
        let path = fixture(name);
        let hellos = |kind: &str, fingerprint: &str| {
            let filter = format!("tls.handshake.type == {kind}");
            let fields = ["-T", "fields", "-e", fingerprint, "-Y", &filter, "-r"];
            let mut found: Vec<String> =
                run("tshark", &fields, &path).split_whitespace().map(str::to_owned).collect();
            found.sort();
            found
        };
        let (_, _, handshakes) = import(&path);
        let ours = |of: fn(&TlsHandshakeRow) -> Option<&str>| {
            let mut found: Vec<String> =
                handshakes.iter().filter_map(|row| of(row).map(str::to_owned)).collect();
            found.sort();
            found
        };
        assert_eq!(ours(|row| row.tls_ja3.as_deref()), hellos("1", "tls.handshake.ja3"), "{name}");
        assert_eq!(ours(|row| row.tls_ja3s.as_deref()), hellos("2", "tls.handshake.ja3s"), "{name}");
        let sni = ours(|row| row.tls_sni.as_deref());
        assert_eq!(sni, hellos("1", "tls.handshake.extensions_server_name"), "{name}");
    }
}

/// What `make.sh` made happen on purpose.
#[test]
fn each_kind_of_handshake_ends_as_it_did() {
    let (_, flows, handshakes) = import(&fixture("tls.pcap"));
    let ends: Vec<_> = handshakes
        .iter()
        .map(|row| {
            let asked = row.tls_client_certificate_requested == Some(true);
            (row.tls_version.as_deref(), row.tls_resumed, asked, row.failure_reason.as_deref())
        })
        .collect();
    for (end, what) in [
        ((Some("1.3"), Some(false), false, None), "a full handshake of TLS 1.3"),
        ((Some("1.2"), Some(false), false, None), "one of TLS 1.2"),
        ((Some("1.2"), Some(true), false, None), "its resumption"),
        ((Some("1.2"), Some(false), true, None), "mutual TLS"),
        ((None, None, false, Some("protocol_version")), "a version that the server doesn't have"),
        (
            (Some("1.3"), Some(false), false, Some("unknown_ca")),
            "a certificate that the client doesn't trust",
        ),
    ] {
        assert!(ends.contains(&end), "{what} is missing in {ends:?}");
    }
    let of =
        |encryption: &str| flows.iter().filter(|row| row.encryption.as_deref() == Some(encryption)).count();
    assert_eq!((of("mtls"), of("tls"), of("unknown"), of("plaintext")), (1, 6, 1, 0));
    let refused = flows.iter().find(|row| row.server_port == Some(4439)).unwrap();
    assert_eq!(refused.close_reason.as_deref(), Some("refused"));
}

#[test]
fn every_format_of_editcap_gives_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    for name in FIXTURES {
        let (expected, flows, handshakes) = import(&fixture(name));
        // Modified pcap, as old Red Hat kernels' tools wrote it, among them.
        for format in ["pcapng", "nsecpcap", "modpcap"] {
            let path = folder.path().join(format!("{name}.{format}"));
            let written = Command::new("editcap").args(["-F", format]).arg(fixture(name)).arg(&path).status();
            let written = written.unwrap_or_else(|err| {
                panic!("editcap can't be run ({err}): this test needs it; apt-get install tshark")
            });
            assert!(written.success(), "editcap -F {format}");
            let (report, more_flows, more_handshakes) = import(&path);
            assert_eq!(report.damage, None, "{name} as {format}");
            assert_eq!(report.wire_bytes, expected.wire_bytes, "{name} as {format}");
            // The format's clock may be coarser: µs.
            let times = |rows: &[FlowRow]| rows.iter().map(|row| row.time / 1000).collect::<Vec<_>>();
            assert_eq!(times(&more_flows), times(&flows), "{name} as {format}");
            let ja4 =
                |rows: &[TlsHandshakeRow]| rows.iter().map(|row| row.tls_ja4.clone()).collect::<Vec<_>>();
            assert_eq!(ja4(&more_handshakes), ja4(&handshakes), "{name} as {format}");
        }
    }
}

/// `tcpdump -s 80`: the totals on the wire stay, and nothing that was cut off is called plaintext.
#[test]
fn a_snapshot_length_keeps_the_totals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.pcap");
    let cut = Command::new("editcap").args(["-s", "80"]).arg(fixture("tls.pcap")).arg(&path).status();
    assert!(cut.expect("editcap runs; apt-get install tshark").success());
    let (report, flows, _) = import(&path);
    let (whole, whole_flows, _) = import(&fixture("tls.pcap"));
    assert_eq!((report.packets, report.wire_bytes), (whole.packets, whole.wire_bytes));
    assert!(report.captured_bytes < whole.captured_bytes);
    let bytes =
        |rows: &[FlowRow]| rows.iter().map(|row| (row.client_bytes, row.server_bytes)).collect::<Vec<_>>();
    assert_eq!(bytes(&flows), bytes(&whole_flows));
    assert!(flows.iter().all(|row| row.encryption.as_deref() != Some("plaintext")), "{flows:#?}");
}
